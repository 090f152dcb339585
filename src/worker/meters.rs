//! What this process counts while it works. A count is an addition to an atomic number; what several processes would count
//! differently (due work, open runs, the outbox) is read from the store at each scrape instead.
//!
//! Labels are bounded: kinds and outcomes are words of this file, steps and workflows are those of definitions, and of errors
//! the first [`ERRORS`] have their own name.

use std::{
    collections::HashSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, core::Collector, proto::MetricFamily,
};

use super::core::lock;
use crate::store::{StoreError, WorkKind};

/// Errors that are counted under their own name in one process; later ones are counted as `other`.
const ERRORS: usize = 100;
/// Seconds of a step: from one that only looks to one that waits for a slow call.
const STEP: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Seconds of the store: from a commit on a fast disk to one that waited for a lock.
const STORE: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds between the time at which work was due and its claim.
const DELAY: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0];
/// Writes that share a commit.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// How work came to this process.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// The loop found it due.
    Claim,
    /// The commit that made it due claimed it.
    Commit,
}

/// What the store is asked for, where its time is measured.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Commit,
    Claim,
    Load,
    /// From the asking to the answer: the wait for the commit before it is in it.
    Renew,
    Probe,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Claim => "claim",
            Self::Load => "load",
            Self::Renew => "renew",
            Self::Probe => "probe",
        }
    }
}

#[derive(Debug)]
pub(super) struct Meters {
    registry: Registry,
    claims: IntCounterVec,
    delay: Histogram,
    leases_lost: IntCounterVec,
    renewals: IntCounterVec,
    step_seconds: HistogramVec,
    step_outcomes: IntCounterVec,
    errors: Mutex<HashSet<String>>,
    store_seconds: HistogramVec,
    store_failures: IntCounterVec,
    batch: Histogram,
    runs_started: IntCounterVec,
    runs_ended: IntCounterVec,
    deliveries: IntCounterVec,
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn times(name: &str, help: &str, buckets: &[f64], label: &str) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label])
}

fn sizes(name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))
}

impl Meters {
    /// # Errors
    /// Two metrics of one name: a mistake in this file.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let meters = Self {
            registry: Registry::new(),
            claims: counters("keyferry_claims_total", "Pieces of work that this process has claimed", &["kind", "by"])?,
            delay: sizes("keyferry_work_delay_seconds", "Seconds from when work was due to its claim", DELAY)?,
            leases_lost: counters(
                "keyferry_leases_lost_total",
                "Results of this process that were dropped because the work was taken by another claim or is gone",
                &["reason"],
            )?,
            renewals: counters(
                "keyferry_lease_renewals_total",
                "Renewals of leases, by what came of them",
                &["outcome"],
            )?,
            step_seconds: times("keyferry_step_duration_seconds", "Seconds of one execution of a step", STEP, "step")?,
            step_outcomes: counters(
                "keyferry_step_outcomes_total",
                "Executions of steps, by what came of them",
                &["step", "outcome", "error"],
            )?,
            errors: Mutex::default(),
            store_seconds: times(
                "keyferry_store_duration_seconds",
                "Seconds that the store took for one call",
                STORE,
                "operation",
            )?,
            store_failures: counters(
                "keyferry_store_failures_total",
                "Calls that failed because the store could not be used",
                &["operation"],
            )?,
            batch: sizes("keyferry_commit_writes", "Writes that shared a commit", BATCH)?,
            runs_started: counters("keyferry_runs_started_total", "Runs that this process has started", &["workflow"])?,
            runs_ended: counters(
                "keyferry_runs_ended_total",
                "Runs that ended in this process, by how",
                &["workflow", "status"],
            )?,
            deliveries: counters(
                "keyferry_outbox_deliveries_total",
                "Attempts of this process to deliver a letter, by what came of it",
                &["outcome"],
            )?,
        };
        meters.register()?;
        meters.begin();
        Ok(meters)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let all: [Box<dyn Collector>; 12] = [
            Box::new(self.claims.clone()),
            Box::new(self.delay.clone()),
            Box::new(self.leases_lost.clone()),
            Box::new(self.renewals.clone()),
            Box::new(self.step_seconds.clone()),
            Box::new(self.step_outcomes.clone()),
            Box::new(self.store_seconds.clone()),
            Box::new(self.store_failures.clone()),
            Box::new(self.batch.clone()),
            Box::new(self.runs_started.clone()),
            Box::new(self.runs_ended.clone()),
            Box::new(self.deliveries.clone()),
        ];
        all.into_iter().try_for_each(|metric| self.registry.register(metric))
    }

    /// Shows at zero what is known to come: a counter that appears with its first event has no rate for it.
    fn begin(&self) {
        for outcome in ["renewed", "lost", "failed", "late"] {
            self.renewals.with_label_values(&[outcome]).reset();
        }
        for reason in ["taken", "gone"] {
            self.leases_lost.with_label_values(&[reason]).reset();
        }
        for outcome in ["sent", "failed"] {
            self.deliveries.with_label_values(&[outcome]).reset();
        }
        for operation in [Operation::Commit, Operation::Claim, Operation::Load, Operation::Renew, Operation::Probe]
            .map(Operation::word)
        {
            self.store_failures.with_label_values(&[operation]).reset();
            drop(self.store_seconds.with_label_values(&[operation]));
        }
    }

    pub(super) fn claim(&self, kind: WorkKind, by: By, delay: Duration) {
        let by = match by {
            By::Claim => "claim",
            By::Commit => "commit",
        };
        self.claims.with_label_values(&[kind.word(), by]).inc();
        self.delay.observe(delay.as_secs_f64());
    }

    /// Pieces of work that the loop has claimed.
    pub(super) fn claimed(&self) -> u64 {
        let kinds =
            [WorkKind::Step, WorkKind::Timer, WorkKind::Form, WorkKind::Child, WorkKind::RunTimer, WorkKind::Signal];
        kinds.iter().map(|kind| self.claims.with_label_values(&[kind.word(), "claim"]).get()).sum()
    }

    /// The work is somebody else's now, or there is none any more: cancelled, or done by another.
    pub(super) fn lease_lost(&self, taken: bool) {
        self.leases_lost.with_label_values(&[if taken { "taken" } else { "gone" }]).inc();
    }

    pub(super) fn renewal(&self, outcome: &Result<(), StoreError>) {
        let word = match outcome {
            Ok(()) => "renewed",
            Err(StoreError::LeaseLost { .. }) => "lost",
            Err(_) => "failed",
        };
        self.renewals.with_label_values(&[word]).inc();
    }

    /// A lease was not confirmed in two thirds of its time.
    pub(super) fn renewal_is_late(&self) {
        self.renewals.with_label_values(&["late"]).inc();
    }

    pub(super) fn step_took(&self, step: &str, took: Duration) {
        self.step_seconds.with_label_values(&[step]).observe(took.as_secs_f64());
    }

    /// `error` is empty for what is no failure.
    pub(super) fn step_came_to(&self, step: &str, outcome: &str, error: &str) {
        let error = if error.is_empty() || self.is_counted(error) { error } else { "other" };
        self.step_outcomes.with_label_values(&[step, outcome, error]).inc();
    }

    fn is_counted(&self, error: &str) -> bool {
        let mut errors = lock(&self.errors);
        errors.contains(error) || (errors.len() < ERRORS && errors.insert(error.to_owned()))
    }

    /// Notes a call of the store that was begun at `begun`.
    pub(super) fn store<T>(&self, operation: Operation, begun: Instant, outcome: &Result<T, StoreError>) {
        self.store_seconds.with_label_values(&[operation.word()]).observe(begun.elapsed().as_secs_f64());
        if matches!(outcome, Err(StoreError::Unavailable { .. })) {
            self.store_failures.with_label_values(&[operation.word()]).inc();
        }
    }

    pub(super) fn batch(&self, writes: usize) {
        // A batch has at most some thousand writes.
        self.batch.observe(u32::try_from(writes).map_or(f64::INFINITY, f64::from));
    }

    pub(super) fn started(&self, workflow: &str) {
        self.runs_started.with_label_values(&[workflow]).inc();
    }

    pub(super) fn ended(&self, workflow: &str, status: &str) {
        self.runs_ended.with_label_values(&[workflow, status]).inc();
    }

    pub(super) fn delivery(&self, outcome: &str) {
        self.deliveries.with_label_values(&[outcome]).inc();
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_beyond_the_hundredth_share_a_label() {
        let meters = Meters::new().unwrap();
        for index in 0..300 {
            meters.step_came_to("copy-snapshot", "failed", &format!("Made.Up{index}"));
        }
        meters.step_came_to("copy-snapshot", "failed", "Made.Up7");
        let families = meters.gather();
        let outcomes = families.iter().find(|family| family.name() == "keyferry_step_outcomes_total").unwrap();
        assert_eq!(outcomes.get_metric().len(), ERRORS + 1);
        let of = |error: &str| {
            let metric = outcomes.get_metric().iter();
            let mut found = metric.filter(|metric| metric.get_label().iter().any(|label| label.value() == error));
            found.next().unwrap().get_counter().get_value()
        };
        assert!((of("Made.Up7") - 2.0).abs() < f64::EPSILON);
        assert!((of("other") - 200.0).abs() < f64::EPSILON);
    }
}

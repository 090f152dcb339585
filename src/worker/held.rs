//! The work that this process holds, and the renewal of its leases.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Instant,
};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::{
    core::{Core, later, lock},
    meters::Operation,
    turns::Over,
};
use crate::store::{ClaimedWork, Say, StoreError, WorkWord, Write};

/// By run and frame, in an order that a simulation repeats.
#[derive(Debug, Default)]
pub(super) struct Held {
    claims: Mutex<BTreeMap<(String, i64), Arc<Claim>>>,
}

/// One claim.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) run: String,
    pub(super) frame: i64,
    pub(super) visit: u64,
    pub(super) fence: u64,
    /// Microseconds since 1970 of the last sign of life.
    beat: AtomicI64,
    /// Microseconds since 1970 until which the store has confirmed the lease.
    lease_until: AtomicI64,
    /// A renewal has been asked for and not been confirmed.
    asked: AtomicBool,
    /// Somebody else has claimed the work since.
    taken: AtomicBool,
    end: watch::Sender<End>,
}

/// Why a claim's execution must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It need not.
    No,
    /// The work is somebody else's, or over: not a word about it.
    Lost,
    /// The work is still this process's, and to be given back.
    Stopped,
}

impl Claim {
    pub(super) fn new(work: &ClaimedWork, now: DateTime<Utc>) -> Self {
        Self {
            run: work.run.clone(),
            frame: work.frame,
            visit: work.visit,
            fence: work.fence,
            beat: AtomicI64::new(now.timestamp_micros()),
            lease_until: AtomicI64::new(work.lease_until.timestamp_micros()),
            asked: AtomicBool::new(false),
            taken: AtomicBool::new(false),
            end: watch::Sender::new(End::No),
        }
    }

    pub(super) fn word(&self, say: Say) -> Write {
        Write::Word(WorkWord { run: self.run.clone(), frame: self.frame, visit: self.visit, fence: self.fence, say })
    }

    pub(super) fn beat(&self, now: DateTime<Utc>) {
        self.beat.fetch_max(now.timestamp_micros(), Ordering::Relaxed);
    }

    pub(super) fn last_beat(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.beat.load(Ordering::Relaxed)).unwrap_or(DateTime::UNIX_EPOCH)
    }

    pub(super) fn lose(&self) {
        self.end.send_replace(End::Lost);
    }

    /// Somebody else has the work.
    fn take_away(&self) {
        self.taken.store(true, Ordering::Relaxed);
        self.lose();
    }

    /// Whether it is known that somebody else has the work, and not only that it is over.
    pub(super) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// Stops the execution; what was lost stays lost.
    pub(super) fn stop(&self) {
        self.end.send_if_modified(|end| {
            let stops = *end == End::No;
            if stops {
                *end = End::Stopped;
            }
            stops
        });
    }

    fn is_lost(&self) -> bool {
        *self.end.borrow() == End::Lost
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.end.borrow() != End::No
    }

    /// Returns when the execution must stop, and why.
    pub(super) async fn until_ended(&self) -> End {
        // The sender lives in `self`, so this ends by the word alone.
        let mut end = self.end.subscribe();
        let found = end.wait_for(|end| *end != End::No).await;
        found.map_or(End::Lost, |end| *end)
    }

    #[cfg(test)]
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn has_passed(&self, now: DateTime<Utc>) -> bool {
        self.lease_until.load(Ordering::Relaxed) <= now.timestamp_micros()
    }

    /// Asks the store for more time.
    async fn renew(&self, core: &Core) -> Result<(), StoreError> {
        let lease_until = later(core.clock.now(), core.lease);
        let begun = Instant::now();
        let outcome = core.committer.commit(self.word(Say::Renew { lease_until })).await;
        core.meters.store(Operation::Renew, begun, &outcome);
        core.meters.renewal(&outcome);
        match &outcome {
            Ok(()) => {
                self.lease_until.store(lease_until.timestamp_micros(), Ordering::Relaxed);
                self.asked.store(false, Ordering::Relaxed);
            }
            Err(StoreError::LeaseLost { found: Some(_), .. }) => self.take_away(),
            Err(StoreError::LeaseLost { found: None, .. }) => self.lose(),
            Err(_) => {}
        }
        outcome
    }
}

impl Held {
    pub(super) fn add(&self, claim: &Arc<Claim>) {
        let earlier = lock(&self.claims).insert((claim.run.clone(), claim.frame), Arc::clone(claim));
        // This process has claimed again what it held too long: the execution under the older fence must end.
        if let Some(earlier) = earlier {
            earlier.take_away();
        }
    }

    /// Lets go of a claim, unless a later one of the same frame has taken its place.
    pub(super) fn remove(&self, claim: &Claim) {
        let mut claims = lock(&self.claims);
        let key = (claim.run.clone(), claim.frame);
        if claims.get(&key).is_some_and(|found| found.fence == claim.fence) {
            claims.remove(&key);
        }
    }

    pub(super) fn get(&self, run: &str, frame: u64, visit: u64) -> Option<Arc<Claim>> {
        let key = (run.to_owned(), i64::try_from(frame).ok()?);
        lock(&self.claims).get(&key).filter(|claim| claim.visit == visit && !claim.has_ended()).cloned()
    }

    /// Takes from this process's executions what a commit has ended, without waiting for their next renewal to say so. What
    /// the commit made due may have been claimed since: its fence is no lesser one, and it stays.
    pub(super) fn end(&self, run: &str, over: &Over) {
        let claims = lock(&self.claims);
        match over {
            Over::Frames(frames) => {
                for (frame, below) in frames {
                    let claim = claims.get(&(run.to_owned(), *frame));
                    if let Some(claim) = claim.filter(|claim| claim.fence < *below) {
                        claim.lose();
                    }
                }
            }
            Over::Run => claims.values().filter(|claim| claim.run == run).for_each(|claim| claim.lose()),
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Claim>> {
        lock(&self.claims).values().cloned().collect()
    }

    /// Whether this process holds work of a run besides this claim.
    pub(super) fn holds_other(&self, claim: &Claim) -> bool {
        lock(&self.claims).values().any(|held| held.run == claim.run && held.frame != claim.frame)
    }
}

/// Asks for more time for every lease when a third of it has passed, until the process has drained. It runs beside the steps,
/// so that one that blocks starves nobody's lease. What was asked for and has not been confirmed a third later, two thirds
/// into the lease, is stopped: a step must not act when another process may begin to think that its work is free.
pub(super) async fn renew(core: Arc<Core>) {
    // A set ends its tasks when it is dropped, with this future.
    let mut asking = tokio::task::JoinSet::new();
    loop {
        core.clock.sleep_until(later(core.clock.now(), core.lease / 3)).await;
        while asking.try_join_next().is_some() {}
        for claim in core.held.all() {
            if claim.has_ended() {
                continue;
            }
            if claim.asked.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    run.id = %claim.run, frame = claim.frame,
                    "the lease could not be renewed in two thirds of its time; the step is stopped"
                );
                core.meters.renewal_is_late();
                claim.stop();
                continue;
            }
            let core = Arc::clone(&core);
            asking.spawn(async move {
                while let Err(error) = claim.renew(&core).await {
                    core.note(Err(&error));
                    if claim.has_ended() {
                        return;
                    }
                    core.clock.sleep(core.lease / 12).await;
                }
            });
        }
    }
}

/// Renews what this process holds beyond its time, before it claims whose time has passed: after a halt of the process, a jump
/// of the clock or an outage of the store its own steps still run, and are not dead; a result that could not be told yet, and a
/// stopped step that could not be given back, keep their fence for as long as that takes.
pub(super) async fn keep(core: &Core, now: DateTime<Utc>) -> Result<(), StoreError> {
    let passed = core.held.all().into_iter().filter(|claim| claim.has_passed(now) && !claim.is_lost());
    let passed: Vec<Arc<Claim>> = passed.collect();
    for outcome in futures_util::future::join_all(passed.iter().map(|claim| claim.renew(core))).await {
        match outcome {
            Ok(()) | Err(StoreError::LeaseLost { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Transition, WorkKind};

    #[test]
    fn a_commit_ends_earlier_claims_and_not_those_of_what_it_made_due() {
        let claim = |fence| {
            let work = ClaimedWork {
                run: "r".to_owned(),
                frame: 0,
                visit: 2,
                kind: WorkKind::Step,
                name: "work".to_owned(),
                input: Ok(serde_json::Value::Null.into()),
                due_at: DateTime::UNIX_EPOCH,
                fence,
                attempt: 1,
                crashes: 0,
                heartbeat_s: None,
                deadline: None,
                lease_until: DateTime::UNIX_EPOCH,
                checkpoint: None,
            };
            Arc::new(Claim::new(&work, DateTime::UNIX_EPOCH))
        };
        let held = Held::default();
        let over = |revision| Over::Frames(vec![(0, Transition::first_fence(revision))]);
        // Claimed by the loop from what the commit of revision 3 made due, before that commit's own task came to its end.
        let new = claim(Transition::fence_at(3));
        held.add(&new);
        held.end("r", &over(3));
        assert!(!new.has_ended());
        held.end("r", &over(4));
        assert!(new.has_ended());
        let again = claim(Transition::fence_at(4));
        held.add(&again);
        held.end("r", &Over::Run);
        again.stop();
        assert_eq!(*again.end.borrow(), End::Lost, "what is lost is not given back");
    }
}

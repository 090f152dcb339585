//! Takes due rows of the outbox and delivers them, one after the other, until told to stop.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::{
    letters::{FormRole, Matter, letters},
    transport::Transport,
};
use crate::{
    config::Config,
    engine::Notice,
    worker::{OutboxRow, Service, ServiceError, StoredRecord},
};

/// Rows taken at once.
const BATCH: u32 = 20;
/// Pause between two looks at an outbox that had nothing due; longer the longer it has nothing, up to [`LONGEST`] times this.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: u32 = 5;
/// What was taken and cannot be told in this time is left to whoever takes it next, long before the store would give it to two.
const ROUND: TimeDelta = TimeDelta::minutes(2);

/// The delivery of the outbox.
pub struct Postman {
    service: Service,
    transport: Transport,
    config: Arc<Config>,
    /// By form name.
    forms: BTreeMap<String, FormRole>,
    now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

/// When a row whose `attempts`-th attempt failed is due again: 5 s, doubled each time, at most an hour.
pub fn retry_after(attempts: u32) -> TimeDelta {
    let doubled = 5_i64.saturating_mul(1_i64 << attempts.saturating_sub(1).min(20));
    TimeDelta::seconds(doubled.min(3600))
}

impl Postman {
    pub fn new(
        service: Service,
        transport: Transport,
        config: Arc<Config>,
        forms: BTreeMap<String, FormRole>,
        now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    ) -> Self {
        Self { service, transport, config, forms, now }
    }

    /// Delivers until `shutdown` turns true. A letter that is being sent then is finished first.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let mut idle = 0_u32;
        while !*shutdown.borrow() {
            let delivered = self.deliver_due(&shutdown).await.unwrap_or_else(|error| {
                tracing::warn!(error = %error, "the outbox could not be read");
                0
            });
            idle = if delivered == 0 { idle.saturating_add(1) } else { 0 };
            if idle > 0 {
                // A sender that is gone is a shutdown too.
                let stopped = async { drop(shutdown.wait_for(|stop| *stop).await) };
                if tokio::time::timeout(PAUSE * idle.min(LONGEST), stopped).await.is_ok() {
                    return;
                }
            }
        }
    }

    /// One round: every row that is due now. Gives back how many were delivered.
    ///
    /// # Errors
    /// The outbox could not be read or written. A letter that could not be sent is no error: it is kept on its row.
    pub async fn deliver_due(&self, shutdown: &watch::Receiver<bool>) -> Result<usize, ServiceError> {
        let mut delivered = 0;
        let taken = (self.now)();
        for row in self.service.next_mail(BATCH).await? {
            if *shutdown.borrow() || (self.now)() - taken > ROUND {
                break;
            }
            match self.deliver(&row).await {
                Ok(()) => {
                    self.service.mail_sent(row.id).await?;
                    delivered += 1;
                }
                Err(reason) => {
                    let attempts = row.attempts.saturating_add(1);
                    tracing::warn!(run.id = %row.run, mail.id = row.id, mail.attempts = attempts, reason, "mail was not delivered");
                    let retry_at = (self.now)() + retry_after(attempts);
                    self.service.mail_failed(row.id, &reason, retry_at).await?;
                }
            }
        }
        Ok(delivered)
    }

    async fn deliver(&self, row: &OutboxRow) -> Result<(), String> {
        let said = |error: ServiceError| error.to_string();
        let enterprise = self.service.enterprise(&row.enterprise).await.map_err(said)?;
        let run = self.service.run(&row.run).await.map_err(said)?;
        let (mut key_policies, mut reports) = (Vec::new(), Vec::new());
        let mut form = None;
        match &row.notice {
            Notice::FormOpened { form: name, .. } => {
                form = self.forms.get(name);
                key_policies = self.all_records(&row.enterprise, "key-policy").await.map_err(said)?;
            }
            Notice::Ended { .. } => reports = self.all_records(&row.enterprise, "report").await.map_err(said)?,
            Notice::Attention { .. } | Notice::Told { .. } => {}
        }
        // A run's report may have been written by the child that ran the audit.
        reports.retain(|report| report.run == run.id || run.children.contains(&report.run));
        let matter = Matter {
            config: &self.config,
            enterprise: &enterprise,
            run: &run,
            notice: &row.notice,
            at: row.created_at,
            form,
            key_policies: &key_policies,
            report: reports.iter().max_by_key(|report| report.written_at),
        };
        for letter in letters(&matter) {
            let sent = self.transport.deliver(&letter, &self.config.mail.from, &self.config.vendor.name).await;
            sent.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn all_records(&self, enterprise: &str, collection: &str) -> Result<Vec<StoredRecord>, ServiceError> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.service.records(enterprise, collection, 200, cursor).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_spaced_further_and_further_up_to_an_hour() {
        let seconds: Vec<i64> =
            [1, 2, 3, 9, 10, 11, u32::MAX].into_iter().map(|n| retry_after(n).num_seconds()).collect();
        assert_eq!(seconds, [5, 10, 20, 1280, 2560, 3600, 3600]);
    }
}

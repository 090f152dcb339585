//! Makes notices of the outbox into letters, and delivers letters that are due: several at a time, one a reader.
//!
//! A letter is a row of its own: what its reader's mail server says is about it alone. A refusal that trying again cannot change
//! makes it dead at once, and one that may pass is tried again for [`GIVE_UP`]. The engineer is told of a dead letter, once.
//! A letter that is being delivered is held by a lease that is renewed, as a step's is: of a process that has died, the others
//! take it over when that has passed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::watch, task::JoinSet};

use super::{
    letter::Letter,
    letters::{FormRole, Matter, engineer_of, letters, undeliverable},
    transport::Transport,
};
use crate::{
    config::Config,
    engine::Notice,
    worker::{Delivery, Enterprise, LetterRow, LetterState, RunView, Service, ServiceError, StoredRecord},
};

/// Notices taken at once.
const BATCH: u32 = 20;
/// Letters that are delivered at once.
const AT_ONCE: usize = 8;
/// Pause between two looks at an outbox that had nothing due; longer the longer it has nothing, up to [`LONGEST`] times this.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: u32 = 5;
/// How long a letter is tried, from its first failure (RFC 5321, 4.5.4.1: four to five days).
pub const GIVE_UP: TimeDelta = TimeDelta::days(4);
/// How long letters that are being sent may go on after the signal.
const DRAIN: Duration = Duration::from_secs(20);

/// The delivery of the outbox.
pub struct Postman {
    office: Arc<Office>,
}

struct Office {
    service: Service,
    transport: Transport,
    config: Arc<Config>,
    /// By form name.
    forms: BTreeMap<String, FormRole>,
    now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
}

/// When what failed for the `attempts`-th time is due again: 5 s, doubled each time, at most an hour.
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
        Self { office: Arc::new(Office { service, transport, config, forms, now }) }
    }

    /// Delivers until `shutdown` turns true. Letters that are being sent then may end; what does not is sent again later.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let mut sending = JoinSet::new();
        let mut idle = 0_u32;
        while !*shutdown.borrow() {
            let taken = self.take(&mut sending).await.unwrap_or_else(|error| {
                tracing::warn!(error = %error, "the outbox could not be read");
                0
            });
            idle = if taken == 0 { idle.saturating_add(1) } else { 0 };
            let pause = tokio::time::timeout(PAUSE * idle.min(LONGEST), std::future::pending::<()>());
            tokio::select! {
                // A sender that is gone is a shutdown too.
                _stopped = shutdown.wait_for(|stop| *stop) => break,
                Some(_) = sending.join_next(), if !sending.is_empty() => idle = 0,
                _elapsed = pause, if taken == 0 || sending.len() >= AT_ONCE => {}
                () = std::future::ready(()), if taken > 0 && sending.len() < AT_ONCE => {}
            }
        }
        let ended = async { while sending.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::info!(mail.sending = sending.len(), "letters that were being sent are left; they are sent again");
        }
    }

    /// Makes what is due into letters and begins to deliver as many as there is room for. Gives back how many were begun.
    async fn take(&self, sending: &mut JoinSet<()>) -> Result<usize, ServiceError> {
        let office = &self.office;
        let notices = office.service.next_mail(BATCH).await?;
        for row in &notices {
            match office.gather(&row.enterprise, &row.run, &row.notice).await {
                Ok(gathered) => {
                    let written = letters(&gathered.matter(office, &row.notice, row.created_at));
                    let readers = written.into_iter().map(|letter| letter.reader).collect();
                    office.service.spread_mail(row.id, readers).await?;
                }
                Err(error) => {
                    tracing::warn!(run.id = %row.run, error = %error, "a notice could not be made into letters");
                    let retry_at = (office.now)() + retry_after(row.attempts.saturating_add(1));
                    office.service.mail_failed(row.id, &error.to_string(), retry_at).await?;
                }
            }
        }
        let room = u32::try_from(AT_ONCE.saturating_sub(sending.len())).unwrap_or(0);
        if room == 0 {
            return Ok(notices.len());
        }
        let held = office.service.hold_letters(room).await?;
        let begun = notices.len() + held.len();
        for (row, until) in held {
            let office = Arc::clone(office);
            sending.spawn(async move { office.deliver(row, until).await });
        }
        Ok(begun)
    }

    /// Delivers what is due now, and what becomes due by that.
    #[cfg(test)]
    pub(super) async fn deliver_due(&self) -> Result<(), ServiceError> {
        let mut sending = JoinSet::new();
        while self.take(&mut sending).await? > 0 || !sending.is_empty() {
            while sending.join_next().await.is_some() {}
        }
        Ok(())
    }
}

/// What the letters of a notice may say.
struct Gathered<'a> {
    enterprise: Enterprise,
    run: RunView,
    form: Option<&'a FormRole>,
    key_policies: Vec<StoredRecord>,
    reports: Vec<StoredRecord>,
}

impl Gathered<'_> {
    fn matter<'a>(&'a self, office: &'a Office, notice: &'a Notice, at: DateTime<Utc>) -> Matter<'a> {
        Matter {
            config: &office.config,
            enterprise: &self.enterprise,
            run: &self.run,
            notice,
            at,
            form: self.form,
            key_policies: &self.key_policies,
            report: self.reports.iter().max_by_key(|report| report.written_at),
        }
    }
}

impl Office {
    async fn gather(&self, enterprise: &str, run: &str, notice: &Notice) -> Result<Gathered<'_>, ServiceError> {
        let run = self.service.run(run).await?;
        let (mut key_policies, mut reports) = (Vec::new(), Vec::new());
        let mut form = None;
        match notice {
            Notice::FormOpened { form: name, .. } => {
                form = self.forms.get(name);
                key_policies = self.all_records(enterprise, "key-policy").await?;
            }
            Notice::Ended { .. } => reports = self.all_records(enterprise, "report").await?,
            Notice::Attention { .. } | Notice::Told { .. } => {}
        }
        // A run's report may have been written by the child that ran the audit.
        reports.retain(|report| report.run == run.id || run.children.contains(&report.run));
        // Read at each attempt: a corrected address counts at once.
        let enterprise = self.service.enterprise(enterprise).await?;
        Ok(Gathered { enterprise, run, form, key_policies, reports })
    }

    /// One attempt, as long as the letter is held. What came of it is kept; if it cannot be, the letter is due again when its hold
    /// has passed.
    async fn deliver(&self, row: LetterRow, until: DateTime<Utc>) {
        let delivery = match self.service.while_held(row.id, until, self.attempt(&row)).await {
            None => {
                tracing::warn!(mail.id = row.id, run.id = %row.run, "a letter was given up while it was sent: another process may have it");
                return;
            }
            Some(Ok(delivery)) => delivery,
            // Nothing was said to anybody.
            Some(Err(error)) => self.failed(&row, row.address.clone().unwrap_or_default(), error.to_string(), None),
        };
        self.log(&row, &delivery);
        if let Err(error) = self.service.letter_done(row.id, delivery).await {
            tracing::warn!(mail.id = row.id, run.id = %row.run, error = %error, "what came of a letter could not be kept");
        }
    }

    async fn attempt(&self, row: &LetterRow) -> Result<Delivery, ServiceError> {
        let gathered = self.gather(&row.enterprise, &row.run, &row.notice).await?;
        let matter = gathered.matter(self, &row.notice, row.noticed_at);
        let withdrawn = |reason: &str| Ok(Delivery::Withdrawn { reason: reason.to_owned() });
        let letter = match row.about {
            Some(dead) => match self.service.letter_row(dead).await? {
                Some(dead) if dead.state == LetterState::Dead => undeliverable(&matter, &dead),
                Some(_) | None => return withdrawn("the letter that it tells of is not dead any more"),
            },
            None => match letters(&matter).into_iter().find(|letter| letter.reader == row.reader) {
                Some(letter) => letter,
                None => return withdrawn("its reader is not to be told of this any more"),
            },
        };
        if row.attempts > 0 && is_moot(&row.notice, &gathered.run) && row.about.is_none() {
            return withdrawn("the form is not open any more");
        }
        Ok(self.send(row, &matter, &letter).await)
    }

    async fn send(&self, row: &LetterRow, matter: &Matter<'_>, letter: &Letter) -> Delivery {
        let sent = self.transport.deliver(letter, &self.config.mail.from, &self.config.vendor.name).await;
        let address = letter.to.clone();
        let Err(error) = sent else { return Delivery::Sent { address } };
        // Of a letter to the engineer, or about a dead letter, nobody is told: the list and the log have it.
        let tell = (row.about.is_none() && engineer_of(matter) != address).then(|| "engineer".to_owned());
        if error.is_final() {
            return Delivery::Dead { address, error: error.to_string(), tell };
        }
        self.failed(row, address, error.to_string(), tell)
    }

    fn failed(&self, row: &LetterRow, address: String, error: String, tell: Option<String>) -> Delivery {
        let now = (self.now)();
        if now - row.failing_since.unwrap_or(now) >= GIVE_UP {
            return Delivery::Dead { address, error, tell };
        }
        Delivery::Failed { address, error, retry_at: now + retry_after(row.attempts.saturating_add(1)) }
    }

    fn log(&self, row: &LetterRow, delivery: &Delivery) {
        let (id, run, reader) = (row.id, &row.run, &row.reader);
        let attempts = row.attempts.saturating_add(1);
        match delivery {
            Delivery::Sent { .. } => {}
            Delivery::Failed { error, .. } => {
                tracing::warn!(run.id = %run, mail.id = id, mail.reader = %reader, mail.attempts = attempts, reason = %error, "mail was not delivered");
            }
            Delivery::Dead { error, .. } => {
                tracing::error!(run.id = %run, mail.id = id, mail.reader = %reader, mail.attempts = attempts, reason = %error, "mail cannot be delivered; see keyferry mail list --dead");
            }
            Delivery::Withdrawn { reason } => {
                tracing::info!(run.id = %run, mail.id = id, mail.reader = %reader, reason = %reason, "mail was withdrawn");
            }
        }
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

/// Whether a notice asks for an answer that is not waited for any more.
fn is_moot(notice: &Notice, run: &RunView) -> bool {
    match notice {
        Notice::FormOpened { frame, form, .. } => {
            !run.waiting_for.iter().any(|wait| wait.frame == *frame && wait.form.as_ref() == Some(form))
        }
        Notice::Attention { frame, .. } => !run.attention.iter().any(|stands| stands.frame == *frame),
        Notice::Told { .. } | Notice::Ended { .. } => false,
    }
}

#[cfg(test)]
mod tests;

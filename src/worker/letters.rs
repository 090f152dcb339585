//! Letters as people see them and as the postman moves them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Act, By, Delivery, ErrorKind, LetterRow, LetterState, LettersPage, Page, Service, ServiceError};
use crate::{engine::Notice, store::StoreError};

/// A letter that is not delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LetterView {
    pub id: i64,
    pub enterprise: String,
    pub run: String,
    /// `customer`, `csm`, `engineer`, or `audit:ADDRESS`.
    pub reader: String,
    /// What it tells, in one line.
    pub about: String,
    pub state: LetterState,
    /// Where the last attempt went.
    pub address: Option<String>,
    /// Attempts that have failed since it became due or was resent.
    pub attempts: u32,
    pub failing_since: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    pub next_attempt: Option<DateTime<Utc>>,
    /// When what it tells of happened.
    pub noticed_at: DateTime<Utc>,
    /// When it died.
    pub dead_since: Option<DateTime<Utc>>,
}

impl From<LetterRow> for LetterView {
    fn from(row: LetterRow) -> Self {
        let about = match (row.about, &row.notice) {
            (Some(dead), _) => format!("letter {dead} could not be delivered"),
            (None, Notice::FormOpened { form, .. }) => format!("the form {form} is open"),
            (None, Notice::Attention { state, error, .. }) => format!("attention in {state}: {error}"),
            (None, Notice::Told { letter, .. }) => letter.clone(),
            (None, Notice::Ended { .. }) => "the end of the run".to_owned(),
        };
        Self {
            id: row.id,
            enterprise: row.enterprise,
            run: row.run,
            reader: row.reader,
            about,
            state: row.state,
            address: row.address,
            attempts: row.attempts,
            failing_since: row.failing_since,
            last_error: row.error,
            next_attempt: row.due_at,
            noticed_at: row.noticed_at,
            dead_since: row.ended_at.filter(|_| row.state == LetterState::Dead),
        }
    }
}

impl Service {
    /// Makes a notice into letters, one a reader.
    ///
    /// # Errors
    /// The store could not be written: the notice stays due.
    pub async fn spread_mail(&self, id: i64, readers: Vec<String>) -> Result<(), ServiceError> {
        Ok(self.core.store.outbox_spread(id, readers, self.core.clock.now()).await?)
    }

    /// Letters that are due, one a reader at most, and until when each is this process's alone: as long as a lease on a step, which
    /// [`Service::while_held`] renews.
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn hold_letters(&self, limit: u32) -> Result<Vec<(LetterRow, DateTime<Utc>)>, ServiceError> {
        let now = self.core.clock.now();
        let until = now + self.core.lease;
        let held = self.core.store.letters_hold(now, until, limit).await?;
        Ok(held.into_iter().map(|row| (row, until)).collect())
    }

    /// Delivers a letter that is held until `until`, and holds it as long as that takes. `None` when it could not be held: another
    /// process has it by now, or may have, and this one has stopped.
    pub async fn while_held<T>(&self, id: i64, until: DateTime<Utc>, delivery: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = delivery => Some(done),
            () = self.hold(id, until) => None,
        }
    }

    /// Returns when the letter is no longer held.
    async fn hold(&self, id: i64, mut until: DateTime<Utc>) {
        let (clock, lease) = (&self.core.clock, self.core.lease);
        let mut next = until - lease * 2 / 3;
        loop {
            clock.sleep_until(next).await;
            let now = clock.now();
            match self.core.store.letter_keep(id, until, now + lease).await {
                Ok(true) => {
                    until = now + lease;
                    next = until - lease * 2 / 3;
                }
                Ok(false) => return,
                // Whatever became of the renewal: when the hold has passed, others may have it.
                Err(error) => {
                    tracing::warn!(mail.id = id, error = %error, "a letter that is being delivered could not be held on to");
                    if now >= until {
                        return;
                    }
                    next = until.min(now + lease / 10);
                }
            }
        }
    }

    /// Keeps what came of an attempt.
    ///
    /// # Errors
    /// The store could not be written: the letter is delivered again, under the same Message-ID.
    pub async fn letter_done(&self, id: i64, delivery: Delivery) -> Result<(), ServiceError> {
        self.core.meters.delivery(match &delivery {
            Delivery::Sent { .. } => "sent",
            Delivery::Failed { .. } => "failed",
            Delivery::Dead { .. } => "dead",
            Delivery::Withdrawn { .. } => "withdrawn",
        });
        Ok(self.core.store.letter_done(id, delivery, self.core.clock.now()).await?)
    }

    /// # Errors
    /// The store could not be read.
    pub async fn letter_row(&self, id: i64) -> Result<Option<LetterRow>, ServiceError> {
        Ok(self.core.store.letter(id).await?)
    }

    /// Letters that are due or dead, newest first, `limit` of 1 to 200 at a time.
    ///
    /// # Errors
    /// A cursor that is none.
    pub async fn letters(
        &self,
        state: LetterState,
        enterprise: Option<String>,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Page<LetterView>, ServiceError> {
        let asked = LettersPage { enterprise, state, limit: limit.clamp(1, 200), cursor };
        let page = self.core.store.letters(asked).await?;
        Ok(Page { items: page.items.into_iter().map(LetterView::from).collect(), next: page.next })
    }

    /// The letters of runs that could not be delivered so far: dead, or failing and tried again.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn undelivered(&self, runs: &[String]) -> Result<Vec<LetterView>, ServiceError> {
        let rows = self.core.store.letters_of(runs).await?;
        let failing = |row: &LetterRow| row.state == LetterState::Dead || row.attempts > 0;
        Ok(rows.into_iter().filter(failing).map(LetterView::from).collect())
    }

    /// Makes a dead letter due again, or one that waits for its next attempt due at once. It goes to the address that its reader
    /// has when it is sent.
    ///
    /// # Errors
    /// `letter-not-found`; `letter-not-waiting`: it was sent or withdrawn; `wrong-role`; an idempotency key that was used for
    /// another request.
    pub async fn resend_letter(&self, id: i64, by: impl Into<By>) -> Result<LetterView, ServiceError> {
        let by = by.into();
        self.authorize(&by.actor, Act::Correct)?;
        let once = by.once(&json!(["resend-letter", id]));
        if let Some(done) = self.done_before(once.as_ref()).await? {
            return as_resent(done.answer);
        }
        // What is answered is kept with the key, in the commit that makes the letter due.
        let known = self.core.store.letter(id).await?.map(LetterView::from);
        let now = self.core.clock.now();
        let answer = known.map(|known| LetterView {
            state: LetterState::Due,
            next_attempt: Some(now),
            dead_since: None,
            ..known
        });
        let key = once.clone().map(|once| once.kept(json!(answer)));
        let resent = match self.core.store.letter_resend_once(id, now, key).await {
            Ok(resent) => resent,
            // The same request came twice at once, and the other was first.
            Err(StoreError::AlreadyStarted { .. }) => true,
            Err(error) => return Err(error.into()),
        };
        if let Some(done) = self.done_before(once.as_ref()).await? {
            return as_resent(done.answer);
        }
        let Some(row) = self.core.store.letter(id).await? else {
            let message = format!("there is no letter {id}; see keyferry mail list");
            return Err(ServiceError::new(ErrorKind::NotFound, "letter-not-found", message));
        };
        if !resent {
            let why = row.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("letter {id} is {}{why}; it is not sent again", row.state.word());
            return Err(ServiceError::new(ErrorKind::Conflict, "letter-not-waiting", message));
        }
        tracing::info!(mail.id = id, run.id = %row.run, mail.reader = %row.reader, "a letter is sent again");
        Ok(row.into())
    }
}

/// A letter as the same request has left it before.
fn as_resent(answer: Value) -> Result<LetterView, ServiceError> {
    serde_json::from_value(answer).map_err(|error| {
        ServiceError::new(ErrorKind::Unavailable, "store-corrupt", format!("the answer of a request: {error}"))
    })
}

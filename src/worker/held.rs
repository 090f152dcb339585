//! The work that this process holds, and the renewal of its leases.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::{
    core::{Core, later, lock},
    turns::Over,
};
use crate::store::{Say, StoreError, WorkWord, Write};

/// By run and frame.
#[derive(Debug, Default)]
pub(super) struct Held {
    claims: Mutex<HashMap<(String, i64), Arc<Claim>>>,
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
    lost: watch::Sender<bool>,
}

impl Claim {
    pub(super) fn new(run: &str, frame: i64, visit: u64, fence: u64, now: DateTime<Utc>) -> Self {
        let beat = AtomicI64::new(now.timestamp_micros());
        Self { run: run.to_owned(), frame, visit, fence, beat, lost: watch::Sender::new(false) }
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
        self.lost.send_replace(true);
    }

    pub(super) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Returns when the claim is somebody else's.
    pub(super) async fn until_lost(&self) {
        // The sender lives in `self`, so this ends by the word alone.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }
}

impl Held {
    pub(super) fn add(&self, claim: &Arc<Claim>) {
        let earlier = lock(&self.claims).insert((claim.run.clone(), claim.frame), Arc::clone(claim));
        // This process has claimed again what it held too long: the execution under the older fence must end.
        if let Some(earlier) = earlier {
            earlier.lose();
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
        lock(&self.claims).get(&key).filter(|claim| claim.visit == visit && !claim.is_lost()).cloned()
    }

    /// Takes from this process's executions what a commit has ended, without waiting for their next renewal to say so.
    pub(super) fn end(&self, run: &str, over: &Over) {
        let claims = lock(&self.claims);
        match over {
            Over::Frames(frames) => {
                for frame in frames {
                    if let Some(claim) = claims.get(&(run.to_owned(), *frame)) {
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
}

/// Renews every lease when a third of it has passed, until the process has drained. It runs beside the steps, so that one
/// that blocks starves nobody's lease.
pub(super) async fn renew(core: Arc<Core>) {
    loop {
        core.clock.sleep(core.lease / 3).await;
        let lease_until = later(core.clock.now(), core.lease);
        let renewals = core.held.all().into_iter().map(|claim| {
            let core = Arc::clone(&core);
            async move {
                if let Err(StoreError::LeaseLost { .. }) =
                    core.committer.commit(claim.word(Say::Renew { lease_until })).await
                {
                    claim.lose();
                }
            }
        });
        futures_util::future::join_all(renewals).await;
    }
}

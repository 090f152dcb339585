//! Whether the server has fallen silent: it has been asked, and answers nothing to anybody. A network that swallows packets says
//! no word of it, and a statement is only known to be lost when its time is over, which is too long for a person to wait. Who
//! waits for an answer waits no longer than this; what was asked goes on, and the first answer to anything ends the silence.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::pause;
use crate::store::StoreError;

/// Nobody waits longer while nothing is answered at all. A server that answers others is slow and not silent.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// Shared by all connections of a store.
#[derive(Debug, Clone, Default)]
pub(super) struct Silence(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What has been asked and is not over.
    waiting: usize,
    /// Since when somebody has been waiting without anybody's having heard anything.
    since: Option<Instant>,
}

/// Something that has been asked. Dropped without an answer it has been given up.
#[derive(Debug)]
pub(super) struct Asked(Silence);

impl Silence {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called when the server is asked.
    pub(super) fn ask(&self) -> Asked {
        let mut state = self.state();
        state.waiting += 1;
        state.since.get_or_insert_with(Instant::now);
        Asked(self.clone())
    }

    fn left(&self) -> Option<Duration> {
        let since = self.state().since?;
        Some(LIMIT.saturating_sub(since.elapsed()))
    }

    /// Whether the server has been silent for too long, and somebody waits for it all the same: nobody else needs to.
    pub(super) fn lasts(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Returns when the server has been silent for too long.
    pub(super) async fn lasting(&self) {
        loop {
            match self.left() {
                Some(Duration::ZERO) => return,
                left => pause(left.unwrap_or(LIMIT)).await,
            }
        }
    }
}

impl Asked {
    /// The server has answered.
    pub(super) fn answered(self) {
        self.0.state().since = Some(Instant::now());
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting = state.waiting.saturating_sub(1);
        // Who asks next when nobody waits begins anew: the server may have come back meanwhile.
        if state.waiting == 0 {
            state.since = None;
        }
    }
}

/// What is said to who does not wait any longer.
pub(super) fn silent() -> StoreError {
    let reason = format!("the database has answered nothing for {} seconds", LIMIT.as_secs());
    StoreError::Unavailable { reason }
}

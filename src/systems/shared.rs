//! One reading for all who ask meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

use crate::worker::StepError;

/// Something that costs much to read and that many want at once. A reading serves everybody who asked before it began, so
/// that nobody is told of a state older than the question.
pub struct Shared<T> {
    /// Askers so far; an asker's number is the count that it made.
    asked: AtomicU64,
    last: Mutex<Option<Read<T>>>,
}

struct Read<T> {
    /// The last asker that it serves.
    serves: u64,
    outcome: Result<Arc<T>, StepError>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), last: Mutex::new(None) }
    }
}

impl<T> Shared<T> {
    /// What a reading that began after this call has found: one that `read` makes, or another asker's. An asker that goes
    /// away in the middle of its reading leaves it to the next.
    ///
    /// # Errors
    /// Those of `read`, of which all whom it serves are told.
    pub async fn read(&self, read: impl AsyncFnOnce() -> Result<T, StepError>) -> Result<Arc<T>, StepError> {
        let own = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        // The lock is given in the order of the asking: the last who is served takes what was read away.
        if let Some(read) = last.take_if(|read| read.serves == own) {
            return read.outcome;
        }
        if let Some(read) = last.as_ref().filter(|read| read.serves > own) {
            return read.outcome.clone();
        }
        let serves = self.asked.load(Ordering::SeqCst);
        let outcome = read().await.map(Arc::new);
        *last = (serves > own).then(|| Read { serves, outcome: outcome.clone() });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use futures_util::{future::join_all, poll};
    use tokio::sync::Notify;

    use super::*;

    /// Counts readings; each waits to be let go.
    #[derive(Default)]
    struct Source {
        readings: AtomicU32,
        go: Notify,
    }

    impl Source {
        async fn read(&self) -> Result<u32, StepError> {
            let nth = self.readings.fetch_add(1, Ordering::SeqCst) + 1;
            self.go.notified().await;
            if nth == 3 { Err(StepError::new("Keyferry.Throttled", "too many calls")) } else { Ok(nth) }
        }
    }

    #[tokio::test]
    async fn who_asks_while_it_is_read_gets_the_next_reading_and_all_of_them_the_same() {
        let (shared, source) = (Shared::default(), Source::default());
        let ask = || shared.read(async || source.read().await);
        let mut first = Box::pin(ask());
        assert!(poll!(&mut first).is_pending(), "it is reading");
        let mut others = Box::pin(join_all((0..5).map(|_| ask())));
        assert!(poll!(&mut others).is_pending(), "they wait");
        assert_eq!(source.readings.load(Ordering::SeqCst), 1);
        source.go.notify_one();
        assert_eq!(*first.await.unwrap(), 1);
        source.go.notify_one();
        let got: Vec<u32> = others.await.into_iter().map(|read| *read.unwrap()).collect();
        assert_eq!(got, [2; 5], "nobody is served by a reading that began before the question");
        assert!(shared.last.lock().await.is_none(), "what was read is not kept");
    }

    #[tokio::test]
    async fn a_failed_reading_fails_for_all_whom_it_serves_and_for_nobody_else() {
        let (shared, source) = (Shared::default(), Source { readings: AtomicU32::new(1), go: Notify::new() });
        let ask = || shared.read(async || source.read().await);
        let mut both = Box::pin(async { tokio::join!(ask(), ask()) });
        // The first of the two reads before the second has asked; the next reading serves the second and a third.
        assert!(poll!(&mut both).is_pending());
        let mut third = Box::pin(ask());
        assert!(poll!(&mut third).is_pending());
        source.go.notify_one();
        let (one, other) = {
            assert!(poll!(&mut both).is_pending());
            source.go.notify_one();
            both.await
        };
        assert_eq!((*one.unwrap(), other.unwrap_err().error.as_str()), (2, "Keyferry.Throttled"));
        assert_eq!(third.await.unwrap_err().error, "Keyferry.Throttled");
        source.go.notify_one();
        assert_eq!(*ask().await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_reading_whose_asker_goes_away_is_made_by_the_next() {
        let (shared, source) = (Shared::default(), Source::default());
        let ask = || shared.read(async || source.read().await);
        {
            let mut gone = Box::pin(ask());
            assert!(poll!(&mut gone).is_pending());
        }
        source.go.notify_one();
        assert_eq!(*ask().await.unwrap(), 2);
    }
}

//! Group commit: whatever is ready when the last flush returns shares the next one. Nothing waits for a timer.

use std::{sync::Arc, time::Instant};

use tokio::sync::{mpsc, oneshot};

use super::meters::{Meters, Operation};
use crate::store::{Say, Store, StoreError, Write};

/// Writes that share one flush.
const MOST: usize = 1_024;

type Reply = oneshot::Sender<Result<(), StoreError>>;

/// The way to the store for everything that is written while runs run.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    queue: mpsc::UnboundedSender<(Write, Reply)>,
    /// Renewals of leases go by a way of their own: a batch that is long in coming must not starve them.
    renewals: mpsc::UnboundedSender<(Write, Reply)>,
}

impl Committer {
    pub(super) fn start(store: Arc<dyn Store>, meters: Arc<Meters>) -> Self {
        let start = || {
            let (queue, waiting) = mpsc::unbounded_channel();
            tokio::spawn(run(Arc::clone(&store), Arc::clone(&meters), waiting));
            queue
        };
        Self { queue: start(), renewals: start() }
    }

    /// Returns when the write is durable, or says why it is not.
    pub(super) async fn commit(&self, write: Write) -> Result<(), StoreError> {
        let gone = || StoreError::Unavailable { reason: "the committer has stopped".to_owned() };
        let (reply, answer) = oneshot::channel();
        let renews = matches!(&write, Write::Word(word) if matches!(word.say, Say::Renew { .. }));
        let queue = if renews { &self.renewals } else { &self.queue };
        queue.send((write, reply)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn run(store: Arc<dyn Store>, meters: Arc<Meters>, mut waiting: mpsc::UnboundedReceiver<(Write, Reply)>) {
    let mut batch = Vec::new();
    loop {
        if waiting.recv_many(&mut batch, MOST).await == 0 {
            return;
        }
        let (writes, replies): (Vec<Write>, Vec<Reply>) = batch.drain(..).unzip();
        let writes: Arc<[Write]> = writes.into();
        meters.batch(writes.len());
        let begun = Instant::now();
        let flushed = store.commit(Arc::clone(&writes)).await;
        meters.store(Operation::Commit, begun, &flushed);
        let outcomes = match flushed {
            Ok(outcomes) => outcomes,
            Err(_) if writes.len() > 1 => singly(store.as_ref(), &writes).await,
            Err(error) => vec![Err(error)],
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // Who asked may have gone; what is written is written.
            let _ = reply.send(outcome);
        }
    }
}

/// Each write for itself, so that one which the store cannot take does not take the others with it. If the batch has become
/// durable after all, the fences say so.
async fn singly(store: &dyn Store, writes: &[Write]) -> Vec<Result<(), StoreError>> {
    let mut outcomes = Vec::with_capacity(writes.len());
    for write in writes {
        let outcome = store.commit(Arc::from([write.clone()])).await;
        outcomes.push(outcome.and_then(|mut outcomes| outcomes.pop().unwrap_or(Ok(()))));
    }
    outcomes
}

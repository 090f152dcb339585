//! Group commit: whatever is ready when the last flush returns shares the next one. Nothing waits for a timer.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Instant,
};

use tokio::sync::{mpsc, oneshot};

use super::meters::{Meters, Operation};
use crate::store::{Claim, ClaimedWork, Say, Store, StoreError, Write};

/// Writes that share one flush.
const MOST: usize = 1_024;
/// Batches that are under way at once over a store that processes share: such a batch is a row of round trips to a server, in
/// which the next one need not wait. A store with one writer has one lane.
const LANES: usize = 4;

type Reply = oneshot::Sender<Result<(), StoreError>>;
type Got = oneshot::Sender<Result<Vec<ClaimedWork>, StoreError>>;

#[derive(Debug)]
enum Asked {
    Write(Write, Reply),
    Claim(Claim, Got),
}

/// The way to the store for everything that is written while runs run.
#[derive(Clone)]
pub(super) struct Committer {
    store: Arc<dyn Store>,
    /// What is said of one run goes by one lane, in the order in which it is said.
    lanes: Arc<[mpsc::UnboundedSender<Asked>]>,
    /// Renewals of leases go by a way of their own: a batch that is long in coming must not starve them.
    renewals: mpsc::UnboundedSender<Asked>,
}

fn gone() -> StoreError {
    StoreError::Unavailable { reason: "the committer has stopped".to_owned() }
}

impl Committer {
    pub(super) fn start(store: Arc<dyn Store>, meters: Arc<Meters>) -> Self {
        let start = || {
            let (queue, waiting) = mpsc::unbounded_channel();
            tokio::spawn(run(Arc::clone(&store), Arc::clone(&meters), waiting));
            queue
        };
        let lanes = if store.is_shared() { LANES } else { 1 };
        Self { lanes: (0..lanes).map(|_| start()).collect(), renewals: start(), store }
    }

    /// Returns when the write is durable, or says why it is not.
    pub(super) async fn commit(&self, write: Write) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let renews = matches!(&write, Write::Word(word) if matches!(word.say, Say::Renew { .. }));
        let queue = if renews { Some(&self.renewals) } else { self.lane(run_of(&write)) };
        queue.ok_or_else(gone)?.send(Asked::Write(write, reply)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Claims: over a store with one writer together with what is ready to be committed, else beside it.
    pub(super) async fn claim(&self, claim: Claim) -> Result<Vec<ClaimedWork>, StoreError> {
        let [lane] = &*self.lanes else { return self.store.claim(claim).await };
        let (reply, answer) = oneshot::channel();
        lane.send(Asked::Claim(claim, reply)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn lane(&self, run: &str) -> Option<&mpsc::UnboundedSender<Asked>> {
        let mut hasher = DefaultHasher::new();
        run.hash(&mut hasher);
        let lanes = u64::try_from(self.lanes.len()).unwrap_or(1).max(1);
        usize::try_from(hasher.finish() % lanes).ok().and_then(|number| self.lanes.get(number))
    }
}

/// The run that a write is about, the first of a group.
fn run_of(write: &Write) -> &str {
    match write {
        Write::Turns(group) => group.first().map_or("", |turn| turn.run.as_str()),
        Write::Word(word) => &word.run,
    }
}

async fn run(store: Arc<dyn Store>, meters: Arc<Meters>, mut waiting: mpsc::UnboundedReceiver<Asked>) {
    let mut batch = Vec::new();
    loop {
        if waiting.recv_many(&mut batch, MOST).await == 0 {
            return;
        }
        let (mut writes, mut replies, mut claims) = (Vec::new(), Vec::new(), Vec::new());
        for asked in batch.drain(..) {
            match asked {
                Asked::Write(write, reply) => {
                    writes.push(write);
                    replies.push(reply);
                }
                Asked::Claim(claim, reply) => claims.push((claim, reply)),
            }
        }
        let writes: Arc<[Write]> = writes.into();
        let first = if writes.is_empty() { None } else { claims.pop() };
        if !writes.is_empty() {
            commit(store.as_ref(), &meters, writes, replies, first).await;
        }
        for (claim, reply) in claims {
            // Who asked may have gone: the lease passes.
            let _ = reply.send(store.claim(claim).await);
        }
    }
}

async fn commit(
    store: &dyn Store,
    meters: &Meters,
    writes: Arc<[Write]>,
    replies: Vec<Reply>,
    claim: Option<(Claim, Got)>,
) {
    meters.batch(writes.len());
    let begun = Instant::now();
    let committed = match claim {
        None => store.commit(Arc::clone(&writes)).await,
        Some((claim, reply)) => {
            let (committed, claimed) = store.commit_and_claim(Arc::clone(&writes), claim).await;
            let _ = reply.send(claimed);
            committed
        }
    };
    meters.store(Operation::Commit, begun, &committed);
    let outcomes = match committed {
        Ok(outcomes) => outcomes,
        Err(_) if writes.len() > 1 => singly(store, &writes).await,
        Err(error) => vec![Err(error)],
    };
    for (reply, outcome) in replies.into_iter().zip(outcomes) {
        // Who asked may have gone; what is written is written.
        let _ = reply.send(outcome);
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

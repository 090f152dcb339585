//! The claim loop: woken at once by what this process commits, by a timer for what will be due, and by polling as the floor.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;

use super::core::{Core, later};
use crate::store::{Claim, Say, StoreError};

/// Work taken by one claim.
const MOST: usize = 256;

impl Core {
    /// Whether this process takes work.
    pub(super) fn claiming(&self) -> bool {
        self.claims.load(Ordering::Acquire)
    }
}

/// Claims and executes until `shutdown` says so; then waits for what runs, for `grace`, and gives back the rest.
pub(super) async fn run(
    core: Arc<Core>,
    mut shutdown: watch::Receiver<bool>,
    grace: Duration,
) -> Result<(), StoreError> {
    core.claims.store(true, Ordering::Release);
    // A set ends its tasks when it is dropped, as this future is when its caller goes away.
    let mut renewal = tokio::task::JoinSet::new();
    renewal.spawn(super::held::renew(Arc::clone(&core)));
    while !*shutdown.borrow() {
        let nap = round(&core).await;
        tokio::select! {
            () = core.wake.notified() => {}
            () = core.clock.sleep(nap) => {}
            stopped = shutdown.changed() => {
                if stopped.is_err() {
                    break;
                }
            }
        }
    }
    core.claims.store(false, Ordering::Release);
    let drained = drain(&core, grace).await;
    drop(renewal);
    drained
}

/// One claim. Returns how long there is nothing to do if nobody wakes the loop.
async fn round(core: &Arc<Core>) -> Duration {
    if core.in_trouble() {
        let probed = core.store.probe().await;
        core.note(probed.as_ref());
        if probed.is_err() {
            return core.poll;
        }
    }
    let room = core.room.available_permits().min(MOST);
    if room == 0 {
        return core.poll;
    }
    let mut permits = Vec::with_capacity(room);
    while permits.len() < room
        && let Ok(permit) = Arc::clone(&core.room).try_acquire_owned()
    {
        permits.push(permit);
    }
    match take(core, permits).await {
        Ok(nap) => nap,
        Err(error) => {
            if !matches!(error, StoreError::Unavailable { .. }) {
                tracing::error!(%error, "due work cannot be claimed");
            }
            core.note(Err(&error));
            core.poll
        }
    }
}

async fn take(core: &Arc<Core>, mut permits: Vec<tokio::sync::OwnedSemaphorePermit>) -> Result<Duration, StoreError> {
    let now = core.clock.now();
    // Reading first keeps an idle worker from writing anything.
    let next = core.store.next_due().await?;
    let nap = |at: Option<chrono::DateTime<chrono::Utc>>| {
        at.map_or(core.poll, |at| at.signed_duration_since(now).to_std().unwrap_or_default().min(core.poll))
    };
    if next.is_none_or(|next| next > now) {
        core.backlog.store(false, Ordering::Relaxed);
        return Ok(nap(next));
    }
    let limit = u32::try_from(permits.len()).unwrap_or(u32::MAX);
    let lease_until = later(now, core.lease);
    let claimed = core.store.claim(Claim { owner: core.owner.clone(), now, lease_until, limit }).await?;
    let full = claimed.len() == permits.len();
    core.backlog.store(full, Ordering::Relaxed);
    core.claimed.fetch_add(u64::try_from(claimed.len()).unwrap_or(0), Ordering::Relaxed);
    for work in claimed {
        if let Some(permit) = permits.pop() {
            core.execute(work, permit);
        }
    }
    drop(permits);
    // With all room taken, the end of a step wakes the loop.
    if full { Ok(core.poll) } else { Ok(nap(core.store.next_due().await?)) }
}

async fn drain(core: &Arc<Core>, grace: Duration) -> Result<(), StoreError> {
    let mut executing = core.executing.subscribe();
    tokio::select! {
        biased;
        _ = executing.wait_for(|count| *count == 0) => return Ok(()),
        () = core.clock.sleep(grace) => {}
    }
    let left = core.held.all();
    tracing::info!(steps = left.len(), "the time to drain is over; what still runs is given back");
    for claim in left {
        // The step stops before its work is given back, so that it cannot act beside its successor.
        claim.lose();
        let due_at = core.clock.now();
        match core.committer.commit(claim.word(Say::Release { due_at })).await {
            Ok(()) | Err(StoreError::LeaseLost { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

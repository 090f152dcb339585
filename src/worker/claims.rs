//! The claim loop: woken at once by what this process commits, by a timer for what will be due, and by polling as the floor.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    core::{Core, later},
    meters::{By, Operation},
    ramp::Ramp,
};
use crate::store::{Claim, Say, StoreError};

/// Work taken by one claim.
const MOST: usize = 256;
/// Time that stopped steps have to come to their next point of waiting.
const LAST: Duration = Duration::from_secs(2);

/// Pieces of work that may be executed for each slot, those included that wait for something outside.
pub(super) const WAITING: usize = 8;

impl Core {
    /// How much may be executed at once. A step that waits has given its slot back, and still has a lease and memory.
    pub(super) fn most_at_once(&self) -> usize {
        self.slots.saturating_mul(WAITING)
    }

    /// Whether this process takes work.
    pub(super) fn claiming(&self) -> bool {
        self.claims.load(Ordering::SeqCst)
    }
}

/// Claims and executes until `shutdown` says so; then waits for what runs, for `grace`, and gives back the rest.
pub(super) async fn run(
    core: Arc<Core>,
    mut shutdown: watch::Receiver<bool>,
    grace: Duration,
) -> Result<(), StoreError> {
    core.claims.store(true, Ordering::SeqCst);
    // A set ends its tasks when it is dropped, as this future is when its caller goes away.
    let mut renewal = tokio::task::JoinSet::new();
    renewal.spawn(super::held::renew(Arc::clone(&core)));
    if core.store.is_shared() {
        renewal.spawn(look_after_others(Arc::clone(&core)));
    }
    let mut ramp = Ramp::default();
    while !*shutdown.borrow() {
        let next = round(&core, &mut ramp).await;
        tokio::select! {
            // Which of two that are ready goes first does not matter; it is said, so that a simulation repeats.
            biased;
            () = core.wake.notified() => {}
            () = core.store.hinted() => {}
            () = core.clock.sleep_until(next) => {}
            stopped = shutdown.changed() => {
                if stopped.is_err() {
                    break;
                }
            }
        }
    }
    core.claims.store(false, Ordering::SeqCst);
    let drained = drain(&core, grace).await;
    drop(renewal);
    drained
}

/// How long the loop sleeps at most. Processes that share a store do not look at it all at the same time.
fn pace(core: &Core) -> Duration {
    if !core.store.is_shared() {
        return core.poll;
    }
    let percent = u32::try_from(core.clock.chance() % 20).unwrap_or(0);
    core.poll * (90 + percent) / 100
}

/// Frees the work of processes that have died, as soon as that is known: long before their leases pass.
async fn look_after_others(core: Arc<Core>) {
    loop {
        // With the store's own second look after it, this must come to less than two seconds.
        core.clock.sleep(pace(&core) * 7 / 10).await;
        match core.store.expire_leases().await {
            Ok(0) => {}
            Ok(_) => core.wake.notify_one(),
            Err(error) => core.note(Err(&error)),
        }
    }
}

/// One claim. Returns when to look again if nobody wakes the loop before.
async fn round(core: &Arc<Core>, ramp: &mut Ramp) -> DateTime<Utc> {
    // The time is read before anything is looked at: what becomes due after the look is due after this.
    let now = core.clock.now();
    let floor = later(now, pace(core));
    if core.in_trouble() {
        let probed = core.store.probe().await;
        core.note(probed.as_ref());
        if probed.is_err() {
            return floor;
        }
    }
    match take(core, now, ramp).await {
        Ok(next) => next.map_or(floor, |next| next.min(floor)),
        Err(error) => {
            if !matches!(error, StoreError::Unavailable { .. }) {
                tracing::error!(%error, "due work cannot be claimed");
            }
            core.note(Err(&error));
            floor
        }
    }
}

/// As much room as one claim may fill, up to `most`.
fn room(core: &Core, most: usize) -> Vec<OwnedSemaphorePermit> {
    let mut permits = Vec::new();
    let most = most.min(MOST).min(core.most_at_once().saturating_sub(*core.executing.borrow()));
    while permits.len() < most
        && let Ok(permit) = Arc::clone(&core.room).try_acquire_owned()
    {
        permits.push(permit);
    }
    permits
}

/// Claims what is due, as much as there is room for. Returns when more will be.
async fn take(core: &Arc<Core>, now: DateTime<Utc>, ramp: &mut Ramp) -> Result<Option<DateTime<Utc>>, StoreError> {
    // Reading first keeps an idle worker from writing anything, and leaves the room to commits that claim at once. Where the last
    // claim was full there is more, or was a moment ago.
    if !core.backlog.load(Ordering::SeqCst) {
        let next = core.store.next_due().await?;
        let Some(due) = next.filter(|due| *due <= now) else { return Ok(next) };
        ramp.see(due, now);
        // Said before the room is looked at: who frees some after the look sees it and wakes the loop.
        core.backlog.store(true, Ordering::SeqCst);
    }
    let most = match ramp.room(now) {
        Ok(most) => most,
        Err(until) => return Ok(Some(until)),
    };
    let mut permits = room(core, most);
    if permits.is_empty() {
        return Ok(None);
    }
    super::held::keep(core, now).await?;
    let limit = u32::try_from(permits.len()).unwrap_or(u32::MAX);
    let lease_until = later(now, core.lease);
    let begun = Instant::now();
    let claimed = core.committer.claim(Claim { owner: core.owner.clone(), now, lease_until, limit }).await;
    core.meters.store(Operation::Claim, begun, &claimed);
    let claimed = claimed?;
    let (nothing, full) = (claimed.is_empty(), claimed.len() == permits.len());
    core.backlog.store(full, Ordering::SeqCst);
    ramp.took(claimed.len(), !full);
    for work in claimed {
        if let Some(permit) = permits.pop() {
            core.execute(work, permit, By::Claim);
        }
    }
    drop(permits);
    if full {
        // More may be due. With all room taken, the end of a step wakes the loop.
        return Ok((core.room.available_permits() > 0).then_some(now));
    }
    // What is due and was not given is on its way to another worker: it is looked for again when nothing else is due.
    Ok(core.store.next_due().await?.filter(|next| !nothing || *next > now))
}

/// Waits for what runs, for `grace`; then stops the rest, which gives its work back.
async fn drain(core: &Arc<Core>, grace: Duration) -> Result<(), StoreError> {
    if until_idle(core, grace).await {
        return Ok(());
    }
    let left = core.held.all();
    tracing::info!(steps = left.len(), "the time to drain is over; what still runs is stopped and given back");
    left.iter().for_each(|claim| claim.stop());
    if until_idle(core, LAST).await {
        return Ok(());
    }
    // A step that does not even stop ends with its process, which is about to end.
    for claim in core.held.all() {
        let due_at = core.clock.now();
        match core.committer.commit(claim.word(Say::Release { due_at })).await {
            Ok(()) | Err(StoreError::LeaseLost { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether all that is executed has ended in time.
async fn until_idle(core: &Core, time: Duration) -> bool {
    let mut executing = core.executing.subscribe();
    tokio::select! {
        biased;
        _ = executing.wait_for(|count| *count == 0) => true,
        () = core.clock.sleep(time) => false,
    }
}

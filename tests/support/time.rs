//! Time that waits for the machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keyferry::worker::{Clock as _, ManualClock, Service, SystemClock};

/// How many steps compute. Time stands still meanwhile.
pub type Computing = Arc<AtomicUsize>;

/// One step that computes, until it is dropped.
pub struct Busy(Computing);

impl Busy {
    pub fn begin(computing: &Computing) -> Self {
        computing.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(computing))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Moves a clock by `tick` again and again, as fast as the service that goes by it follows: time stands still while a step
/// computes, and each move waits until the store has written what was to be written before. So on a slow machine time is
/// slow too, and no lease, grace or window passes because of it.
pub async fn let_time_pass(service: Service, clock: ManualClock, tick: Duration, computing: Computing) {
    loop {
        service.health().await;
        if computing.load(Ordering::SeqCst) == 0 {
            clock.advance(tick);
        }
        SystemClock.sleep(Duration::from_millis(1)).await;
    }
}

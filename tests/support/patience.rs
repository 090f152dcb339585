//! How long a test waits for what has to happen.
//!
//! No test is judged by the speed of its machine. What comes late has come; what never comes fails the test after a time
//! that no machine needs. How long something took is printed, and measured in docs/performance.md.

use std::time::{Duration, Instant};

/// Whoever waits longer than this waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// As many looks as fit into [`PATIENCE`]; the caller pauses after each.
pub fn looks() -> impl Iterator<Item = ()> {
    let began = Instant::now();
    std::iter::from_fn(move || (began.elapsed() < PATIENCE).then_some(()))
}

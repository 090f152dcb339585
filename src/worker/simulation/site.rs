//! What is outside of the processes: the store, the cloud, and who watches both.

use super::{checker::Checker, cloud::Cloud, world::Bug};
use crate::store::memory::MemoryStore;

pub(super) struct Site {
    pub(super) store: MemoryStore,
    pub(super) cloud: Cloud,
    pub(super) checker: Checker,
    /// A store that many processes share knows which of them live; one that a process has alone does not.
    pub(super) alone: bool,
    pub(super) bug: Option<Bug>,
}

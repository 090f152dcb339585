//! Claims due work, executes it, commits what came of it.
//!
//! [`Service`] is the one door of people to runs, and [`Service::run_worker`] what moves them. A claim counts the attempt
//! before any code of a step runs; a result is folded by `engine::advance` and made durable together with whatever else is
//! ready, and the same commit claims the next step for this process when it has room: a sequence costs one write a step.

mod claims;
pub mod clock;
mod committer;
mod core;
mod definitions;
mod execute;
pub mod failpoints;
mod failure;
mod family;
mod form_book;
mod held;
mod host;
mod meters;
mod people;
mod ramp;
mod reading;
mod registry;
mod runs;
mod service;
mod shown;
mod step;
mod turns;
mod view;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use crate::store::{Enterprise, OutboxRow, Page, RecordDelete, RecordPut, StoredRecord};
pub use clock::{Clock, ManualClock, SteeredClock, SystemClock};
pub use definitions::{Definitions, DefinitionsError};
pub use failure::{ErrorKind, ServiceError};
pub use form_book::{CheckContext, Finding, FormBook};
pub use people::ANSWERS;
pub use reading::DiagramState;
pub use registry::Registry;
pub use service::{Health, NewEnterprise, Service, ServiceOptions, StartRun, Stats};
pub use shown::shown;
pub use step::{Progress, Record, Step, StepContext, StepError, StepHost, Told};
pub use view::{Attention, HistoryRow, RunFilter, RunView, Verification, WaitingFor};

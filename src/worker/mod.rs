//! Claims due work, executes it, commits what came of it.
//!
//! [`Service`] is the one door of people to runs, and [`Service::run_worker`] what moves them. A claim counts the attempt
//! before any code of a step runs; a result is folded by `engine::advance` and made durable together with whatever else is
//! ready, and the same commit claims the next step for this process when it has room: a sequence costs one write a step.

mod by;
mod claims;
pub mod clock;
mod committer;
mod core;
mod definitions;
mod enterprises;
mod execute;
pub mod failpoints;
mod failure;
mod family;
mod fence;
mod form_book;
mod held;
mod host;
mod letters;
mod meters;
pub mod next;
mod outage;
mod outage_watch;
mod people;
mod ramp;
mod reading;
mod registry;
mod retrying;
mod runs;
mod service;
mod shown;
mod step;
mod turns;
mod view;
mod visit;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use crate::store::{
    Delivery, Enterprise, KeptKey, KeyUse, LetterRow, LetterState, LettersPage, OutboxRow, Page, RecordDelete,
    RecordPut, StoredRecord,
};
pub use by::{By, Once};
pub use clock::{Clock, ManualClock, SteeredClock, SystemClock};
pub use definitions::{Definitions, DefinitionsError};
pub use enterprises::{EnterpriseChange, EnterpriseNote, FieldChange};
pub use failure::{ErrorKind, ServiceError};
pub use fence::{Act, OpenForm};
pub use form_book::{CheckContext, Finding, FormBook};
pub use letters::LetterView;
pub use outage::{OUTAGES, Outage, OutageState, PUT_BACK, Served};
pub use people::ANSWERS;
pub use reading::DiagramState;
pub use registry::Registry;
pub use service::{Health, NewEnterprise, Service, ServiceOptions, StartRun, Stats};
pub use shown::shown;
pub use step::{Progress, Record, Step, StepContext, StepError, StepHost, Told};
pub use view::{Attention, Down, HistoryRow, Retrying, RunFilter, RunView, Verification, WaitingFor};
pub use visit::{NoVisit, Visit};

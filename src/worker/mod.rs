//! Claims due work, executes it, commits what came of it.

mod service;
mod step;
mod view;

pub use service::{ErrorKind, Health, NewEnterprise, OutboxRow, Service, ServiceError, StartRun, Stats};
pub use step::{Progress, Record, Step, StepContext, StepError, StepHost};
pub use view::{Attention, Enterprise, HistoryRow, Page, RunFilter, RunView, StoredRecord, Verification, WaitingFor};

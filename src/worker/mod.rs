//! Claims due work, executes it, commits what came of it.

mod step;

pub use step::{Progress, Record, Step, StepContext, StepError, StepHost};

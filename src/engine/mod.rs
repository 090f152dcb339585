//! The state machine: pure. No async, no I/O, no clock, no randomness, nothing from the rest of the crate.
//!
//! [`advance`] is the one function that moves a run, live, in recovery, in replay and in simulation. Time, ids and chance
//! come in as data on the [`Event`].

mod advance;
mod check;
mod command;
mod definition;
mod diagram;
mod event;
pub mod language;
mod payload;
#[cfg(test)]
pub(crate) mod properties;
mod replay;
mod simulate;
mod snapshot;

pub use advance::{Entered, Rejected, Turn, advance};
pub use check::{Report, check};
pub use command::{Command, Notice};
pub use definition::{Definition, Loaded, Resource};
pub use diagram::{DiagramFormat, Highlight, diagram};
pub use event::{Actor, ChildEnd, Event, EventKind};
pub use payload::Payload;
pub use replay::fold;
pub use simulate::{Script, Scripted, Simulation, SimulationError, Status, simulate};
pub use snapshot::{Failed, Frame, FrameId, Header, Join, Outcome, Phase, Snapshot, Standing};

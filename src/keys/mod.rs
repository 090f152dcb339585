//! The enterprise's keys: which key belongs where, what a customer may hand over, what their key policy must say, and the
//! probes that show whether a key serves.

mod arn;
mod battery;
pub mod import;
mod own_policy;
mod policy;
mod set;
pub mod watch;

pub use arn::{KeyArn, Rejection, check};
pub use battery::{Battery, Custody, Probe, ProbeState, Verdict, probe, probe_own, usable};
pub use own_policy::probe_policy;
pub use policy::{PolicyRequest, render, render_own};
pub use set::KeySet;

//! Customer keys: their ARNs, the policy that lets the vendor use them, and the probes that show whether it does.

mod arn;
mod policy;
mod probes;

pub use arn::{ArnError, KeyArn};
pub use policy::render;
pub use probes::{Finding, Probe, Verdict, probe_kms};

//! The sandbox: an emulated cloud that speaks AWS's own wire protocols (KMS JSON 1.1, RDS and STS Query/XML).
//!
//! It stands behind the AWS SDK's HTTP connector, without a socket, and on HTTP for boto3 and the AWS CLI. It is the
//! embedded default's cloud and the test environment that every customer gets beside production.
//!
//! One request goes through these rooms: `auth` says who calls, where and which service; `wire` decodes the body into
//! a `Call`; `fault` may spoil it; the service (`kms`, `rds`, `sts`) works on the `World` in memory; `data` makes
//! what changed durable; `wire` encodes the answer. `frame` holds them together, `connector` and `listen` are its
//! two doors. Signatures are read, never verified: any credentials are good.

mod auth;
mod call;
mod clock;
mod connector;
mod data;
mod fault;
mod frame;
mod judge;
mod listen;
mod random;
mod wire;
mod world;

pub mod kms;
pub mod rds;
pub mod sts;

#[cfg(test)]
mod tests;

pub use call::{Answer, AwsError, Call, Caller, Effect};
pub use fault::{FaultKind, FaultRule, Faults};
pub use frame::{LedgerEntry, Options, Sandbox, SandboxError};
pub use judge::{Deletion, WriteError};
pub use rds::{Content, Holding, HoldingKind, NotWritten, Writer};
pub use world::{Changes, Rows, Table, World};

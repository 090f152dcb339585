//! The sandbox: an emulated cloud that speaks AWS's own wire protocols (KMS JSON 1.1, RDS and STS Query/XML).
//!
//! It stands behind the AWS SDK's HTTP connector, without a socket, and on HTTP for boto3 and the AWS CLI. It is the
//! embedded default's cloud and the test environment that every customer gets beside production.

mod call;
mod world;

pub mod kms;
pub mod rds;
pub mod sts;

pub use call::{Answer, AwsError, Call, Caller, Effect};
pub use world::{Changes, Table, World};

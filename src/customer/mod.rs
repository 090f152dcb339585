//! The customer's side of key import: material, its protected backup, and its wrapping.
//!
//! This is the one room in which key material exists unwrapped, and it runs on the customer's machine: only the command line
//! imports it, never a server. What it keeps on disk is what `openssl enc` would have written, so that a backup can be
//! opened without keyferry.

mod backup;
mod material;
mod wrap;

pub use backup::{BackupError, Passphrase};
pub use material::{Material, MaterialError};
pub use wrap::{WrapError, Wrapping, wrap};

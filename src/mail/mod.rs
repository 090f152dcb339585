//! Mail: what the outbox says, to whom, and its delivery.
//!
//! A notice is a row of the same commit as the transition that caused it. Here it becomes letters ([`letters`], pure: a
//! notice and what is known of the run in, letters out), and the [`Postman`] takes them to the mail server or, without
//! one, into a folder. Delivery is at least once: a crash between the server's acceptance and the row's end sends a letter
//! again, under the same Message-ID, which is derived from (run, frame, visit, notice, reader).

mod changes;
mod keys;
mod letter;
mod letters;
mod postman;
mod transport;

pub use letter::{Attachment, Block, Letter};
pub use letters::{FormRole, Matter, letters};
pub use postman::{Postman, retry_after};
pub use transport::{Transport, TransportError};

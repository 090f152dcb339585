//! Mail: what the outbox says, to whom, and its delivery.
//!
//! A notice is a row of the same commit as the transition that caused it. Here it becomes letters ([`letters`], pure: a
//! notice and what is known of the run in, letters out), a row for each reader, and the [`Postman`] takes each to the mail server
//! or, without one, into a folder. What the server says of one reader is about that reader alone: a refusal makes the letter
//! dead, which people see and can resend; anything else is tried again for a bounded time. The address is looked up at each
//! attempt. Delivery is at least once: a crash between the server's acceptance and the row's end, or a connection that ends after
//! the final dot, sends a letter again, under the same Message-ID, which is derived from (run, frame, visit, notice, reader).

mod changes;
mod keys;
mod letter;
mod letters;
mod postman;
mod smtp;
mod transport;

pub use letter::{Attachment, Block, Letter};
pub use letters::{FormRole, Matter, letters};
pub use postman::{GIVE_UP, Postman, retry_after};
pub use smtp::SmtpError;
pub use transport::{Transport, TransportError};

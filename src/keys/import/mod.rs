//! Key import: a customer's key material on its way into the vendor's KMS keys.
//!
//! The customer wraps the material under the public key of a KMS import; this process relays the ciphertext and never holds
//! what is in it. [`Desk::request`] fetches fresh parameters from KMS and gives out a token, [`Desk::import`] takes the token
//! and the ciphertext back. When every key has its material the run's form `key-import` is answered, and the run goes on.
//!
//! The same material is taken again when it is gone, or when the customer is to prove that they still have it ([`Reimport`]).
//!
//! There is one desk for production, whose keys a run has made, and one for the test environment, whose keys it makes itself
//! in the sandbox and as often as the customer likes.

mod again;
mod desk;
mod exposed;
mod limiter;
mod opening;
mod refusal;
mod relay;
mod request;
mod rounds;
mod session;
mod upload;
mod vault;
mod wait;
mod watch;
mod wrapping;

pub use again::{Reimport, serving};
pub use desk::{Cloud, Clouds, Desk, DeskOptions, FORM};
pub use opening::{REIMPORT, start_reimport};
pub use refusal::{Refusal, RefusalKind, Terms};
pub use relay::{Imported, Receipt, Uploaded};
pub use request::{Asked, OpenTarget, Opened};
pub use session::{KeyMaterial, Realm, Session, SessionState, Target, digest};
pub use upload::{Material, Part, Token, read as read_upload};
pub use vault::{VaultKey, WantedKey, current_material, find_key, key_state, make_key};
pub use wait::{ImportNotice, ImportWait, import_wait};
pub use watch::Looked;
pub use wrapping::{Algorithm, Spec};

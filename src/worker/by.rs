//! Who asks for a change, and on what conditions.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    engine::Actor,
    store::{Idempotency, KeyUse},
};

/// What every verb is given besides what it is about. An [`Actor`] alone asks without conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    pub actor: Actor,
    /// The same key with the same request is done once, and answered again.
    pub idempotency_key: Option<String>,
    /// Revisions of the run that was seen: at another one nothing is done.
    pub if_match: Option<Vec<u64>>,
}

impl From<Actor> for By {
    fn from(actor: Actor) -> Self {
        Self { actor, idempotency_key: None, if_match: None }
    }
}

impl By {
    /// The request under its idempotency key, if it has one. `request` is all that makes two requests the same: the verb, what
    /// it is about, what was sent.
    pub fn once(&self, request: &Value) -> Option<Once> {
        self.idempotency_key.as_ref().map(|key| Once::new(key, request))
    }
}

/// A request under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    pub(super) key: String,
    /// Its hash.
    pub(super) request: String,
}

impl Once {
    pub fn new(key: &str, request: &Value) -> Self {
        Self { key: key.to_owned(), request: hex::encode(Sha256::digest(request.to_string().as_bytes())) }
    }

    /// The key as it is kept with the change. `answer` is what whoever asks again needs to be answered, without secrets.
    pub fn kept(self, answer: Value) -> KeyUse {
        KeyUse { key: self.key, request: self.request, answer }
    }
}

impl From<Once> for Idempotency {
    fn from(Once { key, request }: Once) -> Self {
        Self { key, request }
    }
}

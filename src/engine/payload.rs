//! A JSON value that is shared, not copied, between frames, events and commands.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// An immutable JSON value. Cloning one costs a counter, whatever its size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(Arc<Value>);

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Deref for Payload {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl Payload {
    /// Reads an optional payload of which a member says that it is there: `null` is a value like any other, and only a
    /// member that is absent is `None`. Serde alone reads both as `None`, so that a replayed event would differ.
    pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(Some)
    }

    /// The value itself: moved out when nobody shares it, copied otherwise.
    pub fn into_value(self) -> Value {
        Arc::unwrap_or_clone(self.0)
    }
}

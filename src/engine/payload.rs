//! A JSON value that is shared, not copied, between frames, events and commands.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An immutable JSON value. Cloning one costs a counter, whatever its size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(Arc<Value>);

/// Reads a member that is there as `Some`, also where it is `null`: serde's own reading makes that `None`, and a null that a
/// person gave, or a Map item that is null, would be gone in replay. With `default` and `skip_serializing_if`.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(reader).map(Some)
}

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
    /// Whether both are the same value in memory, not only equal ones.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The value itself: moved out when nobody shares it, copied otherwise.
    pub fn into_value(self) -> Value {
        Arc::unwrap_or_clone(self.0)
    }
}

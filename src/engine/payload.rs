//! A JSON value that is shared, not copied, between frames, events and commands.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};
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
    /// The value itself: moved out when nobody shares it, copied otherwise.
    pub fn into_value(self) -> Value {
        Arc::unwrap_or_clone(self.0)
    }
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::engine::{EventKind, Frame};

    #[test]
    fn a_null_that_was_given_is_read_back_as_given() {
        let actor = json!({"name": "a", "role": "engineer"});
        let retried = json!({"event": "retried", "frame": 1, "input": null, "actor": actor, "reason": "r"});
        let Ok(EventKind::Retried { input, .. }) = serde_json::from_value(retried.clone()) else {
            panic!("{retried}");
        };
        assert!(input.is_some_and(|input| input.is_null()));
        let mut without = retried;
        without.as_object_mut().unwrap().remove("input");
        let kind: EventKind = serde_json::from_value(without.clone()).unwrap();
        assert!(matches!(&kind, EventKind::Retried { input: None, .. }));
        assert_eq!(serde_json::to_value(&kind).unwrap(), without);
        let frame = json!({"id": 1, "parent": 0, "index": 0, "state": "S", "visit": 0, "entered_at": "2026-01-01T00:00:00Z",
            "input": null, "item": null, "phase": {"phase": "queued"}});
        let frame: Frame = serde_json::from_value(frame).unwrap();
        assert!(frame.item.is_some_and(|item| item.is_null()));
    }
}

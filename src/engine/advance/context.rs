//! The context object and the variables that a frame sees.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::draft::Draft;
use crate::engine::{FrameId, Payload};

/// How timestamps stand in the context object: RFC 3339 with milliseconds and `Z`, as in AWS.
fn stamp(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl Draft<'_> {
    /// The context object as the frame sees it; empty where the definition never reads it. `Execution.Enterprise` is an
    /// addition to the specification's members.
    pub fn context(&self, id: FrameId) -> Value {
        if !self.definition.reads_context {
            return Value::Null;
        }
        let header = &self.header;
        let mut context = json!({
            "Execution": {
                "Id": header.run,
                "Name": header.run,
                "Enterprise": header.enterprise,
                "StartTime": stamp(header.started_at),
                "Input": header.input,
            },
            "StateMachine": { "Id": header.definition, "Name": header.workflow },
        });
        if let (Some(frame), Some(members)) = (self.frame(id), context.as_object_mut()) {
            let retries: u64 = frame.retries.iter().copied().map(u64::from).sum();
            members.insert(
                "State".to_owned(),
                json!({ "Name": frame.state, "EnteredTime": stamp(frame.entered_at), "RetryCount": retries }),
            );
            members
                .insert("Task".to_owned(), json!({ "Token": format!("{}.{}.{}", header.run, frame.id, frame.visit) }));
            if let Some((index, item)) = self.item_of(id) {
                members.insert("Map".to_owned(), json!({ "Item": { "Index": index, "Value": item } }));
            }
        }
        context
    }

    /// The innermost Map item that the frame works on.
    fn item_of(&self, id: FrameId) -> Option<(u64, Payload)> {
        let mut next = Some(id);
        while let Some(frame) = next.and_then(|id| self.frame(id)) {
            if let Some(item) = &frame.item {
                return Some((frame.index, item.clone()));
            }
            next = self.parent(frame.id);
        }
        None
    }

    /// The variables that the frame reads: its own, over those of the frames around it.
    pub fn variables(&self, id: FrameId) -> Cow<'_, Map<String, Value>> {
        let mut seen: Cow<'_, Map<String, Value>> = Cow::Owned(Map::new());
        let mut next = Some(id);
        while let Some(frame) = next.and_then(|id| self.frame(id)) {
            if seen.is_empty() {
                seen = Cow::Borrowed(&frame.variables);
            } else if !frame.variables.is_empty() {
                let merged = seen.to_mut();
                for (name, value) in &frame.variables {
                    merged.entry(name).or_insert_with(|| value.clone());
                }
            }
            next = self.parent(frame.id);
        }
        seen
    }

    /// Whether a frame around this one has the variable: it may be read here, not assigned.
    pub fn is_outer_variable(&self, id: FrameId, name: &str) -> bool {
        let mut next = self.parent(id);
        while let Some(frame) = next.and_then(|id| self.frame(id)) {
            if frame.variables.contains_key(name) {
                return true;
            }
            next = self.parent(frame.id);
        }
        false
    }
}

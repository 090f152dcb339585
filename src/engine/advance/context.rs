//! The context object and the variables that a frame sees.

use serde_json::{Map, Value, json};

use super::draft::Draft;
use crate::engine::{Frame, FrameId, Payload, definition::Kind, language::Context};

/// Where the Map item stands in the context object.
const ITEM: &[&str] = &["Map", "Item", "Value"];

/// How timestamps stand in the context object: RFC 3339 with milliseconds and `Z`, as in AWS.
fn stamp(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl Draft<'_> {
    /// The context object as the frame sees it; empty where the definition never reads it. `Execution.Enterprise` is an
    /// addition to the specification's members. A run is never redriven: what engineers retry is a state.
    pub fn context(&self, id: FrameId) -> Context<'_> {
        if !self.definition.reads_context {
            return Context::default();
        }
        let header = &self.header;
        let mut own = json!({
            "Execution": {
                "Id": header.run,
                "Name": header.run,
                "Enterprise": header.enterprise,
                "RedriveCount": 0,
                "StartTime": stamp(header.started_at),
            },
            "StateMachine": { "Id": header.definition, "Name": header.workflow },
        });
        let mut lent: Vec<(&'static [&'static str], &Value)> = vec![(&["Execution", "Input"], &header.input)];
        if let (Some(frame), Some(members)) = (self.frame(id), own.as_object_mut()) {
            let retries: u64 = frame.retries.iter().copied().map(u64::from).sum();
            members.insert(
                "State".to_owned(),
                json!({ "Name": frame.state, "EnteredTime": stamp(frame.entered_at), "RetryCount": retries }),
            );
            if self.state_of(id).is_some_and(|state| matches!(state.kind, Kind::Task { .. })) {
                let token = format!("{}.{}.{}", header.run, frame.id, frame.visit);
                members.insert("Task".to_owned(), json!({ "Token": token }));
            }
            if let Some((index, item)) = self.item_of(id) {
                members.insert("Map".to_owned(), json!({ "Item": { "Index": index } }));
                lent.push((ITEM, item));
            }
        }
        Context { own, lent }
    }

    /// The context object in which a Map's ItemSelector is evaluated for one of its items.
    pub fn context_of_item<'b>(around: &Context<'b>, index: u64, item: &'b Value) -> Context<'b> {
        let mut context = around.clone();
        if let Some(members) = context.own.as_object_mut() {
            members.insert("Map".to_owned(), json!({ "Item": { "Index": index } }));
            context.lent.retain(|(place, _)| *place != ITEM);
            context.lent.push((ITEM, item));
        }
        context
    }

    /// The innermost Map item that the frame works on.
    fn item_of(&self, id: FrameId) -> Option<(u64, &Payload)> {
        self.outwards(id).find_map(|frame| Some((frame.index, frame.item.as_ref()?)))
    }

    /// The frame and those around it, outwards.
    fn outwards(&self, id: FrameId) -> impl Iterator<Item = &Frame> {
        std::iter::successors(Some(id), |id| self.parent(*id)).map_while(|id| self.frame(id))
    }

    /// The scopes of variables that the frame reads: its own, then those of the frames around it.
    pub fn variables(&self, id: FrameId) -> Vec<&Map<String, Value>> {
        self.outwards(id).map(|frame| &frame.variables).filter(|variables| !variables.is_empty()).collect()
    }
}

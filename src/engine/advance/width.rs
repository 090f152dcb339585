//! What an item's end writes does not depend on how wide its Map is.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Turn, advance, properties::first_event};
use crate::engine::{Command, Definition, Event, EventKind, FrameId, Payload, Snapshot};

/// The most frames and bytes that one item's end wrote. The Map's own frame counts without its input, which is a value
/// that stands apart and is not written again.
fn most_an_item(width: usize, limit: usize) -> (usize, usize) {
    let definition = json!({"StartAt": "V", "States": {
        "V": {"Type": "Pass", "Assign": {"count": width}, "Next": "M"},
        "M": {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": limit, "End": true, "ItemProcessor":
            {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "urn:keyferry:step:a",
                "Parameters": {"n.$": "$$.Map.Item.Value", "all.$": "$count"}, "End": true}}}}}});
    let definition = Definition::load(&definition.to_string()).unwrap().definition;
    let items: Vec<Value> = (0..width).map(|n| json!(1_000_000 + n)).collect();
    let turn = advance(&definition, None, &first_event(&definition, json!({ "items": items }), 1)).unwrap();
    let mut snapshot = Snapshot::begin(&turn);
    let mut work = VecDeque::new();
    let take = |turn: &Turn, work: &mut VecDeque<(FrameId, u64)>| {
        work.extend(turn.commands.iter().filter_map(|command| match command {
            Command::RunStep { frame, visit, .. } => Some((*frame, *visit)),
            _ => None,
        }));
    };
    take(&turn, &mut work);
    let (mut frames, mut bytes) = (0, 0);
    for ended in 1..width {
        let (frame, visit) = work.pop_front().unwrap();
        let kind = EventKind::StepSucceeded { frame, visit, output: Payload::from(json!("done")) };
        let event = Event { at: snapshot.header.started_at, chance: 1, kind };
        let turn = advance(&definition, Some(&snapshot), &event).unwrap();
        snapshot.apply(&turn);
        take(&turn, &mut work);
        assert_eq!(work.len(), (width - ended).min(if limit == 0 { width } else { limit }), "the queue is served");
        let mut written = serde_json::to_string(&turn.commands).unwrap().len();
        for mut frame in turn.changed.iter().cloned() {
            if frame.id == 0 {
                frame.input = Payload::from(Value::Null);
            }
            written += serde_json::to_string(&frame).unwrap().len();
        }
        frames = frames.max(turn.changed.len() + turn.removed.len());
        bytes = bytes.max(written);
    }
    (frames, bytes)
}

#[test]
fn an_items_end_writes_as_much_in_a_wide_map_as_in_a_narrow_one() {
    for limit in [0, 3] {
        let (narrow_frames, narrow_bytes) = most_an_item(10, limit);
        let (wide_frames, wide_bytes) = most_an_item(10_000, limit);
        assert!(narrow_frames > 1 && narrow_bytes > 200, "{narrow_frames} {narrow_bytes}");
        assert_eq!(wide_frames, narrow_frames, "frames at MaxConcurrency {limit}");
        assert!(wide_bytes * 10 <= narrow_bytes * 12, "{narrow_bytes} bytes grew to {wide_bytes}");
    }
}

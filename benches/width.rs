//! What one completed item of a Map costs, whatever the Map's width: shared by the benchmark and the test of its bound.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use keyferry::engine::{Actor, Command, Definition, Event, EventKind, Frame, Payload, Snapshot, Turn, advance};
use serde_json::{Value, json};

/// The cost of one item's completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    pub frames: usize,
    pub commands: usize,
    /// Of the changed frames and the commands, as JSON. A frame's input that is as it was counts nothing: a store that keeps
    /// large values by their content does not write it again.
    pub bytes: usize,
    /// What deciding it took.
    pub time: Duration,
}

impl Cost {
    fn largest(self, other: Self) -> Self {
        Self {
            frames: self.frames.max(other.frames),
            commands: self.commands.max(other.commands),
            bytes: self.bytes.max(other.bytes),
            time: self.time.min(other.time),
        }
    }
}

/// Starts a Map of `items` items and completes 50 of them: the largest of what each wrote, the shortest of the times.
pub fn per_item(items: u64, max_concurrency: u64) -> Cost {
    let definition = definition(max_concurrency);
    let items: Vec<Value> =
        (0..items).map(|number| json!({ "id": number, "name": format!("item {number:06}") })).collect();
    let mut snapshot = None;
    let turn = fold(&definition, &mut snapshot, started(&definition, json!({ "items": items })));
    let mut orders: Vec<(u64, u64)> = orders(&turn).collect();
    let mut worst = Cost { time: Duration::MAX, ..Cost::default() };
    for _ in 0..50 {
        let Some((frame, visit)) = orders.pop() else { break };
        let output = Payload::from(json!({ "done": frame }));
        let began = Instant::now();
        let event = event(EventKind::StepSucceeded { frame, visit, output });
        let turn = advance(&definition, snapshot.as_ref(), &event).expect("the step was ordered");
        let time = began.elapsed();
        if turn.header.outcome.is_some() {
            break;
        }
        worst = worst.largest(cost(snapshot.as_ref(), &turn, time));
        orders.extend(self::orders(&turn));
        if let Some(snapshot) = &mut snapshot {
            snapshot.apply(&turn);
        }
    }
    worst
}

fn cost(before: Option<&Snapshot>, turn: &Turn, time: Duration) -> Cost {
    let frames: usize = turn.changed.iter().map(|frame| frame_bytes(before, frame)).sum();
    let commands: usize = turn.commands.iter().map(bytes).sum();
    Cost {
        frames: turn.changed.len() + turn.removed.len(),
        commands: turn.commands.len(),
        bytes: frames + commands,
        time,
    }
}

fn frame_bytes(before: Option<&Snapshot>, frame: &Frame) -> usize {
    let old = before.and_then(|snapshot| snapshot.frames.get(&frame.id));
    let mut written = frame.clone();
    if old.is_some_and(|old| old.input == frame.input) {
        written.input = Payload::from(Value::Null);
    }
    bytes(&written)
}

fn bytes<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

fn orders(turn: &Turn) -> impl Iterator<Item = (u64, u64)> {
    turn.commands.iter().filter_map(|command| match command {
        Command::RunStep { frame, visit, .. } => Some((*frame, *visit)),
        _ => None,
    })
}

fn definition(max_concurrency: u64) -> Definition {
    let text = json!({
        "StartAt": "Each",
        "States": { "Each": {
            "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": max_concurrency, "End": true,
            "ItemProcessor": { "StartAt": "Work", "States": {
                "Work": { "Type": "Task", "Resource": "urn:keyferry:step:work", "Next": "Note" },
                "Note": { "Type": "Pass", "ResultPath": null, "End": true },
            }},
        }},
    });
    Definition::load(&text.to_string()).expect("the definition is sound").definition
}

pub fn started(definition: &Definition, input: Value) -> Event {
    event(EventKind::Started {
        run: "run".to_owned(),
        enterprise: "dave".to_owned(),
        workflow: "bench".to_owned(),
        definition: definition.hash.clone(),
        input: Payload::from(input),
        actor: Actor { name: "bench".to_owned(), role: "system".to_owned() },
    })
}

pub fn event(kind: EventKind) -> Event {
    Event { at: DateTime::<Utc>::UNIX_EPOCH, chance: 7, kind }
}

pub fn fold(definition: &Definition, snapshot: &mut Option<Snapshot>, event: Event) -> Turn {
    let turn = advance(definition, snapshot.as_ref(), &event).expect("the event fits");
    match snapshot {
        Some(snapshot) => snapshot.apply(&turn),
        None => *snapshot = Some(Snapshot::begin(&turn)),
    }
    turn
}

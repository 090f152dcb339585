//! Transitions of `advance` at two sizes of data, and what one item of a Map costs at three widths.
//!
//! The table counts what the store would write for an item's end: the serialized event, and each changed frame without
//! the values above 4 KB, which stand apart and are written once. CPU time is that of `advance` and of applying its turn.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up says so and ends")]

use std::{collections::VecDeque, hint::black_box, time::Instant};

use chrono::{DateTime, Utc};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyferry::engine::{
    Actor, Command, Definition, Event, EventKind, Frame, FrameId, Payload, Phase, Snapshot, Turn, advance,
};
use serde_json::{Value, json};

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn load(definition: &Value) -> Definition {
    Definition::load(&definition.to_string()).expect("it loads").definition
}

fn start(definition: &Definition, input: Value) -> Turn {
    let kind = EventKind::Started {
        run: "run".to_owned(),
        enterprise: "dave".to_owned(),
        workflow: "bench".to_owned(),
        definition: definition.hash.clone(),
        input: Payload::from(input),
        actor: Actor { name: "bench".to_owned(), role: "system".to_owned() },
    };
    advance(definition, None, &Event { at: now(), chance: 1, kind }).expect("a run starts")
}

fn answered(frame: FrameId, visit: u64, output: Payload) -> Event {
    Event { at: now(), chance: 2, kind: EventKind::StepSucceeded { frame, visit, output } }
}

fn of_size(bytes: usize) -> Value {
    let rows: Vec<Value> =
        (0..bytes / 64).map(|n| json!({"id": n, "name": format!("row {n:05}"), "text": "x".repeat(20)})).collect();
    json!({ "rows": rows, "n": 1 })
}

/// A step's answer that leads to the next step: one event, one transition.
fn transitions(criterion: &mut Criterion) {
    let task = |next: &str, more: Value| {
        let mut task = json!({"Type": "Task", "Resource": "urn:keyferry:step:a", "Next": next});
        if let (Some(task), Value::Object(more)) = (task.as_object_mut(), more) {
            task.extend(more);
        }
        task
    };
    let plain = json!({"StartAt": "A", "States": {"A": task("B", json!({})), "B": task("A", json!({}))}});
    let shaped = json!({"ResultPath": "$.result", "Parameters": {"n.$": "$.n", "run.$": "$$.Execution.Id"},
        "ResultSelector": {"n.$": "$.n"}, "Assign": {"n.$": "$.n"}});
    let shaped = json!({"StartAt": "A", "States": {"A": task("B", shaped.clone()), "B": task("A", shaped)}});
    let mut group = criterion.benchmark_group("advance");
    group.throughput(Throughput::Elements(1));
    for (name, definition) in [("plain", &plain), ("shaped", &shaped)] {
        let definition = load(definition);
        for (size, bytes) in [("1 KB", 1_000), ("100 KB", 100_000)] {
            let snapshot = Snapshot::begin(&start(&definition, of_size(bytes)));
            let event = answered(0, snapshot.frames[&0].visit, Payload::from(of_size(bytes)));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| advance(&definition, Some(&snapshot), black_box(&event)).expect("it fits"));
            });
        }
    }
    group.finish();
}

/// The frame as the store writes it: big values apart.
fn frame_bytes(frame: &Frame) -> usize {
    const BIG: usize = 4_096;
    let mut frame = frame.clone();
    let size = |value: &Payload| serde_json::to_string(value).map_or(0, |text| text.len());
    let apart = || Payload::from(Value::String("0".repeat(64)));
    if size(&frame.input) > BIG {
        frame.input = apart();
    }
    if frame.item.as_ref().is_some_and(|item| size(item) > BIG) {
        frame.item = Some(apart());
    }
    if let Phase::Done { output } = &mut frame.phase
        && size(output) > BIG
    {
        *output = apart();
    }
    serde_json::to_string(&frame).map_or(0, |text| text.len())
}

#[derive(Default)]
struct Cost {
    frames: usize,
    bytes: usize,
    seconds: f64,
}

/// Ends all items but the last and answers the mean cost of one.
fn map_cost(width: u64, limit: u64) -> Cost {
    let definition = load(&json!({"StartAt": "M", "States": {"M": {"Type": "Map", "ItemsPath": "$.items",
        "MaxConcurrency": limit, "ItemSelector": {"item.$": "$$.Map.Item.Value", "run.$": "$$.Execution.Id"}, "End": true,
        "ItemProcessor": {"StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "urn:keyferry:step:a", "ResultPath": "$.done", "End": true}}}}}}));
    let items: Vec<Value> = (0..width).map(|n| json!({"system": n})).collect();
    let turn = start(&definition, json!({ "items": items }));
    let mut snapshot = Snapshot::begin(&turn);
    let mut work: VecDeque<(FrameId, u64)> = VecDeque::new();
    let take = |turn: &Turn, work: &mut VecDeque<(FrameId, u64)>| {
        for command in &turn.commands {
            if let Command::RunStep { frame, visit, .. } = command {
                work.push_back((*frame, *visit));
            }
        }
    };
    take(&turn, &mut work);
    let mut cost = Cost::default();
    for _ in 1..width {
        let (frame, visit) = work.pop_front().expect("an item works");
        let event = answered(frame, visit, Payload::from(json!({"ok": true})));
        let began = Instant::now();
        let turn = advance(&definition, Some(&snapshot), &event).expect("it fits");
        snapshot.apply(&turn);
        cost.seconds += began.elapsed().as_secs_f64();
        cost.frames += turn.changed.len() + turn.removed.len();
        cost.bytes += turn.changed.iter().map(frame_bytes).sum::<usize>()
            + serde_json::to_string(&event).map_or(0, |text| text.len());
        take(&turn, &mut work);
    }
    cost
}

fn map_items(_: &mut Criterion) {
    println!("| items | MaxConcurrency | frames an item | bytes an item | CPU us an item |");
    println!("|---:|---:|---:|---:|---:|");
    for limit in [0, 40] {
        for width in [10, 1_000, 10_000_u32] {
            let cost = map_cost(u64::from(width), limit);
            let ended = width - 1;
            let mean = |sum: usize| f64::from(u32::try_from(sum).unwrap_or(u32::MAX)) / f64::from(ended);
            println!(
                "| {width} | {limit} | {:.2} | {:.0} | {:.1} |",
                mean(cost.frames),
                mean(cost.bytes),
                cost.seconds / f64::from(ended) * 1e6
            );
        }
    }
}

criterion_group!(benches, transitions, map_items);
criterion_main!(benches);

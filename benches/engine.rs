//! Transitions a second at two sizes of JSON, and what one item of a Map costs at three widths.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up says so and ends")]

mod width;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keyferry::engine::{Definition, EventKind, Payload, advance};
use serde_json::{Value, json};

/// Transitions that one step's success leads to in [`loop_definition`].
const TRANSITIONS: u64 = 3;

/// A step, a Choice and a Pass state in a circle: each answer of the step makes three transitions.
fn loop_definition() -> Definition {
    let text = json!({
        "StartAt": "Work",
        "States": {
            "Work": { "Type": "Task", "Resource": "urn:keyferry:step:work", "ResultPath": "$.result", "Next": "Enough" },
            "Enough": {
                "Type": "Choice", "Default": "Note",
                "Choices": [{ "Variable": "$.result.enough", "BooleanEquals": true, "Next": "Done" }],
            },
            "Note": { "Type": "Pass", "Result": 1, "ResultPath": "$.noted", "Next": "Work" },
            "Done": { "Type": "Succeed" },
        },
    });
    Definition::load(&text.to_string()).expect("the definition is sound").definition
}

/// About `bytes` bytes of the JSON that runs carry: records of short strings, numbers and lists.
fn data(bytes: usize) -> Value {
    let record = |number: usize| json!({ "id": format!("db-{number:05}"), "size": number, "regions": ["us-west-2", "eu-west-1"] });
    let each = record(0).to_string().len() + 1;
    json!({ "systems": (0..bytes / each).map(record).collect::<Vec<_>>() })
}

fn transitions(criterion: &mut Criterion) {
    let definition = loop_definition();
    let mut group = criterion.benchmark_group("advance");
    group.throughput(Throughput::Elements(TRANSITIONS));
    for (name, bytes) in [("1 KB", 1_000), ("100 KB", 100_000)] {
        let mut snapshot = None;
        width::fold(&definition, &mut snapshot, width::started(&definition, data(bytes)));
        let output = Payload::from(json!({ "enough": false }));
        let event = width::event(EventKind::StepSucceeded { frame: 0, visit: 1, output });
        let turn = advance(&definition, snapshot.as_ref(), &event).expect("the step was ordered");
        assert_eq!(turn.entered.len() as u64, TRANSITIONS);
        group.bench_function(name, |bencher| {
            bencher.iter(|| advance(&definition, black_box(snapshot.as_ref()), black_box(&event)));
        });
    }
    group.finish();
}

/// Prints a table: criterion measures times, and this is about what has to be written.
fn widths(_criterion: &mut Criterion) {
    println!("\nWritten for one completed item of a Map (the worst of 50 items; time: the best)");
    println!(
        "{:>8} {:>15} {:>8} {:>10} {:>8} {:>12}",
        "items", "MaxConcurrency", "frames", "commands", "bytes", "time"
    );
    for max_concurrency in [0, 5, 40] {
        for items in [10, 1_000, 10_000] {
            let cost = width::per_item(items, max_concurrency);
            let most = if max_concurrency == 0 { "no limit".to_owned() } else { max_concurrency.to_string() };
            println!(
                "{items:>8} {most:>15} {:>8} {:>10} {:>8} {:>12}",
                cost.frames,
                cost.commands,
                cost.bytes,
                format!("{:.1?}", cost.time)
            );
        }
    }
}

criterion_group!(benches, transitions, widths);
criterion_main!(benches);

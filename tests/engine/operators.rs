//! The verbs of engineers on a run in attention.

use chrono::{DateTime, Utc};
use keyferry::engine::{
    Actor, Definition, Event, EventKind, Outcome, Payload, Phase, Rejected, Snapshot, Standing, advance, fold,
};
use serde_json::{Value, json};

struct Run {
    definition: Definition,
    snapshot: Snapshot,
    history: Vec<Event>,
}

impl Run {
    fn start(definition: &Value, input: Value) -> Self {
        let definition = Definition::load(&definition.to_string()).unwrap().definition;
        let event = event(EventKind::Started {
            run: "run".to_owned(),
            enterprise: "dave".to_owned(),
            workflow: "test".to_owned(),
            definition: definition.hash.clone(),
            input: Payload::from(input),
            actor: actor(),
        });
        let snapshot = Snapshot::begin(&advance(&definition, None, &event).unwrap());
        Self { definition, snapshot, history: vec![event] }
    }

    fn happen(&mut self, kind: EventKind) -> Result<(), Rejected> {
        let event = event(kind);
        let turn = advance(&self.definition, Some(&self.snapshot), &event)?;
        self.snapshot.apply(&turn);
        self.history.push(event);
        assert_eq!(fold(&self.definition, &self.history).unwrap(), self.snapshot);
        Ok(())
    }

    fn fail(&mut self) {
        let visit = self.snapshot.frames[&0].visit;
        let (error, cause) = ("E".to_owned(), "c".to_owned());
        self.happen(EventKind::StepFailed { frame: 0, visit, error, cause }).unwrap();
        assert_eq!(self.snapshot.standing(), Standing::Attention);
    }

    fn skip(&mut self, output: Option<Value>) -> Result<(), Rejected> {
        let visit = self.snapshot.frames[&0].visit;
        self.skip_at(visit, output)
    }

    fn skip_at(&mut self, visit: u64, output: Option<Value>) -> Result<(), Rejected> {
        let output = output.map(Payload::from);
        self.happen(EventKind::Skipped { frame: 0, visit, output, actor: actor(), reason: "why".to_owned() })
    }

    fn output(&self) -> Value {
        match &self.snapshot.header.outcome {
            Some(Outcome::Succeeded { output }) => (**output).clone(),
            other => panic!("the run has not succeeded: {other:?}"),
        }
    }
}

fn event(kind: EventKind) -> Event {
    Event { at: DateTime::<Utc>::UNIX_EPOCH, chance: 1, kind }
}

fn actor() -> Actor {
    Actor { name: "admin".to_owned(), role: "admin".to_owned() }
}

fn two_states() -> Value {
    json!({
        "StartAt": "Work",
        "States": {
            "Work": {
                "Type": "Task", "Resource": "urn:keyferry:step:work", "Assign": { "got.$": "$.n" },
                "ResultPath": "$.work", "Next": "Show",
            },
            "Show": { "Type": "Pass", "Parameters": { "got.$": "$got", "in.$": "$" }, "End": true },
        },
    })
}

#[test]
fn a_skipped_state_assigns_as_one_that_succeeded() {
    let mut run = Run::start(&two_states(), json!({ "a": 1 }));
    run.fail();
    run.skip(Some(json!({ "n": 7 }))).unwrap();
    assert_eq!(run.output(), json!({ "got": 7, "in": { "a": 1, "work": { "n": 7 } } }));
}

#[test]
fn an_output_that_the_state_cannot_take_is_refused_with_the_reason() {
    let mut run = Run::start(&two_states(), json!({ "a": 1 }));
    run.fail();
    let before = run.snapshot.clone();
    let refused = run.skip(Some(json!({ "other": 7 }))).unwrap_err();
    assert!(matches!(&refused, Rejected::Illegal { reason } if reason.contains("does not fit")), "{refused:?}");
    assert_eq!(run.snapshot, before);
}

#[test]
fn an_output_of_null_is_one_and_survives_the_history() {
    let definition = json!({
        "StartAt": "Work",
        "States": { "Work": { "Type": "Task", "Resource": "urn:keyferry:step:work", "End": true } },
    });
    let mut run = Run::start(&definition, json!({ "a": 1 }));
    run.fail();
    run.skip(Some(Value::Null)).unwrap();
    assert_eq!(run.output(), Value::Null);
    let kept = serde_json::to_string(&run.history).unwrap();
    let read: Vec<Event> = serde_json::from_str(&kept).unwrap();
    assert_eq!(fold(&run.definition, &read).unwrap(), run.snapshot);
}

#[test]
fn a_fail_state_cannot_be_skipped_into_success() {
    let definition = json!({
        "StartAt": "Stop", "States": { "Stop": { "Type": "Fail", "ErrorPath": "$.missing" } },
    });
    let mut run = Run::start(&definition, json!({}));
    assert!(matches!(run.snapshot.frames[&0].phase, Phase::Attention { .. }));
    assert!(matches!(run.skip(None), Err(Rejected::Illegal { .. })));
    let input = Some(Payload::from(json!({ "missing": "E" })));
    let visit = run.snapshot.frames[&0].visit;
    run.happen(EventKind::Retried { frame: 0, visit, input, actor: actor(), reason: "why".to_owned() }).unwrap();
    assert_eq!(run.snapshot.standing(), Standing::Failed);
}

#[test]
fn a_verb_is_for_the_visit_that_was_seen_and_for_no_other() {
    let definition = json!({
        "StartAt": "First",
        "States": {
            "First": { "Type": "Task", "Resource": "urn:keyferry:step:work", "Next": "Second" },
            "Second": { "Type": "Task", "Resource": "urn:keyferry:step:work", "End": true },
        },
    });
    let mut run = Run::start(&definition, json!({ "a": 1 }));
    run.fail();
    let seen = run.snapshot.frames[&0].visit;
    let retry = |run: &mut Run, visit: u64| {
        let reason = "why".to_owned();
        run.happen(EventKind::Retried { frame: 0, visit, input: None, actor: actor(), reason })
    };
    for wrong in [seen - 1, seen + 1, 0, u64::MAX] {
        let stale = Err(Rejected::Stale { frame: 0, event: wrong, frame_at: seen });
        assert_eq!(run.skip_at(wrong, None), stale);
        assert_eq!(retry(&mut run, wrong), stale);
    }
    run.skip_at(seen, None).unwrap();
    run.fail();
    assert_eq!(run.snapshot.frames[&0].state, "Second");
    let before = run.snapshot.clone();
    assert!(matches!(run.skip_at(seen, None), Err(Rejected::Stale { .. })), "the same skip again");
    assert!(matches!(retry(&mut run, seen), Err(Rejected::Stale { .. })), "a retry of what was skipped");
    assert_eq!(run.snapshot, before, "nobody has seen the second state");
    // A state that fails again stands at another visit than before.
    let seen = run.snapshot.frames[&0].visit;
    retry(&mut run, seen).unwrap();
    run.fail();
    assert!(matches!(retry(&mut run, seen), Err(Rejected::Stale { .. })), "the same retry again");
}

#[test]
fn a_turn_under_another_definition_is_refused() {
    let mut run = Run::start(&two_states(), json!({}));
    let mut other = two_states();
    other["Comment"] = "changed".into();
    run.definition = Definition::load(&other.to_string()).unwrap().definition;
    let paused = EventKind::Paused { actor: actor(), reason: "why".to_owned() };
    assert!(matches!(run.happen(paused), Err(Rejected::Illegal { .. })));
}

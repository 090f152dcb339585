//! What must hold for every definition, every snapshot and every event, tried on random ones.
//!
//! A seed decides a whole trial, so that a failure is repeated by its seed alone.

pub(crate) mod generate;
mod trial;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::{Definition, Snapshot, advance, fold};
use generate::Dice;
use trial::Trial;

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_generated_definition_loads(seed: u64) {
        let text = generate::definition(&Dice::new(seed)).to_string();
        prop_assert!(Definition::load(&text).is_ok(), "{:?}\n{}", Definition::load(&text).err(), text);
    }

    #[test]
    fn a_damaged_definition_is_refused_or_runs_without_a_panic(seed: u64) {
        let dice = Dice::new(seed);
        let mut text = generate::definition(&dice);
        for _ in 0..=dice.below(3) {
            generate::damage(&dice, &mut text);
        }
        if let Ok(loaded) = Definition::load(&text.to_string()) {
            Trial::new(&loaded.definition, &dice).play(20);
        }
    }

    #[test]
    fn folding_the_history_gives_the_live_snapshot(seed: u64) {
        let dice = Dice::new(seed);
        let definition = Definition::load(&generate::definition(&dice).to_string()).unwrap().definition;
        let trial = Trial::new(&definition, &dice).play(60);
        let live = trial.snapshot.unwrap();
        prop_assert_eq!(fold(&definition, &trial.history).unwrap(), live.clone());
        let read = |event: &super::Event| serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
        let read: Vec<super::Event> = trial.history.iter().map(read).collect();
        prop_assert_eq!(fold(&definition, &read).unwrap(), live.clone(), "of a history that was stored");
        let text = serde_json::to_string(&live).unwrap();
        prop_assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), live);
        for event in &trial.history {
            let text = serde_json::to_string(event).unwrap();
            prop_assert_eq!(&serde_json::from_str::<super::Event>(&text).unwrap(), event);
        }
    }

    #[test]
    fn a_damaged_snapshot_never_makes_a_turn_panic_or_hang(seed: u64) {
        let dice = Dice::new(seed);
        let definition = Definition::load(&generate::definition(&dice).to_string()).unwrap().definition;
        let trial = Trial::new(&definition, &dice).play(10);
        let mut value = serde_json::to_value(trial.snapshot.unwrap()).unwrap();
        for _ in 0..=dice.below(4) {
            generate::damage(&dice, &mut value);
        }
        let Ok(damaged) = serde_json::from_value::<Snapshot>(value) else { return Ok(()) };
        for _ in 0..20 {
            let event = trial::any_event(&dice, &damaged);
            let once = advance(&definition, Some(&damaged), &event);
            prop_assert_eq!(&once, &advance(&definition, Some(&damaged), &event), "not deterministic");
        }
    }
}

/// Guards the trials against passing vacuously: together they must have met every phase, ending and verb.
#[test]
fn the_trials_reach_what_they_are_meant_to_test() {
    let mut met = BTreeSet::new();
    for seed in 0..600 {
        let dice = Dice::new(seed);
        let definition = Definition::load(&generate::definition(&dice).to_string()).unwrap().definition;
        met.extend(Trial::new(&definition, &dice).play(60).met);
    }
    let wanted = [
        "attention",
        "backoff",
        "child",
        "done",
        "failed",
        "form",
        "joining",
        "queued",
        "step",
        "waiting",
        "rejected",
        "ended-succeeded",
        "ended-failed",
        "ended-cancelled",
        "retried",
        "skipped",
        "paused",
        "resumed",
        "child-ended",
        "step-crashed",
        "heartbeat-missed",
        "timed-out",
        "timer-fired",
        "form-answered",
    ];
    for name in wanted {
        assert!(met.contains(name), "no trial met {name}; met were {met:?}");
    }
}

#[test]
fn a_definition_nested_beyond_reason_is_refused_without_a_crash() {
    let mut value: Value = serde_json::json!({"StartAt": "S", "States": {"S": {"Type": "Succeed"}}});
    for depth in 0..60 {
        let name = format!("P{depth}");
        value = serde_json::json!({"StartAt": name, "States": {name.clone(): {"Type": "Parallel", "Branches": [value], "End": true}}});
    }
    let _ = Definition::load(&value.to_string());
    assert!(Definition::load(&"[".repeat(100_000)).is_err());
}

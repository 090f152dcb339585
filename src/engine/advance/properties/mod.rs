//! What holds for every definition, every event and every snapshot, also damaged ones.

mod definitions;
mod driver;

use proptest::prelude::*;
use serde_json::Value;

use super::advance;
use crate::engine::{Definition, Event, Snapshot, language::Chance};
use definitions::{Maker, damage};
pub(super) use driver::first_event;
use driver::{Driver, Seen, any_event};

fn definition(chance: &Chance) -> (Value, Definition) {
    let source = Maker::definition(chance);
    let loaded = Definition::load(&source.to_string()).unwrap_or_else(|problems| panic!("{source:#}\n{problems:#?}"));
    (source, loaded.definition)
}

/// A snapshot of a run after some events.
fn some_snapshot(chance: &Chance, definition: &Definition) -> Snapshot {
    let mut driver = Driver::start(definition, chance, &mut Seen::default());
    let mut snapshot = driver.live.clone();
    for _ in 0..chance.below(12) {
        if !driver.step(&mut Seen::default()) {
            break;
        }
        snapshot.clone_from(&driver.live);
    }
    snapshot
}

/// Feeds any events to what may be no snapshot of any run.
fn feed(chance: &Chance, definition: &Definition, mut snapshot: Snapshot) -> u64 {
    let mut accepted = 0;
    for _ in 0..20 {
        let frames: Vec<_> = snapshot.frames.values().collect();
        let kind = any_event(chance, &frames);
        let at = snapshot.header.started_at.max("2026-06-01T00:00:00Z".parse().unwrap());
        if let Ok(turn) = advance(definition, Some(&snapshot), &Event { at, chance: chance.next_u64(), kind }) {
            snapshot.apply(&turn);
            accepted += 1;
        }
    }
    accepted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_its_invariants(seed in any::<u64>(), events in 1_usize..60) {
        let chance = Chance::new(seed);
        let (_, definition) = definition(&chance);
        let mut driver = Driver::start(&definition, &chance, &mut Seen::default());
        for _ in 0..events {
            driver.step(&mut Seen::default());
        }
    }

    #[test]
    fn no_event_makes_a_damaged_snapshot_panic(seed in any::<u64>(), times in 1_usize..5) {
        let chance = Chance::new(seed);
        let (_, definition) = definition(&chance);
        let mut value = serde_json::to_value(some_snapshot(&chance, &definition)).unwrap();
        (0..times).for_each(|_| damage(&chance, &mut value));
        if let Ok(mut snapshot) = serde_json::from_value::<Snapshot>(value) {
            snapshot.header.definition.clone_from(&definition.hash);
            feed(&chance, &definition, snapshot);
        }
    }

    #[test]
    fn no_damaged_definition_makes_loading_or_a_run_panic(seed in any::<u64>(), times in 1_usize..6) {
        let chance = Chance::new(seed);
        let (mut source, _) = definition(&chance);
        (0..times).for_each(|_| damage(&chance, &mut source));
        if let Ok(loaded) = Definition::load(&source.to_string()) {
            let mut seen = Seen::default();
            let mut driver = Driver::start(&loaded.definition, &chance, &mut seen);
            for _ in 0..10 {
                driver.step(&mut seen);
            }
        }
    }
}

/// The properties above would hold of nothing, too: the same generators have to reach what they speak of.
#[test]
fn the_generators_reach_what_the_properties_speak_of() {
    let mut seen = Seen::default();
    let (mut damaged_read, mut damaged_accepted, mut damaged_loaded) = (0, 0, 0);
    for seed in 0..150 {
        let chance = Chance::new(seed);
        let (mut source, definition) = definition(&chance);
        let mut driver = Driver::start(&definition, &chance, &mut seen);
        for _ in 0..30 {
            driver.step(&mut seen);
        }
        let mut value = serde_json::to_value(some_snapshot(&chance, &definition)).unwrap();
        damage(&chance, &mut value);
        if let Ok(mut snapshot) = serde_json::from_value::<Snapshot>(value) {
            damaged_read += 1;
            snapshot.header.definition.clone_from(&definition.hash);
            damaged_accepted += feed(&chance, &definition, snapshot);
        }
        damage(&chance, &mut source);
        damaged_loaded += u64::from(Definition::load(&source.to_string()).is_ok());
    }
    assert!(seen.accepted > 400 && seen.rejected > 200 && seen.ended > 50, "{seen:?}");
    assert!(seen.attention > 100 && seen.joins > 100 && seen.retries > 20 && seen.tells > 100, "{seen:?}");
    assert!(damaged_read > 30 && damaged_accepted > 30, "{damaged_read} {damaged_accepted}");
    assert!(damaged_loaded > 10, "{damaged_loaded}");
}

/// A history of another definition is refused at each of its events, not only the first.
#[test]
fn a_run_is_not_advanced_with_another_definition() {
    let chance = Chance::new(1);
    let (_, mine) = definition(&chance);
    let (_, other) = definition(&chance);
    let turn = advance(&mine, None, &first_event(&mine, Value::Null, 1)).unwrap();
    let mut snapshot = Snapshot::begin(&turn);
    snapshot.header.outcome = None;
    let event = Event { kind: any_event(&chance, &[]), ..first_event(&mine, Value::Null, 1) };
    assert!(advance(&other, Some(&snapshot), &event).unwrap_err().to_string().contains(&mine.hash));
}

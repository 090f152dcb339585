//! The whole engine in simulated worlds: real workers over a store, a cloud and clocks that a seed makes fail.
//!
//! `KEYFERRY_SIM_SEEDS=N` plays N seeds instead of the usual number; `KEYFERRY_SIM_SEED=n` plays one and prints its trace.

mod broken;
mod checker;
mod cloud;
mod hub;
mod people;
mod plans;
mod process;
mod site;
mod steps;
mod wire;
mod world;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use world::play;

/// Seeds of the usual run.
const SEEDS: u64 = 2_000;

const TEST: &str = "worker::simulation::the_laws_hold_in_all_worlds";

/// What the worlds of a thousand seeds meet together, at least; else the simulation simulates nothing.
const WANTED: &[(&str, u64)] = &[
    ("adopted", 100),
    ("answered", 500),
    ("arrived after its sender's death", 60),
    ("brought back", 1),
    ("cancelled", 20),
    ("checkpoints", 500),
    ("claimed after a crash", 100),
    ("clock jump", 50),
    ("clock skew", 20),
    ("cloud reply lost", 200),
    ("commit reply lost", 200),
    ("crash", 100),
    ("crash at a claim", 20),
    ("crash at a commit", 100),
    ("crash at an effect", 8),
    ("drained", 50),
    ("fence refused", 50),
    ("halt", 100),
    ("healed", 900),
    ("letters", 1_000),
    ("meddled", 10),
    ("out of service", 200),
    ("outage", 50),
    ("paused", 50),
    ("people: conflict", 100),
    ("people: unavailable", 100),
    ("retried", 50),
    ("revision refused", 80),
    ("skipped", 20),
    ("started", 1_000),
    ("steps", 5_000),
    ("store refused", 500),
    ("throttled", 300),
    ("timers", 500),
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Plays seeds, on all cores, and says of the first that breaks a law which it is and how to see it again.
fn play_all(seeds: u64) -> (u64, BTreeMap<&'static str, u64>) {
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = || {
        let (mut events, mut met) = (0, BTreeMap::<&str, u64>::new());
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds {
                return (events, met);
            }
            let played = play(seed, None, false);
            assert!(
                played.violations.is_empty(),
                "seed {seed} breaks a law: {:#?}\nto see it again: KEYFERRY_SIM_SEED={seed} cargo test --features failpoints --lib {TEST} -- --nocapture",
                played.violations
            );
            events += played.events;
            for (what, count) in played.met {
                *met.entry(what).or_default() += count;
            }
        }
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        let (mut events, mut met) = (0, BTreeMap::new());
        for share in shares {
            let (more, also) = share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            events += more;
            also.into_iter().for_each(|(what, count)| *met.entry(what).or_default() += count);
        }
        (events, met)
    })
}

#[test]
fn the_laws_hold_in_all_worlds() {
    if let Some(seed) = number("KEYFERRY_SIM_SEED") {
        let played = play(seed, None, true);
        for line in &played.lines {
            println!("{line}");
        }
        println!("seed {seed}: {} events, {:?}", played.events, played.met);
        assert!(played.violations.is_empty(), "seed {seed} breaks a law: {:#?}", played.violations);
        return;
    }
    let seeds = number("KEYFERRY_SIM_SEEDS").unwrap_or(SEEDS);
    let (events, met) = play_all(seeds);
    println!("{seeds} seeds, {events} events, 0 violations; met {met:#?}");
    if seeds < 1_000 {
        return;
    }
    for (what, least) in WANTED {
        let found = met.get(what).copied().unwrap_or(0);
        assert!(found >= least * (seeds / 1_000), "the worlds met {what} {found} times: they do not test it");
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..20 {
        let (one, two) = (play(seed, None, false), play(seed, None, true));
        assert_eq!((one.hash, one.events), (two.hash, two.events), "seed {seed}");
    }
    assert_ne!(play(1, None, false).hash, play(2, None, false).hash);
}

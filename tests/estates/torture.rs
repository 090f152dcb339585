//! The seeded torture: estates are moved while people cancel, pause, retry and skip, keys stop working, settings change,
//! applications write and the process dies. A judge that knows nothing of keyferry looks on.
//!
//! `KEYFERRY_ESTATE_SEEDS=N` plays N seeds instead of the usual number; `KEYFERRY_ESTATE_SEED=n` plays one and says what
//! happened in it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{judge::Violation, play::Play};

/// Seeds of the usual run.
const SEEDS: u64 = 50;

const TEST: &str = "estates::torture::nothing_is_lost_in_any_estate";

/// What the estates of fifty seeds meet together, at least; else the torture tortures nothing.
const WANTED: &[(&str, u64)] = &[
    ("kills", 50),
    ("cancels", 15),
    ("pauses", 2),
    ("retries", 5),
    ("windows", 40),
    ("writes", 5_000),
    ("late writers", 4),
    ("key changes", 20),
    ("setting changes", 5),
    ("approvals", 15),
    ("succeeded", 15),
    ("deletions", 200),
    ("deletions judged", 100),
    ("outages", 50),
];

struct Played {
    violations: Vec<Violation>,
    counts: BTreeMap<&'static str, u64>,
    lines: Vec<String>,
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn play(seed: u64) -> Played {
    let folder = tempfile::tempdir().unwrap();
    let mut play = runtime().block_on(Play::of_seed(seed, folder.path().to_owned()));
    lives(&mut play);
    let mut counts = play.counts;
    counts.insert("deletions", play.judge.deletions);
    counts.insert("deletions judged", play.judge.judged);
    counts.insert("outages", play.judge.outages);
    counts.insert("looks", play.judge.looks);
    Played { violations: play.judge.violations, counts, lines: play.lines }
}

/// Lets one life of the process follow the other until all is over.
pub fn lives(play: &mut Play) {
    loop {
        let life = runtime();
        let over = life.block_on(play.live());
        // As the end of a process takes its memory: nothing that was begun goes on.
        drop(life);
        if over {
            return;
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Plays seeds on all cores. Answers what was met, and what every seed broke.
fn play_all(seeds: u64) -> (BTreeMap<&'static str, u64>, Vec<String>) {
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = || {
        let (mut met, mut broken) = (BTreeMap::<&str, u64>::new(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds {
                return (met, broken);
            }
            let played = play(seed);
            println!("seed {seed}: {} looks, {} violations", played.counts["looks"], played.violations.len());
            broken.extend(played.violations.iter().map(|violation| format!("seed {seed}: {violation}")));
            played.counts.into_iter().for_each(|(what, count)| *met.entry(what).or_default() += count);
        }
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        let (mut met, mut broken) = (BTreeMap::new(), Vec::new());
        for share in shares {
            let (more, also) = share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            more.into_iter().for_each(|(what, count)| *met.entry(what).or_default() += count);
            broken.extend(also);
        }
        (met, broken)
    })
}

#[test]
fn nothing_is_lost_in_any_estate() {
    if let Some(seed) = number("KEYFERRY_ESTATE_SEED") {
        let played = play(seed);
        played.lines.iter().for_each(|line| println!("{line}"));
        println!("seed {seed}: {:#?}", played.counts);
        let broken: Vec<String> = played.violations.iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "seed {seed} breaks invariants:\n{}", broken.join("\n"));
        return;
    }
    let seeds = number("KEYFERRY_ESTATE_SEEDS").unwrap_or(SEEDS);
    let (met, broken) = play_all(seeds);
    println!("{seeds} seeds; met {met:#?}");
    assert!(
        broken.is_empty(),
        "invariants are broken:\n{}\nto see a seed again: KEYFERRY_ESTATE_SEED=N scripts/test --test suite {TEST} -- --nocapture",
        broken.join("\n")
    );
    if seeds < SEEDS {
        return;
    }
    for (what, least) in WANTED {
        let found = met.get(what).copied().unwrap_or(0);
        assert!(found >= least * seeds / 50, "the estates met {what} {found} times: they do not test it");
    }
}

//! The same calls on several stores: every answer must be the one that the reference gives.
//!
//! A seed decides a whole sequence: batches of turns and words, valid ones and such as come from workers that are late, beside
//! claims at moving times, ended leases, the outbox, records and pages. Each call has dice of its own, so that one can be left
//! out without changing the others: what differs is reported with the calls that it needs, and with its seed.

mod calls;
mod generate;

use std::{collections::BTreeSet, sync::Arc};

use super::{PostgresStore, SqliteStore, Store, memory::MemoryStore, postgres::tests::Database};
use calls::Call;
use generate::Author;

/// Calls of one sequence.
const LENGTH: u64 = 60;

/// Of so many seeds one is played on PostgreSQL too: a database takes a while to make.
const SHARED: u64 = 8;

/// A store under test, with what must live as long as it.
struct Subject {
    name: &'static str,
    store: Arc<dyn Store>,
    _folder: Option<tempfile::TempDir>,
    _database: Option<Database>,
}

/// Fresh stores; the first is the reference.
async fn subjects(seed: u64) -> Vec<Subject> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("keyferry.db")).await.unwrap();
    let mut subjects = vec![
        Subject { name: "memory", store: Arc::new(MemoryStore::default()), _folder: None, _database: None },
        Subject { name: "sqlite", store: Arc::new(sqlite), _folder: Some(folder), _database: None },
    ];
    if seed.is_multiple_of(SHARED)
        && let Some(database) = Database::make().await
    {
        let store = PostgresStore::open(database.url()).await.unwrap();
        subjects.push(Subject { name: "postgres", store: Arc::new(store), _folder: None, _database: Some(database) });
    }
    subjects
}

/// What a sequence came to.
#[derive(Default)]
struct Outcome {
    /// Kinds of calls and answers that were met, for the guard against vacuous sequences.
    met: BTreeSet<String>,
    difference: Option<Difference>,
}

struct Difference {
    index: u64,
    calls: Vec<(u64, Call)>,
    found: String,
}

/// Plays the sequence of a seed without the calls in `skipped`, until the stores differ.
async fn play(seed: u64, skipped: &BTreeSet<u64>) -> Outcome {
    let subjects = subjects(seed).await;
    let mut author = Author::default();
    let mut outcome = Outcome::default();
    let mut calls = Vec::new();
    for call in author.prepare() {
        for subject in &subjects {
            call.on(subject.store.as_ref()).await;
        }
    }
    for index in (0..LENGTH).filter(|index| !skipped.contains(index)) {
        let call = author.call(seed, index, subjects[0].store.as_ref()).await;
        if subjects.iter().any(|subject| subject.store.is_shared()) && call.is_of_one_process() {
            continue;
        }
        calls.push((index, call.clone()));
        let expected = call.on(subjects[0].store.as_ref()).await;
        outcome.met.extend(expected.kinds(&call));
        for subject in &subjects[1..] {
            let found = call.on(subject.store.as_ref()).await;
            if found != expected {
                let found = format!("memory answers\n{expected:#?}\n{} answers\n{found:#?}", subject.name);
                outcome.difference = Some(Difference { index, calls, found });
                return outcome;
            }
        }
        author.learn(&call, &expected);
    }
    outcome
}

/// Leaves out what the difference does not need.
async fn shrink(seed: u64, mut difference: Difference) -> Difference {
    let mut skipped: BTreeSet<u64> = (difference.index + 1..LENGTH).collect();
    for index in (0..difference.index).rev() {
        skipped.insert(index);
        match play(seed, &skipped).await.difference {
            Some(smaller) => {
                skipped.extend(smaller.index + 1..LENGTH);
                difference = smaller;
            }
            None => drop(skipped.remove(&index)),
        }
    }
    difference
}

async fn differ(seeds: std::ops::Range<u64>) {
    let mut met = BTreeSet::new();
    for seed in seeds {
        let outcome = play(seed, &BTreeSet::new()).await;
        met.extend(outcome.met);
        if let Some(difference) = outcome.difference {
            let smallest = shrink(seed, difference).await;
            panic!(
                "the stores differ at call {} of seed {seed}; KEYFERRY_DIFFERENTIAL_SEED={seed} plays it alone\n{:#?}\n{}",
                smallest.index, smallest.calls, smallest.found
            );
        }
    }
    if std::env::var_os(ONE).is_some() {
        return;
    }
    for wanted in WANTED {
        assert!(met.contains(*wanted), "no sequence met {wanted}; met were {met:?}");
    }
}

const ONE: &str = "KEYFERRY_DIFFERENTIAL_SEED";

/// What the sequences must have met together, for the test to mean anything.
const WANTED: &[&str] = &[
    "turns: ok",
    "turns: conflict",
    "turns: lease lost",
    "turns: already started",
    "turns: key reused",
    "turns: exclusive open",
    "turns: not found",
    "word: ok",
    "word: lease lost",
    "claimed: some",
    "claimed: a crash",
    "claimed: a signal",
    "claimed: a child",
    "claimed: a big value",
    "claimed: with a checkpoint",
    "page: more",
    "letters: some",
    "letters: held",
    "letters: dead",
    "record: some",
    "records put: ok",
    "records put: changed",
    "records put: already",
    "a key of a turn",
    "records deleted: ok",
    "records deleted: changed",
];

#[tokio::test]
async fn all_stores_answer_alike() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number(ONE) {
        Some(seed) => differ(seed..seed + 1).await,
        None => differ(0..number("KEYFERRY_DIFFERENTIAL_SEEDS").unwrap_or(100)).await,
    }
}

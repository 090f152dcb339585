//! The same random sequence of valid and of refused acts on every store: each answers alike, and leaves the same.

use std::{fmt::Debug, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{
    Claim, NewRecord, Say, Store, WorkWord, Write,
    conformance::{self, Hand, at},
    postgres,
    sqlite::SqliteStore,
};

/// Chance that a seed gives again.
struct Dice(u64, i64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// A time that no other call gives.
    fn moment(&mut self, seconds: i64) -> DateTime<Utc> {
        self.1 += 1;
        at(seconds) + TimeDelta::microseconds(self.1)
    }
}

/// A run as the test knows it.
struct Known {
    name: String,
    hand: Hand,
    /// Visit and fence of its claims, the last one last.
    claims: Vec<(u64, u64)>,
}

/// Stores under the same acts.
struct Side<'a> {
    stores: &'a [(&'a str, Arc<dyn Store>)],
    seed: u64,
    acts: usize,
    refused: usize,
}

impl Side<'_> {
    /// Every store says the same.
    async fn same<T: Debug + PartialEq>(&mut self, what: &str, act: impl AsyncFn(&dyn Store) -> T) -> T {
        self.acts += 1;
        let (first, store) = &self.stores[0];
        let wanted = act(store.as_ref()).await;
        for (name, store) in &self.stores[1..] {
            let found = act(store.as_ref()).await;
            assert_eq!(found, wanted, "seed {}, act {}: {what} on {name} and on {first}", self.seed, self.acts);
        }
        wanted
    }

    async fn commit(&mut self, batch: Vec<Write>) -> Vec<bool> {
        let batch: Arc<[Write]> = batch.into();
        let outcomes = self.same("commit", async |store| store.commit(Arc::clone(&batch)).await).await.unwrap();
        self.refused += outcomes.iter().filter(|outcome| outcome.is_err()).count();
        outcomes.iter().map(Result::is_ok).collect()
    }
}

fn begin(number: usize, dice: &mut Dice) -> (Known, Write) {
    let name = format!("r{number}");
    let key = format!("k{}", dice.roll(6));
    let request = format!("q{}", dice.roll(2));
    let idempotency = (dice.roll(3) == 0).then_some((key.as_str(), request.as_str()));
    let (hand, mut begin) = Hand::begin(&name, dice.roll(4) == 0, idempotency);
    if let Some(Some(order)) = begin.work.get_mut(&0) {
        // No two are due at the same time: the order of claims is then one.
        order.due_at = Some(at(i64::try_from(number).unwrap()));
    }
    let body = json!(dice.roll(100));
    begin.records = vec![NewRecord { collection: "notes".to_owned(), key: format!("n{}", dice.roll(4)), body }];
    (Known { name, hand, claims: Vec::new() }, conformance::group(vec![begin]))
}

fn word(known: &Known, now: i64, dice: &mut Dice) -> Option<Write> {
    let place = usize::try_from(dice.roll(4)).unwrap();
    // Mostly the last claim, sometimes one that is lost.
    let (visit, fence) = *known.claims.iter().rev().nth(if place == 3 { 1 } else { 0 }).or(known.claims.last())?;
    let later = now + 1 + i64::try_from(dice.roll(20)).unwrap();
    let later = dice.moment(later);
    let say = match dice.roll(5) {
        0 => Say::Renew { lease_until: later },
        1 => Say::Checkpoint { checkpoint: json!(dice.roll(9)) },
        2 => Say::Pending { due_at: later, checkpoint: json!(dice.roll(9)), waiting_for: "AWS\0".to_owned() },
        3 => Say::Release { due_at: later },
        _ => Say::Renew { lease_until: dice.moment(now) },
    };
    Some(Write::Word(WorkWord { run: known.name.clone(), frame: 0, visit, fence, say }))
}

async fn sequence(stores: &[(&str, Arc<dyn Store>)], seed: u64) -> (usize, usize) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, 0);
    let mut side = Side { stores, seed, acts: 0, refused: 0 };
    let mut runs: Vec<Known> = Vec::new();
    let mut begun = 0;
    for now in 0..60_i64 {
        match dice.roll(6) {
            0 | 1 => {
                let (mut fresh, mut batch) = (Vec::new(), Vec::new());
                for _ in 0..=dice.roll(2) {
                    let (known, write) = begin(begun, &mut dice);
                    begun += 1;
                    fresh.push(known);
                    batch.push(write);
                }
                let done = side.commit(batch).await;
                runs.extend(fresh.into_iter().zip(done).filter_map(|(known, done)| done.then_some(known)));
            }
            2 | 3 => {
                // One at a time: of leases that end together no order is promised.
                let lease_until = dice.moment(now + 1 + i64::try_from(dice.0 % 10).unwrap());
                let claim = Claim { owner: "w".to_owned(), now: at(now), lease_until, limit: 1 };
                let claimed = side.same("claim", async |store| store.claim(claim.clone()).await).await.unwrap();
                for work in claimed {
                    let known = runs.iter_mut().find(|known| known.name == work.run).unwrap();
                    known.claims.push((work.visit, work.fence));
                }
            }
            4 => {
                let mut batch = Vec::new();
                for known in &runs {
                    batch.extend((dice.roll(2) == 0).then(|| word(known, now, &mut dice)).flatten());
                }
                side.commit(batch).await;
            }
            _ => end_one(&mut side, &mut runs, &mut dice).await,
        }
        look(&mut side, &runs, now).await;
    }
    (side.acts, side.refused)
}

/// Ends a run by its last claim or by an older one.
async fn end_one(side: &mut Side<'_>, runs: &mut Vec<Known>, dice: &mut Dice) {
    let held: Vec<usize> =
        runs.iter().enumerate().filter(|(_, known)| !known.claims.is_empty()).map(|(place, _)| place).collect();
    if held.is_empty() {
        return;
    }
    let place = held[usize::try_from(dice.roll(held.len() as u64)).unwrap()];
    let known = &mut runs[place];
    let nth = usize::try_from(dice.roll(2)).unwrap();
    let (_, fence) = *known.claims.iter().rev().nth(nth).or(known.claims.last()).unwrap();
    let before = known.hand.snapshot.clone();
    let end = conformance::group(vec![known.hand.end(fence)]);
    if side.commit(vec![end]).await == [true] {
        runs.remove(place);
    } else {
        runs[place].hand.snapshot = before;
    }
}

/// What can be seen of it all.
async fn look(side: &mut Side<'_>, runs: &[Known], now: i64) {
    side.same("next_due", async |store| store.next_due().await).await.unwrap();
    side.same("tally", async |store| store.tally(at(now)).await).await.unwrap();
    if let Some(known) = runs.get(usize::try_from(now).unwrap() % runs.len().max(1)) {
        side.same("see", async |store| store.see(&known.name).await).await.unwrap();
    }
    let page = super::RunsPage { limit: 100, ..super::RunsPage::default() };
    side.same("runs", async |store| store.runs(page.clone()).await.map(|page| page.items)).await.unwrap();
    for key in ["n0", "n1", "n2", "n3"] {
        side.same("record", async |store| store.record("dave", "notes", key).await).await.unwrap();
    }
}

/// The embedded store, PostgreSQL where there is a server, and whatever else is put here.
#[tokio::test]
async fn random_sequences_leave_the_same_on_every_store() {
    let Some(database) = postgres::tests::Database::make().await else { return };
    let (mut acts, mut refused) = (0, 0);
    for seed in 1..=12 {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(&folder.path().join("keyferry.db")).await.unwrap();
        database.run("DROP DATABASE {} WITH (FORCE)").await;
        database.run("CREATE DATABASE {}").await;
        let shared = postgres::PostgresStore::open(database.url()).await.unwrap();
        let stores: [(&str, Arc<dyn Store>); 2] = [("SQLite", Arc::new(sqlite)), ("PostgreSQL", Arc::new(shared))];
        for (_, store) in &stores {
            conformance::prepare(store.as_ref()).await;
        }
        let done = sequence(&stores, seed).await;
        acts += done.0;
        refused += done.1;
    }
    assert!(acts > 2_000 && refused > 50, "{acts} acts, {refused} refused: the test does not test");
}

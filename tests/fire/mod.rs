//! A fleet of real processes on one PostgreSQL, under fire: enterprises are onboarded while processes die, stop and are cut
//! off. Each fault is seen to be reached, work goes on after it has healed, and in the end every enterprise is compliant,
//! every history verifies, and the cloud's ledger shows each change as often as an undisturbed run makes it.
//!
//! The short form is a test like others. The long one is the same test with more enterprises and a longer black hole:
//! `KEYFERRY_FIRE_ENTERPRISES=300 scripts/test --test suite fire:: -- --nocapture`. For hundreds, take a release build for the
//! processes (`KEYFERRY_TEST_PROGRAM`): a debug build is so slow that steps do not end between two kills.

mod clocks;
mod disk;
mod faults;
mod fleet;
mod people;
mod proxy;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use keyferry::{
    sandbox::{LedgerEntry, Options, Sandbox},
    worker::{Clock as _, SystemClock},
};
use tokio::sync::Mutex;

use crate::support::{
    effects::{counts, differing},
    patience::PATIENCE,
    postgres::Postgres,
};
use fleet::{Fleet, WORKERS};
use people::People;

/// How many of the sandbox's seconds pass in one of the wall's. Hundreds of enterprises are slower, and their maintenance windows
/// end by the sandbox's clock.
const SPEED: f64 = 1_200.0;
const SPEED_OF_MANY: f64 = 80.0;
/// Enterprises of the short form, beside the undisturbed one.
const ENTERPRISES: usize = 6;
/// Kills of the short form while all are onboarded, about: they come with the work's progress, so that a slow machine gets on
/// between two of them.
const KILLS: u64 = 8;
/// Between two kills of the long form.
const PAUSE: Duration = Duration::from_secs(3);
/// An enterprise that takes longer than this, with all others beside it, hangs.
const LIMIT_EACH: Duration = PATIENCE;

fn enterprises() -> usize {
    std::env::var("KEYFERRY_FIRE_ENTERPRISES").map_or(ENTERPRISES, |count| count.parse().expect("a number"))
}

/// Whether the long form was asked for.
fn is_long() -> bool {
    enterprises() > ENTERPRISES
}

/// Answers until all that were started have ended.
async fn until_ended(people: &mut People, fleet: Option<&Mutex<Fleet>>, limit: Duration) {
    let began = Instant::now();
    while !people.look().await {
        if let Some(fleet) = fleet {
            fleet.lock().await.supervise();
        }
        if began.elapsed() > limit {
            let left: Vec<_> =
                people.all.iter().filter(|one| one.run.is_some() && !one.ended).map(|one| &one.id).collect();
            let said = match fleet {
                Some(fleet) => fleet.lock().await.said(),
                None => String::new(),
            };
            panic!("after {limit:?} these have not ended: {left:?}; {}\n{said}", people.said());
        }
        people.rest().await;
    }
}

async fn ledger(file: &Path) -> Vec<LedgerEntry> {
    let options = Options {
        data: Some(file.to_owned()),
        speed: 1.0,
        wall: Arc::new(|| SystemClock.now()),
        default_account: "127450652264".to_owned(),
        quotas: 1,
    };
    Sandbox::open(options).await.unwrap().ledger()
}

/// What was done for one enterprise, under a name that is the same for all.
fn effects_of(ledger: &[LedgerEntry], id: &str) -> BTreeMap<String, usize> {
    let own = ledger.iter().filter(|entry| entry.resource.contains(id)).cloned().map(|mut entry| {
        // A canary's name has a mark of the key too, which is each enterprise's own.
        let is_key = |part: &&str| part.len() == 10 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let resource = entry.resource.replace(id, "TENANT");
        let parts = resource.split('-').map(|part| if is_key(&part) { "KEY" } else { part });
        entry.resource = parts.collect::<Vec<_>>().join("-");
        entry
    });
    counts(&own.collect::<Vec<_>>())
}

/// The first enterprise was undisturbed; for the others the same was done, as often.
async fn each_effect_once(file: &Path, people: &People) -> usize {
    let ledger = ledger(file).await;
    let wanted = effects_of(&ledger, &people.all[0].id);
    assert!(wanted.len() > 20, "an onboarding changes many things: {wanted:?}");
    for enterprise in people.all[1..].iter().filter(|enterprise| enterprise.run.is_some()) {
        let differing = differing(&effects_of(&ledger, &enterprise.id), &wanted);
        assert!(differing.is_empty(), "{}, other effects than undisturbed:\n{}", enterprise.id, differing.join("\n"));
    }
    ledger.len()
}

/// When the next worker is killed.
struct Pace {
    moved: Arc<AtomicU64>,
    /// After so many moves.
    moves: u64,
    /// And no sooner than this.
    pause: Duration,
}

impl Pace {
    async fn next(&self) {
        let before = self.moved.load(Ordering::SeqCst);
        SystemClock.sleep(self.pause).await;
        while self.moved.load(Ordering::SeqCst) < before + self.moves {
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Kills workers and, with each `every`th of them, the server, twice in all, until it is dropped.
async fn fire(fleet: &Mutex<Fleet>, server: &Postgres, restarts: &AtomicU32, every: u32, pace: &Pace) {
    for round in 1_u32.. {
        pace.next().await;
        fleet.lock().await.kill(usize::try_from(SystemClock.chance()).unwrap() % WORKERS);
        if round.is_multiple_of(every) && round / every <= 2 {
            tokio::task::block_in_place(|| server.restart());
            restarts.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_processes_are_killed_and_whose_server_restarts_finishes_and_does_everything_once() {
    let Some(server) = Postgres::start() else { return };
    let count = enterprises();
    let limit = LIMIT_EACH * u32::try_from(count).unwrap();
    let times = u16::try_from(count.div_ceil(ENTERPRISES)).unwrap();
    let usual = if is_long() { SPEED_OF_MANY } else { SPEED };
    let speed = std::env::var("KEYFERRY_FIRE_SPEED").map_or(usual, |speed| speed.parse().expect("a number"));
    let fleet = Mutex::new(Fleet::start(server.url_at(server.port), speed, times));
    let mut people = People::of(&*fleet.lock().await, speed);
    people.settle(1 + count).await;
    people.start(1).await;
    until_ended(&mut people, Some(&fleet), LIMIT_EACH * u32::from(times)).await;
    let (began, restarts) = (Instant::now(), AtomicU32::new(0));
    // The second restart comes before the short form's end.
    let every = if is_long() { 10 } else { 2 };
    let expected = people.moves() * u64::try_from(count).unwrap();
    let (moves, pause) = if is_long() { (1, PAUSE) } else { (expected / KILLS, Duration::ZERO) };
    let pace = Pace { moved: people.counter(), moves, pause };
    let work = async {
        people.start(1 + count).await;
        until_ended(&mut people, Some(&fleet), limit).await;
    };
    tokio::select! {
        () = work => {}
        () = fire(&fleet, &server, &restarts, every, &pace) => {}
    }
    let took = began.elapsed();
    let mut fleet = fleet.into_inner();
    let restarts = restarts.into_inner();
    assert!(fleet.kills >= 4 && restarts == 2, "{} kills, {restarts} restarts: not much of a fire", fleet.kills);
    let rows = people.verify().await;
    let file = fleet.end().await;
    let changes = each_effect_once(&file, &people).await;
    eprintln!(
        "{count} enterprises in {:.0} s: {} workers killed, {} found ended and started again, {restarts} restarts of the \
         server, {} requests refused; {rows} rows of history verified, {changes} changes in the ledger",
        took.as_secs_f64(),
        fleet.kills,
        fleet.gave_up,
        people.refused,
    );
}

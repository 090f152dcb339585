//! Workers whose machines' clocks are wrong, and are set while they work.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::support::required;

/// Workers, and by how many hours the clock of each is wrong at times.
const WRONG: [(usize, i64); 4] = [(0, 1), (1, -1), (2, 1), (2, -1)];
/// Enterprises that are onboarded at a time.
const ROUND: usize = 3;

/// Whether a worker's log has a line whose time is off by about that much from some time of the test.
fn shows(log: &str, began: DateTime<Utc>, off: TimeDelta) -> bool {
    let times = log.lines().filter_map(|line| line.split_whitespace().next()?.parse::<DateTime<Utc>>().ok());
    let (first, last) = (began + off - TimeDelta::minutes(5), SystemClock.now() + off + TimeDelta::minutes(5));
    let mut times = times;
    times.any(|time| first < time && time < last)
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_whose_clocks_are_an_hour_off_and_jump_share_the_work_by_the_databases_clock() {
    let Some(library) = required("KEYFERRY_TEST_FAKETIME", "libfaketime, which gives processes wrong clocks") else {
        return;
    };
    let Some(server) = Postgres::start() else { return };
    let began = SystemClock.now();
    let fleet = Mutex::new(Fleet::start_by(server.url_at(server.port), SPEED, 2, Some(PathBuf::from(library))));
    let mut people = People::of(&*fleet.lock().await, SPEED);
    people.settle(1).await;
    people.start(1).await;
    until_ended(&mut people, Some(&fleet), LIMIT_EACH).await;
    // One is started with a clock that is ahead, one with one that is behind, one has its clock set again and again.
    for (number, off) in [(0, "+3600"), (1, "-3600")] {
        let mut fleet = fleet.lock().await;
        fleet.worker(number).terminate().await;
        fleet.set_clock(number, off);
        fleet.replace(number);
    }
    // A worker that gets no work while its clock is wrong shows nothing: there is work until each has.
    let work = async {
        for round in 1.. {
            people.settle(ROUND).await;
            people.start(1 + ROUND * round).await;
            until_ended(&mut people, Some(&fleet), LIMIT_EACH * 3).await;
            let fleet = fleet.lock().await;
            let right =
                WRONG.iter().find(|(number, off)| !shows(&fleet.log_of(*number), began, TimeDelta::hours(*off)));
            let Some((number, off)) = right else { break };
            assert!(round < 6, "the clock of worker {number} was never {off} h off");
        }
    };
    let jumps = async {
        for off in ["+3600", "-3600", "+0"].into_iter().cycle() {
            SystemClock.sleep(Duration::from_millis(1_500)).await;
            fleet.lock().await.set_clock(2, off);
        }
    };
    tokio::select! {
        () = work => {}
        () = jumps => {}
    }
    let rows = people.verify().await;
    let mut fleet = fleet.into_inner();
    // What history says of time is the database's.
    let times = "SELECT extract(epoch FROM min(at))::float8, extract(epoch FROM max(at))::float8 \
                 FROM (SELECT (event::jsonb ->> 'at')::timestamptz AS at FROM history) AS all_of_it";
    let (first, last): (f64, f64) = sqlx::query_as(times).fetch_one(&mut server.connect().await).await.expect("asked");
    let at = |time: DateTime<Utc>| time.timestamp_millis() as f64 / 1e3;
    let (earliest, latest) = (at(began) - 2.0, at(SystemClock.now()) + 2.0);
    assert!(
        earliest < first && last < latest,
        "from {earliest} to {latest} it was, and history says from {first} to {last}"
    );
    // Nobody took what another held: each lease was held to its end.
    let stolen = (0..fleet::WORKERS).filter(|number| fleet.log_of(*number).contains("no longer this worker's")).count();
    assert_eq!(stolen, 0, "a lease was taken from a worker that held it");
    let file = fleet.end().await;
    let changes = each_effect_once(&file, &people).await;
    eprintln!("{rows} rows of history verified, {changes} changes in the ledger, no lease taken");
}

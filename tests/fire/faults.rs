//! Faults that heal: a worker that is stopped, connections that are cut or lead nowhere, a server that takes no writes, a
//! transaction that stays open, workers that are told to end, once or twice.

use std::time::{Duration, Instant};

use keyferry::worker::{Clock as _, SystemClock};
use reqwest::Method;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Mutex;

use super::{
    LIMIT_EACH, SPEED, each_effect_once,
    fleet::{Fleet, WORKERS},
    is_long,
    people::People,
    proxy::{Fault, Proxy},
    until_ended,
};
use crate::support::patience::PATIENCE;

use crate::support::postgres::Postgres;

struct Scene {
    server: Postgres,
    proxy: Proxy,
    fleet: Mutex<Fleet>,
    people: People,
}

impl Scene {
    /// People go on with what they do for a while, and until something has moved. Gives how many moves were made.
    async fn go_on_until_moved(&mut self, time: Duration) -> u64 {
        let began = Instant::now();
        let mut moves = self.go_on(time).await;
        while moves == 0 && began.elapsed() < PATIENCE {
            moves += self.go_on(Duration::from_secs(1)).await;
        }
        moves
    }

    /// The same, and no longer.
    async fn go_on(&mut self, time: Duration) -> u64 {
        let (began, before) = (Instant::now(), self.people.moves());
        while began.elapsed() < time {
            self.people.look().await;
            self.fleet.lock().await.supervise();
            self.people.rest().await;
        }
        self.people.moves() - before
    }

    /// One more enterprise is onboarded.
    async fn start_one(&mut self) {
        self.people.settle(1).await;
        self.people.start(self.people.all.len()).await;
    }

    /// There is work for the next fault.
    async fn one_more(&mut self) {
        self.start_one().await;
        self.moves_on("before the fault").await;
    }

    async fn moves_on(&mut self, when: &str) {
        // All that there was may have ended meanwhile, and then nothing would move.
        if self.people.look().await {
            self.start_one().await;
        }
        let (began, before) = (Instant::now(), self.people.moves());
        while self.people.moves() < before + 5 {
            let said = || self.people.said();
            assert!(
                began.elapsed() < PATIENCE,
                "{when}: nothing moves; {}\n{}",
                said(),
                self.fleet.lock().await.said()
            );
            self.fleet.lock().await.supervise();
            if self.people.look().await {
                self.start_one().await;
            }
            self.people.rest().await;
        }
    }

    /// A fault on the way to the server. Gives how often it was reached.
    async fn disturb(&mut self, fault: Fault, time: Duration) -> u64 {
        self.one_more().await;
        self.proxy.set(fault);
        let moves = self.go_on(time).await;
        let reached = self.proxy.set(Fault::Nothing);
        let healed = Instant::now();
        self.moves_on(&format!("after {fault:?}")).await;
        let after = healed.elapsed().as_secs_f64();
        eprintln!("{fault:?}: reached {reached} times, {moves} moves meanwhile, others {after:.1} s after the healing");
        reached
    }

    async fn stop_one(&mut self) {
        self.one_more().await;
        self.one_more().await;
        self.fleet.lock().await.worker(0).signal("-STOP");
        let began = Instant::now();
        while !self.fleet.lock().await.worker(0).is_stopped() {
            assert!(began.elapsed() < PATIENCE, "it does not stop");
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        // Longer than a lease: what it held goes to others, and it comes back late.
        let moves = self.go_on_until_moved(Duration::from_secs(12)).await;
        assert!(moves > 0, "the others did nothing; {}", self.people.said());
        assert!(self.fleet.lock().await.worker(0).is_stopped());
        self.fleet.lock().await.worker(0).signal("-CONT");
        eprintln!("stopped for 12 s: {moves} moves by the others");
    }

    /// A server that neither answers nor refuses: people are told at once, and nothing has to be started again when it answers.
    async fn black_hole(&mut self) -> u64 {
        self.one_more().await;
        let time = Duration::from_secs(if is_long() { 60 } else { 15 });
        let gave_up = self.fleet.lock().await.gave_up;
        self.proxy.set(Fault::BlackHole);
        // What was on its way may still arrive.
        SystemClock.sleep(Duration::from_millis(500)).await;
        let (began, mut slowest, mut told) = (Instant::now(), Duration::ZERO, 0);
        while began.elapsed() < time {
            for (method, path) in
                [(Method::GET, "/readyz"), (Method::GET, "/api/v1/runs?limit=1"), (Method::POST, "/api/v1/enterprises")]
            {
                let asked = Instant::now();
                let status = self.people.knock(method, path).await;
                assert_eq!(status, Some(503), "{path}, {:.1} s into the hole", began.elapsed().as_secs_f64());
                slowest = slowest.max(asked.elapsed());
                told += 1;
            }
            self.fleet.lock().await.supervise();
            self.people.rest().await;
        }
        let reached = self.proxy.set(Fault::Nothing);
        let healed = Instant::now();
        self.moves_on("after the black hole").await;
        let after = healed.elapsed().as_secs_f64();
        assert_eq!(self.people.ready().await, Some(200));
        assert_eq!(self.fleet.lock().await.gave_up, gave_up, "a process had to be started again");
        let slowest = slowest.as_secs_f64();
        eprintln!(
            "black hole of {} s: {reached} packets held, {told} times told 503, in {slowest:.1} s at most; moves again {after:.1} s \
             after the healing, nothing started again",
            time.as_secs()
        );
        reached
    }

    /// Whether somebody comes to have a step in hand.
    async fn is_at_work(&self) -> bool {
        let mut beside: PgConnection = self.server.connect().await;
        let held = "SELECT count(*) FROM work WHERE owner IS NOT NULL AND lease_until > 0";
        let began = Instant::now();
        while sqlx::query_scalar::<_, i64>(held).fetch_one(&mut beside).await.unwrap() == 0 {
            if began.elapsed() > Duration::from_secs(3) {
                return false;
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Told twice to end, workers end at once, in the middle of what they do. Gives how many did.
    async fn insist(&mut self) -> u32 {
        self.moves_on("before the signals").await;
        // Steps wait for a cloud that does not answer.
        self.fleet.lock().await.sandbox().signal("-STOP");
        if !self.is_at_work().await {
            self.fleet.lock().await.sandbox().signal("-CONT");
            return 0;
        }
        let mut cut_off = 0;
        let mut fleet = self.fleet.lock().await;
        for number in 0..WORKERS {
            let worker = fleet.worker(number);
            worker.until_it_catches_sigterm().await;
            worker.signal("-TERM");
            SystemClock.sleep(Duration::from_secs(2)).await;
            if !worker.has_ended() {
                worker.signal("-TERM");
                assert_eq!(worker.ends(PATIENCE).await, Some(130), "it does not end at once");
                cut_off += 1;
            }
            fleet.replace(number);
        }
        fleet.sandbox().signal("-CONT");
        drop(fleet);
        self.moves_on("after workers have ended at once").await;
        cut_off
    }

    /// A transaction that sees the past for as long as it is open, as a backup's does.
    async fn read_for_long(&mut self) {
        self.one_more().await;
        let mut reader: PgConnection = self.server.connect().await;
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ").execute(&mut reader).await.unwrap();
        let count = "SELECT count(*) FROM history";
        let before: i64 = sqlx::query_scalar(count).fetch_one(&mut reader).await.unwrap();
        let moves = self.go_on_until_moved(Duration::from_secs(8)).await;
        let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut reader).await.unwrap();
        assert!(moves > 0 && seen == before, "{moves} moves beside a reader that saw {before}, then {seen} rows");
        reader.close().await.unwrap();
        eprintln!("a reader of 8 s: {moves} moves beside it");
    }

    /// The server refuses to write, as a replica does.
    async fn write_nothing(&mut self) {
        self.one_more().await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND \
                   backend_type = 'client backend'";
        self.server.run("ALTER DATABASE postgres SET default_transaction_read_only = on").await;
        self.server.run(end).await;
        self.go_on(Duration::from_secs(2)).await;
        let began = Instant::now();
        while self.people.ready().await != Some(503) {
            assert!(began.elapsed() < PATIENCE, "a server that cannot write does not say so");
            self.go_on(Duration::from_secs(1)).await;
        }
        let moves = self.go_on(Duration::from_secs(3)).await;
        assert_eq!(moves, 0, "nothing can have been written");
        self.server.run("ALTER DATABASE postgres RESET default_transaction_read_only").await;
        self.server.run(end).await;
        self.moves_on("after the server took writes again").await;
        assert_eq!(self.people.ready().await, Some(200));
        eprintln!("read-only for 5 s: not ready meanwhile, ready afterwards");
    }

    /// Workers are told to end in the middle of their work, one after the other; others take their places.
    async fn relieve(&mut self) {
        self.one_more().await;
        for number in 0..WORKERS {
            let mut fleet = self.fleet.lock().await;
            let began = Instant::now();
            fleet.worker(number).terminate().await;
            eprintln!("a worker under load ended in order {:.1} s after SIGTERM", began.elapsed().as_secs_f64());
            fleet.replace(number);
            drop(fleet);
            self.moves_on("after a worker has ended").await;
        }
    }
}

/// Everything runs, and the first enterprise has been onboarded in peace.
async fn set() -> Option<Scene> {
    let server = Postgres::start()?;
    let proxy = Proxy::start(server.port).await;
    let fleet = Fleet::start(server.url_at(proxy.port), SPEED, 2);
    let mut people = People::of(&fleet, SPEED);
    people.settle(1).await;
    people.start(1).await;
    let mut scene = Scene { server, proxy, fleet: Mutex::new(fleet), people };
    until_ended(&mut scene.people, Some(&scene.fleet), LIMIT_EACH).await;
    Some(scene)
}

/// All comes to its end, as it does in peace. Says what it saw.
async fn end(mut scene: Scene) {
    until_ended(&mut scene.people, Some(&scene.fleet), LIMIT_EACH * 3).await;
    let rows = scene.people.verify().await;
    let mut fleet = scene.fleet.into_inner();
    let file = fleet.end().await;
    let changes = each_effect_once(&file, &scene.people).await;
    let gave_up = fleet.gave_up;
    eprintln!("{gave_up} workers gave up; {rows} rows of history verified, {changes} changes in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_survives_each_fault_and_works_on_when_it_has_healed() {
    let Some(mut scene) = set().await else { return };
    scene.stop_one().await;
    let cut = scene.disturb(Fault::Cut, Duration::from_secs(8)).await;
    let lost = scene.disturb(Fault::LoseAnswers, Duration::from_secs(8)).await;
    scene.relieve().await;
    let swallowed = scene.black_hole().await;
    scene.read_for_long().await;
    scene.write_nothing().await;
    assert!(cut >= 10 && lost >= 5 && swallowed >= 5, "{cut} cut, {lost} answers lost, {swallowed} swallowed");
    end(scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_told_twice_to_end_do_so_at_once_and_nothing_is_lost() {
    let Some(mut scene) = set().await else { return };
    scene.one_more().await;
    let mut cut_off = 0;
    // What is due may be taken by the server all alone, or wait for people; then there is another time.
    for _ in 0..10 {
        if cut_off < 2 {
            cut_off += scene.insist().await;
        }
    }
    assert!(cut_off >= 2, "{cut_off} workers had anything in hand");
    eprintln!("{cut_off} workers that waited for the cloud ended at once at the second SIGTERM");
    end(scene).await;
}

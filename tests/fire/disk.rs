//! PostgreSQL's disk is full, and has room again.

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::support::patience::PATIENCE;
use crate::support::postgres::is_root;

/// Room for an empty server and some onboardings, in megabytes.
const SIZE: u32 = 160;
/// The server keeps little room that it has had before.
const SETTINGS: &str = "min_wal_size = 2MB\nmax_wal_size = 4MB\n";

/// A disk of its own, in memory.
struct Disk(TempDir);

impl Disk {
    /// `None`, said loudly, where nothing can be mounted; in CI that is a failure.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={SIZE}m,mode=0755");
        let mount = || Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if is_root() && mount().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        assert!(std::env::var_os("CI").is_none(), "no disk can be mounted: run the tests as root, who may mount");
        eprintln!("SKIPPED: no disk can be mounted that is full: it takes root, who may mount");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Takes what room there is, to the last byte. Gives how much that was.
    fn fill(&self) -> u64 {
        let mut file = File::options().create(true).append(true).open(self.filler()).expect("a file");
        let before = file.metadata().expect("a file").len();
        for block in [65_536, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        file.metadata().expect("a file").len() - before
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Something of a server that has crashed may still have a file open.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_server_is_told_and_when_it_has_room_all_goes_on_and_everything_is_done_once() {
    // Unmounted last.
    let Some(disk) = Disk::mount() else { return };
    let Some(server) = Postgres::make(TempDir::new_in(disk.0.path()).expect("a folder"), SETTINGS) else { return };
    assert!(server.tries("start"), "{}", server.log());
    let fleet = Mutex::new(Fleet::start(server.url_at(server.port), SPEED, 2));
    let mut people = People::of(&*fleet.lock().await, SPEED);
    people.settle(4).await;
    people.start(1).await;
    until_ended(&mut people, Some(&fleet), LIMIT_EACH).await;
    people.start(4).await;
    let before = people.moves();
    let began = Instant::now();
    while people.moves() < before + 10 {
        assert!(began.elapsed() < LIMIT_EACH, "nothing moves: {}", people.said());
        people.look().await;
        people.rest().await;
    }
    let taken = disk.fill();
    let (began, mut unready, mut acknowledged, mut refused) = (Instant::now(), None, Vec::new(), 0);
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(15)
        || ((unready.is_none() || refused < 3) && began.elapsed() < PATIENCE)
    {
        // What the server lets go of is taken too.
        disk.fill();
        if people.ready().await == Some(503) {
            unready.get_or_insert(began.elapsed());
        }
        number += 1;
        let id = format!("full{number}");
        let new = json!({ "id": id, "name": "x".repeat(200), "customer_email": null });
        match people.ask(Method::POST, "/api/v1/enterprises", Some(new), "").await {
            Some(_) => acknowledged.push(id),
            None => refused += 1,
        }
        people.look().await;
        fleet.lock().await.supervise();
        people.rest().await;
    }
    let unready = unready.unwrap_or_else(|| panic!("the full disk was not told\n{}", server.log()));
    assert!(refused >= 3, "{refused} refused and {} taken on a full disk", acknowledged.len());
    assert!(server.log().contains("No space left on device"), "the disk was never full:\n{}", server.log());
    disk.free();
    // It may have given up: then it is started again, as whatever supervises it does.
    let died = !server.tries("status");
    if died {
        assert!(server.tries("start"), "{}", server.log());
    }
    let healed = Instant::now();
    while people.ready().await != Some(200) {
        assert!(healed.elapsed() < PATIENCE, "it is not ready again\n{}", server.log());
        people.rest().await;
    }
    let ready = healed.elapsed();
    until_ended(&mut people, Some(&fleet), LIMIT_EACH * 3).await;
    for id in &acknowledged {
        let found = people.ask(Method::GET, &format!("/api/v1/enterprises/{id}"), None, "").await;
        assert!(found.is_some(), "{id} was acknowledged and is lost: {}", people.said());
    }
    let rows = people.verify().await;
    let mut fleet = fleet.into_inner();
    let file = fleet.end().await;
    let changes = each_effect_once(&file, &people).await;
    eprintln!(
        "a disk filled by {:.0} MB: not ready after {:.1} s, {refused} requests refused and {} acknowledged (all there), the \
         server {}, ready {:.1} s after there was room; {} workers gave up; {rows} rows of history verified, {changes} changes in \
         the ledger",
        taken as f64 / 1e6,
        unready.as_secs_f64(),
        acknowledged.len(),
        if died { "had given up and was started again" } else { "went on by itself" },
        ready.as_secs_f64(),
        fleet.gave_up,
    );
}

//! What is left of the files when the power goes: images of them at any moment, and a log whose last part is missing or wrong.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::*;
use crate::patience::PATIENCE;
use crate::store::{HistoryPage, chain};

const FOLDER: &str = "KEYFERRY_TEST_POWER";

/// Copies of both files, in a folder of their own. What SQLite has in shared memory does not outlive a power cut.
fn image(of: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyferry.db");
    for ending in ["", "-wal"] {
        let beside = |path: &Path| PathBuf::from(format!("{}{ending}", path.display()));
        fs::copy(beside(of), beside(&path)).unwrap();
    }
    (folder, path)
}

fn wal(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

/// Whether a run is there; then with all of its history, chained.
async fn holds(store: &SqliteStore, run: &str) -> bool {
    let Ok(loaded) = store.load(run).await else { return false };
    let rows = store.history(HistoryPage { run: run.to_owned(), after: 0, limit: 100 }).await.unwrap();
    let mut last = Vec::new();
    for row in &rows {
        last = chain(&last, &row.event_text, &row.entered_text);
        assert_eq!(row.hash, last, "{run}");
    }
    assert_eq!(u64::try_from(rows.len()).unwrap(), loaded.snapshot.header.revision, "{run}");
    true
}

async fn is_sound(path: &Path) {
    let mut raw = SqliteConnection::connect(&path.to_string_lossy()).await.unwrap();
    let found: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap();
    assert_eq!(found, "ok");
    raw.close().await.unwrap();
}

#[tokio::test]
async fn of_a_log_that_ends_anywhere_all_is_there_that_was_acknowledged_by_then_and_nothing_by_half() {
    let (_folder, store) = fresh().await;
    sqlx::query("PRAGMA wal_autocheckpoint = 0").execute(&store.inner.writer.pool).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&store.inner.writer.pool).await.unwrap();
    // The log's length when each run was acknowledged.
    let mut marks = Vec::new();
    for number in 0..24 {
        assert_eq!(store.commit([conformance::start(&format!("r{number}"))].into()).await, Ok(vec![Ok(())]));
        marks.push(fs::metadata(wal(store.path())).unwrap().len());
    }
    let whole = *marks.last().unwrap();
    let mut cuts: Vec<u64> = (0..40).map(|number| whole * number / 40).collect();
    cuts.extend(marks.iter().flat_map(|mark| [mark - 1, *mark]));
    let mut lost = 0;
    for (number, cut) in cuts.into_iter().enumerate() {
        let (_folder, path) = image(store.path());
        let mut bytes = fs::read(wal(&path)).unwrap();
        // A part that never came, or one that came as something else.
        bytes.truncate(usize::try_from(cut).unwrap());
        bytes.resize(bytes.len() + 5_000 * (number % 2), 0xA5);
        fs::write(wal(&path), bytes).unwrap();
        let left = SqliteStore::open(&path).await.unwrap();
        for (run, mark) in marks.iter().enumerate() {
            let is_there = holds(&left, &format!("r{run}")).await;
            assert_eq!(is_there, *mark <= cut, "r{run}, acknowledged at {mark} bytes, of a log of {cut}");
            lost += u32::from(!is_there);
        }
        // It goes on from there.
        assert_eq!(left.commit([conformance::start("next")].into()).await, Ok(vec![Ok(())]));
        left.close().await;
        is_sound(&path).await;
    }
    assert!(lost > 100, "the cuts took nothing away");
}

/// The process that is stopped: it writes, and one byte more into a file for each write that was acknowledged.
#[tokio::test]
#[ignore = "it is the process that the test here starts"]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let store = SqliteStore::open(&folder.join("keyferry.db")).await.unwrap();
    conformance::prepare(&store).await;
    let mut acknowledged = fs::File::options().create(true).append(true).open(folder.join("acknowledged")).unwrap();
    for number in 0.. {
        store.commit([conformance::start(&format!("r{number}"))].into()).await.unwrap().remove(0).unwrap();
        grow(&store, number).await;
        acknowledged.write_all(b".").unwrap();
    }
}

struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have died, as it should not.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Writer {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }
}

#[expect(clippy::disallowed_methods, reason = "another process writes in real time; what is waited for is asserted")]
async fn a_moment(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test]
async fn an_image_of_the_files_at_any_moment_opens_and_has_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyferry.db");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::sqlite::tests::power::writer", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let writer = Writer(command.spawn().unwrap());
    let count = || fs::metadata(folder.path().join("acknowledged")).map_or(0, |found| found.len());
    let began = Instant::now();
    let (mut seen, mut grown, mut last, mut moment) = (0, 0, 0, 0_u64);
    // At least so many, and until the log has been moved into the file some times.
    while moment < 14 || grown < 3 {
        moment += 1;
        assert!(began.elapsed() < PATIENCE, "{moment} images, and the log was moved {grown} times");
        // Odd times, so that it is stopped within a write as well as between two.
        a_moment(Duration::from_micros(20_000 + moment * 17_389 % 90_000)).await;
        while count() < seen + 10 {
            assert!(began.elapsed() < PATIENCE, "it writes nothing");
            a_moment(Duration::from_millis(1)).await;
        }
        writer.signal("-STOP");
        while !writer.is_stopped() {
            std::thread::yield_now();
        }
        seen = count();
        let (_folder, copy) = image(&path);
        writer.signal("-CONT");
        let length = fs::metadata(&copy).unwrap().len();
        grown += u32::from(length > last);
        last = length;
        if moment % 2 == 1 {
            let mut log = fs::File::options().append(true).open(wal(&copy)).unwrap();
            log.write_all(&[0xA5; 5_000]).unwrap();
        }
        let left = SqliteStore::open(&copy).await.unwrap();
        for number in seen.saturating_sub(40)..seen {
            assert!(holds(&left, &format!("r{number}")).await, "r{number} of {seen} acknowledged ones is lost");
            let record = left.record("dave", "c", &number.to_string()).await.unwrap();
            assert!(record.is_some(), "the record {number} of {seen} acknowledged ones is lost");
        }
        for table in ["SELECT count(*) FROM runs", "SELECT count(*) FROM records"] {
            let there: i64 = sqlx::query_scalar(table).fetch_one(&left.inner.readers.pool).await.unwrap();
            assert!(u64::try_from(there).unwrap() >= seen, "{table}: {there} of {seen} acknowledged");
        }
        left.close().await;
        is_sound(&copy).await;
    }
    eprintln!("{moment} images while {seen} writes were acknowledged; the file had grown in {grown} of them");
}

//! The ground moves under an open store: nothing is acknowledged into files that no path leads to.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    patience::PATIENCE,
    store::{RunsPage, Write},
};

fn all() -> RunsPage {
    RunsPage { limit: 10, ..RunsPage::default() }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

async fn refuses(store: &SqliteStore, what: &str, says: &str) {
    let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let claim = Claim { owner: "one".to_owned(), now, lease_until: now, limit: 1 };
    let start = || -> Arc<[Write]> { [conformance::start("late")].into() };
    let (committed, claimed) = store.commit_and_claim(start(), claim.clone()).await;
    for refused in [
        store.commit(start()).await.map(|_| ()),
        committed.map(|_| ()),
        claimed.map(|_| ()),
        store.claim(claim).await.map(|_| ()),
        store.put_records(Vec::new()).await,
        store.probe().await,
        store.load("r1").await.map(|_| ()),
    ] {
        let refused = refused.expect_err(what);
        assert!(matches!(&refused, StoreError::Unavailable { .. }), "{what}: {refused:?}");
        assert!(refused.to_string().contains(says), "{what}: {refused}");
    }
}

#[expect(clippy::disallowed_methods, reason = "what is waited for is asserted")]
async fn saved(folder: &Path) -> PathBuf {
    let begun = Instant::now();
    loop {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let found: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().contains(".saved-")).collect();
        // It has its size when its journal is gone.
        if let [whole] = &found[..]
            && fs::metadata(whole).unwrap().len() > 0
        {
            return whole.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "nothing was saved");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_file_is_gone_or_another_and_what_was_is_saved() {
    type Change = fn(&Path);
    let changes: [(&str, &str, Change); 5] = [
        ("deleted", "keyferry.db is gone", |path| fs::remove_file(path).unwrap()),
        ("replaced", "keyferry.db was replaced", |path| {
            fs::rename(path, beside(path, ".away")).unwrap();
            fs::copy(beside(path, ".away"), path).unwrap();
        }),
        ("log removed", "keyferry.db-wal is gone", |path| fs::remove_file(beside(path, "-wal")).unwrap()),
        ("index removed", "keyferry.db-shm is gone", |path| fs::remove_file(beside(path, "-shm")).unwrap()),
        ("folder moved", "keyferry.db is gone", |path| {
            let folder = path.parent().unwrap();
            fs::rename(folder, folder.with_extension("away")).unwrap();
            fs::create_dir(folder).unwrap();
        }),
    ];
    for (what, says, change) in changes {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data/keyferry.db");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        conformance::prepare(&store).await;
        conformance::a_turn_is_read_back_whole(&store).await;
        let runs = store.runs(all()).await.unwrap().items;
        change(&path);
        refuses(&store, what, says).await;
        let files: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|file| file.unwrap().file_name()).collect();
        let made = |name: &str| files.iter().any(|file| *file == *name);
        assert!(made("keyferry.db") != ["deleted", "folder moved"].contains(&what), "readers make nothing: {files:?}");
        let saved = saved(path.parent().unwrap()).await;
        store.close().await;
        fs::rename(saved, root.path().join("saved.db")).unwrap();
        let again = SqliteStore::open(&root.path().join("saved.db")).await.unwrap();
        assert_eq!(again.runs(all()).await.unwrap().items, runs, "{what}");
    }
}

#[tokio::test]
async fn a_file_that_comes_back_is_worked_on_again() {
    let (_folder, store) = fresh().await;
    let away = beside(store.path(), ".away");
    fs::rename(store.path(), &away).unwrap();
    refuses(&store, "moved away", "keyferry.db is gone").await;
    fs::rename(&away, store.path()).unwrap();
    conformance::a_turn_is_read_back_whole(&store).await;
}

#[tokio::test]
async fn one_file_is_opened_once_by_whichever_name() {
    let root = tempfile::tempdir().unwrap();
    let (path, other) = (root.path().join("keyferry.db"), root.path().join("other"));
    fs::create_dir(&other).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let link = other.join("keyferry.db");
    symlink(&path, &link).unwrap();
    assert!(matches!(SqliteStore::open(&link).await.unwrap_err(), StoreError::Locked { .. }));
    fs::hard_link(&path, other.join("hard.db")).unwrap();
    assert!(matches!(SqliteStore::open(&other.join("hard.db")).await.unwrap_err(), StoreError::Locked { .. }));
    conformance::prepare(&store).await;
    store.close().await;
    let refused = SqliteStore::open(&path).await.unwrap_err();
    assert!(refused.to_string().contains("2 names (hard links)"), "{refused}");
    fs::remove_file(other.join("hard.db")).unwrap();
    let through = SqliteStore::open(&link).await.unwrap();
    assert!(beside(&path, "-wal").exists() && !beside(&link, "-wal").exists(), "the log is beside the file itself");
    // A link that leads elsewhere by now.
    fs::remove_file(&link).unwrap();
    assert!(through.probe().await.unwrap_err().to_string().contains("is gone"));
    through.close().await;
    symlink(root.path().join("nothing"), &link).unwrap();
    let refused = SqliteStore::open(&link).await.unwrap_err();
    assert!(refused.to_string().contains("a link to a file that is not there"), "{refused}");
    assert!(!root.path().join("nothing").exists());
}

#[tokio::test]
async fn an_orderly_end_saves_what_a_removed_log_holds() {
    let (_folder, store) = fresh().await;
    conformance::a_turn_is_read_back_whole(&store).await;
    let runs = store.runs(all()).await.unwrap().items;
    fs::remove_file(beside(store.path(), "-wal")).unwrap();
    store.close().await;
    let again = SqliteStore::open(store.path()).await.unwrap();
    assert_eq!(again.runs(all()).await.unwrap().items, runs);
}

#[tokio::test]
async fn a_backup_has_its_name_when_it_is_whole_and_replaces_nothing() {
    let (folder, store) = fresh().await;
    conformance::a_turn_is_read_back_whole(&store).await;
    let runs = store.runs(all()).await.unwrap().items;
    let to = folder.path().join("backup.db");
    let size = SqliteStore::backup(store.path(), &to).await.unwrap();
    assert_eq!(fs::metadata(&to).unwrap().len(), size);
    store.probe().await.unwrap();
    let refused = SqliteStore::backup(store.path(), &to).await.unwrap_err();
    assert!(refused.to_string().contains("it is there already"), "{refused}");
    let copy = SqliteStore::open(&to).await.unwrap();
    assert_eq!(copy.runs(all()).await.unwrap().items, runs);
    for (from, says) in [("no.db", "no.db"), ("text.db", "not a database")] {
        fs::write(folder.path().join("text.db"), "x".repeat(5_000)).unwrap();
        let (from, to) = (folder.path().join(from), folder.path().join("never.db"));
        let refused = SqliteStore::backup(&from, &to).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
        assert!(!to.exists() && !beside(&to, ".part").exists());
    }
}

#[tokio::test]
async fn a_log_of_another_file_and_tables_of_a_newer_program_are_said_with_what_to_do() {
    let (folder, store) = fresh().await;
    let backup = folder.path().join("backup.db");
    SqliteStore::backup(store.path(), &backup).await.unwrap();
    store.close().await;
    let mut raw = SqliteConnection::connect(&backup.to_string_lossy()).await.unwrap();
    sqlx::query(
        "UPDATE _sqlx_migrations SET version = 9999 WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw.close().await.unwrap();
    let refused = SqliteStore::open(&backup).await.unwrap_err();
    assert!(refused.to_string().contains("a newer keyferry (migration 9999)"), "{refused}");
    let text = folder.path().join("text.db");
    fs::write(&text, "no database at all ".repeat(500)).unwrap();
    let refused = SqliteStore::open(&text).await.unwrap_err();
    assert!(refused.to_string().contains("delete these two, put the backup in its place"), "{refused}");
}

//! A copy of a database that another process may be working on.

use std::{fs::File, path::Path, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    SqliteStore,
    files::{beside, unavailable},
};
use crate::store::StoreError;

impl SqliteStore {
    /// Copies the database at `from`, as it is at one moment, into the new file `to`. The copy is read through and on the disk
    /// before it gets that name, so that a file of that name is a whole one. Gives its size in bytes.
    ///
    /// # Errors
    /// [`StoreError::Unfit`]: `to` is there already, or the copy is damaged, as its source may be. [`StoreError::Unavailable`]:
    /// no such database, a full disk, and everything else of the system. Nothing is left then.
    pub async fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
        let part = beside(to, ".part");
        for taken in [to, &part] {
            if taken.symlink_metadata().is_ok() {
                let reason = "it is there already: name a file that is not, or move it away".to_owned();
                return Err(StoreError::Unfit { path: taken.to_owned(), reason });
            }
        }
        let copied = copy(from, &part).await;
        let finished = copied.and_then(|()| finish(&part, to));
        if finished.is_err() {
            // It may not have come to be.
            let _: std::io::Result<()> = std::fs::remove_file(&part);
        }
        finished
    }
}

async fn open(path: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
    let opened = options.busy_timeout(Duration::from_secs(30)).connect().await;
    opened.map_err(|error| unavailable(path, &error))
}

async fn copy(from: &Path, part: &Path) -> Result<(), StoreError> {
    let mut source = open(from).await?;
    let into = sqlx::query("VACUUM INTO ?").bind(part.to_string_lossy().into_owned());
    into.execute(&mut source).await.map_err(|error| unavailable(part, &error))?;
    source.close().await?;
    let mut copy = open(part).await?;
    let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut copy).await?;
    let runs: Result<i64, sqlx::Error> = sqlx::query_scalar("SELECT count(*) FROM runs").fetch_one(&mut copy).await;
    copy.close().await?;
    let unfit = |reason: String| StoreError::Unfit { path: from.to_owned(), reason };
    if found != "ok" {
        return Err(unfit(format!("its copy is damaged: {found}")));
    }
    runs.map(|_| ()).map_err(|error| unfit(format!("it is not a database of keyferry: {error}")))
}

/// Brings the copy to the disk and gives it its name.
fn finish(part: &Path, to: &Path) -> Result<u64, StoreError> {
    let failed = |error: std::io::Error| unavailable(to, &error);
    let file = File::open(part).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    // A link, and not a rename: it replaces nothing.
    std::fs::hard_link(part, to).map_err(failed)?;
    std::fs::remove_file(part).map_err(failed)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(size)
}

//! A play that goes on from where another one stands, as often as a test wants: what led there is played once.

use std::{fs, path::Path};

use chrono::{DateTime, Utc};
use keyferry::{
    store::{SqliteStore, StoreError},
    worker::{Clock as _, SystemClock},
};

use super::{build::Estate, play::Play, wire::Wire};

/// The sandbox's file, beside the store's.
const CLOUD: &str = "cloud.db";

/// An empty estate that is kept in a folder, so that a play in it can be forked.
pub async fn kept(folder: &Path, now: DateTime<Utc>) -> Estate {
    Estate::open(1, Some(folder.join(CLOUD)), now).await
}

impl Play {
    /// The same play in another folder. Its process is dead, and what either does from now on the other does not see.
    pub async fn fork(&self, folder: &Path) -> Self {
        self.closed().await;
        let from = self.store.parent().unwrap();
        for file in fs::read_dir(from).unwrap() {
            let (path, name) = file.map(|file| (file.path(), file.file_name())).unwrap();
            if path.is_file() && !name.to_string_lossy().ends_with("lock") {
                fs::copy(&path, folder.join(name)).unwrap();
            }
        }
        let estate = kept(folder, self.estate.clock.now()).await;
        estate.sandbox.watch_deletions();
        Self {
            estate,
            store: folder.join(self.store.file_name().unwrap()),
            wire: Wire::default(),
            judge: self.judge.clone(),
            counts: self.counts.clone(),
            lines: self.lines.clone(),
            dice: self.dice.clone(),
            keys: self.keys.clone(),
            closing: self.closing.clone(),
            originals: self.originals.clone(),
            acts: self.acts.clone(),
            rogues: self.rogues.clone(),
            at_approval: self.at_approval.clone(),
            run: self.run.clone(),
            halted: self.halted.clone(),
            conclusion: self.conclusion.clone(),
            noted: self.noted.clone(),
            cut: None,
            ..*self
        }
    }

    /// Waits until the system has seen that the process is dead, and has the files to themselves.
    async fn closed(&self) {
        loop {
            match SqliteStore::open(&self.store).await {
                Ok(store) => return store.close().await,
                Err(StoreError::Locked { .. }) => SystemClock.sleep(std::time::Duration::from_millis(1)).await,
                Err(error) => panic!("the store does not open: {error}"),
            }
        }
    }
}

//! What a judge sees from outside: which data is where, what was deleted beside what else there was, and clients' writes.
//!
//! None of it can be reached over AWS's API. It needs no tag, name or record of whoever is judged.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::{
    Call, Holding, LedgerEntry, NotWritten, Sandbox, SandboxError, World, Writer,
    rds::{self, State},
};

/// A deletion that took effect, and everything that held data just before and just after.
#[derive(Debug, Clone)]
pub struct Deletion {
    pub entry: LedgerEntry,
    pub before: Vec<Holding>,
    pub after: Vec<Holding>,
}

/// Why a client's write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("not written: {0}")]
    Refused(NotWritten),
    #[error("the sandbox could not keep the write")]
    Unkept(#[source] SandboxError),
}

/// Notes deletions once it is asked to: the whole stock at each is too much to keep for nothing.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Option<Vec<Deletion>>>);

impl Watch {
    fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    fn take(&self) -> Vec<Deletion> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The stock before a call that deletes something; nothing for any other call.
    pub(super) fn before(&self, world: &mut World, service: &str, call: &Call) -> Option<Vec<Holding>> {
        let watching = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let deletes = service == "rds" && call.action.starts_with("Delete");
        (watching && deletes).then(|| stock(world, call.now))
    }

    pub(super) fn after(&self, world: &World, before: Option<Vec<Holding>>, entry: &LedgerEntry) {
        let Some(before) = before else { return };
        let after = world.rds.stock(&world.kms, entry.at);
        if let Some(noted) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            noted.push(Deletion { entry: entry.clone(), before, after });
        }
    }
}

fn stock(world: &mut World, now: DateTime<Utc>) -> Vec<Holding> {
    rds::bring_to(&mut world.rds, &mut world.kms, now);
    world.rds.stock(&world.kms, now)
}

impl Sandbox {
    /// Everything that holds data now.
    ///
    /// # Errors
    /// The data file failed before and cannot be read again.
    pub async fn stock(&self) -> Result<Vec<Holding>, SandboxError> {
        let mut live = self.0.live.lock().await;
        let now = self.0.clock.now();
        Ok(stock(live.current().await?, now))
    }

    /// Writes once, as an application that uses a system would, and answers the write's number, which no other write has.
    ///
    /// # Errors
    /// The system cannot be reached or does not take the write, or the write cannot be made durable.
    pub async fn write(&self, writer: &Writer) -> Result<u64, WriteError> {
        let mut live = self.0.live.lock().await;
        let now = self.0.clock.now();
        let world = live.current().await.map_err(WriteError::Unkept)?;
        rds::bring_to(&mut world.rds, &mut world.kms, now);
        let written = world.rds.write_through(writer, now).map_err(WriteError::Refused)?;
        live.keep_all().await.map_err(WriteError::Unkept)?;
        Ok(written)
    }

    /// Changes what no call of AWS's API changes: closes a security group, fills a disk, makes a snapshot as AWS Backup does.
    ///
    /// # Errors
    /// What was changed cannot be made durable.
    pub async fn arrange<T>(&self, change: impl FnOnce(&mut State, DateTime<Utc>) -> T) -> Result<T, SandboxError> {
        let mut live = self.0.live.lock().await;
        let now = self.0.clock.now();
        let world = live.current().await?;
        rds::bring_to(&mut world.rds, &mut world.kms, now);
        let changed = change(&mut world.rds, now);
        live.keep_all().await?;
        Ok(changed)
    }

    /// From now on notes each deletion together with what there was. [`Sandbox::deletions`] answers them.
    pub fn watch_deletions(&self) {
        self.0.watch.begin();
    }

    /// The deletions since the last asking, oldest first.
    pub fn deletions(&self) -> Vec<Deletion> {
        self.0.watch.take()
    }
}

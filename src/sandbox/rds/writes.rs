//! Clients' writes. No operation of RDS makes one: they come from tests, in the place of the applications that use a system.

use chrono::{DateTime, Utc};

use super::State;
use super::rows::Instance;

/// The way on which a write reaches an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// A client that resolves the endpoint's name anew: the instance has to bear that name now.
    Endpoint(String),
    /// A client that keeps the address to which the name once led, by the instance's resource id. A rename closes its
    /// connection, and it connects again.
    Address(String),
    /// A job inside the engine (`pg_cron`, an event of MySQL), by the instance's resource id. No security group holds it up.
    Inside(String),
}

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    #[error("there is no such name or instance")]
    Unreachable,
    #[error("the instance does not take connections in its state")]
    NotServing,
    #[error("its security groups let nobody in")]
    Closed,
    #[error("it is a read replica")]
    ReadOnly,
    #[error("its storage is full")]
    Full,
}

impl State {
    /// A security group lets nobody in from now on.
    pub fn close_security_group(&mut self, id: &str) {
        self.closed.insert(id, ());
    }

    /// An instance's storage is full from now on, until it is given more; `false` when there is none under this ARN.
    pub fn fill_storage(&mut self, arn: &str) -> bool {
        let row = self.instances.get_mut(arn);
        row.map(|row| "storage-full".clone_into(&mut row.status)).is_some()
    }

    /// Writes once as a client would and answers the write's number, which no other write of this cloud has. A cluster's
    /// other members and all read replicas, theirs included, follow at once.
    ///
    /// # Errors
    /// The write did not happen.
    pub fn write_through(&mut self, writer: &Writer, now: DateTime<Utc>) -> Result<u64, NotWritten> {
        let named = |row: &Instance| match writer {
            Writer::Endpoint(address) => row.address() == *address,
            Writer::Address(id) | Writer::Inside(id) => row.resource_id == *id,
        };
        let row = self.instances.iter().map(|(_, row)| row).find(|row| named(row)).ok_or(NotWritten::Unreachable)?;
        self.takes_writes(row, !matches!(writer, Writer::Inside(_)))?;
        let arn = match &row.cluster {
            Some(cluster) => row.place.arn("cluster", cluster),
            None => row.arn(),
        };
        Ok(self.write(&arn, now))
    }

    fn takes_writes(&self, row: &Instance, connects: bool) -> Result<(), NotWritten> {
        match row.status.as_str() {
            "available" | "backing-up" | "modifying" | "storage-optimization" | "resetting-master-credentials" => {}
            "storage-full" => return Err(NotWritten::Full),
            _ => return Err(NotWritten::NotServing),
        }
        if row.replica_of.is_some() {
            return Err(NotWritten::ReadOnly);
        }
        if connects && row.security_groups.iter().all(|group| self.closed.contains(group)) {
            return Err(NotWritten::Closed);
        }
        Ok(())
    }

    /// Whether a client that resolves the instance's name would get through to write.
    pub(super) fn takes_clients(&self, row: &Instance) -> bool {
        self.takes_writes(row, true).is_ok()
    }

    /// Adds a write to the data of an instance or cluster and of all that follow it.
    pub(super) fn write(&mut self, arn: &str, now: DateTime<Utc>) -> u64 {
        let number = self.next("write");
        let mut following = vec![arn.to_owned()];
        while let Some(arn) = following.pop() {
            if let Some(row) = self.clusters.get_mut(&arn) {
                row.content.write(number, now);
            } else if let Some(row) = self.instances.get_mut(&arn).filter(|row| !row.content.holds(number)) {
                row.content.write(number, now);
            } else {
                continue;
            }
            let follows = |row: &Instance| {
                row.cluster.as_ref().is_some_and(|cluster| row.place.arn("cluster", cluster) == arn)
                    || row.replica_of.as_ref() == Some(&arn)
            };
            following.extend(self.instances.iter().filter(|(_, row)| follows(row)).map(|(key, _)| key.clone()));
        }
        number
    }
}

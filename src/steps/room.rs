//! What an account may still have in a region: manual snapshots, instances and storage, as AWS counts them now.
//!
//! A migration needs twice what there is until the purge, because the originals are kept. What does not fit is left
//! serving for a later window: with default quotas (100 snapshots, 40 instances) a larger estate moves in waves.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use super::Domain;
use crate::{
    aws::failure,
    systems::{Kind, Listing},
    worker::StepError,
};

/// What has to fit into one region.
pub struct Need {
    pub region: String,
    /// By name: those that are there already need no room.
    pub snapshots: Vec<String>,
    pub instances: i64,
    pub gb: i64,
}

/// What is left in a region.
struct Room {
    snapshots: i64,
    instances: i64,
    gb: i64,
    /// (snapshots, instances, storage) that the account may have.
    most: (i64, i64, i64),
    there: BTreeSet<String>,
    listing: Arc<Listing>,
}

/// The regions' rooms, read once each and then counted down.
pub struct Rooms<'a> {
    domain: &'a Domain,
    rooms: BTreeMap<String, Room>,
}

impl<'a> Rooms<'a> {
    pub fn new(domain: &'a Domain) -> Self {
        Self { domain, rooms: BTreeMap::new() }
    }

    /// Takes the room for all of `needs`, or none of it.
    ///
    /// # Errors
    /// `Keyferry.QuotaExceeded`: how much there is, and what to do. AWS could not be asked.
    pub async fn take(&mut self, needs: &[Need]) -> Result<(), StepError> {
        let mut sums: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
        for need in needs {
            let room = self.of(&need.region).await?;
            let new = need.snapshots.iter().filter(|name| !room.there.contains(*name)).count();
            let sum = sums.entry(&need.region).or_default();
            sum.0 += i64::try_from(new).unwrap_or(i64::MAX);
            sum.1 += need.instances;
            sum.2 += need.gb;
        }
        for (region, (snapshots, instances, gb)) in &sums {
            let room = self.of(region).await?;
            let kinds = [
                ("manual snapshots", *snapshots, room.snapshots, room.most.0),
                ("instances", *instances, room.instances, room.most.1),
                ("GB of storage", *gb, room.gb, room.most.2),
            ];
            if let Some((what, wanted, left, most)) = kinds.into_iter().find(|(_, wanted, left, _)| wanted > left) {
                let cause = format!(
                    "it needs {wanted} more {what} in {region}, where the account may have {most} and has room for {}: it \
                     waits for a later window, after the purge of what was migrated before, or until the quota is raised",
                    left.max(0)
                );
                return Err(StepError::new("Keyferry.QuotaExceeded", cause));
            }
        }
        for (region, (snapshots, instances, gb)) in sums {
            let room = self.of(region).await?;
            room.snapshots -= snapshots;
            room.instances -= instances;
            room.gb -= gb;
        }
        Ok(())
    }

    /// What there is in a region.
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn listing(&mut self, region: &str) -> Result<Arc<Listing>, StepError> {
        Ok(Arc::clone(&self.of(region).await?.listing))
    }

    async fn of(&mut self, region: &str) -> Result<&mut Room, StepError> {
        match self.rooms.entry(region.to_owned()) {
            Entry::Occupied(room) => Ok(room.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(read(self.domain, region).await?)),
        }
    }
}

async fn read(domain: &Domain, region: &str) -> Result<Room, StepError> {
    let rds = domain.aws.rds(region).await?;
    let tried = format!("ask what the account may have in {region}");
    let found = rds.describe_account_attributes().send().await.map_err(|error| failure(&tried, &error))?;
    let quota = |name: &str| {
        let quota = found.account_quotas().iter().find(|quota| quota.account_quota_name() == Some(name));
        // A quota that AWS does not name limits nothing that is known here: its own refusal is the answer then.
        quota.map_or((0, i64::MAX), |quota| (quota.used().unwrap_or_default(), quota.max().unwrap_or(i64::MAX)))
    };
    let (snapshots, instances, storage) = (quota("ManualSnapshots"), quota("DBInstances"), quota("AllocatedStorage"));
    let listing = domain.listings.of(region).await?;
    let there = listing.resources.iter().filter(|resource| resource.kind == Kind::Snapshot);
    let there = there.map(|resource| resource.id.clone()).collect();
    Ok(Room {
        snapshots: snapshots.1.saturating_sub(snapshots.0),
        instances: instances.1.saturating_sub(instances.0),
        gb: storage.1.saturating_sub(storage.0),
        most: (snapshots.1, instances.1, storage.1),
        there,
        listing,
    })
}

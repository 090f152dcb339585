//! Data systems: finding an enterprise's, describing them whole, naming what is made of them, knowing what is ours.
//!
//! Everything that keyferry makes has a name that follows from the run, and tags that are set in the very call that makes
//! it. So a step that is run again finds its own work by name, knows it by its tags, and takes anything else under that
//! name for somebody else's: it is never adopted, changed or deleted.

mod beside;
mod cloud;
mod differences;
mod frozen;
pub mod lineage;
mod listing;
mod model;
mod names;
mod near;
mod placement;
pub mod purge;
mod residency;
mod scan;
mod shared;
mod survey;
mod tags;

pub use beside::Export;
pub use cloud::{
    Readiness, backup, early_copy, instance, instance_arn, instance_of, is_early_copy, readiness, short_name, snapshot,
};
pub use differences::{adjustable, differences};
pub use frozen::{FREEZE, Frozen, Writers, secret, unsupported, waiting_changes};
pub use listing::{Kind, Listing, Listings, Resource, time};
pub use model::{Settings, System, optional_tag};
pub use names::{Names, identifier};
pub use near::{NearMiss, near_misses};
pub use placement::{Lacking, Misplaced, Placement};
pub use residency::{Homes, Recovery, Residency};
pub use scan::{Scan, Wanted, scan};
pub use survey::{Survey, Unread, survey};
pub use tags::{EARLY, Owner, Tags, of_instance, of_snapshot, read, sdk, tag_list};

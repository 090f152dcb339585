//! How long things take: modelled durations, from which every state and every percentage is computed when it is asked for.
//!
//! AWS publishes few figures; these have the right order to each other and grow with the storage, so that schedules and
//! predictions have something true to learn. A rename is AWS's own figure: about ten minutes until the new name works
//! (USER_RenameInstance). All are in the sandbox's own seconds.
//!
//! | operation | seconds |
//! |---|---|
//! | create an instance | 300, then 60 in `backing-up` when backups are on |
//! | restore an instance | 480, then 60 in `backing-up` when backups are on |
//! | read replica | 480 + 1 a GB |
//! | snapshot, first of an instance | 60 + 1 a GB |
//! | snapshot, later | 60 + 0.05 a GB |
//! | copy in a region, first under a key | 120 + 4 a GB |
//! | copy across regions, first under a key | 300 + 8 a GB |
//! | copy after an earlier one under the same key | as above with a twentieth of the storage |
//! | rename | 540 in `renaming`, 60 in `rebooting` |
//! | modify | 120; class or Multi-AZ 180; storage adds 300 + 2 a GB in `storage-optimization` |
//! | blue/green switchover | 45; its green instances are read replicas |
//! | reboot or failover, start, stop, delete | 60, 300, 180, 120 |
//!
//! Copies of one snapshot run one after the other, as AWS runs them.

use chrono::TimeDelta;

pub const CREATE: TimeDelta = TimeDelta::seconds(300);
pub const RESTORE: TimeDelta = TimeDelta::seconds(480);
pub const BACKING_UP: TimeDelta = TimeDelta::seconds(60);
pub const RENAMING: TimeDelta = TimeDelta::seconds(540);
pub const RENAME_REBOOT: TimeDelta = TimeDelta::seconds(60);
pub const MODIFY: TimeDelta = TimeDelta::seconds(120);
pub const MODIFY_COMPUTE: TimeDelta = TimeDelta::seconds(180);
pub const REBOOT: TimeDelta = TimeDelta::seconds(60);
pub const START: TimeDelta = TimeDelta::seconds(300);
pub const STOP: TimeDelta = TimeDelta::seconds(180);
/// After this a stopped instance is started again.
pub const STOPPED: TimeDelta = TimeDelta::days(7);
pub const DELETE: TimeDelta = TimeDelta::seconds(120);
pub const PROMOTE: TimeDelta = TimeDelta::seconds(180);
pub const SWITCHOVER: TimeDelta = TimeDelta::seconds(45);
/// How long an instance whose key is lost can still be recovered with its data.
pub const KEY_GRACE: TimeDelta = TimeDelta::days(7);
/// How far point-in-time recovery lies behind now.
pub const RESTORABLE_LAG: TimeDelta = TimeDelta::seconds(300);

pub fn replica(gb: i64) -> TimeDelta {
    TimeDelta::seconds(480 + gb)
}

pub fn optimization(gb: i64) -> TimeDelta {
    TimeDelta::seconds(300 + 2 * gb)
}

/// A snapshot: `first` when the instance has no earlier one to be incremental to.
pub fn snapshot(gb: i64, first: bool) -> TimeDelta {
    TimeDelta::seconds(60 + if first { gb } else { gb / 20 })
}

/// A snapshot's copy: `first` when no earlier copy from the same instance under the same key is there.
pub fn copy(gb: i64, across_regions: bool, first: bool) -> TimeDelta {
    let gb = if first { gb } else { gb / 20 };
    TimeDelta::seconds(if across_regions { 300 + 8 * gb } else { 120 + 4 * gb })
}

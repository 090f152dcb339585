//! The rows of `guards.rs`: which guards are out, and what that comes to.

use super::{
    acts::Act,
    build::{EAST, WEST},
    judge::Invariant,
    play::Play,
    rogue::{Rogue, SYSTEM},
};

/// From where a row is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Nothing has begun.
    Start,
    /// The window is to be agreed on.
    Window,
    /// Everything is moved; the list of the purge is to be made. With old snapshots in both regions.
    List,
    /// The same beside what is not to be purged: an archive, and a system of another enterprise.
    Beside,
    /// Everything is purged and is to be audited.
    Audit,
}

/// What a stage of a row comes to.
#[derive(Debug, Clone, Copy)]
pub enum Comes {
    /// No invariant is broken, and it ends with this.
    To(&'static str),
    /// The judge sees this.
    Breaks(Invariant),
}

pub use Comes::{Breaks, To};

/// What happens in a row, beside that guards are out.
pub type Happens = fn(&mut Play);

pub struct Row {
    pub what: &'static str,
    pub from: From,
    pub happens: Happens,
    /// Guards that are out and what that comes to, one more at each stage.
    pub stages: &'static [(&'static [Rogue], Comes)],
}

/// The check of the list and the look before each deletion: either alone stops it.
const BOTH_LOOKS: &[(&[Rogue], Comes)] = &[
    (&[], To(NOT_VERIFIED)),
    (&[Rogue::NothingIsProven], To(NOT_VERIFIED)),
    (&[Rogue::PurgeLooksAtNothing], To(NOT_VERIFIED)),
    (&[Rogue::NothingIsProven, Rogue::PurgeLooksAtNothing], Breaks(Invariant::KeptInRegion)),
];

fn nothing(_: &mut Play) {}

/// Somebody who kept the address writes every five minutes.
fn late_writes(play: &mut Play) {
    (1..72).for_each(|nth| play.plan(nth * 300, Act::LateWrite(SYSTEM.to_owned())));
}

fn west_off(play: &mut Play) {
    play.at_approval = vec![Act::DisableKey(WEST)];
}

fn east_off(play: &mut Play) {
    play.at_approval = vec![Act::DisableKey(EAST)];
}

fn west_kept_from_rds(play: &mut Play) {
    play.at_approval = vec![Act::KeepFromRds(WEST)];
}

fn off_now(play: &mut Play) {
    play.plan(0, Act::DisableKey(WEST));
}

fn copied_aside(play: &mut Play) {
    play.plan(0, Act::Snapshot(SYSTEM.to_owned()));
    play.plan(1_800, Act::CopyAside(SYSTEM.to_owned()));
}

fn backed_up_abroad(play: &mut Play) {
    play.plan(0, Act::BackUpAbroad(SYSTEM.to_owned()));
}

const OUTAGE: &str = "Keyferry.Outage: dave-one in us-west-2 is out of service";
pub const PUT_BACK: &str = "is put back, and an engineer is asked";
pub const MOVED_AGAIN: &str = "is to be moved once more";
pub const ASKS_AGAIN: &str = "the list has drifted, and is asked about again";
pub const REFUSED: &str = "the list cannot be approved";
const NOT_APPROVED: &str = "Keyferry.NotApproved";
const NOT_VERIFIED: &str = "Keyferry.NotVerified";

pub const ROWS: &[Row] = &[
    Row {
        what: "nothing is out",
        from: From::Window,
        happens: late_writes,
        stages: &[(&[], To("succeeded: compliant"))],
    },
    Row {
        what: "the swap",
        from: From::Window,
        happens: nothing,
        stages: &[
            (&[Rogue::SwapDoesNothing], To(PUT_BACK)),
            (&[Rogue::SwapDoesNothing, Rogue::NothingIsConfirmed], To(OUTAGE)),
            (&[Rogue::SwapDoesNothing, Rogue::NothingIsConfirmed, Rogue::PutBackWaits], Breaks(Invariant::Outage)),
        ],
    },
    Row {
        what: "the way back",
        from: From::Window,
        happens: nothing,
        stages: &[
            (&[Rogue::NothingMatches], To(PUT_BACK)),
            (&[Rogue::NothingMatches, Rogue::ThawDoesNothing], To(OUTAGE)),
            (&[Rogue::NothingMatches, Rogue::ThawDoesNothing, Rogue::PutBackWaits], Breaks(Invariant::Outage)),
        ],
    },
    Row {
        what: "the plan of the outage",
        from: From::Window,
        happens: nothing,
        stages: &[
            (&[Rogue::PlansNoOutage, Rogue::NothingMatches, Rogue::ThawDoesNothing], To(PUT_BACK)),
            (
                &[Rogue::PlansNoOutage, Rogue::FreezesUnplanned, Rogue::NothingMatches, Rogue::ThawDoesNothing],
                Breaks(Invariant::Outage),
            ),
        ],
    },
    Row {
        what: "the freeze",
        from: From::Window,
        happens: nothing,
        stages: &[
            (&[Rogue::FreezesNothing], To(PUT_BACK)),
            (&[Rogue::FreezesNothing, Rogue::SnapshotsWhatServes], To(PUT_BACK)),
            (&[Rogue::FreezesNothing, Rogue::SnapshotsWhatServes, Rogue::SwapsRegardless], Breaks(Invariant::Written)),
        ],
    },
    Row {
        what: "the closing security group",
        from: From::Window,
        happens: late_writes,
        stages: &[(&[Rogue::LeavesOpen], Breaks(Invariant::LateWritten))],
    },
    Row {
        what: "the final copy",
        from: From::Window,
        happens: nothing,
        stages: &[
            (&[Rogue::RestoresEarlier], To(PUT_BACK)),
            (&[Rogue::RestoresEarlier, Rogue::NothingDiffers], Breaks(Invariant::Written)),
        ],
    },
    Row {
        what: "the copy under the key",
        from: From::Window,
        happens: nothing,
        stages: &[
            (&[Rogue::RestoresUncopied], To(PUT_BACK)),
            // The next inventory finds that it is under another key still.
            (&[Rogue::RestoresUncopied, Rogue::NothingDiffers], To(MOVED_AGAIN)),
        ],
    },
    Row {
        what: "an archive is not listed, nor what nothing holds",
        from: From::Beside,
        happens: nothing,
        stages: &[
            (&[Rogue::Lists { id: "dave-gone-archive", successor: false }], To(ASKS_AGAIN)),
            (&[Rogue::Lists { id: "dave-gone-archive", successor: false }, Rogue::NothingIsProven], To(NOT_VERIFIED)),
            (
                &[
                    Rogue::Lists { id: "dave-gone-archive", successor: false },
                    Rogue::NothingIsProven,
                    Rogue::PurgeLooksAtNothing,
                ],
                Breaks(Invariant::Kept),
            ),
        ],
    },
    Row {
        what: "lineage: what a successor does not hold is not listed",
        from: From::Beside,
        happens: nothing,
        stages: &[
            (&[Rogue::Lists { id: "dave-gone-archive", successor: true }], To(ASKS_AGAIN)),
            (&[Rogue::Lists { id: "dave-gone-archive", successor: true }, Rogue::NothingIsProven], To(NOT_VERIFIED)),
        ],
    },
    Row {
        what: "another enterprise's system is not listed",
        from: From::Beside,
        happens: nothing,
        stages: &[
            (&[Rogue::Lists { id: "erin-main", successor: true }], To(ASKS_AGAIN)),
            (&[Rogue::Lists { id: "erin-main", successor: true }, Rogue::NothingIsProven], To(NOT_VERIFIED)),
            (
                &[
                    Rogue::Lists { id: "erin-main", successor: true },
                    Rogue::NothingIsProven,
                    Rogue::PurgeLooksAtNothing,
                ],
                Breaks(Invariant::Kept),
            ),
        ],
    },
    Row {
        what: "what serves is not listed",
        from: From::Beside,
        happens: nothing,
        stages: &[
            (&[Rogue::Lists { id: SYSTEM, successor: true }, Rogue::NothingIsProven], To(NOT_VERIFIED)),
            (
                &[Rogue::Lists { id: SYSTEM, successor: true }, Rogue::NothingIsProven, Rogue::PurgeLooksAtNothing],
                Breaks(Invariant::Kept),
            ),
        ],
    },
    Row {
        what: "what goes is shown",
        from: From::Beside,
        happens: nothing,
        stages: &[(&[Rogue::Hides("erin-main"), Rogue::NothingIsProven, Rogue::PurgeLooksAtNothing], To(REFUSED))],
    },
    Row {
        what: "the approval",
        from: From::Start,
        happens: nothing,
        stages: &[
            (&[Rogue::NobodyIsAsked], To(NOT_APPROVED)),
            (&[Rogue::NobodyIsAsked, Rogue::NothingIsProven], To(NOT_APPROVED)),
            (&[Rogue::NobodyIsAsked, Rogue::NothingIsProven, Rogue::PurgeLooksAtNothing], Breaks(Invariant::Approved)),
        ],
    },
    Row { what: "the key of the successor can be used", from: From::List, happens: west_off, stages: BOTH_LOOKS },
    Row {
        what: "the key of the copy in the other region can be used",
        from: From::List,
        happens: east_off,
        stages: BOTH_LOOKS,
    },
    Row { what: "RDS can use the key: the canary", from: From::List, happens: west_kept_from_rds, stages: BOTH_LOOKS },
    Row {
        what: "the audit: the state of the key",
        from: From::Audit,
        happens: off_now,
        stages: &[
            (&[], To("succeeded: deviations")),
            (&[Rogue::Forgets(&["key-disabled"])], To("succeeded: deviations")),
            (
                &[Rogue::Forgets(&["key-disabled", "inaccessible", "key-unusable", "permission-missing"])],
                Breaks(Invariant::Compliant),
            ),
        ],
    },
    Row {
        what: "the audit: the key of each copy",
        from: From::Audit,
        happens: copied_aside,
        stages: &[
            (&[], To("succeeded: deviations")),
            (&[Rogue::Forgets(&["wrong-key"])], Breaks(Invariant::Compliant)),
        ],
    },
    Row {
        what: "the audit: a region that is not listed",
        from: From::Audit,
        happens: backed_up_abroad,
        stages: &[
            (&[], To("succeeded: not-proven")),
            (&[Rogue::Forgets(&["region-not-listed"])], Breaks(Invariant::Compliant)),
        ],
    },
];

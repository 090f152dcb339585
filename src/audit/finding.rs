//! Findings and conclusions: the words of a report.

use serde::{Deserialize, Serialize};

/// What an audit comes to, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Everything in the scope was seen and judged now, and is as it has to be.
    Compliant,
    /// Nothing is known to be wrong, and not everything could be proven.
    NotProven,
    /// Something is wrong.
    Deviations,
}

/// How a resource or key compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    Match,
    WrongKey,
    NotEncrypted,
    Missing,
    LeftOver,
    /// Data outside of the regions in which it may lie, under whatever key.
    OutsideRegion,
    /// A snapshot that other accounts may restore.
    Shared,
    /// A system that cannot be used in its state.
    Inaccessible,
    KeyDisabled,
    KeyPendingDeletion,
    KeyUnusable,
    /// A key that cannot be used until the customer imports its material again.
    MaterialGone,
    /// A key whose material goes away at a date.
    MaterialExpires,
    PermissionMissing,
    PermissionTooWide,
}

impl Finding {
    pub const ALL: [Self; 15] = [
        Self::Match,
        Self::WrongKey,
        Self::NotEncrypted,
        Self::Missing,
        Self::LeftOver,
        Self::OutsideRegion,
        Self::Shared,
        Self::Inaccessible,
        Self::KeyDisabled,
        Self::KeyPendingDeletion,
        Self::KeyUnusable,
        Self::MaterialGone,
        Self::MaterialExpires,
        Self::PermissionMissing,
        Self::PermissionTooWide,
    ];

    /// The finding of a failed probe, by its code.
    pub fn of_probe(code: &str) -> Self {
        match code {
            "key-disabled" => Self::KeyDisabled,
            "key-pending-deletion" => Self::KeyPendingDeletion,
            "key-without-material" => Self::MaterialGone,
            "key-material-expires" => Self::MaterialExpires,
            "statement-use-missing" | "statement-attachment-missing" | "policy-narrower" => Self::PermissionMissing,
            "grants-too-wide" | "policy-wider" => Self::PermissionTooWide,
            _ => Self::KeyUnusable,
        }
    }

    /// Whether nothing under a key with this finding can be relied on.
    pub fn spoils_what_is_under_it(self) -> bool {
        matches!(self, Self::KeyDisabled | Self::KeyPendingDeletion | Self::KeyUnusable | Self::MaterialGone)
    }

    pub(super) fn words(self, count: usize) -> String {
        let (one, many) = match self {
            Self::Match => ("is under its key", "are under their keys"),
            Self::WrongKey => ("is under a wrong key", "are under a wrong key"),
            Self::NotEncrypted => ("is not encrypted", "are not encrypted"),
            Self::Missing => ("is missing", "are missing"),
            Self::LeftOver => ("is left over from before", "are left over from before"),
            Self::OutsideRegion => ("is outside of its allowed regions", "are outside of their allowed regions"),
            Self::Shared => ("is shared with other accounts", "are shared with other accounts"),
            Self::Inaccessible => ("cannot be used in its state", "cannot be used in their states"),
            Self::KeyDisabled => ("is a disabled key or under one", "are disabled keys or under one"),
            Self::KeyPendingDeletion => (
                "is a key that is going to be deleted, or under one",
                "are keys that are going to be deleted, or under one",
            ),
            Self::KeyUnusable => {
                ("is a key that cannot be used, or under one", "are keys that cannot be used, or under one")
            }
            Self::MaterialGone => ("has lost its key material", "have lost their key material"),
            Self::MaterialExpires => ("has key material that expires", "have key material that expires"),
            Self::PermissionMissing => ("lacks a permission", "lack permissions"),
            Self::PermissionTooWide => ("allows more than agreed", "allow more than agreed"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

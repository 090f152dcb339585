//! A purge in words: what an approver is shown.

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Held, Kept, Line, PurgePlan};
use crate::systems::{
    lineage::{Lineage, Way},
    listing::Kind,
};

impl PurgePlan {
    /// What people are shown, a line each: what goes, then what is kept.
    pub fn shown(&self, kept: &[Kept], at: DateTime<Utc>) -> Vec<String> {
        let goes = self.lines.iter().map(|line| format!("goes: {}", line.text(at)));
        goes.chain(kept.iter().map(|kept| format!("stays: {}", kept.text(at)))).collect()
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Instance => "instance",
        Kind::Cluster => "cluster",
        Kind::Snapshot => "snapshot",
        Kind::ClusterSnapshot => "cluster snapshot",
        Kind::AutomatedBackup => "automated backups",
        Kind::ClusterAutomatedBackup => "automated backups of a cluster",
    }
}

fn facts(
    of: Kind,
    id: &str,
    region: &str,
    size: Option<i32>,
    taken: Option<DateTime<Utc>>,
    at: DateTime<Utc>,
) -> String {
    let size = size.map(|gb| format!(", {gb} GB")).unwrap_or_default();
    let age = taken.map(|taken| {
        let days = (at - taken).num_days().max(0);
        let since = taken.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!(", of {since} ({days} {} old)", if days == 1 { "day" } else { "days" })
    });
    format!("{} {id} in {region}{size}{}", kind(of), age.unwrap_or_default())
}

impl Line {
    /// The line for a person who looks at `at`.
    pub fn text(&self, at: DateTime<Utc>) -> String {
        let facts = facts(self.kind, &self.id, &self.region, self.size_gb, self.taken_at, at);
        let successor = self.successor.as_ref().map(|held| format!("; successor {}", held.text())).unwrap_or_default();
        let copies: Vec<String> = self.copies.iter().map(Held::text).collect();
        let copies = if copies.is_empty() { String::new() } else { format!("; also held by {}", copies.join(", ")) };
        let proof = if self.proof.is_empty() { String::new() } else { format!("; proof: {}", self.proof.join(", ")) };
        format!("{facts}: {}{successor}{copies}{proof}; {}", self.why, self.arn)
    }
}

impl Held {
    fn text(&self) -> String {
        format!("{} {} ({}) in {} under {}", kind(self.kind), self.id, self.resource_id, self.region, self.key)
    }
}

impl Kept {
    pub fn text(&self, at: DateTime<Utc>) -> String {
        let facts = facts(self.kind, &self.id, &self.region, self.size_gb, self.taken_at, at);
        format!("{facts}: {}; {}; {}", self.why, self.choices, self.arn)
    }
}

/// A proven lineage in words.
pub(super) fn told(link: &Lineage) -> String {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (source, successor) = (&link.source, link.successor.as_ref());
    let to = successor.map(|to| to.resource_id.as_str()).unwrap_or_default();
    let verified = successor.map(|to| text(to.verified_at)).unwrap_or_default();
    let swapped = link.swapped_at.map(text).unwrap_or_default();
    match &link.way {
        Way::Snapshot { frozen_at, snapshot, copy } => format!(
            "{} ({}) -> snapshot {}, nothing written after {} -> copy {} under the key -> {to}, verified {verified}, serving since {swapped}",
            source.id,
            source.resource_id,
            snapshot.id,
            text(*frozen_at),
            copy.as_ref().map(|copy| copy.id.as_str()).unwrap_or_default(),
        ),
        Way::Replica { of } => {
            format!("{} ({}), a replica -> {to}, a replica of {of}, verified {verified}", source.id, source.resource_id)
        }
    }
}

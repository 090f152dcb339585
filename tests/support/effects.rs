//! What a run did to the sandbox's cloud, so that two runs can be compared.

use std::collections::{BTreeMap, BTreeSet};

use keyferry::sandbox::LedgerEntry;

/// What differs between two runs by its nature: identifiers that are drawn, and the run's own mark in names.
pub fn plain(text: &str) -> String {
    let is_mark =
        |part: &str| matches!(part.len(), 4 | 6 | 8 | 12) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').map(|part| if is_mark(part) { "MARK" } else { part }).collect();
    let text = parts.join("-");
    match text.split_once(":key/") {
        Some((before, _)) => format!("{before}:key/ID"),
        None => text,
    }
}

/// How often each change was made to each resource.
pub fn counts(ledger: &[LedgerEntry]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in ledger {
        *counts.entry(format!("{} {} {}", entry.action, entry.region, plain(&entry.resource))).or_default() += 1;
    }
    counts
}

/// A canary is a probe: a verification that is repeated flies it again, and leaves nothing as long as each copy is deleted.
const CANARY: &str = "-canary-";

/// Changes that were made in one run more often than in the other, and canaries that were left.
pub fn differing(found: &BTreeMap<String, usize>, wanted: &BTreeMap<String, usize>) -> Vec<String> {
    let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        if !name.contains(CANARY) {
            if found.get(name) != wanted.get(name) {
                lines.push(format!("{name}: {:?}, undisturbed {:?}", found.get(name), wanted.get(name)));
            }
        } else if let Some(copy) = name.strip_prefix("CopyDBSnapshot ") {
            let deleted = found.get(&format!("DeleteDBSnapshot {copy}"));
            if found.get(name).is_none() || found.get(name) != deleted {
                lines.push(format!("{name}: {:?} copies, {deleted:?} deleted", found.get(name)));
            }
        }
    }
    lines
}

/// What a run makes for itself alone: canaries, what was restored and has not taken anything's place, and the snapshots of
/// successors that are copied to the recovery region.
const OWN: [&str; 3] = ["canary", "-new-", "-recovery-source-"];

/// Deletions of instances and snapshots, but of what a run makes for itself alone.
pub fn deletions(ledger: &[LedgerEntry]) -> Vec<String> {
    let deletes = |entry: &&LedgerEntry| matches!(entry.action.as_str(), "DeleteDBInstance" | "DeleteDBSnapshot");
    let spared = |entry: &&LedgerEntry| OWN.iter().any(|own| entry.resource.contains(own));
    ledger
        .iter()
        .filter(deletes)
        .filter(|entry| !spared(entry))
        .map(|entry| format!("{} {}", entry.action, entry.resource))
        .collect()
}

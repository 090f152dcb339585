//! How a cure is written: words, and under them the commands that carry it out, each on a line of its own that can be pasted into
//! a shell as it is.

use std::fmt::Write as _;

use crate::{
    shell::quoted,
    systems::{Kind, Resource},
};

/// Words alone, or words and the commands that do what they say.
pub(super) fn cure(words: &str, commands: &[String]) -> String {
    let mut text = words.to_owned();
    if !commands.is_empty() {
        text.push(':');
    }
    append(&mut text, commands);
    text
}

/// A cure with another way after it.
pub(super) fn or(mut first: String, words: &str, commands: &[String]) -> String {
    // Writing to a String does not fail.
    let _: std::fmt::Result = write!(first, "\nor, {words}:");
    append(&mut first, commands);
    first
}

fn append(text: &mut String, commands: &[String]) {
    for command in commands {
        text.push_str("\n  ");
        text.push_str(command);
    }
}

/// `--tags` of a call that makes something.
pub(super) fn tags(pairs: &[(&str, &str)]) -> String {
    let each = pairs.iter().map(|(key, value)| quoted(&format!("Key={key},Value={value}")));
    each.fold("--tags".to_owned(), |text, pair| format!("{text} {pair}"))
}

/// Longer names than this are cut: RDS takes 255 letters of a snapshot's.
const LONGEST: usize = 200;

/// A free name for a copy of `source` beside it: RDS takes letters, digits and single hyphens.
pub(super) fn free_name(source: &Resource, all: &[Resource]) -> String {
    let last = source.id.rsplit(':').next().unwrap_or(&source.id);
    let base: String = last.chars().take(LONGEST).collect();
    let taken = |name: &str| {
        all.iter().any(|other| other.kind == source.kind && other.region == source.region && other.id == name)
    };
    let mut name = format!("{}-rekeyed", base.trim_end_matches('-'));
    let mut next = 2;
    while taken(&name) {
        name = format!("{}-rekeyed-{next}", base.trim_end_matches('-'));
        next += 1;
    }
    name
}

/// `cluster-` in the commands about snapshots of clusters.
pub(super) fn infix(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Cluster | Kind::ClusterSnapshot) { "cluster-" } else { "" }
}

/// Waits until something is available. The CLI's own waiters give up after half an hour, and at once on a name that is not
/// there yet, as after a rename.
pub(super) fn until_available(kind: Kind, region: &str, id: &str) -> String {
    let (call, path) = match kind {
        Kind::Instance | Kind::AutomatedBackup => ("instances --db-instance", "DBInstances[0].DBInstanceStatus"),
        Kind::Cluster | Kind::ClusterAutomatedBackup => ("clusters --db-cluster", "DBClusters[0].Status"),
        Kind::Snapshot => ("snapshots --db-snapshot", "DBSnapshots[0].Status"),
        Kind::ClusterSnapshot => ("cluster-snapshots --db-cluster-snapshot", "DBClusterSnapshots[0].Status"),
    };
    format!(
        "until [ \"$(aws rds describe-db-{call}-identifier {id} --region {region} --query '{path}' --output text)\" = available ]; do \
         sleep 60; done"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        assert_eq!(quoted("arn:aws:rds:us-west-2:1:db:a"), "arn:aws:rds:us-west-2:1:db:a");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
        assert_eq!(
            tags(&[("keyferry:role", "recovery"), ("team", "pay roll")]),
            "--tags Key=keyferry:role,Value=recovery 'Key=team,Value=pay roll'"
        );
    }

    #[test]
    fn commands_stand_on_lines_of_their_own() {
        assert_eq!(cure("wait", &[]), "wait");
        let both = or(cure("first", &["a".to_owned()]), "second", &["b".to_owned(), "c".to_owned()]);
        assert_eq!(both, "first:\n  a\nor, second:\n  b\n  c");
    }
}

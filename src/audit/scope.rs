//! The scope: the kinds of resources that an audit looks at, and those that it does not, with the reason.
//!
//! A kind outside it is named in each report and changes nothing. The table is the one of `docs/audit.md`; a test holds the two
//! together.

use serde::{Deserialize, Serialize};

/// A kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindRow {
    pub kind: String,
    pub inside: bool,
    /// The calls that list it, or why it is not looked at.
    pub how: String,
}

const INSIDE: [(&str, &str); 10] = [
    ("instances and read replicas", "DescribeDBInstances"),
    ("clusters", "DescribeDBClusters"),
    ("manual and automated snapshots", "DescribeDBSnapshots, DescribeDBClusterSnapshots"),
    ("snapshots of AWS Backup and of other accounts", "the same calls, asked for the types awsbackup and shared"),
    (
        "automated backups, retained and replicated",
        "DescribeDBInstanceAutomatedBackups, DescribeDBClusterAutomatedBackups",
    ),
    ("shares of manual snapshots", "DescribeDBSnapshotAttributes, DescribeDBClusterSnapshotAttributes"),
    ("exports to S3", "DescribeExportTasks; what lies in S3 is not looked at"),
    (
        "Performance Insights, managed master passwords and activity streams",
        "their keys, as instances and clusters name them",
    ),
    (
        "the expected keys",
        "DescribeKey, and each use that was agreed; RDS's use by a copy of a tiny snapshot, once a day",
    ),
    ("policies of the vendor's own keys", "GetKeyPolicy"),
];

const OUTSIDE: [(&str, &str); 6] = [
    (
        "objects in S3, streams, log groups and secrets themselves",
        "other services hold them; their keys are named where RDS names them",
    ),
    (
        "recovery points of AWS Backup in other vaults or accounts",
        "AWS Backup holds them; those of RDS are snapshots of the type awsbackup",
    ),
    ("policies of the customer's keys", "they cannot be read from another account: what they allow is tried"),
    ("integrations, blue/green deployments, proxies and global clusters", "their members are instances and clusters"),
    ("regions that are not configured", "keyferry has no permission to list a partition's regions"),
    ("other AWS accounts", "the vendor's account of the partition is the only one"),
];

/// The whole table.
pub fn kinds() -> Vec<KindRow> {
    let row = |inside: bool| {
        move |(kind, how): &(&str, &str)| KindRow { kind: (*kind).to_owned(), inside, how: (*how).to_owned() }
    };
    INSIDE.iter().map(row(true)).chain(OUTSIDE.iter().map(row(false))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_table() {
        let document = include_str!("../../docs/audit.md");
        for KindRow { kind, inside, how } in kinds() {
            let line = format!("| {} | {kind} | {how} |", if inside { "inside" } else { "outside" });
            assert!(document.contains(&line), "docs/audit.md lacks: {line}");
        }
        let rows =
            document.lines().filter(|line| line.starts_with("| inside") || line.starts_with("| outside")).count();
        assert_eq!(rows, INSIDE.len() + OUTSIDE.len());
    }
}

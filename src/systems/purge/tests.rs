use std::collections::BTreeMap;

use super::*;
use crate::systems::lineage::tests::{at, lineages, moved};

const KEY: &str = "key-west";
const EAST: &str = "us-east-1";

fn keys() -> KeySet {
    let keys = [("us-west-2", KEY), (EAST, "key-east")].map(|(region, key)| (region.to_owned(), key.to_owned()));
    KeySet { keys: keys.into(), instances: BTreeMap::new() }
}

fn resource(kind: Kind, id: &str, resource_id: &str, key: Option<&str>, tags: &[(&str, &str)]) -> Resource {
    Resource {
        region: "us-west-2".to_owned(),
        kind,
        id: id.to_owned(),
        arn: format!("arn:aws:rds:us-west-2:127450652264:x:{id}"),
        resource_id: resource_id.to_owned(),
        status: "available".to_owned(),
        encrypted: key.is_some(),
        key: key.map(str::to_owned),
        part_keys: BTreeMap::new(),
        automated: false,
        instance: None,
        derived_from: None,
        taken_at: Some(at(10)),
        related: Vec::new(),
        size_gb: Some(500),
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

const OLD: [(&str, &str); 3] =
    [("keyferry:role", "old"), ("keyferry:run", "run-1"), ("keyferry:original", "dave-production")];

fn old() -> Resource {
    resource(Kind::Instance, "byok-dave-g1-dave-production-old-ab", "db-A", Some("vendor"), &OLD)
}

fn successor() -> Resource {
    resource(
        Kind::Instance,
        "dave-production",
        "db-B",
        Some(KEY),
        &[("keyferry:role", "new"), ("keyferry:run", "run-1")],
    )
}

fn judged(resources: Vec<Resource>) -> Judged {
    let scan = Scan { resources, ..Scan::default() };
    let (lineages, keys) = (lineages([moved("dave-production", "db-A", "db-B", KEY)]), keys());
    let (residency, homes) = (Residency::default(), Homes::default());
    let (enterprise, run) = ("dave", "run-9");
    Bench {
        enterprise,
        run,
        scan: &scan,
        lineages: &lineages,
        keys: &keys,
        residency: &residency,
        stated: true,
        homes: &homes,
    }
    .all()
}

fn went(judged: &Judged) -> Vec<&str> {
    judged.lines.iter().map(|line| line.id.as_str()).collect()
}

#[test]
fn what_is_proven_goes_with_its_successor_and_its_proof() {
    let mut copy = resource(Kind::Snapshot, "recovery", "db-B", Some("key-east"), &[("keyferry:role", "recovery")]);
    copy.region = EAST.to_owned();
    let judged = judged(vec![old(), successor(), copy]);
    assert_eq!(went(&judged), ["byok-dave-g1-dave-production-old-ab"]);
    let line = &judged.lines[0];
    assert_eq!(line.successor.as_ref().map(|held| held.resource_id.as_str()), Some("db-B"));
    assert_eq!(line.copies[0].id, "recovery");
    assert_eq!(line.keys().len(), 2, "both regions' keys have to work");
    assert!(line.proof[0].contains("db-A") && line.proof[0].contains("db-B"), "{:?}", line.proof);
    let text = line.text(at(10 + 2 * 86_400));
    for part in ["instance byok-", "500 GB", "(2 days old)", "replaced by dave-production", "proof: ", "arn:aws:rds"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_original_under_its_own_name_serves_whatever_its_tags_say() {
    let mut serving = old();
    serving.id = "dave-production".to_owned();
    assert!(!is_aside(&serving));
    let judged = judged(vec![serving]);
    assert_eq!((judged.lines.len(), judged.kept.len(), judged.unserved.len()), (0, 0, 0));
}

#[test]
fn without_a_proven_successor_that_serves_an_old_system_is_kept() {
    let mut other = successor();
    other.resource_id = "db-EMPTY".to_owned();
    let mut elsewhere = successor();
    elsewhere.id = "dave-elsewhere".to_owned();
    let mut wrong = successor();
    wrong.key = Some("vendor".to_owned());
    for (case, there) in [("an empty one", other), ("under another name", elsewhere), ("under another key", wrong)] {
        let judged = judged(vec![old(), there]);
        assert_eq!((judged.lines.len(), judged.kept.len()), (0, 1), "{case}");
    }
    let judged = judged(vec![old()]);
    assert_eq!(judged.unserved[0].id, "byok-dave-g1-dave-production-old-ab");
    assert_eq!((judged.unserved.len(), judged.unserved[0].original.as_str()), (1, "dave-production"));
}

#[test]
fn snapshots_go_by_what_they_are_of_and_when_they_were_taken() {
    let snapshot = |id: &str, of: &str| resource(Kind::Snapshot, id, of, Some("vendor"), &[]);
    let mut later = snapshot("later", "db-A");
    later.taken_at = Some(at(91));
    let mut unknown = snapshot("undated", "db-A");
    unknown.taken_at = None;
    let mut east = snapshot("east", "db-A");
    east.region = EAST.to_owned();
    let archive = resource(Kind::Snapshot, "archive", "db-A", Some("vendor"), &[("keyferry:archive", "yes")]);
    let early =
        resource(Kind::Snapshot, "early", "db-A", Some(KEY), &[("keyferry:role", "early"), ("keyferry:run", "run-0")]);
    let own = resource(Kind::Snapshot, "weekly", "db-B", Some(KEY), &[]);
    let foreign = resource(Kind::Snapshot, "awsbackup:job-1", "db-A", Some("vendor"), &[]);
    let judged = judged(vec![
        successor(),
        snapshot("nightly", "db-A"),
        later,
        unknown,
        east,
        archive,
        early,
        own,
        foreign,
        snapshot("tax-2019", "db-GONE"),
    ]);
    assert_eq!(went(&judged), ["nightly", "early"]);
    let kept: Vec<&str> = judged.kept.iter().map(|kept| kept.id.as_str()).collect();
    assert_eq!(kept, ["later", "undated", "east", "archive", "awsbackup:job-1", "tax-2019"]);
}

#[test]
fn a_canarys_copy_is_known_by_its_source_and_not_by_a_tag() {
    let tags = [("keyferry:role", "canary-copy"), ("keyferry:run", "run-1")];
    let mut copy = resource(Kind::Snapshot, "byok-dave-canary-run-1-k", "db-canary", Some(KEY), &tags);
    copy.derived_from = Some("arn:aws:rds:us-west-2:127450652264:snapshot:keyferry-canary-1".to_owned());
    let forged = resource(Kind::Snapshot, "byok-dave-canary-tax", "db-GONE", Some("vendor"), &tags);
    let mut own = copy.clone();
    own.tags.insert("keyferry:run".to_owned(), "run-9".to_owned());
    let judged = judged(vec![copy, forged, own]);
    assert_eq!(went(&judged), ["byok-dave-canary-run-1-k"]);
    assert_eq!(judged.kept[0].id, "byok-dave-canary-tax");
}

#[test]
fn the_hash_is_over_every_word_and_the_same_for_the_same() {
    let list = |lines: Vec<Line>, keys: KeySet| PurgePlan {
        version: VERSION,
        enterprise: "dave".to_owned(),
        generation: 1,
        partition: "aws".to_owned(),
        keys,
        residency: Residency::default(),
        lines,
    };
    let lines = judged(vec![old(), successor()]).lines;
    let hash = list(lines.clone(), keys()).hash();
    let stored = serde_json::to_value(list(lines.clone(), keys())).unwrap();
    assert_eq!(PurgePlan::read(&stored).unwrap().hash(), hash);
    let mut other = lines.clone();
    other[0].proof[0].push('x');
    assert_ne!(list(other, keys()).hash(), hash);
    assert_ne!(list(lines, KeySet::default()).hash(), hash);
    assert_ne!(list(Vec::new(), keys()).hash(), hash);
}

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::systems::Tags;

const KEY: &str = "arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";

fn resource(id: &str, kind: Kind, key: Option<&str>, tags: &[(&str, &str)]) -> Resource {
    Resource {
        region: "us-west-2".to_owned(),
        kind,
        id: id.to_owned(),
        arn: format!("arn:aws:rds:us-west-2:127450652264:db:{id}"),
        resource_id: format!("db-{id}"),
        status: "available".to_owned(),
        encrypted: key.is_some(),
        key: key.map(str::to_owned),
        part_keys: BTreeMap::new(),
        automated: false,
        instance: Some("production".to_owned()),
        derived_from: None,
        taken_at: None,
        size_gb: None,
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Tags>(),
    }
}

fn residency() -> Residency {
    let regions = ["us-west-2", "us-east-1"].map(str::to_owned).to_vec();
    let recovery = Residency::unstated("us-west-2", "us-east-1", &regions);
    Residency { regions, recovery, ..Residency::default() }
}

fn audit(resources: Vec<Resource>, expected: &[Expected], originals: &[&str]) -> Value {
    audit_with(resources, expected, originals, &BTreeMap::new())
}

fn audit_with(
    resources: Vec<Resource>,
    expected: &[Expected],
    originals: &[&str],
    held: &BTreeMap<String, Held>,
) -> Value {
    let keys = KeySet { keys: [("us-west-2".to_owned(), KEY.to_owned())].into(), instances: BTreeMap::new() };
    let pages = [("us-west-2/DescribeDBInstances".to_owned(), 1)].into();
    let originals: BTreeSet<String> = originals.iter().map(|&id| id.to_owned()).collect();
    let report = report(&Request {
        enterprise: "dave",
        generation: 1,
        generated_at: "2026-11-24T12:00:00Z".parse().unwrap(),
        keys: &keys,
        expected,
        residency: &residency(),
        homes: &Homes::new(&resources, BTreeMap::new()),
        originals: &originals,
        scan: &Scan { resources, pages },
        held,
    });
    let schema: Value = serde_json::from_str(include_str!("../../docs/audit-report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let findings: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(findings.is_empty(), "{findings:?}");
    assert!(!validator.is_valid(&json!({ "version": 1 })));
    report
}

fn finding(resource: Resource, originals: &[&str]) -> String {
    audit(vec![resource], &[], originals)["resources"][0]["finding"].as_str().unwrap().to_owned()
}

#[test]
fn each_kind_of_deviation_is_found() {
    let other = Some("arn:aws:kms:us-west-2:127450652264:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e9");
    let mut part = resource("a", Kind::Instance, Some(KEY), &[]);
    part.part_keys.insert("performance-insights".to_owned(), "another".to_owned());
    let mut elsewhere = resource("a", Kind::Instance, Some(KEY), &[]);
    elsewhere.region = "eu-west-1".to_owned();
    let table = [
        (resource("a", Kind::Instance, Some(KEY), &[]), "match"),
        (resource("a", Kind::Instance, other, &[]), "wrong-key"),
        (resource("a", Kind::Instance, None, &[]), "not-encrypted"),
        (resource("a", Kind::Cluster, None, &[]), "not-encrypted"),
        (resource("a", Kind::Instance, other, &[("keyferry:role", "old")]), "left-over"),
        (resource("a", Kind::Snapshot, Some(KEY), &[("keyferry:role", "early")]), "left-over"),
        (resource("a", Kind::Snapshot, Some(KEY), &[("keyferry:role", "recovery")]), "match"),
        (resource("was", Kind::Snapshot, other, &[]), "left-over"),
        (resource("was", Kind::AutomatedBackup, None, &[]), "left-over"),
        (part, "wrong-key"),
        (elsewhere, "outside-region"),
    ];
    for (resource, expected) in table {
        assert_eq!(finding(resource.clone(), &["db-was"]), expected, "{resource:?}");
    }
}

#[test]
fn what_is_expected_and_not_there_is_missing() {
    let expected = [Expected {
        id: "dave-production".to_owned(),
        region: "us-west-2".to_owned(),
        instance: "production".to_owned(),
        recovery: true,
    }];
    let report = audit(Vec::new(), &expected, &[]);
    assert_eq!(report["summary"]["counts"]["missing"], 2);
    assert_eq!(report["deviations"][0]["finding"], "missing");
    assert_eq!(report["summary"]["conclusion"], "deviations");
}

#[test]
fn a_key_tells_when_it_was_proven_last_and_is_a_deviation_without_its_material() {
    let mut held = Held { proven_at: Some("2026-11-20T12:00:00Z".parse().unwrap()), gone: false };
    let one = || vec![resource("a", Kind::Instance, Some(KEY), &[])];
    let report = audit_with(one(), &[], &[], &[(KEY.to_owned(), held)].into());
    assert_eq!(report["keys"][0]["last_proven_at"], "2026-11-20T12:00:00Z");
    assert_eq!(report["summary"]["conclusion"], "compliant");
    held.gone = true;
    let report = audit_with(one(), &[], &[], &[(KEY.to_owned(), held)].into());
    assert_eq!(report["summary"]["counts"]["material-gone"], 1);
    let row = &report["deviations"][0];
    assert_eq!((&row["kind"], &row["finding"], &row["arn"]), (&json!("key"), &json!("material-gone"), &json!(KEY)));
    assert!(row["why"].as_str().unwrap().contains("keyferry run start dave --workflow reimport"), "{row}");
}

#[test]
fn a_clean_report_says_so_and_puts_deviations_before_resources() {
    let report = audit(vec![resource("a", Kind::Instance, Some(KEY), &[])], &[], &[]);
    assert_eq!(report["summary"]["conclusion"], "compliant");
    let text = report.to_string();
    assert!(text.find("\"deviations\"").unwrap() < text.find("\"resources\"").unwrap());
}

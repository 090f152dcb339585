use serde_json::{Value, json};

use super::*;
use crate::{
    keys::{Custody, Probe},
    systems::{Export, Kind, NearMiss, Resource, Scan, Tags, Unread},
    worker::StepError,
};

const KEY: &str = "arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";
const OTHER: &str = "arn:aws:kms:us-west-2:127450652264:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e9";

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
        related: Vec::new(),
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Tags>(),
    }
}

fn residency() -> Residency {
    let regions = ["us-west-2", "us-east-1"].map(str::to_owned).to_vec();
    let recovery = Residency::unstated("us-west-2", "us-east-1", &regions);
    Residency { regions, recovery, ..Residency::default() }
}

/// What an audit saw: one system under its key, which works.
struct Seen {
    survey: Survey,
    keys: BTreeMap<String, KeySeen>,
    expected: Vec<Expected>,
    originals: BTreeSet<String>,
    decisions: BTreeMap<String, Decision>,
    before: Option<Report>,
}

fn key_seen(probes: Result<Vec<Probe>, String>) -> KeySeen {
    KeySeen { custody: Custody::Customer, probes, used_by_rds_at: None, proven_at: None }
}

impl Seen {
    fn clean() -> Self {
        Self::of(vec![resource("a", Kind::Instance, Some(KEY), &[])])
    }

    fn of(resources: Vec<Resource>) -> Self {
        let pages = [("us-west-2/DescribeDBInstances".to_owned(), 1)].into();
        let survey = Survey { scan: Scan { resources, pages }, ..Survey::default() };
        let good = key_seen(Ok(vec![Probe::passed("key-metadata", "enabled")]));
        Self {
            survey,
            keys: [(KEY.to_owned(), good)].into(),
            expected: Vec::new(),
            originals: ["db-was".to_owned()].into(),
            decisions: BTreeMap::new(),
            before: None,
        }
    }

    fn key(mut self, probes: Vec<Probe>) -> Self {
        self.keys.insert(KEY.to_owned(), key_seen(Ok(probes)));
        self
    }

    fn report(&self) -> Report {
        let keys = KeySet { keys: [("us-west-2".to_owned(), KEY.to_owned())].into(), instances: BTreeMap::new() };
        let report = report(&Request {
            enterprise: "dave",
            run: "run-1",
            generation: 1,
            generated_at: "2026-11-24T12:00:00Z".parse().unwrap(),
            keys: &keys,
            expected: &self.expected,
            residency: &residency(),
            homes: &Homes::new(&self.survey.scan.resources, BTreeMap::new()),
            originals: &self.originals,
            place: Place {
                account: "127450652264",
                partition: "aws",
                regions: &["us-west-2".to_owned(), "us-east-1".to_owned()],
                enterprise_tag: "keyferry:enterprise",
                instance_tag: "keyferry:instance",
                vendor: "Replicon",
            },
            survey: &self.survey,
            seen: &self.keys,
            decisions: &self.decisions,
            before: self.before.as_ref(),
        });
        valid(&json!(report));
        report
    }

    fn conclusion(&self) -> Conclusion {
        self.report().summary.conclusion
    }
}

fn valid(report: &Value) {
    let schema: Value = serde_json::from_str(include_str!("../../docs/audit-report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let findings: Vec<String> = validator.iter_errors(report).map(|error| error.to_string()).collect();
    assert!(findings.is_empty(), "{findings:?}");
    assert!(!validator.is_valid(&json!({ "version": 3 })));
}

/// A cure is words, and commands on lines of their own in which nothing is left to be filled in.
fn complete(cure: &str) {
    assert!(!cure.is_empty());
    for line in cure.lines() {
        let names = line.contains("aws rds ") || line.contains("aws kms ") || line.contains("keyferry run ");
        let command = line.strip_prefix("  ");
        assert!(command.is_some() || !names, "a command stands among words: {cure}");
        let Some(command) = command else { continue };
        let begins = ["aws ", "keyferry ", "sleep ", "test ", "until "].iter().any(|first| command.starts_with(first));
        let open = ["…", " KEY", " NAME", "REGION"].iter().any(|left| command.contains(left));
        assert!(begins && !open, "{cure}");
    }
}

#[test]
fn each_finding_is_seen_and_without_it_everything_is_compliant() {
    assert_eq!(Seen::clean().conclusion(), Conclusion::Compliant);
    let instance = |key: Option<&str>, tags: &[(&str, &str)]| resource("a", Kind::Instance, key, tags);
    let snapshot = |key: Option<&str>, role: &str| resource("a", Kind::Snapshot, key, &[("keyferry:role", role)]);
    let change = |change: &dyn Fn(&mut Resource)| {
        let mut found = instance(Some(KEY), &[]);
        change(&mut found);
        found
    };
    let with_part = |found: &mut Resource, part: &str| {
        found.part_keys.insert(part.to_owned(), OTHER.to_owned());
    };
    let table = [
        (instance(Some(OTHER), &[]), Finding::WrongKey),
        (instance(None, &[]), Finding::NotEncrypted),
        (resource("a", Kind::Cluster, None, &[]), Finding::NotEncrypted),
        (instance(Some(OTHER), &[("keyferry:role", "old")]), Finding::LeftOver),
        (snapshot(Some(KEY), "early"), Finding::LeftOver),
        (resource("was", Kind::Snapshot, Some(OTHER), &[]), Finding::LeftOver),
        (resource("was", Kind::AutomatedBackup, None, &[]), Finding::LeftOver),
        (change(&|found| with_part(found, "performance-insights")), Finding::WrongKey),
        (change(&|found| with_part(found, "master-user-secret")), Finding::WrongKey),
        (
            change(&|found| {
                found.kind = Kind::Cluster;
                with_part(found, "activity-stream");
            }),
            Finding::WrongKey,
        ),
        (change(&|found| found.region = "eu-west-1".to_owned()), Finding::OutsideRegion),
        (resource("s", Kind::Snapshot, Some(OTHER), &[]), Finding::WrongKey),
        (resource("rds:s", Kind::Snapshot, None, &[]), Finding::NotEncrypted),
        (resource("awsbackup:job-1", Kind::ClusterSnapshot, Some(OTHER), &[]), Finding::WrongKey),
        (resource("b", Kind::ClusterAutomatedBackup, Some(OTHER), &[]), Finding::WrongKey),
        (resource("b", Kind::AutomatedBackup, Some(OTHER), &[]), Finding::WrongKey),
        (
            change(&|found| found.status = "inaccessible-encryption-credentials-recoverable".to_owned()),
            Finding::Inaccessible,
        ),
        (change(&|found| found.status = "inaccessible-encryption-credentials".to_owned()), Finding::Inaccessible),
        (change(&|found| found.status = "incompatible-restore".to_owned()), Finding::Inaccessible),
        (change(&|found| found.status = "failed".to_owned()), Finding::Inaccessible),
    ];
    for (found, expected) in table {
        let report = Seen::of(vec![found.clone()]).report();
        assert_eq!(report.resources[0].finding, expected, "{found:?}");
        assert_eq!(report.summary.conclusion, Conclusion::Deviations);
        assert_eq!((report.summary.counts[&expected], report.summary.counts[&Finding::Match]), (1, 0));
        complete(&report.deviations[0].cure);
    }
    for good in [snapshot(Some(KEY), "recovery"), change(&|found| found.status = "stopped".to_owned())] {
        assert_eq!(Seen::of(vec![good]).conclusion(), Conclusion::Compliant);
    }
}

#[test]
fn a_key_that_cannot_be_relied_on_is_a_deviation_with_everything_under_it() {
    let table = [
        ("key-disabled", Finding::KeyDisabled, 2),
        ("key-pending-deletion", Finding::KeyPendingDeletion, 2),
        ("key-not-found", Finding::KeyUnusable, 2),
        ("key-without-material", Finding::MaterialGone, 2),
        ("key-material-expires", Finding::MaterialExpires, 1),
        ("statement-use-missing", Finding::PermissionMissing, 1),
        ("statement-attachment-missing", Finding::PermissionMissing, 1),
        ("grants-too-wide", Finding::PermissionTooWide, 1),
        ("policy-narrower", Finding::PermissionMissing, 1),
        ("policy-wider", Finding::PermissionTooWide, 1),
    ];
    for (code, expected, count) in table {
        let report = Seen::clean().key(vec![Probe::failed("key-metadata", code, "seen", "change it")]).report();
        assert_eq!(report.summary.conclusion, Conclusion::Deviations, "{code}");
        assert_eq!(report.summary.counts[&expected], count, "{code}");
        assert_eq!((report.deviations[0].kind.as_str(), report.deviations[0].finding), ("key", expected));
        assert!(report.deviations[0].cure.contains("change it"), "{}", report.deviations[0].cure);
        complete(&report.deviations[0].cure);
        assert_eq!(report.keys[0].usable, Some(false));
    }
}

#[test]
fn of_a_vendors_key_without_material_the_cure_is_a_reimport() {
    let mut seen = Seen::clean().key(vec![Probe::failed("key-metadata", "key-without-material", "no material", "")]);
    let key = seen.keys.get_mut(KEY).unwrap();
    key.custody = Custody::Vendor;
    key.proven_at = Some("2026-11-20T12:00:00Z".parse().unwrap());
    let report = seen.report();
    assert!(report.deviations[0].cure.contains("keyferry run start dave --workflow reimport"));
    assert_eq!(report.keys[0].last_proven_at.as_deref(), Some("2026-11-20T12:00:00Z"));
}

#[test]
fn aws_out_of_reach_is_not_proven_and_no_deviation() {
    let mut seen = Seen::clean();
    seen.keys.insert(KEY.to_owned(), key_seen(Err("no answer from AWS".to_owned())));
    let report = seen.report();
    assert_eq!(report.summary.conclusion, Conclusion::NotProven);
    assert!(report.deviations.is_empty() && report.not_proven[0].why.contains("no answer from AWS"));
    assert_eq!(report.keys[0].usable, None);
    // It cannot be decided away.
    let decision = decided(&report.not_proven[0]);
    seen.decisions.insert(decision.doubt.clone(), decision);
    assert_eq!(seen.conclusion(), Conclusion::NotProven);

    let mut seen = Seen::clean();
    seen.expected = vec![system("dave-east", "us-east-1", false)];
    let error = StepError::new("Keyferry.Unavailable", "no answer");
    seen.survey.unread = vec![Unread { region: "us-east-1".to_owned(), what: "the region".to_owned(), error }];
    let report = seen.report();
    assert_eq!(report.summary.conclusion, Conclusion::NotProven, "what was not read is not missing");
    assert!(report.summary.sentences.iter().any(|said| said.contains("Not read whole: us-east-1")));
    assert!(!report.scope.regions.contains(&"us-east-1".to_owned()));
}

#[test]
fn a_probe_that_says_nothing_is_not_proven() {
    let unclear = Probe::inconclusive("create-grant-denied", "grant-unclear", "AWS said something else");
    assert_eq!(Seen::clean().key(vec![unclear]).conclusion(), Conclusion::NotProven);
    let narrow = Probe::inconclusive("data-key", "via-service-only", "RDS can use the key");
    assert_eq!(Seen::clean().key(vec![narrow]).conclusion(), Conclusion::Compliant);
    let mut seen = Seen::clean();
    seen.keys.clear();
    assert_eq!(seen.conclusion(), Conclusion::NotProven, "a key that was not looked at");
}

fn decided(doubt: &Doubt) -> Decision {
    Decision {
        doubt: doubt.id.clone(),
        why: doubt.why.clone(),
        reason: "another customer's".to_owned(),
        by: "engineer".to_owned(),
        at: "2026-11-24T11:00:00Z".parse().unwrap(),
    }
}

#[test]
fn a_near_miss_is_not_proven_until_it_is_decided_and_again_when_it_changes() {
    let mut seen = Seen::clean();
    let near = |why: &str| NearMiss { resource: resource("b", Kind::Instance, None, &[]), why: why.to_owned() };
    seen.survey.near = vec![near("its tag is 'Dave'")];
    let report = seen.report();
    assert_eq!(report.summary.conclusion, Conclusion::NotProven);
    let doubt = &report.not_proven[0];
    assert!(doubt.why.contains("'Dave'") && doubt.cure.contains(&doubt.id), "{doubt:?}");
    let decision = decided(doubt);
    seen.decisions.insert(decision.doubt.clone(), decision.clone());
    let report = seen.report();
    assert_eq!((report.summary.conclusion, report.decisions), (Conclusion::Compliant, vec![decision]));
    seen.survey.near = vec![near("its tag is 'DAVE'")];
    let report = seen.report();
    assert_eq!(report.summary.conclusion, Conclusion::NotProven, "the decision was about something else");
    assert!(report.decisions.is_empty());
}

#[test]
fn shares_exports_other_regions_and_unknown_states_are_named() {
    let mut seen = Seen::of(vec![resource("s", Kind::Snapshot, Some(KEY), &[])]);
    assert_eq!(seen.conclusion(), Conclusion::Compliant);
    let arn = seen.survey.scan.resources[0].arn.clone();
    seen.survey.shares = [(arn, vec!["999999999999".to_owned()])].into();
    let report = seen.report();
    assert_eq!(report.deviations[0].finding, Finding::Shared);
    assert!(report.deviations[0].cure.contains("--values-to-remove 999999999999"));

    let export = |key: &str| Export {
        region: "us-west-2".to_owned(),
        id: "month-end".to_owned(),
        source: "arn:aws:rds:us-west-2:127450652264:snapshot:s".to_owned(),
        key: Some(key.to_owned()),
        status: "COMPLETE".to_owned(),
        bucket: "exports".to_owned(),
    };
    let mut seen = Seen::clean();
    seen.survey.exports = vec![export(KEY)];
    let report = seen.report();
    assert_eq!((report.summary.conclusion, report.summary.counts[&Finding::Match]), (Conclusion::Compliant, 2));
    seen.survey.exports = vec![export(OTHER)];
    assert_eq!(seen.report().not_proven[0].kind, DoubtKind::Export);

    let mut seen = Seen::clean();
    let replica = "arn:aws:rds:eu-west-3:127450652264:db:b".to_owned();
    seen.survey.scan.resources[0].related = vec![replica];
    let report = seen.report();
    assert_eq!(report.not_proven[0].kind, DoubtKind::RegionNotListed);
    assert_eq!((report.not_proven[0].region.as_str(), report.summary.conclusion), ("eu-west-3", Conclusion::NotProven));

    let mut seen = Seen::clean();
    seen.survey.scan.resources[0].status = "something-new".to_owned();
    assert_eq!(seen.report().not_proven[0].kind, DoubtKind::StatusUnknown);
}

fn system(id: &str, region: &str, recovery: bool) -> Expected {
    Expected { id: id.to_owned(), region: region.to_owned(), instance: "production".to_owned(), recovery }
}

#[test]
fn what_is_expected_and_not_there_is_missing() {
    let mut seen = Seen::of(Vec::new());
    seen.expected = vec![system("dave-production", "us-west-2", true)];
    let report = seen.report();
    report.deviations.iter().for_each(|missing| complete(&missing.cure));
    assert_eq!(report.summary.counts[&Finding::Missing], 2);
    assert_eq!(report.deviations[0].finding, Finding::Missing);
    assert_eq!(report.summary.conclusion, Conclusion::Deviations);
}

#[test]
fn this_runs_own_canary_copy_is_nothing_to_find_and_anothers_is_left_over() {
    let copy = |run: &str| {
        resource("c", Kind::Snapshot, Some(KEY), &[("keyferry:role", "canary-copy"), ("keyferry:run", run)])
    };
    assert_eq!(Seen::of(vec![copy("run-1")]).conclusion(), Conclusion::Compliant);
    assert_eq!(Seen::of(vec![copy("run-0")]).report().deviations[0].finding, Finding::LeftOver);
}

#[test]
fn a_report_has_a_name_says_where_it_looked_and_puts_deviations_before_resources() {
    let report = Seen::clean().report();
    assert_eq!(report.name, "dave-2026-11-24-120000");
    let said = report.summary.sentences.join("\n");
    for word in ["127450652264", "us-west-2, us-east-1", "keyferry:enterprise is exactly 'dave'", "exports to S3"] {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
    let text = json!(report).to_string();
    assert!(text.find("\"deviations\"").unwrap() < text.find("\"resources\"").unwrap());
}

#[test]
fn a_report_says_what_is_new_gone_and_the_same_since_the_last_one() {
    let bad = |id: &str| resource(id, Kind::Instance, None, &[]);
    let first = Seen::of(vec![bad("a"), bad("b")]).report();
    assert_eq!(first.changes, None);
    let mut seen = Seen::of(vec![bad("b"), bad("c")]);
    let name = first.name.clone();
    seen.before = Some(first);
    let line = |id: &str| vec![format!("not-encrypted: instance {id} in us-west-2")];
    let changes = Changes { since: name, new: line("c"), gone: line("a"), same: line("b") };
    assert_eq!(seen.report().changes, Some(changes));
}

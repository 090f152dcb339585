mod regions;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Finding, FormContext, Forms};
use crate::{
    config::Config,
    keys::KeySet,
    systems::{
        Kind, Residency,
        purge::{Line, PurgePlan, VERSION},
    },
    worker::Enterprise,
};

fn enterprise(partition: &str) -> Enterprise {
    Enterprise {
        id: "dave".to_owned(),
        name: "Dave".to_owned(),
        partition: partition.to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
        version: 1,
        created_at: now(),
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn answer(form: &str, partition: &str, input: &Value, answer: &Value) -> Result<Value, Vec<Finding>> {
    let config = Config::default();
    let enterprise = enterprise(partition);
    let context = FormContext { config: &config, input, now: now(), enterprise: &enterprise };
    Forms::shipped().unwrap().get(form).unwrap().check(answer, &context)
}

fn pointers(outcome: Result<Value, Vec<Finding>>) -> Vec<String> {
    outcome.unwrap_err().into_iter().map(|finding| finding.pointer).collect()
}

fn plan() -> Value {
    json!({ "regions": ["us-west-2", "us-east-1"], "aws_account": "123456789012", "partition": "aws" })
}

const WEST: &str = "arn:aws:kms:us-west-2:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e1";
const EAST: &str = "arn:aws:kms:us-east-1:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e2";

#[test]
fn the_specifications_regions_are_accepted_and_normalised() {
    let given = json!({
        "primary": "us-west-2", "disaster_recovery": "us-east-1", "additional": [], "instances": {"sandbox": "us-east-1"},
        "aws_account": "123456789012",
    });
    let good = answer("regions", "aws", &json!({}), &given).unwrap();
    assert_eq!(good["regions"], json!(["us-west-2", "us-east-1"]));
    assert_eq!(good["partition"], "aws");
    let small =
        json!({ "primary": "us-gov-west-1", "disaster_recovery": "us-gov-east-1", "aws_account": "123456789012" });
    assert_eq!(answer("regions", "aws-us-gov", &json!({}), &small).unwrap()["additional"], json!([]));
    let vendor = json!({ "primary": "us-west-2", "disaster_recovery": "us-east-1" });
    answer("regions", "aws", &json!({ "custody": "vendor" }), &vendor).unwrap();
}

#[test]
fn wrong_regions_are_found_at_their_place() {
    let table = [
        (
            json!({ "primary": "us-west-2", "disaster_recovery": "us-west-2", "aws_account": "123456789012" }),
            "/disaster_recovery",
        ),
        (json!({ "primary": "mars-1", "disaster_recovery": "us-west-2", "aws_account": "123456789012" }), "/primary"),
        (
            json!({ "primary": "us-west-2", "disaster_recovery": "us-gov-west-1", "aws_account": "123456789012" }),
            "/disaster_recovery",
        ),
        (
            json!({ "primary": "us-west-2", "disaster_recovery": "us-east-1", "additional": ["us-west-2"], "aws_account": "123456789012" }),
            "/additional/0",
        ),
        (
            json!({ "primary": "us-west-2", "disaster_recovery": "us-east-1", "instances": {"sandbox": "eu-west-1"}, "aws_account": "123456789012" }),
            "/instances/sandbox",
        ),
        (json!({ "primary": "us-west-2", "disaster_recovery": "us-east-1" }), "/aws_account"),
        (
            json!({ "primary": "us-west-2", "disaster_recovery": "us-east-1", "aws_account": "127450652264" }),
            "/aws_account",
        ),
        (json!({ "primary": "us-west-2", "disaster_recovery": "us-east-1", "aws_account": "1234" }), "/aws_account"),
        (json!({ "primary": "us-west-2" }), ""),
    ];
    for (given, pointer) in table {
        assert_eq!(pointers(answer("regions", "aws", &json!({}), &given)), [pointer], "{given}");
    }
}

#[test]
fn one_key_for_each_region_is_accepted_and_instances_may_have_their_own() {
    let given = json!({ "keys": { "us-west-2": WEST, "us-east-1": EAST } });
    let good = answer("key-arns", "aws", &plan(), &given).unwrap();
    assert_eq!(good["list"].as_array().unwrap().len(), 2);
    let (own, other) = (WEST.replace("e1", "ef"), EAST.replace("e2", "ee"));
    let own = json!({ "sandbox": { "us-west-2": own, "us-east-1": other } });
    let given = json!({ "keys": { "us-west-2": WEST, "us-east-1": EAST }, "instances": own });
    assert_eq!(answer("key-arns", "aws", &plan(), &given).unwrap()["list"].as_array().unwrap().len(), 4);
}

#[test]
fn an_instance_has_its_own_keys_wherever_its_data_lies_or_none() {
    let mut input = plan();
    input["instances"] = json!({ "production": ["us-east-1", "us-west-2"], "sandbox": ["us-west-2"] });
    let (west, east) = (WEST.replace("e1", "ef"), EAST.replace("e2", "ee"));
    let shared = json!({ "us-west-2": WEST, "us-east-1": EAST });
    let given = |own: Value| {
        let instances = json!({ "keys": shared, "instances": own });
        answer("key-arns", "aws", &input, &instances).map(|_| ()).map_err(|findings| {
            findings.into_iter().map(|found| format!("{} {}", found.pointer, found.message)).collect::<Vec<_>>()
        })
    };
    given(json!({ "sandbox": { "us-west-2": west } })).unwrap();
    given(json!({ "production": { "us-west-2": west, "us-east-1": east } })).unwrap();
    let table = [
        (
            json!({ "production": { "us-west-2": west } }),
            "/instances/production production lacks a key of its own for us-east-1",
        ),
        (json!({ "sandbox": {} }), "/instances/sandbox sandbox lacks a key of its own for us-west-2"),
        (
            json!({ "sandbx": { "us-west-2": west } }),
            "/instances/sandbx sandbx is no instance of this enterprise; known: production, sandbox",
        ),
    ];
    for (own, says) in table {
        let findings = given(own.clone()).unwrap_err();
        assert!(findings.len() == 1 && findings[0].starts_with(says), "{own}: {findings:?}");
    }
    // A run that began before does not say where an instance's data lies: it may be anywhere.
    let partly = json!({ "keys": shared, "instances": { "sandbox": { "us-west-2": west } } });
    assert_eq!(pointers(answer("key-arns", "aws", &plan(), &partly)), ["/instances/sandbox"]);
}

#[test]
fn wrong_keys_are_found_at_their_place_each_with_its_own_code() {
    let table = [
        (json!({ "us-west-2": WEST }), "/keys", "is missing"),
        (json!({ "us-west-2": WEST, "us-east-1": WEST }), "/keys/us-west-2", "every region needs a key of its own"),
        (json!({ "us-west-2": EAST, "us-east-1": EAST.replace("e2", "e3") }), "/keys/us-west-2", "arn-wrong-region"),
        (json!({ "us-west-2": WEST, "us-east-1": "alias/mine" }), "/keys/us-east-1", "arn-alias"),
        (json!({ "us-west-2": WEST, "us-east-1": EAST, "eu-west-1": EAST }), "/keys/eu-west-1", "none of the chosen"),
    ];
    for (keys, pointer, says) in table {
        let findings = answer("key-arns", "aws", &plan(), &json!({ "keys": keys })).unwrap_err();
        let found = findings.iter().any(|finding| finding.pointer == pointer && finding.message.contains(says));
        assert!(found, "{keys}: {findings:?}");
    }
}

#[test]
fn a_window_is_normalised_to_three_instants() {
    let good = answer("window", "aws", &json!({}), &json!({ "start": "now", "duration_hours": 8 })).unwrap();
    assert_eq!(good["start"], "2026-11-24T12:00:00Z");
    assert_eq!(good["cutoff"], "2026-11-24T19:00:00Z");
    assert_eq!(
        pointers(answer("window", "aws", &json!({}), &json!({ "start": "soon", "duration_hours": 8 }))),
        ["/start"]
    );
    assert_eq!(
        pointers(answer("window", "aws", &json!({}), &json!({ "start": "now", "duration_hours": 100 }))),
        ["/duration_hours"]
    );
}

#[test]
fn whether_writers_are_stopped_is_asked_where_nothing_keeps_them_out() {
    let unfenced = json!({ "unfenced": ["dave-production", "dave-sandbox"] });
    let window = json!({ "start": "now", "duration_hours": 8 });
    let findings = answer("window", "aws", &unfenced, &window).unwrap_err();
    assert_eq!(findings[0].pointer, "/writers_stopped");
    assert!(findings[0].message.contains("dave-production, dave-sandbox"), "{findings:?}");
    for stopped in [true, false] {
        let said = json!({ "start": "now", "duration_hours": 8, "writers_stopped": stopped });
        assert_eq!(answer("window", "aws", &unfenced, &said).unwrap()["writers_stopped"], stopped);
    }
    let fenced = answer("window", "aws", &json!({ "unfenced": [] }), &window).unwrap();
    assert_eq!(fenced["writers_stopped"], false, "what nobody said is not taken for said");
}

/// What the form `purge-approval` is given.
fn list(enterprise: &str) -> Value {
    let list = PurgePlan {
        version: VERSION,
        enterprise: enterprise.to_owned(),
        generation: 1,
        partition: "aws".to_owned(),
        keys: KeySet::default(),
        residency: Residency::default(),
        lines: vec![line("one"), line("two")],
    };
    json!({ "plan": list.hash(), "list": list, "kept": [], "made_at": now(), "shown": list.shown(&[], now()) })
}

fn line(id: &str) -> Line {
    Line {
        kind: Kind::Snapshot,
        id: id.to_owned(),
        arn: format!("arn:aws:rds:us-west-2:127450652264:snapshot:{id}"),
        region: "us-west-2".to_owned(),
        resource_id: "db-A".to_owned(),
        key: None,
        encrypted: false,
        size_gb: Some(20),
        taken_at: Some(now()),
        why: "an earlier state of a replaced system".to_owned(),
        successor: None,
        copies: Vec::new(),
        proof: Vec::new(),
    }
}

#[test]
fn an_approval_is_of_the_list_that_is_shown_and_names_it() {
    let input = list("dave");
    let good = json!({ "approve": true, "plan": input["plan"], "reason": "checked with the customer" });
    assert_eq!(answer("purge-approval", "aws", &input, &good).unwrap(), good);
    let refusal = json!({ "approve": false, "reason": "not yet" });
    assert_eq!(answer("purge-approval", "aws", &input, &refusal).unwrap(), refusal);
    answer("purge-approval", "aws", &input, &json!({ "approve": true, "plan": input["plan"] })).unwrap_err();
    answer("purge-approval", "aws", &input, &json!({ "approve": "yes", "plan": input["plan"], "reason": "x" }))
        .unwrap_err();
    let unnamed = json!({ "approve": true, "reason": "x" });
    assert_eq!(pointers(answer("purge-approval", "aws", &input, &unnamed)), ["/plan"]);
    let other = json!({ "approve": true, "plan": "0".repeat(64), "reason": "x" });
    assert_eq!(pointers(answer("purge-approval", "aws", &input, &other)), ["/plan"]);
    // A definition that shows something else than the hash is of makes no approval.
    type Change = fn(&mut Value);
    let lies: [(&str, Change); 6] = [
        ("no list", |input| input["list"] = Value::Null),
        ("a line is left out", |input| drop(input["list"]["lines"].as_array_mut().unwrap().pop())),
        ("a line is another", |input| input["list"]["lines"][0]["id"] = json!("three")),
        ("the keys are others", |input| input["list"]["keys"]["keys"]["us-west-2"] = json!(WEST)),
        ("a shown line is left out", |input| drop(input["shown"].as_array_mut().unwrap().pop())),
        ("a shown line is another", |input| input["shown"][0] = json!("goes: nothing of yours")),
    ];
    for (lie, change) in lies {
        let mut input = input.clone();
        change(&mut input);
        assert_eq!(pointers(answer("purge-approval", "aws", &input, &good)), [""], "{lie}");
    }
    let foreign = list("erin");
    let approve = json!({ "approve": true, "plan": foreign["plan"], "reason": "x" });
    assert_eq!(pointers(answer("purge-approval", "aws", &foreign, &approve)), [""]);
}

#[test]
fn a_schema_without_a_role_is_no_form() {
    Forms::load([("x", r#"{"title": "X"}"#)]).unwrap_err();
    Forms::load([("x", r#"{"title": "X", "x-keyferry-role": "boss"}"#)]).unwrap_err();
    Forms::load([("x", "{")]).unwrap_err();
}

use serde_json::{Value, json};

use super::*;

fn check(form: &str, answer: &Value, input: &Value, partition: &str) -> Result<Value, Vec<String>> {
    let config = Config::default();
    let forms = Forms::shipped().unwrap();
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let context = FormContext { config: &config, input, now, partition };
    forms.get(form).unwrap().check(answer, &context).map_err(|findings| {
        findings.into_iter().map(|finding| format!("{} {}", finding.pointer, finding.code)).collect()
    })
}

fn key(region: &str) -> String {
    format!("arn:aws:kms:{region}:123456789012:key/93302c1f-1a71-4c07-a2bf-c6fbe0d245e{}", region.len() % 10)
}

#[test]
fn regions_come_back_with_their_partition() {
    let answer = json!({"primary": "us-west-2", "disaster_recovery": "us-east-1", "additional": [], "instances": {}, "aws_account": "123456789012"});
    let plan = check("regions", &answer, &Value::Null, "aws").unwrap();
    assert_eq!(plan.get("regions"), Some(&json!(["us-west-2", "us-east-1"])));
    assert_eq!(plan.get("partition"), Some(&json!("aws")));
}

#[test]
fn every_mistake_in_the_regions_is_found_at_its_place() {
    for (change, expected) in [
        (json!({"primary": "mars-north-1"}), "/primary region-unsupported"),
        (json!({"disaster_recovery": "us-west-2"}), "/disaster_recovery region-twice"),
        (json!({"disaster_recovery": "us-gov-west-1"}), "/disaster_recovery region-unsupported"),
        (json!({"additional": ["us-east-1"]}), "/additional/0 region-twice"),
        (json!({"instances": {"sandbox": "eu-west-1"}}), "/instances/sandbox instance-region"),
        (json!({"instances": {"staging": "us-west-2"}}), "/instances/staging instance-unknown"),
        (json!({"aws_account": ""}), "/aws_account form-shape"),
        (json!({"aws_account": "127450652264"}), "/aws_account account-is-vendor"),
        (json!({"surprise": 1}), " form-shape"),
    ] {
        let mut answer =
            json!({"primary": "us-west-2", "disaster_recovery": "us-east-1", "aws_account": "123456789012"});
        answer.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(check("regions", &answer, &Value::Null, "aws"), Err(vec![expected.to_owned()]), "{change}");
    }
    let answer = json!({"primary": "us-west-2", "disaster_recovery": "us-east-1"});
    assert_eq!(check("regions", &answer, &Value::Null, "aws"), Err(vec!["/aws_account account-missing".to_owned()]));
}

#[test]
fn keys_are_held_against_the_plan() {
    let input = json!({"plan": {"regions": ["us-west-2", "eu-central-1"], "aws_account": "123456789012"}});
    let good = json!({"keys": {"us-west-2": key("us-west-2"), "eu-central-1": key("eu-central-1")}});
    let checked = check("key-arns", &good, &input, "aws").unwrap();
    assert_eq!(checked.get("list").and_then(Value::as_array).map(Vec::len), Some(2));
    for (keys, expected) in [
        (json!({"us-west-2": key("us-west-2")}), vec!["/keys/eu-central-1 key-missing"]),
        (
            json!({"us-west-2": key("us-west-2"), "eu-central-1": key("us-west-2")}),
            vec!["/keys/eu-central-1 arn-duplicate"],
        ),
        (
            json!({"us-west-2": key("us-east-1"), "eu-central-1": key("eu-central-1")}),
            vec!["/keys/us-west-2 arn-wrong-region"],
        ),
        (json!({"us-west-2": "alias/a", "eu-central-1": key("eu-central-1")}), vec!["/keys/us-west-2 arn-is-an-alias"]),
        (
            json!({"us-west-2": key("us-west-2"), "eu-central-1": key("eu-central-1"), "us-east-1": key("us-east-1")}),
            vec!["/keys/us-east-1 region-not-chosen"],
        ),
    ] {
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(check("key-arns", &json!({"keys": keys}), &input, "aws"), Err(expected), "{keys}");
    }
}

#[test]
fn a_window_comes_back_as_instants() {
    let window = check("window", &json!({"start": "now", "duration_hours": 8}), &Value::Null, "aws").unwrap();
    assert_eq!(window.get("start"), Some(&json!("2026-03-01T12:00:00.000Z")));
    assert_eq!(window.get("cutoff"), Some(&json!("2026-03-01T19:00:00.000Z")));
    assert_eq!(
        check("window", &json!({"start": "tomorrow"}), &Value::Null, "aws"),
        Err(vec!["/start window-start".to_owned()])
    );
    assert_eq!(
        check("window", &json!({"start": "now", "duration_hours": 0}), &Value::Null, "aws"),
        Err(vec!["/duration_hours form-shape".to_owned()])
    );
}

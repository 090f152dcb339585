//! The form `regions`: where copies for recovery go, and what has to be said.

use serde_json::{Value, json};

use super::{answer, pointers};

/// The US, with `more` regions and members.
fn given(additional: &[&str], more: &Value) -> Value {
    let mut given = json!({
        "primary": "us-west-2", "disaster_recovery": "us-east-1", "additional": additional, "aws_account": "123456789012",
    });
    given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    given
}

fn checked(additional: &[&str], more: &Value) -> Result<Value, Vec<super::Finding>> {
    answer("regions", "aws", &json!({}), &given(additional, more))
}

#[test]
fn every_region_gets_its_recovery_region_in_its_own_jurisdiction() {
    let good = checked(&["eu-central-1", "eu-west-1", "us-east-2"], &json!({})).unwrap();
    assert_eq!(
        good["recovery"],
        json!({
            "us-west-2": "us-east-1", "us-east-1": "us-west-2", "us-east-2": "us-east-1",
            "eu-central-1": "eu-west-1", "eu-west-1": "eu-central-1",
        })
    );
    let stated = json!({ "recovery": { "eu-central-1": "us-east-1", "eu-west-1": "none" } });
    let good = checked(&["eu-central-1", "eu-west-1"], &stated).unwrap();
    assert_eq!(good["recovery"]["eu-central-1"], "us-east-1");
    assert_eq!(good["recovery"]["eu-west-1"], Value::Null);
    assert!(good["recovery"].as_object().unwrap().contains_key("eu-west-1"), "none is a statement");
}

#[test]
fn a_region_without_a_default_has_to_be_stated_in_the_words_that_the_finding_gives() {
    let findings = checked(&["ca-central-1"], &json!({})).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].pointer, "/recovery");
    for words in ["ca-central-1", "us-west-2, us-east-1", r#""recovery": {"ca-central-1": "none"}"#] {
        assert!(findings[0].message.contains(words), "{words}: {}", findings[0].message);
    }
    for away in ["none", "us-east-1"] {
        checked(&["ca-central-1"], &json!({ "recovery": { "ca-central-1": away } })).unwrap();
    }
    // Disaster recovery in another jurisdiction is somebody's word for the primary region, and for no other.
    let abroad = json!({ "primary": "ca-central-1", "disaster_recovery": "us-east-1", "aws_account": "123456789012" });
    let good = answer("regions", "aws", &json!({}), &abroad).unwrap();
    assert_eq!(good["recovery"], json!({ "ca-central-1": "us-east-1" }));
    let mut placed = abroad;
    placed["instances"] = json!({ "sandbox": "us-east-1" });
    assert_eq!(pointers(answer("regions", "aws", &json!({}), &placed)), ["/recovery"]);
}

#[test]
fn what_cannot_be_a_recovery_region_is_found_at_its_place() {
    let table = [
        (json!({ "recovery": { "us-west-2": "none" } }), "/recovery/us-west-2"),
        (json!({ "recovery": { "us-west-2": "eu-west-1" } }), "/recovery/us-west-2"),
        (json!({ "recovery": { "eu-west-1": "eu-west-1" } }), "/recovery/eu-west-1"),
        (json!({ "recovery": { "eu-west-1": "ap-southeast-2" } }), "/recovery/eu-west-1"),
        (json!({ "recovery": { "eu-west-1": "None" } }), "/recovery/eu-west-1"),
        (json!({ "recovery": { "ap-southeast-2": "none" } }), "/recovery/ap-southeast-2"),
        (json!({ "also_in": { "eu-west-1": ["ap-southeast-2"] } }), "/also_in/eu-west-1"),
        (json!({ "also_in": { "ap-southeast-2": ["eu-west-1"] } }), "/also_in/ap-southeast-2"),
    ];
    for (more, pointer) in table {
        assert_eq!(pointers(checked(&["eu-central-1", "eu-west-1"], &more)), [pointer], "{more}");
    }
    let fine = json!({ "recovery": { "us-west-2": "us-east-1" }, "also_in": { "eu-west-1": ["us-east-1"] } });
    let good = checked(&["eu-central-1", "eu-west-1"], &fine).unwrap();
    assert_eq!(good["also_in"], json!({ "eu-west-1": ["us-east-1"] }));
}

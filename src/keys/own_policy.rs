//! The policy of a key of the vendor's own, compared with the one that it was made with.
//!
//! A customer's policy cannot be read across accounts, so each permission is tried instead. The vendor's can: its text says
//! more than any try.

use std::collections::BTreeSet;

use aws_sdk_kms::Client;
use serde_json::{Map, Value, json};

use super::{battery::Probe, policy::render_own};
use crate::aws::{Failure, failure};

const POLICY: &str = "key-policy";

/// Reads the policy of `arn` and compares it with the one that the vendor gives its keys for customers' material.
///
/// # Errors
/// AWS could not be asked.
pub async fn probe_policy(kms: &Client, arn: &str, region: &str, account: &str) -> Result<Vec<Probe>, Failure> {
    let call = kms.get_key_policy().key_id(arn).policy_name("default");
    let text = match call.send().await.map_err(|error| failure(&format!("read the policy of key {arn}"), &error)) {
        Ok(output) => output.policy.unwrap_or_default(),
        Err(failure) if failure.transient() => return Err(failure),
        Err(failure) => return Ok(vec![Probe::inconclusive(POLICY, "policy-unread", failure.cause)]),
    };
    let Ok(found) = serde_json::from_str::<Value>(&text) else {
        return Ok(vec![Probe::inconclusive(POLICY, "policy-unread", format!("the policy of key {arn} is not JSON"))]);
    };
    let wanted = render_own(region, account);
    Ok(compare(arn, &found, &wanted, "put back the policy that the key was made with"))
}

/// What the policy lacks and what it has besides. A lacking denial widens it as a further permission does.
fn compare(arn: &str, found: &Value, wanted: &Value, change: &str) -> Vec<Probe> {
    let (has, needs) = (statements(found), statements(wanted));
    let lacking: Vec<&Statement> = needs.difference(&has).collect();
    let besides: Vec<&Statement> = has.difference(&needs).collect();
    let named = |statements: &[&Statement], denies: bool| -> Vec<String> {
        statements
            .iter()
            .filter(|statement| statement.denies == denies)
            .map(|statement| statement.text.clone())
            .collect()
    };
    let mut probes = Vec::new();
    let narrower = [("lacks", named(&lacking, false)), ("also denies", named(&besides, true))];
    let wider = [("also allows", named(&besides, false)), ("lacks", named(&lacking, true))];
    for (code, differences) in [("policy-narrower", narrower), ("policy-wider", wider)] {
        let said: Vec<String> = differences
            .into_iter()
            .filter(|(_, statements)| !statements.is_empty())
            .map(|(verb, statements)| format!("{verb} {}", statements.join(" and ")))
            .collect();
        if !said.is_empty() {
            let seen = format!("the policy of key {arn} {}", said.join("; it "));
            probes.push(Probe::failed(POLICY, code, seen, change));
        }
    }
    if probes.is_empty() {
        probes.push(Probe::passed(POLICY, "the policy is the one that the key was made with"));
    }
    probes
}

/// A statement without its name and in one spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Statement {
    denies: bool,
    text: String,
}

fn statements(policy: &Value) -> BTreeSet<Statement> {
    let all = match policy.get("Statement") {
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    all.iter()
        .map(|statement| Statement {
            denies: statement.get("Effect").and_then(Value::as_str) == Some("Deny"),
            text: spelled(statement).to_string(),
        })
        .collect()
}

/// AWS keeps a policy as it was written: one value or a list of one, in any order, mean the same.
fn spelled(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().filter(|name| *name != "Sid").collect();
            names.sort();
            let each = names.into_iter().filter_map(|name| Some((name.clone(), listed(name, members.get(name)?))));
            Value::Object(each.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn listed(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(_) => spelled(value),
        Value::String(everybody) if name == "Principal" && everybody == "*" => json!({ "AWS": ["*"] }),
        Value::String(_) if name == "Effect" => value.clone(),
        Value::Array(all) => {
            let mut all = all.clone();
            all.sort_by_key(Value::to_string);
            Value::Array(all)
        }
        Value::Bool(flag) => json!([flag.to_string()]),
        one => json!([one]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Value {
        render_own("us-west-2", "127450652264")
    }

    fn codes(found: &Value) -> Vec<String> {
        compare("arn", found, &wanted(), "").into_iter().map(|probe| probe.code.unwrap_or_default()).collect()
    }

    #[test]
    fn the_same_policy_in_another_spelling_passes() {
        let mut found = wanted();
        found["Statement"].as_array_mut().unwrap().reverse();
        found["Statement"][0]["Sid"] = json!("another name");
        found["Statement"][0]["Action"] = json!(["kms:ImportKeyMaterial"]);
        found["Statement"][0]["Principal"] = json!("*");
        assert_eq!(codes(&found), [""]);
    }

    #[test]
    fn a_permission_more_or_a_denial_less_is_wider_and_the_reverse_narrower() {
        let mut more = wanted();
        let other = json!({ "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::999999999999:root" }, "Action": "kms:Decrypt", "Resource": "*" });
        more["Statement"].as_array_mut().unwrap().push(other);
        assert_eq!(codes(&more), ["policy-wider"]);
        let mut undenied = wanted();
        undenied["Statement"].as_array_mut().unwrap().remove(1);
        assert_eq!(codes(&undenied), ["policy-wider"]);
        let mut unallowed = wanted();
        unallowed["Statement"].as_array_mut().unwrap().remove(0);
        assert_eq!(codes(&unallowed), ["policy-narrower"]);
        assert_eq!(codes(&json!({})), ["policy-narrower", "policy-wider"]);
    }
}

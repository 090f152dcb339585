//! The form `key-arns`: one key a region, as ARNs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Finding, FormContext};
use crate::keys::KeyArn;

/// Checks the ARNs against the plan in the form's input (`plan`); answers them with a list of the distinct keys to verify
/// (`list`: `region`, `arn`).
pub(super) fn check(answer: &Value, context: &FormContext) -> Result<Value, Vec<Finding>> {
    let plan = context.input.get("plan").unwrap_or(&Value::Null);
    let regions: Vec<&str> =
        plan.get("regions").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut checker = Checker { context, plan, seen: BTreeMap::new(), findings: Vec::new() };
    let none = Map::new();
    let keys = answer.get("keys").and_then(Value::as_object).unwrap_or(&none);
    for region in regions.iter().filter(|region| !keys.contains_key(**region)) {
        let reason = format!("the key for {region} is missing: each region needs one");
        checker.findings.push(Finding::new(format!("/keys/{region}"), "key-missing", reason));
    }
    checker.keys("/keys", keys, &regions);
    let instances = answer.get("instances").and_then(Value::as_object).unwrap_or(&none);
    for (instance, keys) in instances {
        let pointer = format!("/instances/{instance}");
        if !matches!(instance.as_str(), "production" | "sandbox" | "development") {
            let reason = format!("`{instance}` is no instance: production, sandbox or development");
            checker.findings.push(Finding::new(&pointer, "instance-unknown", reason));
        }
        checker.keys(&pointer, keys.as_object().unwrap_or(&none), &regions);
    }
    if !checker.findings.is_empty() {
        return Err(checker.findings);
    }
    let list: Vec<Value> = checker.seen.iter().map(|(arn, region)| json!({ "region": region, "arn": arn })).collect();
    Ok(json!({ "keys": keys, "instances": instances, "list": list }))
}

struct Checker<'a> {
    context: &'a FormContext<'a>,
    plan: &'a Value,
    /// The region that each ARN was given for.
    seen: BTreeMap<String, String>,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn keys(&mut self, pointer: &str, keys: &Map<String, Value>, regions: &[&str]) {
        for (region, arn) in keys {
            let here = format!("{pointer}/{region}");
            if !regions.contains(&region.as_str()) {
                let reason = format!("{region} is none of the chosen regions: {}", regions.join(", "));
                self.findings.push(Finding::new(here, "region-not-chosen", reason));
                continue;
            }
            let text = arn.as_str().unwrap_or_default();
            if let Some(other) = self.seen.get(text).filter(|other| *other != region) {
                let reason = format!("the same key was given for {other}: a key serves one region");
                self.findings.push(Finding::new(here, "arn-duplicate", reason));
                continue;
            }
            let plan = |name: &str| self.plan.get(name).and_then(Value::as_str);
            let vendor = self.context.config.aws.partitions.get(self.context.partition);
            let vendor = vendor.map_or("", |partition| partition.account.as_str());
            let checked = KeyArn::parse(text)
                .and_then(|key| key.check(region, self.context.partition, plan("aws_account"), vendor));
            match checked {
                Ok(()) => {
                    self.seen.insert(text.to_owned(), region.clone());
                }
                Err(error) => self.findings.push(Finding::new(here, error.code, error.message)),
            }
        }
    }
}

//! The form `regions`: at least two supported regions of one partition.

use serde_json::{Map, Value, json};

use super::{Finding, FormContext};

/// Checks the plan; answers it with its partition and the list of all its regions.
pub(super) fn check(answer: &Value, context: &FormContext) -> Result<Value, Vec<Finding>> {
    let mut findings = Vec::new();
    let Some(partition) = context.config.aws.partitions.get(context.partition) else {
        let reason = format!("the configuration has no partition {}", context.partition);
        return Err(vec![Finding::new("", "partition-unknown", reason)]);
    };
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let (primary, recovery) = (text("primary"), text("disaster_recovery"));
    let additional: Vec<&str> =
        answer.get("additional").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut regions: Vec<&str> = Vec::new();
    let given = [("/primary".to_owned(), primary), ("/disaster_recovery".to_owned(), recovery)]
        .into_iter()
        .chain(additional.iter().enumerate().map(|(index, region)| (format!("/additional/{index}"), *region)));
    for (pointer, region) in given {
        if !partition.regions.iter().any(|supported| supported == region) {
            let other =
                context.config.aws.partitions.iter().find(|(_, other)| other.regions.iter().any(|name| name == region));
            let reason = match other {
                Some((name, _)) => format!(
                    "{region} is in the partition {name}, but the enterprise is in {}: all regions must be in one partition",
                    context.partition
                ),
                None => format!("{region} is not supported; supported are {}", partition.regions.join(", ")),
            };
            findings.push(Finding::new(pointer, "region-unsupported", reason));
        } else if regions.contains(&region) {
            let reason =
                format!("{region} is named twice: disaster recovery needs a second region, and each is named once");
            findings.push(Finding::new(pointer, "region-twice", reason));
        } else {
            regions.push(region);
        }
    }
    let no_instances = Map::new();
    let instances = answer.get("instances").and_then(Value::as_object).unwrap_or(&no_instances);
    for (name, region) in instances {
        if !matches!(name.as_str(), "production" | "sandbox" | "development") {
            let reason = format!("`{name}` is no instance: production, sandbox or development");
            findings.push(Finding::new(format!("/instances/{name}"), "instance-unknown", reason));
        } else if !region.as_str().is_some_and(|region| regions.contains(&region)) {
            let reason = format!("the instance is placed in {region}, which is none of the regions chosen above");
            findings.push(Finding::new(format!("/instances/{name}"), "instance-region", reason));
        }
    }
    let account = text("aws_account");
    if account.is_empty() {
        let reason = "the customer's AWS account is needed for customer-managed keys: the key policy names it";
        findings.push(Finding::new("/aws_account", "account-missing", reason));
    } else if account == partition.account {
        let reason = format!("{account} is the vendor's own account: give the customer's");
        findings.push(Finding::new("/aws_account", "account-is-vendor", reason));
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(json!({
        "partition": context.partition,
        "primary": primary,
        "disaster_recovery": recovery,
        "additional": additional,
        "regions": regions,
        "instances": instances,
        "aws_account": account,
    }))
}

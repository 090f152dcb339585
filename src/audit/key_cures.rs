//! The act that ends a deviation of a key.

use serde_json::Value;

use super::{Finding, KeySeen, Request, command::cure};
use crate::{
    keys::{Custody, PolicyRequest, Probe, render, render_own},
    shell::quoted,
};

pub(super) fn of(request: &Request<'_>, seen: &KeySeen, (region, arn): (&str, &str), probe: &Probe) -> String {
    let code = probe.code.as_deref().unwrap_or_default();
    let words = |said: &str| match seen.custody {
        Custody::Vendor => format!("the vendor's engineer: {said}; then audit again"),
        Custody::Customer => format!("the customer: {said}; then audit again"),
    };
    let key = format!("--region {region} --key-id {arn}");
    match (Finding::of_probe(code), seen.custody) {
        (Finding::KeyDisabled, _) => cure(&words(&probe.change), &[format!("aws kms enable-key {key}")]),
        (Finding::KeyPendingDeletion, _) => {
            let commands = [format!("aws kms cancel-key-deletion {key}"), format!("aws kms enable-key {key}")];
            cure(&words(&probe.change), &commands)
        }
        (Finding::MaterialGone, Custody::Vendor) => cure(
            "nothing under it can be read until the customer imports the same material again",
            &[reimport(request)],
        ),
        (Finding::MaterialExpires, Custody::Vendor) => {
            cure("the customer imports the same material again, which then has no expiry", &[reimport(request)])
        }
        (Finding::PermissionMissing | Finding::PermissionTooWide, Custody::Vendor) => {
            let policy = quoted(&render_own(region, request.place.account).to_string());
            let command = format!("aws kms put-key-policy {key} --policy-name default --policy {policy}");
            cure(&words(&probe.change), &[command])
        }
        (Finding::PermissionMissing | Finding::PermissionTooWide, Custody::Customer) => {
            cure(&words(&probe.change), &[statement(request, (region, arn), code)])
        }
        _ => words(&probe.change),
    }
}

fn reimport(request: &Request<'_>) -> String {
    format!("keyferry run start {} --workflow reimport", request.enterprise)
}

/// Which of the policy's three statements a finding is about.
fn place_in_policy(code: &str) -> usize {
    if code == "statement-use-missing" { 1 } else { 2 }
}

/// Puts the agreed statement into the policy, in the place of one of its name, and leaves the customer's others alone.
fn statement(request: &Request<'_>, (region, arn): (&str, &str), code: &str) -> String {
    let policy = render(PolicyRequest {
        region,
        customer_account: arn.split(':').nth(4).unwrap_or_default(),
        vendor_account: request.place.account,
        vendor: request.place.vendor,
    });
    let agreed = policy.pointer(&format!("/Statement/{}", place_in_policy(code))).unwrap_or(&Value::Null);
    let name = agreed.get("Sid").unwrap_or(&Value::Null);
    let filter = quoted(&format!(".Statement |= ([.] | flatten | map(select(.Sid != {name})) + [{agreed}])"));
    let key = format!("--region {region} --key-id {arn} --policy-name default");
    format!(
        "aws kms put-key-policy {key} --policy \"$(aws kms get-key-policy {key} --query Policy --output text | jq -c {filter})\""
    )
}

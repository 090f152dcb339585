//! The definitions that the worlds run.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::world::Bug;
use crate::{
    engine::properties::generate::{self, Dice},
    worker::{Definitions, PUT_BACK},
};

fn step(name: &str) -> Value {
    json!({ "Type": "Task", "Resource": format!("urn:keyferry:step:{name}"),
        "Retry": [{ "ErrorEquals": ["Keyferry.Throttled"], "IntervalSeconds": 2, "MaxAttempts": 4, "BackoffRate": 1.5, "JitterStrategy": "FULL" },
                  { "ErrorEquals": ["Once"], "IntervalSeconds": 5, "MaxAttempts": 2 }] })
}

fn then(mut state: Value, next: &str) -> Value {
    state["Next"] = json!(next);
    state
}

fn last(mut state: Value) -> Value {
    state["End"] = json!(true);
    state
}

fn with(mut state: Value, name: &str, value: Value) -> Value {
    state[name] = value;
    state
}

fn form(name: &str) -> Value {
    json!({ "Type": "Task", "Resource": format!("urn:keyferry:form:{name}"), "ResultPath": null })
}

/// What an onboarding is like: nothing is deleted before its copy was verified and a person approved.
fn onboarding(asks: bool) -> Value {
    let items = |first: &str, states: Value| {
        json!({ "Type": "Map", "ItemsPath": "$.systems", "MaxConcurrency": 2,
            "ItemProcessor": { "StartAt": first, "States": states } })
    };
    let noted = |name: &str| with(step(name), "ResultPath", json!(null));
    let copies = items(
        "Plan",
        json!({ "Plan": then(noted("plan"), "Make"), "Make": then(step("make"), "Verify"),
            "Verify": then(step("verify"), "Serve"), "Serve": last(noted("serve")) }),
    );
    let purges = items("Purge", json!({ "Purge": last(step("purge")) }));
    json!({ "StartAt": "List", "States": {
        "List": then(with(step("list"), "ResultPath", json!("$.systems")), "Keys"),
        "Keys": then(form("ask-customer"), "Copy"),
        "Copy": then(with(copies, "ResultPath", json!(null)), "Window"),
        "Window": { "Type": "Wait", "Seconds": 40, "Next": if asks { "Approve" } else { "Purges" } },
        "Approve": then(form("ask-engineer"), if asks { "Purges" } else { "Window" }),
        "Purges": then(with(purges, "ResultPath", json!(null)), "Audit"),
        "Audit": last(json!({ "Type": "Task", "Resource": "urn:keyferry:workflow:audit", "ResultPath": null })) } })
}

/// Branches, items, children, timers, limits and forms at once.
fn family() -> Value {
    let mut moody = step("moody");
    moody["Retry"] = json!([{ "ErrorEquals": ["E"], "IntervalSeconds": 5, "MaxAttempts": 2 }]);
    let mut caught = step("moody");
    caught["Catch"] = json!([{ "ErrorEquals": ["E", "F"], "Next": "Nap" }]);
    let long = with(with(step("long"), "HeartbeatSeconds", json!(20)), "TimeoutSeconds", json!(90));
    let long =
        with(long, "Catch", json!([{ "ErrorEquals": ["States.Timeout", "States.HeartbeatTimeout"], "Next": "Late" }]));
    let ask = with(
        with(form("ask-csm"), "TimeoutSeconds", json!(600)),
        "Catch",
        json!([{ "ErrorEquals": ["States.Timeout"], "Next": "Gone" }]),
    );
    json!({ "StartAt": "Each", "TimeoutSeconds": 7_200, "States": {
        "Each": { "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 3, "ResultPath": null, "Next": "Both",
            "ItemSelector": { "n.$": "$$.Map.Item.Value", "secret.$": "$.secret" },
            "ItemProcessor": { "StartAt": "Item", "States": { "Item": last(moody) } } },
        "Both": { "Type": "Parallel", "ResultPath": null, "Next": "Ask", "Branches": [
            { "StartAt": "Caught", "States": { "Caught": then(caught, "Nap"), "Nap": { "Type": "Wait", "Seconds": 20, "End": true } } },
            { "StartAt": "Long", "States": { "Long": last(long), "Late": { "Type": "Pass", "End": true } } },
            { "StartAt": "Sub", "States": { "Sub": { "Type": "Task", "Resource": "urn:keyferry:workflow:audit", "TimeoutSeconds": 300, "End": true,
                "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "Without" }] }, "Without": { "Type": "Pass", "End": true } } } ] },
        "Ask": last(ask), "Gone": { "Type": "Succeed" } } })
}

fn audit() -> Value {
    json!({ "StartAt": "In", "States": {
        "In": { "Type": "Wait", "Seconds": 7, "Next": "Do" }, "Do": last(step("make")) } })
}

/// What brings back what a run has left out of service.
fn put_back() -> Value {
    json!({ "StartAt": "Bring", "States": { "Bring": last(step("bring")) } })
}

/// The definitions of all worlds, and one of this seed where it runs one.
pub(super) fn definitions(random: Option<&Dice>, bug: Option<Bug>) -> Definitions {
    static FIXED: OnceLock<Definitions> = OnceLock::new();
    let fixed = FIXED.get_or_init(|| {
        let mut all = Definitions::new();
        for (name, text) in [
            ("onboarding", onboarding(true)),
            ("family", family()),
            ("audit", audit()),
            ("w", audit()),
            (PUT_BACK, put_back()),
        ] {
            all.add(name, &text.to_string()).unwrap();
            all.share(name);
        }
        all
    });
    let mut all = if bug == Some(Bug::PutsNothingBack) { without(fixed, PUT_BACK) } else { fixed.clone() };
    if bug == Some(Bug::AsksNobody) {
        all.add("onboarding", &onboarding(false).to_string()).unwrap();
    }
    if let Some(dice) = random {
        all.add("random", &generate::definition(dice).to_string()).unwrap();
        all.share("random");
    }
    all
}

fn without(all: &Definitions, name: &str) -> Definitions {
    let mut rest = Definitions::new();
    for (other, definition) in all.iter().filter(|(other, _)| *other != name) {
        rest.add(other, &definition.source).unwrap();
        rest.share(other);
    }
    rest
}

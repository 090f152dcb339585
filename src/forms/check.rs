//! What a schema cannot say about an answer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::{Finding, FormContext, recovery::Chosen};
use crate::{
    aws::partition,
    keys,
    schedule::Window,
    systems::purge::{Kept, PurgePlan},
};

type Checked = Result<Value, Vec<Finding>>;

pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding { pointer: pointer.into(), message: message.into() });
    }

    fn or(self, answer: impl FnOnce() -> Value) -> Checked {
        if self.0.is_empty() { Ok(answer()) } else { Err(self.0) }
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn pairs(value: Option<&Value>) -> BTreeMap<String, String> {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// `~` and `/` escaped, as RFC 6901 wants them.
pub(super) fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Two or more supported regions of the enterprise's partition, each in one part only.
pub(super) fn regions(answer: &Value, context: &FormContext<'_>) -> Checked {
    let mut findings = Findings(Vec::new());
    let primary = text(answer, "primary");
    let recovery = text(answer, "disaster_recovery");
    let additional = texts(answer.get("additional"));
    let instances = pairs(answer.get("instances"));
    let home = context.enterprise.partition.as_str();
    let place = context.config.aws.partitions.get(home);
    let supported = place.map(|place| place.regions.as_slice()).unwrap_or_default();

    let mut named = vec![("/primary".to_owned(), primary), ("/disaster_recovery".to_owned(), recovery)];
    named
        .extend(additional.iter().enumerate().map(|(index, region)| (format!("/additional/{index}"), region.as_str())));
    let mut seen = BTreeSet::new();
    for (pointer, region) in &named {
        if partition(region) != home {
            let message = format!(
                "{region} is in partition {}, but the enterprise is in {home}: all regions are of one partition",
                partition(region)
            );
            findings.add(pointer, message);
        } else if !supported.iter().any(|known| known == region) {
            findings.add(pointer, format!("{region} is not a supported region; supported: {}", supported.join(", ")));
        }
        if !seen.insert(*region) {
            let message = match pointer.as_str() {
                "/disaster_recovery" => format!("{region} is the primary region too: disaster recovery needs another"),
                _ => format!("{region} is named twice"),
            };
            findings.add(pointer, message);
        }
    }
    for (instance, region) in &instances {
        if !seen.contains(region.as_str()) {
            let message = format!("{instance} is placed in {region}, which is none of the chosen regions");
            findings.add(format!("/instances/{}", escaped(instance)), message);
        }
    }
    let account = text(answer, "aws_account");
    let vendor_has_keys = text(context.input, "custody") == "vendor";
    let own_keys = texts(answer.get("own_keys"));
    if !vendor_has_keys {
        if !own_keys.is_empty() {
            findings
                .add("/own_keys", "the customer has the keys: instances with keys of their own are named with them");
        }
        if account.is_empty() {
            findings.add("/aws_account", "the customer's AWS account is missing: the key policy is written for it");
        } else if place.is_some_and(|place| place.account == account) {
            findings.add("/aws_account", format!("{account} is the vendor's own account: give the customer's"));
        }
    }
    let regions: Vec<&str> = named.iter().map(|(_, region)| *region).collect();
    let chosen = Chosen { primary, recovery, regions: &regions, places: &instances };
    // What is wrong with the regions themselves comes first.
    let (homes, also_in) = if findings.0.is_empty() {
        (chosen.recovery(answer, &mut findings), chosen.also_in(answer, &mut findings))
    } else {
        Default::default()
    };
    findings.or(|| {
        let mut plan = json!({
            "primary": primary,
            "disaster_recovery": recovery,
            "additional": additional,
            "instances": instances,
            "aws_account": answer.get("aws_account"),
            "partition": home,
            "regions": regions,
            "recovery": homes,
            "also_in": also_in,
            "empty": texts(answer.get("empty")),
            "own_keys": own_keys,
        });
        if vendor_has_keys {
            plan["targets"] = targets(&regions, &own_keys);
        }
        plan
    })
}

/// The keys that the vendor makes: one a region, and one a region for each instance with keys of its own.
fn targets(regions: &[&str], own_keys: &[String]) -> Value {
    let own = own_keys.iter().flat_map(|own| regions.iter().map(move |region| (region, json!(own))));
    let all = regions.iter().map(|region| (region, Value::Null)).chain(own);
    all.map(|(region, instance)| json!({ "region": region, "instance": instance })).collect()
}

/// One key a region of the plan, no key twice, and the same for instances with keys of their own.
pub(super) fn key_arns(answer: &Value, context: &FormContext<'_>) -> Checked {
    let mut findings = Findings(Vec::new());
    let regions = texts(context.input.get("regions"));
    let account = text(context.input, "aws_account");
    let home = context.enterprise.partition.as_str();
    let vendor = context.config.aws.partitions.get(home).map(|place| place.account.as_str()).unwrap_or_default();
    let keys = pairs(answer.get("keys"));
    for region in regions.iter().filter(|region| !keys.contains_key(*region)) {
        findings
            .add("/keys", format!("the key for {region} is missing: one key ARN for each of {}", regions.join(", ")));
    }
    let mut of: BTreeMap<&str, &str> = BTreeMap::new();
    let instances: BTreeMap<String, BTreeMap<String, String>> = answer
        .get("instances")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(instance, keys)| (instance.clone(), pairs(Some(keys))))
        .collect();
    let mut all: Vec<(String, &str, &str)> = Vec::new();
    all.extend(keys.iter().map(|(region, arn)| (format!("/keys/{}", escaped(region)), region.as_str(), arn.as_str())));
    for (instance, own) in &instances {
        let pointer = |region: &str| format!("/instances/{}/{}", escaped(instance), escaped(region));
        all.extend(own.iter().map(|(region, arn)| (pointer(region), region.as_str(), arn.as_str())));
    }
    for (pointer, message) in unserved(&instances, context.input, &regions) {
        findings.add(pointer, message);
    }
    for (pointer, region, arn) in &all {
        if !regions.iter().any(|known| known == region) {
            findings.add(pointer, format!("{region} is none of the chosen regions: {}", regions.join(", ")));
            continue;
        }
        if let Some(other) = of.insert(arn, region)
            && other != *region
        {
            findings.add(pointer, format!("{arn} was given for {other} too: every region needs a key of its own"));
            continue;
        }
        if let Err(rejection) = keys::check(arn, region, account, vendor) {
            findings.add(pointer, format!("{} ({}): {}", rejection.message, rejection.code, rejection.cure));
        }
    }
    findings.or(|| {
        let set = keys::KeySet { keys: keys.clone(), instances: instances.clone() };
        let list: Vec<Value> =
            set.all().into_iter().map(|(region, arn)| json!({ "region": region, "arn": arn })).collect();
        json!({ "keys": keys, "instances": instances, "list": list })
    })
}

/// What is wrong with the keys of instances' own: an instance that nobody knows, and one that lacks a key where its data
/// lies. Its other keys are not used there instead: it would be under a key that was not meant for it.
fn unserved(
    own: &BTreeMap<String, BTreeMap<String, String>>,
    input: &Value,
    regions: &[String],
) -> Vec<(String, String)> {
    let known = input.get("instances").and_then(Value::as_object);
    let mut wrong = Vec::new();
    for (instance, keys) in own {
        let pointer = format!("/instances/{}", escaped(instance));
        // A run of before does not say where each instance is: then it may be in any of the regions.
        let needed = match known {
            None => regions.to_vec(),
            Some(known) => match known.get(instance) {
                Some(needed) => texts(Some(needed)),
                None => {
                    let names: Vec<&str> = known.keys().map(String::as_str).collect();
                    let message = format!("{instance} is no instance of this enterprise; known: {}", names.join(", "));
                    wrong.push((pointer, message));
                    continue;
                }
            },
        };
        let lacking: Vec<&str> =
            needed.iter().map(String::as_str).filter(|region| !keys.contains_key(*region)).collect();
        if !lacking.is_empty() {
            let message = format!(
                "{instance} lacks a key of its own for {}: its data lies in {}, and each of them needs one",
                lacking.join(", "),
                needed.join(", ")
            );
            wrong.push((pointer, message));
        }
    }
    wrong
}

/// An approval of exactly the list that the form was given, whose hash is the list's own and whose lines are what is shown.
pub(super) fn purge_approval(answer: &Value, context: &FormContext<'_>) -> Checked {
    let mut findings = Findings(Vec::new());
    if answer.get("approve").and_then(Value::as_bool) != Some(true) {
        return Ok(answer.clone());
    }
    let (input, plan) = (context.input, text(context.input, "plan"));
    let list = input.get("list").and_then(PurgePlan::read).filter(|list| list.hash() == plan);
    let kept = input.get("kept").and_then(|kept| Vec::<Kept>::deserialize(kept).ok());
    let at = text(input, "made_at").parse::<DateTime<Utc>>().ok();
    let shown = list.zip(kept).zip(at).map(|((list, kept), at)| (list.shown(&kept, at), list.enterprise));
    match shown {
        None => findings.add("", "the list that is shown is not the one of its hash: it cannot be approved"),
        Some((_, of)) if of != context.enterprise.id => {
            findings.add("", format!("the list that is shown is of {of}: it cannot be approved here"));
        }
        Some((lines, _)) if lines != texts(input.get("shown")) => {
            findings.add("", "the lines that are shown are not those of the list: it cannot be approved");
        }
        Some(_) if text(answer, "plan") != plan => {
            let message = match text(answer, "plan") {
                "" => format!("name the list that is approved: \"plan\": \"{plan}\""),
                other => format!("{other} is another list than the one that is shown: look at it, then name {plan}"),
            };
            findings.add("/plan", message);
        }
        Some(_) => {}
    }
    findings.or(|| answer.clone())
}

/// An approval names the list that was shown.
pub(super) fn left_overs(answer: &Value, context: &FormContext<'_>) -> Checked {
    let mut findings = Findings(Vec::new());
    let (named, list) = (text(answer, "list"), text(context.input, "list"));
    if answer.get("approve").and_then(Value::as_bool) == Some(true) && (named != list || list.is_empty()) {
        findings.add("/list", format!("name the list that is approved, as it is shown: \"list\": \"{list}\""));
    }
    findings.or(|| answer.clone())
}

/// A window that the notice period allows. Whether writers are stopped is asked where nothing keeps them out.
pub(super) fn window(answer: &Value, context: &FormContext<'_>) -> Checked {
    let hours = answer.get("duration_hours").and_then(Value::as_u64).unwrap_or(8);
    match Window::agree(text(answer, "start"), hours, context.now, &context.config.windows) {
        Ok(window) => {
            let mut window = serde_json::to_value(window).unwrap_or_else(|_| Value::Object(Map::new()));
            let stopped = answer.get("writers_stopped").and_then(Value::as_bool);
            let unfenced = texts(context.input.get("unfenced"));
            if stopped.is_none() && !unfenced.is_empty() {
                let message = format!(
                    "say whether the writers of {} are stopped in the window, true or false: nothing closes these systems to \
                     their clients, and what is written after the last snapshot is lost",
                    unfenced.join(", ")
                );
                return Err(vec![Finding { pointer: "/writers_stopped".to_owned(), message }]);
            }
            if let Some(members) = window.as_object_mut() {
                members.insert("writers_stopped".to_owned(), Value::Bool(stopped.unwrap_or_default()));
            }
            Ok(window)
        }
        Err(refusal) => Err(vec![Finding { pointer: format!("/{}", refusal.member), message: refusal.message }]),
    }
}

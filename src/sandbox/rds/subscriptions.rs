//! Event subscriptions, as records: the sandbox has no SNS and sends nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Answer, AwsError};
use super::context::{Context, changed, seen};
use super::error::{fault, invalid_combination, invalid_value};
use super::ids::Place;
use super::params::{Tags, list_of};
use super::{shape, validate};

const MOST: usize = 20;

/// (source type, its categories).
const CATEGORIES: &[(&str, &[&str])] = &[
    (
        "db-instance",
        &[
            "availability",
            "backup",
            "configuration change",
            "creation",
            "deletion",
            "failover",
            "failure",
            "low storage",
            "maintenance",
            "notification",
            "read replica",
            "recovery",
            "restoration",
            "security",
            "security patching",
        ],
    ),
    ("db-security-group", &["configuration change", "failure"]),
    ("db-parameter-group", &["configuration change"]),
    ("db-snapshot", &["creation", "deletion", "notification", "restoration"]),
    (
        "db-cluster",
        &[
            "configuration change",
            "creation",
            "deletion",
            "failover",
            "failure",
            "global-failover",
            "maintenance",
            "notification",
            "read replica",
            "serverless",
        ],
    ),
    ("db-cluster-snapshot", &["backup"]),
    ("custom-engine-version", &["creation", "failure", "restoring"]),
    ("db-proxy", &["configuration change", "creation", "deletion", "failure"]),
    ("blue-green-deployment", &["creation", "deletion", "failure", "notification", "switchover"]),
];

/// One subscription.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscription {
    place: Place,
    name: String,
    topic: String,
    source_type: Option<String>,
    sources: Vec<String>,
    categories: Vec<String>,
    enabled: bool,
    created_at: DateTime<Utc>,
    pub tags: Tags,
}

impl Subscription {
    fn body(&self, status: &str) -> Value {
        let list = |member: &str, items: &[String]| list_of(member, items.iter().map(|item| json!(item)).collect());
        json!({
            "CustomerAwsId": self.place.account,
            "CustSubscriptionId": self.name,
            "SnsTopicArn": self.topic,
            "Status": status,
            "SubscriptionCreationTime": shape::time(self.created_at),
            "SourceType": self.source_type,
            "SourceIdsList": list("SourceId", &self.sources),
            "EventCategoriesList": list("EventCategory", &self.categories),
            "Enabled": self.enabled,
            "EventSubscriptionArn": self.place.arn("es", &self.name),
        })
    }
}

/// Answers the operations on subscriptions; `None` for any other.
pub fn handle(cx: &mut Context<'_>) -> Option<Result<Answer, AwsError>> {
    Some(match cx.action {
        "CreateEventSubscription" => create(cx),
        "ModifyEventSubscription" => modify(cx),
        "DeleteEventSubscription" => delete(cx),
        "DescribeEventSubscriptions" => describe(cx),
        "DescribeEventCategories" => categories(cx),
        "AddSourceIdentifierToSubscription" | "RemoveSourceIdentifierFromSubscription" => sources(cx),
        _ => return None,
    })
}

/// The source type and the categories that a call asks for, over what there was.
fn scope(cx: &Context<'_>, row: &mut Subscription) -> Result<(), AwsError> {
    if let Some(kind) = cx.p.text("SourceType") {
        if !CATEGORIES.iter().any(|(known, _)| *known == kind) {
            return Err(invalid_value(format!("Invalid source type: {kind}")));
        }
        row.source_type = Some(kind.to_owned());
    }
    if let Some(asked) = cx.p.list("EventCategories") {
        let of_kind = |(kind, _): &&(&str, &[&str])| row.source_type.as_deref().is_none_or(|asked| asked == *kind);
        let known: Vec<&str> = CATEGORIES.iter().filter(of_kind).flat_map(|(_, list)| list.iter().copied()).collect();
        if let Some(unknown) = asked.iter().find(|category| !known.contains(*category)) {
            let text = format!("The event category {unknown} does not exist.");
            return Err(fault("SubscriptionCategoryNotFound", text));
        }
        row.categories = asked.into_iter().map(str::to_owned).collect();
    }
    if let Some(enabled) = cx.p.flag("Enabled")? {
        row.enabled = enabled;
    }
    if let Some(topic) = cx.p.text("SnsTopicArn") {
        if !topic.starts_with(&format!("arn:{}:sns:", cx.place.partition)) {
            return Err(fault("SNSInvalidTopic", format!("The SNS topic {topic} is not valid.")));
        }
        topic.clone_into(&mut row.topic);
    }
    Ok(())
}

fn create(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let name = validate::identifier("SubscriptionName", p.required("SubscriptionName")?, 254)?;
    let topic = p.required("SnsTopicArn")?.to_owned();
    if cx.state.subscriptions.contains(&cx.place.arn("es", &name)) {
        return Err(fault("SubscriptionAlreadyExist", format!("Subscription {name} already exists.")));
    }
    let sources: Vec<String> = p.list("SourceIds").unwrap_or_default().into_iter().map(str::to_owned).collect();
    if !sources.is_empty() && p.text("SourceType").is_none() {
        return Err(invalid_combination("SourceType must be specified when SourceIds are."));
    }
    if cx.state.subscriptions.iter().filter(|(_, row)| row.place == cx.place).count() >= MOST {
        return Err(fault("EventSubscriptionQuotaExceeded", format!("Cannot create more than {MOST} subscriptions")));
    }
    let mut row = Subscription {
        place: cx.place.clone(),
        name,
        topic,
        source_type: None,
        sources,
        categories: Vec::new(),
        enabled: true,
        created_at: cx.now,
        tags: p.tags()?,
    };
    scope(cx, &mut row)?;
    Ok(admit(cx, row, "creating", "created"))
}

fn admit(cx: &mut Context<'_>, row: Subscription, status: &str, what: &str) -> Answer {
    let (arn, body) = (cx.place.arn("es", &row.name), row.body(status));
    cx.state.subscriptions.insert(arn.clone(), row);
    changed("EventSubscription", body, arn, what)
}

fn find(cx: &Context<'_>, name: &str) -> Result<Subscription, AwsError> {
    let row = cx.state.subscriptions.get(&cx.place.arn("es", &name.to_lowercase()));
    row.cloned().ok_or_else(|| fault("SubscriptionNotFound", format!("Subscription {name} not found.")))
}

fn modify(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = find(cx, cx.p.required("SubscriptionName")?)?;
    scope(cx, &mut row)?;
    Ok(admit(cx, row, "modifying", "modified"))
}

fn sources(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = find(cx, cx.p.required("SubscriptionName")?)?;
    let source = cx.p.required("SourceIdentifier")?.to_owned();
    let known = row.sources.contains(&source);
    if cx.action == "AddSourceIdentifierToSubscription" {
        if !known {
            row.sources.push(source);
        }
    } else if known {
        row.sources.retain(|other| *other != source);
    } else {
        return Err(fault("SourceNotFound", format!("The source {source} is not of the subscription.")));
    }
    Ok(admit(cx, row, "modifying", "sources changed"))
}

fn delete(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let row = find(cx, cx.p.required("SubscriptionName")?)?;
    let arn = cx.place.arn("es", &row.name);
    cx.state.subscriptions.remove(&arn);
    Ok(changed("EventSubscription", row.body("deleting"), arn, "deleted"))
}

fn describe(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let only = cx.p.text("SubscriptionName").map(|name| find(cx, name)).transpose()?;
    let rows = cx.state.subscriptions.iter().filter(|(_, row)| row.place == cx.place);
    let rows = rows
        .filter(|(_, row)| only.as_ref().is_none_or(|only| only.name == row.name))
        .map(|(key, row)| (key.clone(), row))
        .collect();
    Ok(seen(cx.p.page("EventSubscriptionsList", "EventSubscription", rows, |row| row.body("active"))?))
}

fn categories(cx: &Context<'_>) -> Result<Answer, AwsError> {
    let asked = cx.p.text("SourceType");
    if let Some(unknown) = asked.filter(|asked| !CATEGORIES.iter().any(|(kind, _)| kind == asked)) {
        return Err(invalid_value(format!("Invalid source type: {unknown}")));
    }
    let maps = CATEGORIES.iter().filter(|(kind, _)| asked.is_none_or(|asked| asked == *kind)).map(|(kind, list)| {
        let categories = list.iter().map(|category| json!(category)).collect();
        json!({ "SourceType": kind, "EventCategories": list_of("EventCategory", categories) })
    });
    Ok(seen(json!({ "EventCategoriesMapList": list_of("EventCategoriesMap", maps.collect()) })))
}

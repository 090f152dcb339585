//! Exports of snapshots and clusters to S3, as far as their states: the sandbox has no S3, so nothing is written.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Answer, AwsError, Effect, kms};
use super::State;
use super::context::{Context, seen};
use super::error::{fault, invalid_value, missing};
use super::ids::{Arn, Place};
use super::params::list_of;
use super::snapshots::{CLUSTER, INSTANCE};
use super::{shape, validate};

const STARTING: TimeDelta = TimeDelta::seconds(60);
const CANCELING: TimeDelta = TimeDelta::seconds(30);

/// One export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Export {
    place: Place,
    id: String,
    source_arn: String,
    /// `SNAPSHOT` or `CLUSTER`.
    source_type: String,
    only: Vec<String>,
    bucket: String,
    prefix: Option<String>,
    role: String,
    kms: String,
    gb: i64,
    taken_at: DateTime<Utc>,
    started_at: DateTime<Utc>,
    done_at: DateTime<Utc>,
    canceled_at: Option<DateTime<Utc>>,
    /// Whether its grant on the key was given back.
    #[serde(default)]
    released: bool,
}

impl Export {
    fn arn(&self) -> String {
        self.place.arn("export-task", &self.id)
    }

    fn status(&self, now: DateTime<Utc>) -> &'static str {
        match self.canceled_at {
            Some(at) if now < at + CANCELING => "CANCELING",
            Some(_) => "CANCELED",
            None if now >= self.done_at => "COMPLETE",
            None if now < self.started_at + STARTING => "STARTING",
            None => "IN_PROGRESS",
        }
    }

    fn body(&self, now: DateTime<Utc>) -> Value {
        let status = self.status(now);
        let whole = (self.done_at - self.started_at).num_seconds().max(1);
        let percent = ((now - self.started_at).num_seconds() * 100 / whole).clamp(0, 100);
        let percent = if status == "STARTING" { 0 } else { percent };
        let only = list_of("member", self.only.iter().map(|only| json!(only)).collect());
        let finished = matches!(status, "COMPLETE" | "CANCELED");
        json!({
            "ExportTaskIdentifier": self.id,
            "SourceArn": self.source_arn,
            "SourceType": self.source_type,
            "ExportOnly": only,
            "SnapshotTime": shape::time(self.taken_at),
            "TaskStartTime": (status != "STARTING").then(|| shape::time(self.started_at + STARTING)),
            "TaskEndTime": finished.then(|| shape::time(self.canceled_at.unwrap_or(self.done_at))),
            "S3Bucket": self.bucket,
            "S3Prefix": self.prefix,
            "IamRoleArn": self.role,
            "KmsKeyId": self.kms,
            "Status": status,
            "PercentProgress": percent,
            "TotalExtractedDataInGB": self.gb * percent / 100,
        })
    }
}

/// Answers the operations on exports; `None` for any other.
pub fn handle(cx: &mut Context<'_>) -> Option<Result<Answer, AwsError>> {
    Some(match cx.action {
        "StartExportTask" => start(cx),
        "CancelExportTask" => cancel(cx),
        "DescribeExportTasks" => describe(cx),
        _ => return None,
    })
}

/// Gives the grants of finished exports back.
pub fn settle(state: &mut State, kms: &mut kms::State, now: DateTime<Utc>) {
    let over = |row: &Export| !row.released && matches!(row.status(now), "COMPLETE" | "CANCELED");
    let over: Vec<String> = state.exports.iter().filter(|(_, row)| over(row)).map(|(key, _)| key.clone()).collect();
    for key in over {
        if let Some(row) = state.exports.get_mut(&key) {
            row.released = true;
            kms.detach(&row.kms, &key);
        }
    }
}

/// What is to be exported: (kind, size, time of the data).
fn source(cx: &Context<'_>, named: &str) -> Result<(&'static str, i64, DateTime<Utc>), AwsError> {
    let invalid = || invalid_value(format!("Invalid SourceArn: {named}"));
    let arn = Arn::parse(named).ok_or_else(invalid)?;
    let family = match arn.kind.as_str() {
        "snapshot" => &INSTANCE,
        "cluster-snapshot" => &CLUSTER,
        "cluster" => {
            let row = cx.cluster(named)?;
            return Ok(("CLUSTER", row.gb, cx.now));
        }
        _ => return Err(invalid()),
    };
    let row = family.own(cx, named)?;
    if !row.available(cx.now) {
        let text = format!("The snapshot {} is not in available state.", row.id);
        return Err(fault("InvalidExportSourceState", text));
    }
    Ok(("SNAPSHOT", row.gb, row.taken_at))
}

fn start(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let id = validate::identifier("ExportTaskIdentifier", p.required("ExportTaskIdentifier")?, 60)?;
    let source_arn = p.required("SourceArn")?.to_owned();
    let bucket = p.required("S3BucketName")?.to_owned();
    let role = p.required("IamRoleArn")?.to_owned();
    let key = p.required("KmsKeyId")?;
    let arn = cx.place.arn("export-task", &id);
    if cx.state.exports.contains(&arn) {
        return Err(fault("ExportTaskAlreadyExists", format!("The export task {id} already exists.")));
    }
    let (source_type, gb, taken_at) = source(cx, &source_arn)?;
    if !role.contains(":role/") {
        return Err(fault("IamRoleNotFound", format!("The IAM role {role} does not exist.")));
    }
    let kms = cx.attach(key, &arn, "")?;
    let row = Export {
        place: cx.place.clone(),
        id,
        source_arn,
        source_type: source_type.to_owned(),
        only: p.list("ExportOnly").unwrap_or_default().into_iter().map(str::to_owned).collect(),
        bucket,
        prefix: p.text("S3Prefix").map(str::to_owned),
        role,
        kms,
        gb,
        taken_at,
        started_at: cx.now,
        done_at: cx.now + STARTING + TimeDelta::seconds(60 + 2 * gb),
        canceled_at: None,
        released: false,
    };
    Ok(admit(cx, row, "started"))
}

fn admit(cx: &mut Context<'_>, row: Export, what: &str) -> Answer {
    let (arn, body) = (row.arn(), row.body(cx.now));
    cx.state.exports.insert(arn.clone(), row);
    Answer { body, effect: Some(Effect { resource: arn, what: what.to_owned() }) }
}

fn find(cx: &Context<'_>, id: &str) -> Result<Export, AwsError> {
    let row = cx.state.exports.get(&cx.place.arn("export-task", &id.to_lowercase()));
    row.cloned().ok_or_else(|| fault("ExportTaskNotFound", format!("The export task {id} does not exist.")))
}

fn cancel(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = find(cx, cx.p.text("ExportTaskIdentifier").ok_or_else(|| missing("ExportTaskIdentifier"))?)?;
    if !matches!(row.status(cx.now), "STARTING" | "IN_PROGRESS") {
        let text = format!("The export task {} is {} and cannot be canceled.", row.id, row.status(cx.now));
        return Err(fault("InvalidExportTaskStateFault", text));
    }
    row.canceled_at = Some(cx.now);
    Ok(admit(cx, row, "canceled"))
}

fn describe(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let filters = p.filters(&["export-task-identifier", "s3-bucket", "source-arn", "status"])?;
    let only = p.text("ExportTaskIdentifier").map(|id| find(cx, id)).transpose()?;
    let fits = |row: &Export| {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "export-task-identifier" => row.id.eq_ignore_ascii_case(value),
                "s3-bucket" => row.bucket == *value,
                "source-arn" => row.source_arn == *value,
                _ => row.status(cx.now).eq_ignore_ascii_case(value),
            })
        })
    };
    let rows = cx.state.exports.iter().filter(|(_, row)| row.place == cx.place && fits(row));
    let rows = rows
        .filter(|(_, row)| only.as_ref().is_none_or(|only| only.id == row.id))
        .filter(|(_, row)| p.text("SourceArn").is_none_or(|arn| row.source_arn == arn))
        .filter(|(_, row)| p.text("SourceType").is_none_or(|kind| row.source_type == kind))
        .map(|(key, row)| (key.clone(), row))
        .collect();
    Ok(seen(p.page("ExportTasks", "ExportTask", rows, |row| row.body(cx.now))?))
}

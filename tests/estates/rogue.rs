//! Guards of the product, each of which can be taken out: a step that does something else in its place, a definition that
//! leaves a state out, or a wire on which a request is changed.

use std::{sync::Arc, time::Duration};

use aws_sdk_rds::types::DbInstance;
use keyferry::{
    aws::Aws,
    systems::{
        self, Kind, Names,
        purge::{Kept, Line, PurgePlan},
    },
    worker::{Progress, Step, StepContext, StepError},
};
use serde_json::{Value, json};

/// A guard of the product that is taken out, to see whether the judge misses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rogue {
    /// `plan-outage` says that it is planned and writes nothing down.
    PlansNoOutage,
    /// `freeze-system` says that the system is frozen and does nothing.
    FreezesNothing,
    /// `freeze-system` renames without a look at what is planned.
    FreezesUnplanned,
    /// Nobody is kept out of a frozen system by a security group.
    LeavesOpen,
    /// The final snapshot is taken of what serves.
    SnapshotsWhatServes,
    /// `restore-system` takes the copy from before the window.
    RestoresEarlier,
    /// `restore-system` takes the snapshot itself, under the key that it had.
    RestoresUncopied,
    /// `verify-system` says that everything is as it was.
    NothingDiffers,
    /// `swap-system` gives the successor the name, whoever bears it.
    SwapsRegardless,
    /// `swap-system` says that it is done and gives nothing its name.
    SwapDoesNothing,
    /// `confirm-cut-over` believes it.
    NothingIsConfirmed,
    /// `verify-system` finds a difference each time.
    NothingMatches,
    /// `thaw-system` says that the original serves and puts nothing back.
    ThawDoesNothing,
    /// `put-back-system`, which comes at the deadline or after a cancel, waits for ever.
    PutBackWaits,
    /// `plan-purge` lists one more, and says of it what its last line says, or that nothing holds its data.
    Lists { id: &'static str, successor: bool },
    /// The same, and shows it to nobody.
    Hides(&'static str),
    /// The definition goes from the list to the purge and asks nobody.
    NobodyIsAsked,
    /// `check-purge` says that the whole list is proven.
    NothingIsProven,
    /// `purge-resource` deletes its line of the list without a look at what is left.
    PurgeLooksAtNothing,
    /// `audit` forgets what it found or doubted under these names, and concludes from what is left.
    Forgets(&'static [&'static str]),
    /// No guard: the step of this name waits for ever.
    Waits(&'static str),
}

/// What a step that is held waits for.
pub const HELD: &str = "what a test holds";

impl Rogue {
    /// The step in whose place it is; none for what is changed elsewhere.
    pub fn step(self) -> &'static str {
        match self {
            Self::LeavesOpen
            | Self::SnapshotsWhatServes
            | Self::RestoresEarlier
            | Self::RestoresUncopied
            | Self::NobodyIsAsked => "",
            Self::PlansNoOutage => "plan-outage",
            Self::FreezesNothing | Self::FreezesUnplanned => "freeze-system",
            Self::NothingDiffers => "verify-system",
            Self::SwapsRegardless => "swap-system",
            Self::Lists { .. } | Self::Hides(_) => "plan-purge",
            Self::Forgets(_) => "audit",
            Self::SwapDoesNothing => "swap-system",
            Self::NothingIsConfirmed => "confirm-cut-over",
            Self::NothingMatches => "verify-system",
            Self::ThawDoesNothing => "thaw-system",
            Self::PutBackWaits => "put-back-system",
            Self::NothingIsProven => "check-purge",
            Self::PurgeLooksAtNothing => "purge-resource",
            Self::Waits(step) => step,
        }
    }

    /// What the definition `final-steps` has in the place of what.
    pub fn amends(self) -> Option<(&'static str, &'static str)> {
        (self == Self::NobodyIsAsked).then_some((r#""Next": "Approve purge""#, r#""Next": "Check purge""#))
    }

    /// What a step's request says instead.
    pub fn rewires(self, step: &str, body: &str) -> Option<String> {
        match (self, step) {
            // In each of a run's windows.
            (Self::RestoresEarlier, "restore-system") => {
                Some((1..5).fold(body.to_owned(), |body, nth| body.replace(&format!("-a{nth}-copy-"), "-early-copy-")))
            }
            (Self::RestoresUncopied, "restore-system") => Some((1..5).fold(body.to_owned(), |body, nth| {
                body.replace(&format!("-a{nth}-copy-"), &format!("-a{nth}-final-"))
            })),
            (Self::SnapshotsWhatServes, "snapshot-system") => {
                // The name's last part is six digits of the run's hash.
                let aside = format!("byok-dave-g1-{SYSTEM}-old-");
                let at = body.find(&aside)?;
                Some(format!("{}{SYSTEM}{}", &body[..at], &body[at + aside.len() + 6..]))
            }
            _ => None,
        }
    }

    pub async fn run(
        self,
        aws: &Aws,
        inner: &Arc<dyn Step>,
        context: &StepContext,
        input: &Value,
    ) -> Result<Progress, StepError> {
        let kept = |system: &Value| json!({ "system": system["id"], "region": system["region"], "outcome": "kept" });
        match self {
            Self::SwapDoesNothing => Ok(Progress::done(json!({}))),
            Self::PlansNoOutage => Ok(Progress::done(json!({ "planned": input["system"]["id"] }))),
            Self::FreezesNothing => {
                Ok(Progress::done(json!({ "frozen": names(context, input).old(), "closed": false })))
            }
            Self::FreezesUnplanned => freeze(aws, context, input).await,
            Self::NothingDiffers => Ok(Progress::done(json!({}))),
            Self::SwapsRegardless => swap(aws, context, input).await,
            Self::NothingIsConfirmed => {
                let mut done = kept(&input["system"]);
                done["outcome"] = json!("migrated");
                Ok(Progress::done(done))
            }
            Self::NothingMatches => Err(StepError::new("Keyferry.Mismatch", "a difference that a test made up")),
            Self::ThawDoesNothing => Ok(Progress::done(kept(&input["system"]))),
            Self::NothingIsProven => {
                Ok(Progress::done(json!({ "verdict": "proven", "plan": input["plan"], "seen": {} })))
            }
            Self::Lists { id, successor } => {
                let planned = inner.run(context, input.clone()).await?;
                list(aws, planned, (id, successor, true)).await
            }
            Self::Hides(id) => list(aws, inner.run(context, input.clone()).await?, (id, true, false)).await,
            Self::PurgeLooksAtNothing => purge(aws, context, input).await,
            Self::Forgets(what) => Ok(forget(inner.run(context, input.clone()).await?, what)),
            Self::PutBackWaits
            | Self::Waits(_)
            | Self::LeavesOpen
            | Self::SnapshotsWhatServes
            | Self::RestoresEarlier
            | Self::RestoresUncopied
            | Self::NobodyIsAsked => Ok(waits()),
        }
    }
}

fn waits() -> Progress {
    let (poll_after, waiting_for) = (Duration::from_secs(3_600), HELD.to_owned());
    Progress::Pending { poll_after, checkpoint: Value::Null, waiting_for }
}

/// The system of the estates in which guards are taken out.
pub const SYSTEM: &str = "dave-one";

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}

fn names(context: &StepContext, input: &Value) -> Names {
    let (generation, attempt) = (input["generation"].as_u64().unwrap(), input["attempt"].as_u64().unwrap_or(1));
    Names::new(&context.enterprise, generation, &context.run, text(&input["system"], "id"), attempt)
}

/// Whether an instance has come to bear a name; asks for it if nothing is under way.
async fn named(rds: &aws_sdk_rds::Client, found: Option<DbInstance>, to: &str) -> bool {
    let found = found.unwrap();
    let available = found.db_instance_status() == Some("available");
    if found.db_instance_identifier() == Some(to) || !available {
        return available;
    }
    let rename = rds.modify_db_instance().db_instance_identifier(found.db_instance_identifier().unwrap());
    rename.new_db_instance_identifier(to).apply_immediately(true).send().await.unwrap();
    false
}

async fn freeze(aws: &Aws, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
    let (system, old) = (&input["system"], names(context, input).old());
    let rds = aws.rds(text(system, "region")).await?;
    let found = systems::instance_of(&rds, text(system, "resource_id")).await?;
    let done = Progress::done(json!({ "frozen": old, "closed": false }));
    Ok(if named(&rds, found, &old).await { done } else { waits() })
}

async fn swap(aws: &Aws, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
    let (system, names) = (&input["system"], names(context, input));
    let rds = aws.rds(text(system, "region")).await?;
    let original = systems::instance_of(&rds, text(system, "resource_id")).await?;
    if !named(&rds, original, &names.old()).await {
        return Ok(waits());
    }
    let id = text(system, "id");
    let successor = match systems::instance(&rds, &names.new_system()).await? {
        Some(found) => Some(found),
        None => systems::instance(&rds, id).await?,
    };
    let done = Progress::done(json!({ "system": id, "region": system["region"] }));
    Ok(if named(&rds, successor, id).await { done } else { waits() })
}

/// A line of what bears `id` in the first region.
async fn line(aws: &Aws, id: &str) -> Line {
    let region = "us-west-2";
    let rds = aws.rds(region).await.unwrap();
    let bare = Line {
        kind: Kind::Instance,
        id: id.to_owned(),
        arn: String::new(),
        region: region.to_owned(),
        resource_id: String::new(),
        key: None,
        encrypted: true,
        size_gb: None,
        taken_at: None,
        why: "a test put it in".to_owned(),
        successor: None,
        copies: Vec::new(),
        proof: Vec::new(),
    };
    if let Some(found) = systems::instance(&rds, id).await.unwrap() {
        return Line {
            arn: found.db_instance_arn.unwrap(),
            resource_id: found.dbi_resource_id.unwrap(),
            key: found.kms_key_id,
            ..bare
        };
    }
    let found = systems::snapshot(&rds, id).await.unwrap().unwrap();
    let taken = found.original_snapshot_create_time().or(found.snapshot_create_time());
    Line {
        kind: Kind::Snapshot,
        taken_at: systems::time(taken),
        arn: found.db_snapshot_arn.unwrap(),
        resource_id: found.dbi_resource_id.unwrap(),
        key: found.kms_key_id,
        ..bare
    }
}

async fn list(aws: &Aws, planned: Progress, (id, successor, shown): (&str, bool, bool)) -> Result<Progress, StepError> {
    let Progress::Done { mut output, mut records, told } = planned else { return Ok(planned) };
    let mut plan = PurgePlan::read(&output["list"]).unwrap();
    let mut more = line(aws, id).await;
    let last = plan.lines.last().unwrap();
    if successor {
        more.successor.clone_from(&last.successor);
        more.copies.clone_from(&last.copies);
    }
    plan.lines.push(more);
    let hash = plan.hash();
    output["plan"] = json!(hash);
    output["list"] = json!(plan);
    output["count"] = json!(plan.lines.len());
    if shown {
        let kept: Vec<Kept> = serde_json::from_value(output["kept"].clone()).unwrap();
        output["shown"] = json!(plan.shown(&kept, text(&output, "made_at").parse().unwrap()));
    }
    for record in records.iter_mut().filter(|record| record.collection == "purge-plan") {
        record.key.clone_from(&hash);
        record.body["list"] = json!(plan);
    }
    Ok(Progress::Done { output, records, told })
}

async fn purge(aws: &Aws, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
    let plan = context.record("purge-plan", text(input, "plan")).await?.unwrap();
    let line = &plan["list"]["lines"][usize::try_from(input["number"].as_u64().unwrap()).unwrap()];
    let (rds, id) = (aws.rds(text(line, "region")).await.unwrap(), text(line, "id"));
    // What is gone already, or goes with something else, is refused.
    if line["kind"] == "instance" {
        let call = rds.modify_db_instance().db_instance_identifier(id).deletion_protection(false);
        drop(call.apply_immediately(true).send().await);
        let call = rds.delete_db_instance().db_instance_identifier(id).skip_final_snapshot(true);
        drop(call.send().await);
    } else {
        drop(rds.delete_db_snapshot().db_snapshot_identifier(id).send().await);
    }
    Ok(Progress::done(json!({})))
}

fn forget(audited: Progress, what: &[&str]) -> Progress {
    let Progress::Done { mut output, mut records, told } = audited else { return audited };
    let known = |row: &Value, member: &str| row[member].as_str().is_some_and(|name| what.contains(&name));
    let reports = records.iter_mut().filter(|record| record.collection == "report").map(|record| &mut record.body);
    for report in reports.chain([&mut output]) {
        report["deviations"].as_array_mut().unwrap().retain(|row| !known(row, "finding"));
        report["not_proven"].as_array_mut().unwrap().retain(|row| !known(row, "kind"));
        let is_empty = |member: &str| report[member].as_array().unwrap().is_empty();
        report["summary"]["conclusion"] = json!(match (is_empty("deviations"), is_empty("not_proven")) {
            (false, _) => "deviations",
            (true, false) => "not-proven",
            (true, true) => "compliant",
        });
    }
    Progress::Done { output, records, told }
}

//! Blue/green deployments: a second, replicating environment (green) beside one that serves (blue), which may have
//! another key, and the switchover that gives green the names of blue.
//!
//! Emulated for DB instances of the engines that AWS supports, with their read replicas of the same region.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Answer, AwsError, kms};
use super::State;
use super::context::{Context, changed, seen};
use super::error::{fault, instance_state, invalid_combination, invalid_value};
use super::ids::{Arn, Place, base32};
use super::params::{Tags, list_of, tag_list};
use super::rows::{Change, Instance, Planned, becoming};
use super::{engines, lifecycle, placement, secrets, settings, shape, timing, validate};

/// A deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deployment {
    pub place: Place,
    /// `bgd-…`.
    pub id: String,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub stage: Stage,
    /// The ARNs of blue and green, the deployment's source and target first, its read replicas after them.
    pub members: Vec<(String, String)>,
    pub tags: Tags,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Green is made until then, and ready after it.
    Green {
        ready_at: DateTime<Utc>,
    },
    /// The names change hands then.
    Switching {
        at: DateTime<Utc>,
    },
    Switched,
    Deleting {
        until: DateTime<Utc>,
    },
}

impl Deployment {
    fn status(&self, now: DateTime<Utc>) -> &'static str {
        match self.stage {
            Stage::Green { ready_at } if now < ready_at => "PROVISIONING",
            Stage::Green { .. } => "AVAILABLE",
            Stage::Switching { .. } => "SWITCHOVER_IN_PROGRESS",
            Stage::Switched => "SWITCHOVER_COMPLETED",
            Stage::Deleting { .. } => "DELETING",
        }
    }

    fn body(&self, now: DateTime<Utc>) -> Value {
        let status = self.status(now);
        let made = if status == "PROVISIONING" { "IN_PROGRESS" } else { "COMPLETED" };
        let details = self
            .members
            .iter()
            .map(|(source, target)| json!({ "SourceMember": source, "TargetMember": target, "Status": status }));
        let deleted = if let Stage::Deleting { .. } = self.stage { Some(shape::time(now)) } else { None };
        json!({
            "BlueGreenDeploymentIdentifier": self.id,
            "BlueGreenDeploymentName": self.name,
            "Source": self.members.first().map(|(source, _)| source),
            "Target": self.members.first().map(|(_, target)| target),
            "SwitchoverDetails": list_of("member", details.collect()),
            "Tasks": list_of("member", vec![
                json!({ "Name": "CREATING_READ_REPLICA_OF_SOURCE", "Status": made }),
                json!({ "Name": "CONFIGURE_BACKUPS", "Status": made }),
            ]),
            "Status": status,
            "CreateTime": shape::time(self.created_at),
            "DeleteTime": deleted,
            "TagList": tag_list(&self.tags),
        })
    }
}

/// Answers the operations on deployments; `None` for any other.
pub fn handle(cx: &mut Context<'_>) -> Option<Result<Answer, AwsError>> {
    Some(match cx.action {
        "CreateBlueGreenDeployment" => create(cx),
        "DescribeBlueGreenDeployments" => describe(cx),
        "SwitchoverBlueGreenDeployment" => switch_over(cx),
        "DeleteBlueGreenDeployment" => delete(cx),
        _ => return None,
    })
}

/// Brings the deployments to `now`.
pub fn settle(state: &mut State, now: DateTime<Utc>) {
    let due = |row: &Deployment| match row.stage {
        Stage::Switching { at } => at <= now,
        Stage::Deleting { until } => until <= now,
        Stage::Green { .. } | Stage::Switched => false,
    };
    let keys: Vec<String> = state.deployments.iter().filter(|(_, row)| due(row)).map(|(key, _)| key.clone()).collect();
    for key in keys {
        let Some(mut row) = state.deployments.remove(&key) else { continue };
        if let Stage::Deleting { .. } = row.stage {
            continue;
        }
        for (blue, green) in &mut row.members {
            swap(state, blue, green);
        }
        row.stage = Stage::Switched;
        state.deployments.insert(key, row);
    }
}

/// Blue becomes `…-old1` and green takes its name; the ARNs follow.
fn swap(state: &mut State, blue: &mut String, green: &mut String) {
    let Some(name) = Arn::parse(blue).map(|arn| arn.id) else { return };
    let Some(place) = state.instances.get(blue).map(|row| row.place.clone()) else { return };
    let old = (1..).map(|n| format!("{name}-old{n}")).find(|id| !state.instances.contains(&place.arn("db", id)));
    let Some(old) = old else { return };
    *blue = lifecycle::rename(state, blue.clone(), old);
    if let Some(row) = state.instances.get_mut(green).filter(|row| row.replica_of.as_ref() == Some(blue)) {
        row.replica_of = None;
    }
    *green = lifecycle::rename(state, green.clone(), name);
}

fn create(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let name = validate::identifier("BlueGreenDeploymentName", p.required("BlueGreenDeploymentName")?, 60)?;
    let source = cx.instance(p.required("Source")?)?;
    let same = |row: &Deployment| row.place == cx.place && row.name == name;
    if cx.state.deployments.iter().any(|(_, row)| same(row)) {
        let text = format!("A blue/green deployment with the name {name} already exists.");
        return Err(fault("BlueGreenDeploymentAlreadyExistsFault", text));
    }
    let blues = topology(cx, &source)?;
    let keys = keys(cx, &blues)?;
    let tags = p.tags()?;
    placement::within_quota(cx, blues.len(), blues.iter().map(|row| row.gb).sum())?;
    for blue in &blues {
        if let Some(key) = &blue.kms {
            cx.key_works(key, "source")?;
        }
    }
    let mut greens = Vec::new();
    for (blue, key) in blues.iter().zip(keys) {
        match green(cx, blue, key.as_deref()) {
            Ok(green) => greens.push(green),
            Err(error) => {
                release(cx.kms, &greens);
                return Err(error);
            }
        }
    }
    // The replicas of the new environment follow its own first instance.
    if let Some((first, rest)) = greens.split_first_mut() {
        rest.iter_mut().for_each(|row| row.replica_of = Some(first.arn()));
    }
    let ready_at = greens.iter().filter_map(|row| row.plan.last()).map(|next| next.at).max().unwrap_or(cx.now);
    let members = blues.iter().zip(&greens).map(|(blue, green)| (blue.arn(), green.arn())).collect();
    for green in greens {
        cx.state.instances.insert(green.arn(), green);
    }
    let id = cx.state.mint("bgd-").to_lowercase()[..20].to_owned();
    let row = Deployment {
        place: cx.place.clone(),
        id,
        name,
        created_at: cx.now,
        stage: Stage::Green { ready_at },
        members,
        tags,
    };
    Ok(admit(cx, row, "created"))
}

fn admit(cx: &mut Context<'_>, row: Deployment, what: &str) -> Answer {
    let arn = cx.place.arn("deployment", &row.id);
    let body = row.body(cx.now);
    cx.state.deployments.insert(arn.clone(), row);
    changed("BlueGreenDeployment", body, arn, what)
}

/// The source and its read replicas, all of which have to serve.
fn topology(cx: &Context<'_>, source: &Instance) -> Result<Vec<Instance>, AwsError> {
    let arn = source.arn();
    if source.cluster.is_some()
        || source.replica_of.is_some()
        || !matches!(source.engine.as_str(), "postgres" | "mysql" | "mariadb")
    {
        let text = format!("The source {} is not supported for a blue/green deployment.", source.id);
        return Err(fault("SourceDatabaseNotSupportedFault", text));
    }
    secrets::may_be_replicated(source)?;
    if source.retention_days == 0 {
        return Err(instance_state(format!("Automated backups are not enabled for the instance {}.", source.id)));
    }
    let mut blues = vec![source.clone()];
    for (_, row) in cx.state.instances.iter().filter(|(_, row)| row.replica_of.as_ref() == Some(&arn)) {
        if row.place != cx.place {
            let text = format!("The source {} has a read replica in another region.", source.id);
            return Err(fault("SourceDatabaseNotSupportedFault", text));
        }
        blues.push(row.clone());
    }
    if let Some(busy) = blues.iter().find(|row| !row.serves()) {
        return Err(instance_state(format!("Instance {} is not in available state.", busy.id)));
    }
    Ok(blues)
}

/// The key asked for each of `blues`.
fn keys(cx: &Context<'_>, blues: &[Instance]) -> Result<Vec<Option<String>>, AwsError> {
    let entries = cx.p.structures("TargetResourceConfigurations");
    if entries.len() > 20 {
        return Err(invalid_value("TargetResourceConfigurations cannot have more than 20 entries."));
    }
    let mut keys = vec![None; blues.len()];
    for entry in entries {
        let arn = entry.required("SourceArn")?;
        let place = blues.iter().position(|row| row.arn() == arn);
        let Some(place) = place.filter(|place| keys[*place].is_none()) else {
            return Err(invalid_value(format!("The SourceArn {arn} is not of this deployment or comes twice.")));
        };
        keys[place] = entry.text("TargetKmsKeyId").map(str::to_owned);
    }
    Ok(keys)
}

/// The green counterpart of an instance, replicating from it, not yet in the table.
fn green(cx: &mut Context<'_>, blue: &Instance, key: Option<&str>) -> Result<Instance, AwsError> {
    let p = cx.p;
    let mut version = placement::version_of(&blue.engine, &blue.engine_version)?;
    if let Some(asked) = p.text("TargetEngineVersion") {
        version = engines::engine(&blue.engine)?.version(Some(asked))?;
    }
    let mut row = blue.clone();
    if version.full != blue.engine_version {
        row.engine_version.clone_from(&version.full);
        row.parameter_group = version.default_parameter_group();
        row.option_group = version.default_option_group();
    }
    if let Some(name) = p.text("TargetDBParameterGroupName") {
        row.parameter_group = placement::parameter_group(cx, name, &version)?;
    }
    if let Some(class) = p.text("TargetDBInstanceClass") {
        row.class = validate::class(class)?;
    }
    if row.kms.is_some() || key.is_some() {
        validate::class_encrypts(&row.class)?;
    }
    row.resource_id = cx.state.mint("db-");
    let suffix = base32(&row.resource_id)[..6].to_lowercase();
    row.id = format!("{}-green-{suffix}", &blue.id[..blue.id.len().min(50)]);
    if let Some(key) = key.map(str::to_owned).or_else(|| blue.kms.clone()) {
        row.kms = Some(cx.attach(&key, &row.resource_id, "target")?);
    }
    row.replica_of = Some(blue.arn());
    row.created_at = cx.now;
    row.last_backup = None;
    row.pending.clear();
    row.settings = settings::Settings::clone(&blue.settings);
    "creating".clone_into(&mut row.status);
    row.plan = becoming(cx.now, timing::replica(row.gb), row.retention_days > 0);
    Ok(row)
}

fn find(cx: &Context<'_>) -> Result<Deployment, AwsError> {
    let id = cx.p.required("BlueGreenDeploymentIdentifier")?;
    cx.state
        .deployments
        .get(&cx.place.arn("deployment", id))
        .cloned()
        .ok_or_else(|| fault("BlueGreenDeploymentNotFoundFault", format!("BlueGreenDeployment {id} not found.")))
}

fn describe(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let p = cx.p;
    let filters = p.filters(&["blue-green-deployment-identifier", "blue-green-deployment-name", "source", "target"])?;
    let only = match p.text("BlueGreenDeploymentIdentifier") {
        Some(_) => Some(find(cx)?.id),
        None => None,
    };
    let fits = |row: &Deployment| {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match *name {
                "blue-green-deployment-identifier" => row.id == *value,
                "blue-green-deployment-name" => row.name == *value,
                "source" => row.members.first().is_some_and(|(source, _)| source == value),
                _ => row.members.first().is_some_and(|(_, target)| target == value),
            })
        })
    };
    let here = cx.state.deployments.iter().map(|(_, row)| row).filter(|row| row.place == cx.place);
    let rows = here
        .filter(|row| only.as_ref().is_none_or(|id| row.id == *id) && fits(row))
        .map(|row| (row.id.clone(), row))
        .collect();
    Ok(seen(p.page("BlueGreenDeployments", "member", rows, |row| row.body(cx.now))?))
}

fn invalid_state(row: &Deployment, now: DateTime<Utc>) -> AwsError {
    let text = format!("The blue/green deployment {} is in the state {}.", row.id, row.status(now));
    fault("InvalidBlueGreenDeploymentStateFault", text)
}

fn switch_over(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = find(cx)?;
    if !(30..=3600).contains(&cx.p.number("SwitchoverTimeout")?.unwrap_or(300)) {
        return Err(invalid_value("SwitchoverTimeout must be between 30 and 3600 seconds."));
    }
    let serving = |arn: &String| cx.state.instances.get(arn).is_some_and(Instance::serves);
    let ready =
        row.status(cx.now) == "AVAILABLE" && row.members.iter().all(|(blue, green)| serving(blue) && serving(green));
    if !ready {
        return Err(invalid_state(&row, cx.now));
    }
    row.stage = Stage::Switching { at: cx.now + timing::SWITCHOVER };
    Ok(admit(cx, row, "switched over"))
}

fn delete(cx: &mut Context<'_>) -> Result<Answer, AwsError> {
    let mut row = find(cx)?;
    let with_target = cx.p.flag("DeleteTarget")?.unwrap_or(false);
    match row.stage {
        Stage::Switching { .. } | Stage::Deleting { .. } => return Err(invalid_state(&row, cx.now)),
        Stage::Switched if with_target => {
            return Err(invalid_combination("DeleteTarget cannot be specified after the switchover is completed."));
        }
        Stage::Switched | Stage::Green { .. } => {}
    }
    let until = cx.now + timing::DELETE;
    for (_, green) in &row.members {
        let before = !matches!(row.stage, Stage::Switched);
        let Some(target) = cx.state.instances.get_mut(green) else { continue };
        if before && with_target {
            "deleting".clone_into(&mut target.status);
            target.plan = vec![Planned { at: until, change: Change::Remove { keep_backups: false } }];
        } else if before && target.replica_of.as_ref() == row.members.first().map(|(blue, _)| blue) {
            target.replica_of = None;
        }
    }
    row.stage = Stage::Deleting { until };
    Ok(admit(cx, row, if with_target { "deleted with its green environment" } else { "deleted" }))
}

/// Gives the grants back that a refused creation took.
fn release(kms: &mut kms::State, greens: &[Instance]) {
    for green in greens {
        if let Some(key) = &green.kms {
            kms.detach(key, &green.resource_id);
        }
    }
}

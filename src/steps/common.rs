//! What the steps share: how they read their input, name and own what they make, and wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
};

use aws_sdk_rds::{
    error::{ProvideErrorMetadata, SdkError},
    types::{DbInstance, DbSnapshot},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Domain,
    repair::{broken, named, region_of},
};
use crate::{
    aws::{Failure, failure, once},
    keys::KeySet,
    schedule::Window,
    systems::{self, Homes, Names, Owner, Placement, Readiness, Recovery, Residency, Scan, System, Tags},
    worker::{Progress, StepContext, StepError},
};

/// Either the thing, or what is waited for.
pub enum Wait<T> {
    Ready(T),
    For(String),
}

/// The regions that were chosen, as the form `regions` normalises them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub primary: String,
    pub disaster_recovery: String,
    pub regions: Vec<String>,
    pub partition: String,
    #[serde(default)]
    pub aws_account: Option<String>,
    #[serde(default)]
    pub instances: BTreeMap<String, String>,
    /// Recovery region by home region; empty in the plans of before there was one.
    #[serde(default)]
    pub recovery: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub also_in: BTreeMap<String, BTreeSet<String>>,
    /// Instances that get an empty system although data of them exists.
    #[serde(default)]
    pub empty: BTreeSet<String>,
    /// Instances with keys of their own, where the vendor has the keys.
    #[serde(default)]
    pub own_keys: Vec<String>,
}

impl Plan {
    /// Where data may lie. A plan that states nothing is of a run that began before it could: the defaults hold for it.
    pub fn residency(&self) -> Residency {
        let stated = (!self.recovery.is_empty()).then(|| self.recovery.clone());
        let defaults = || Residency::unstated(&self.primary, &self.disaster_recovery, &self.regions);
        Residency {
            regions: self.regions.clone(),
            recovery: stated.unwrap_or_else(defaults),
            also_in: self.also_in.clone(),
            places: self.instances.clone(),
        }
    }

    /// What it states, to be compared with what there is.
    pub fn placement<'a>(
        &'a self,
        enterprise: &'a str,
        residency: &'a Residency,
        scan: &'a Scan,
        homes: &'a Homes,
    ) -> Placement<'a> {
        let (primary, empty, resources) = (&self.primary, &self.empty, &scan.resources);
        Placement { enterprise, primary, residency, empty, resources, homes }
    }

    /// The region in which copies of `home`'s data for recovery are kept; none by somebody's word.
    ///
    /// # Errors
    /// `Keyferry.OutsidePlan`: nobody said.
    pub fn recovery_of(&self, home: &str) -> Result<Option<String>, StepError> {
        match self.residency().recovery_of(home) {
            Recovery::In(region) => Ok(Some(region.to_owned())),
            Recovery::Nowhere => Ok(None),
            Recovery::Unstated => {
                let cause = format!(
                    "no recovery region is stated for {home}: start again, and state it in the form regions as recovery, \
                     with \"none\" for no copy elsewhere"
                );
                Err(StepError::new("Keyferry.OutsidePlan", cause))
            }
        }
    }
}

/// The input of every step that works on one data system.
#[derive(Debug, Clone, Deserialize)]
pub struct SystemInput {
    pub system: System,
    pub keys: KeySet,
    pub plan: Plan,
    pub generation: u64,
    /// Which window of the run this is, from 1.
    #[serde(default = "first")]
    pub attempt: u64,
}

/// The input of every step that takes a system out of service or works on it meanwhile. There is none without a window: what
/// has no cutoff is not frozen. What puts a system back needs none.
#[derive(Debug, Clone, Deserialize)]
pub struct CutOver {
    #[serde(flatten)]
    pub item: SystemInput,
    pub window: Window,
}

impl std::ops::Deref for CutOver {
    type Target = SystemInput;

    fn deref(&self) -> &SystemInput {
        &self.item
    }
}

fn first() -> u64 {
    1
}

/// A step's input as its type.
///
/// # Errors
/// `Keyferry.BadInput`: the definition gives the step something else than it takes.
pub fn input<T: DeserializeOwned>(step: &str, value: Value) -> Result<T, StepError> {
    serde_json::from_value(value).map_err(|error| {
        StepError::new("Keyferry.BadInput", format!("the input of step {step} is not what it takes: {error}"))
    })
}

impl SystemInput {
    pub fn names(&self, context: &StepContext) -> Names {
        self.names_of(&context.enterprise, &context.run)
    }

    /// What another run calls what it makes of the system.
    pub fn names_of(&self, enterprise: &str, run: &str) -> Names {
        Names::new(enterprise, self.generation, run, &self.system.id, self.attempt)
    }

    /// The key that the system has to be under in its own region.
    ///
    /// # Errors
    /// `Keyferry.OutsidePlan`: its region has no key.
    pub fn key(&self) -> Result<String, StepError> {
        self.key_in(&self.system.region)
    }

    /// The key that the system's copies have to be under in `region`.
    ///
    /// # Errors
    /// `Keyferry.OutsidePlan`: the region has no key.
    pub fn key_in(&self, region: &str) -> Result<String, StepError> {
        self.keys.expected(&self.system.instance, region).map(str::to_owned).ok_or_else(|| {
            let cause = format!(
                "{} needs a key in {region}: the region was not chosen, or its instance {} has keys of its own and none there",
                self.system.id, self.system.instance
            );
            StepError::new("Keyferry.OutsidePlan", cause)
        })
    }
}

impl CutOver {
    /// Whether it is about the same system, in the same window and try, under the same keys.
    pub fn is(&self, other: &Self) -> bool {
        let which = |item: &Self| {
            let System { id, arn, region, instance, resource_id, .. } = &item.system;
            (id.clone(), arn.clone(), region.clone(), instance.clone(), resource_id.clone())
        };
        which(self) == which(other)
            && (self.generation, self.attempt) == (other.generation, other.attempt)
            && (&self.keys, &self.window) == (&other.keys, &other.window)
    }

    /// # Errors
    /// `Keyferry.WindowPassed`: it is too late to start a cut-over.
    pub fn before_cutoff(&self, context: &StepContext) -> Result<(), StepError> {
        let window = &self.window;
        if context.now() <= window.cutoff {
            return Ok(());
        }
        let cause = format!(
            "no cut-over of {} starts after {} (the window ends at {}): the original serves, a new window has to be agreed",
            self.system.id,
            crate::schedule::text(window.cutoff),
            crate::schedule::text(window.end)
        );
        Err(StepError::new("Keyferry.WindowPassed", cause))
    }

    /// # Errors
    /// As [`before_freeze`].
    pub fn before_freeze(&self, context: &StepContext) -> Result<(), StepError> {
        before_freeze(&self.window, &self.system.id, context)
    }
}

/// A system is frozen only while its successor can still be given its name before the cutoff: that takes two renames.
///
/// # Errors
/// `Keyferry.WindowPassed`: it is too late to take the system out of service.
pub fn before_freeze(window: &Window, system: &str, context: &StepContext) -> Result<(), StepError> {
    if context.now() + crate::schedule::RENAME * 2 <= window.cutoff {
        return Ok(());
    }
    let cause = format!(
        "{system} was not taken out of service: two renames, for each of which AWS names about {} minutes, would not fit \
         before {}. The original serves, a new window has to be agreed",
        crate::schedule::RENAME.num_minutes(),
        crate::schedule::text(window.cutoff)
    );
    Err(StepError::new("Keyferry.WindowPassed", cause))
}

impl Domain {
    pub(super) fn owner(&self, context: &StepContext) -> Owner {
        Owner {
            run: context.run.clone(),
            step: context.state.clone(),
            enterprise: context.enterprise.clone(),
            enterprise_tag: self.config.aws.enterprise_tag.clone(),
        }
    }

    /// Looks again after the poll interval.
    pub(super) fn pending(&self, waiting_for: String) -> Progress {
        self.pending_with(waiting_for, Value::Null)
    }

    pub(super) fn pending_with(&self, waiting_for: String, checkpoint: Value) -> Progress {
        Progress::Pending { poll_after: self.poll, checkpoint, waiting_for }
    }

    /// Something that should be there is not. Right after a change AWS may not show it yet, so this is waited for as long
    /// as the grace lasts, and only then an error.
    ///
    /// # Errors
    /// `Keyferry.Missing` after the grace.
    pub(super) fn missing(&self, context: &StepContext, what: &str) -> Result<Progress, StepError> {
        let since = context.checkpoint.as_ref().and_then(|checkpoint| {
            checkpoint.get("missing_since")?.as_str()?.parse::<chrono::DateTime<chrono::Utc>>().ok()
        });
        let since = since.unwrap_or_else(|| context.now());
        let waited = (context.now() - since).to_std().unwrap_or_default();
        if waited > self.grace.max(self.poll * 10) {
            return Err(StepError::new(
                "Keyferry.Missing",
                format!(
                    "{what} is not there: if it was renamed, give it its name back, then retry; if it was deleted, cancel this run \
                     and start another, which takes stock of what there is"
                ),
            ));
        }
        Ok(self.pending_with(format!("{what} to appear"), json!({ "missing_since": since })))
    }
}

/// Whether an instance can be worked on now.
///
/// # Errors
/// `Keyferry.SystemBroken`, `Keyferry.KeyNotUsable`: it will not get there by itself.
pub fn settled(instance: &DbInstance) -> Result<Wait<()>, StepError> {
    let id = instance.db_instance_identifier().unwrap_or_default();
    match systems::readiness(instance.db_instance_status().unwrap_or_default()) {
        Readiness::Ready => Ok(Wait::Ready(())),
        Readiness::Busy(status) => Ok(Wait::For(format!("RDS: instance {id} is {status}"))),
        Readiness::Broken(status) => Err(StepError::new("Keyferry.SystemBroken", broken(instance, id, &status))),
        Readiness::KeyLost(status) if status == "inaccessible-encryption-credentials" => {
            let cause = format!(
                "instance {id} is {status}: its key could not be used for so long that it does not come back. Have its key made \
                 usable again and restore it from its last backup under its name, then retry"
            );
            Err(StepError::new("Keyferry.KeyNotUsable", cause))
        }
        Readiness::KeyLost(status) => {
            let cause = format!(
                "instance {id} is {status}: its key cannot be used. Have the key {} made usable again within 7 days, start the \
                 instance with `aws rds start-db-instance {}`, then retry",
                instance.kms_key_id().unwrap_or("of it"),
                named(instance, id)
            );
            Err(StepError::new("Keyferry.KeyNotUsable", cause))
        }
    }
}

/// # Errors
/// `Keyferry.Foreign`: `what` bears our name, but is not ours.
pub fn require_ours(owner: &Owner, tags: &Tags, what: &str) -> Result<(), StepError> {
    if owner.made(tags) {
        return Ok(());
    }
    // It may hold data: no cure deletes it. A snapshot cannot be renamed, but every run has names of its own.
    let cure = if what.starts_with("snapshot ") {
        "keep it: cancel this run and start another, which uses other names"
    } else {
        "if it is the enterprise's, cancel this run, see that it has the enterprise's tag, and start another, whose inventory \
         finds it; if it is not, rename it, then retry"
    };
    let cause = format!(
        "{what} exists already and was not made by run {}: it was not touched, and it may hold data. {cure}",
        owner.run
    );
    Err(StepError::new("Keyferry.Foreign", cause))
}

/// An existing object's answer to a create call means: look again, it may be ours after all.
fn exists(failure: &Failure) -> bool {
    failure.error == "Keyferry.Foreign"
}

/// A snapshot's progress, once it is known to be ours.
fn progress(snapshot: DbSnapshot) -> Result<Wait<DbSnapshot>, StepError> {
    let id = snapshot.db_snapshot_identifier().unwrap_or_default().to_owned();
    match snapshot.status().unwrap_or_default() {
        "available" => Ok(Wait::Ready(snapshot)),
        "failed" | "incompatible-restore" => {
            let region = region_of(snapshot.db_snapshot_arn());
            let cause = format!(
                "snapshot {id} failed in RDS and holds nothing that can be restored: delete it with `aws rds delete-db-snapshot \
                 --region {region} --db-snapshot-identifier {id}`, then retry, which makes it anew"
            );
            Err(StepError::new("Keyferry.SystemBroken", cause))
        }
        status => {
            let percent = snapshot.percent_progress().unwrap_or_default();
            Ok(Wait::For(format!("RDS: snapshot {id} is {status} ({percent} %)")))
        }
    }
}

/// A snapshot of `instance` under `name`, made if it is not there.
///
/// # Errors
/// It is somebody else's, or AWS refused.
pub async fn ensure_snapshot(
    rds: &aws_sdk_rds::Client,
    owner: &Owner,
    instance: &str,
    name: &str,
    role: &str,
) -> Result<Wait<DbSnapshot>, StepError> {
    if let Some(found) = systems::snapshot(rds, name).await? {
        require_ours(owner, &systems::of_snapshot(&found), &format!("snapshot {name}"))?;
        return progress(found);
    }
    let call = rds
        .create_db_snapshot()
        .db_instance_identifier(instance)
        .db_snapshot_identifier(name)
        .set_tags(Some(systems::sdk(&owner.tags(role))));
    let tried = format!("snapshot instance {instance} as {name}");
    match call.customize().config_override(once()).send().await.map_err(|error| failure(&tried, &error)) {
        Err(failure) if !exists(&failure) => Err(failure.into()),
        Ok(_) | Err(_) => Ok(Wait::For(format!("RDS: snapshot {name} of {instance} begins"))),
    }
}

/// What to copy, where to, under which key.
pub struct Copy<'a> {
    /// An identifier in the same region, or an ARN.
    pub source: &'a str,
    pub name: &'a str,
    pub key: &'a str,
    pub role: &'a str,
    /// Further tags.
    pub tags: Tags,
}

/// A copy of a snapshot under another key, made if it is not there. `rds` is the client of the region it is made in.
///
/// # Errors
/// It is somebody else's, under another key, or AWS refused.
pub async fn ensure_copy(
    rds: &aws_sdk_rds::Client,
    owner: &Owner,
    copy: &Copy<'_>,
) -> Result<Wait<DbSnapshot>, StepError> {
    if let Some(found) = systems::snapshot(rds, copy.name).await? {
        require_ours(owner, &systems::of_snapshot(&found), &format!("snapshot {}", copy.name))?;
        let key = found.kms_key_id().map(str::to_owned);
        let ready = progress(found)?;
        if matches!(ready, Wait::Ready(_)) && key.as_deref() != Some(copy.key) {
            let cause = format!("snapshot {} is under {key:?}, not under {}", copy.name, copy.key);
            return Err(StepError::new("Keyferry.Mismatch", cause));
        }
        return Ok(ready);
    }
    let mut tags = copy.tags.clone();
    tags.extend(owner.tags(copy.role));
    let call = rds
        .copy_db_snapshot()
        .source_db_snapshot_identifier(copy.source)
        .target_db_snapshot_identifier(copy.name)
        .kms_key_id(copy.key)
        .copy_tags(false)
        .set_tags(Some(systems::sdk(&tags)));
    let tried = format!("copy snapshot {} to {} under {}", copy.source, copy.name, copy.key);
    match call.customize().config_override(once()).send().await.map_err(|error| failure(&tried, &error)) {
        Err(failure) if failure.copies_in_progress() => Ok(Wait::For(format!(
            "RDS: copy {} waits for others to end, of which AWS makes twenty at a time",
            copy.name
        ))),
        Err(failure) if !exists(&failure) => Err(failure.into()),
        Ok(_) | Err(_) => Ok(Wait::For(format!("RDS: copy {} begins", copy.name))),
    }
}

/// Gives an instance another identifier, at once.
///
/// # Errors
/// AWS refused.
pub async fn rename(rds: &aws_sdk_rds::Client, from: &str, to: &str) -> Result<(), StepError> {
    let call =
        rds.modify_db_instance().db_instance_identifier(from).new_db_instance_identifier(to).apply_immediately(true);
    modified(&format!("rename instance {from} to {to}"), call.send().await)
}

/// What RDS answered to a modification. Where it finds none in it, there is nothing left to modify that it knows of: an earlier
/// try has taken effect, or the setting cannot be taken back. The step looks again and says what is still missing.
///
/// # Errors
/// AWS refused.
pub fn modified<T, E, R>(tried: &str, answer: Result<T, SdkError<E, R>>) -> Result<(), StepError>
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug,
{
    match answer.map_err(|error| failure(tried, &error)) {
        Err(failure) if !failure.nothing_to_modify() => Err(failure.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Marks an original as replaced and renames it to `old`. One that an earlier try has marked already is only renamed.
///
/// # Errors
/// AWS refused.
pub async fn put_aside(
    rds: &aws_sdk_rds::Client,
    owner: &Owner,
    system: &System,
    found: &DbInstance,
    old: &str,
) -> Result<(), StepError> {
    let (wanted, has) = (owner.old(&system.id), systems::of_instance(found));
    if wanted.iter().any(|(key, value)| has.get(key) != Some(value)) {
        let call = rds.add_tags_to_resource().resource_name(&system.arn).set_tags(Some(systems::sdk(&wanted)));
        call.send().await.map_err(|error| failure(&format!("tag instance {}", system.id), &error))?;
    }
    rename(rds, &system.id, old).await
}

/// Deletes a snapshot; one that is gone already is no failure.
///
/// # Errors
/// AWS refused.
pub async fn delete_snapshot(rds: &aws_sdk_rds::Client, id: &str) -> Result<(), StepError> {
    let deleted = rds.delete_db_snapshot().db_snapshot_identifier(id).send().await;
    match deleted.map_err(|error| failure(&format!("delete snapshot {id}"), &error)) {
        Err(failure) if !failure.not_found() => Err(failure.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Deletes an instance that is ours, its protection and its automated backups included. True when it is gone.
///
/// # Errors
/// AWS refused.
pub async fn delete_instance(rds: &aws_sdk_rds::Client, instance: &DbInstance) -> Result<Wait<()>, StepError> {
    let id = instance.db_instance_identifier().unwrap_or_default();
    if instance.db_instance_status() == Some("deleting") {
        return Ok(Wait::For(format!("RDS: instance {id} is deleting")));
    }
    if instance.deletion_protection().unwrap_or_default() {
        if let Wait::For(what) = settled(instance)? {
            return Ok(Wait::For(what));
        }
        let call =
            rds.modify_db_instance().db_instance_identifier(id).deletion_protection(false).apply_immediately(true);
        modified(&format!("lift the deletion protection of instance {id}"), call.send().await)?;
        return Ok(Wait::For(format!("RDS: the deletion protection of {id} is lifted")));
    }
    let call =
        rds.delete_db_instance().db_instance_identifier(id).skip_final_snapshot(true).delete_automated_backups(true);
    match call.send().await.map_err(|error| failure(&format!("delete instance {id}"), &error)) {
        Err(failure) if failure.not_found() => Ok(Wait::Ready(())),
        Err(failure) => Err(failure.into()),
        Ok(_) => Ok(Wait::For(format!("RDS: instance {id} is deleting"))),
    }
}

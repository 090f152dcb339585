//! Finds out, while everything serves, which systems can be migrated in this window and which cannot.
//!
//! Takes the inventory's `systems` and `replicas`, and the window once it is agreed. Gives `systems`, which fit into what
//! the account may have and whose checks found nothing, `kept` with the reason for every other, `notices` for the people who
//! agree on the window, and `unfenced`: the systems of whose writers these people are asked. A system that is kept is not frozen. Effect: none. Again: what has changed meanwhile
//! is found, and room that was used by what this run has made counts as there.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Domain,
    common::{Plan, SystemInput, before_freeze, input, settled},
    room::{Need, Rooms},
    settings::refuse,
};
use crate::{
    aws::{Failure, failure},
    keys::{KeySet, ProbeState, probe},
    schedule::Window,
    systems::{self, Frozen, Settings, System, is_early_copy},
    worker::{Progress, Step, StepContext, StepError},
};

pub struct Preflight(pub Domain);

#[derive(Deserialize)]
struct Input {
    systems: Vec<System>,
    #[serde(default)]
    replicas: Vec<Replica>,
    /// Systems that an earlier preflight of the same window has kept already.
    #[serde(default)]
    kept: Vec<Value>,
    keys: KeySet,
    plan: Plan,
    generation: u64,
    #[serde(default)]
    window: Option<Window>,
    attempt: u64,
}

#[derive(Deserialize)]
struct Replica {
    system: System,
    source: String,
    source_region: String,
}

#[async_trait]
impl Step for Preflight {
    fn name(&self) -> &'static str {
        "preflight"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { systems, replicas, mut kept, keys, plan, generation, window, attempt } = input(self.name(), value)?;
        let mut rooms = Rooms::new(&self.0);
        let mut health = KeyHealth::default();
        let (mut ready, mut notices, mut unfenced) = (Vec::new(), Vec::new(), Vec::new());
        for system in systems {
            let item = SystemInput { system, keys: keys.clone(), plan: plan.clone(), generation, attempt };
            let fits = window.as_ref().map_or(Ok(()), |window| before_freeze(window, &item.system.id, context));
            let looked = match fits {
                Ok(()) => self.look(context, &item, &mut health).await,
                Err(error) => Err(error),
            };
            let looked = match looked {
                Ok(made) => {
                    // A copy that an earlier run has left takes the place of the one before the window.
                    let (owner, key) = (self.0.owner(context), item.key()?);
                    let of = (item.system.resource_id.as_str(), key.as_str());
                    let there = rooms.listing(&item.system.region).await?;
                    let early = there.resources.iter().any(|found| is_early_copy(found, &owner, of));
                    rooms.take(&need(context, &item, &replicas, early)?).await.map(|()| made)
                }
                Err(error) => Err(error),
            };
            match looked {
                Ok(made) => {
                    notices.extend(self::notices(&item.system, &made, &replicas));
                    if made.closing_group.is_none() {
                        unfenced.push(item.system.id.clone());
                    }
                    ready.push(item.system);
                }
                // Nothing is known about the system: the definition tries again.
                Err(error) if transient(&error) => return Err(error),
                Err(error) => kept.push(json!({
                    "system": item.system.id, "region": item.system.region, "outcome": "kept",
                    "error": { "Error": error.error, "Cause": error.cause },
                })),
            }
        }
        Ok(Progress::done(json!({ "systems": ready, "kept": kept, "notices": notices, "unfenced": unfenced })))
    }
}

fn transient(error: &StepError) -> bool {
    ["Keyferry.Throttled", "Keyferry.Unavailable", "Keyferry.AccessDenied"].contains(&error.error.as_str())
        || error.error.starts_with("Keyferry.Store")
}

impl Preflight {
    /// Looks at one system; gives what it is now.
    async fn look(
        &self,
        context: &StepContext,
        item: &SystemInput,
        health: &mut KeyHealth,
    ) -> Result<Frozen, StepError> {
        let system = &item.system;
        let rds = self.0.aws.rds(&system.region).await?;
        let serving = systems::instance(&rds, &system.id).await?;
        let Some(serving) = serving.filter(|found| found.dbi_resource_id() == Some(&system.resource_id)) else {
            let cause = format!("{} is not the one that the inventory found: take the inventory again", system.id);
            return Err(StepError::new("Keyferry.Foreign", cause));
        };
        // A system that RDS is busy with is waited for when its turn has come.
        settled(&serving)?;
        refuse(&serving)?;
        let made = self.0.describe(context, item, &serving).await?;
        checks(&self.0, item, &made).await?;
        let mut regions = BTreeSet::from([system.region.as_str()]);
        regions.extend(made.replications.keys().map(String::as_str));
        let away = item.plan.recovery_of(&system.region)?.filter(|_| system.recovery);
        regions.extend(away.as_deref());
        for region in regions {
            health.ask(&self.0, context, region, &item.key_in(region)?).await?;
        }
        Ok(made)
    }
}

/// What people have to know of a system before they agree on its window.
fn notices(system: &System, made: &Frozen, replicas: &[Replica]) -> Vec<String> {
    let mut told = Vec::new();
    if made.closing_group.is_none() {
        told.push(format!(
            "{}: writers are not fenced. The configuration names no closing security group for its VPC, so a client that \
             has cached its address may go on writing for minutes after the rename: stop its writers before the window",
            system.id
        ));
    }
    told.push(format!(
        "{}: that no job inside the database writes in the window (pg_cron, MySQL events, agents) is not proven: stop them \
         before the window",
        system.id
    ));
    if made.settings.managed_password {
        told.push(format!(
            "{}: its master password is managed by RDS. The migrated system gets a secret of its own with another ARN; the \
             ARN is told when it serves",
            system.id
        ));
    }
    told.extend(followers(system, replicas).into_iter().map(|replica| {
        format!(
            "{}: its replica {} in {} is replaced after the window, when a new one stands ready: nothing serves under that name \
             for two renames, for which AWS names about {} minutes",
            system.id,
            replica.id,
            replica.region,
            (crate::schedule::RENAME * 2).num_minutes()
        )
    }));
    told
}

/// What AWS has to offer and to hold for a system's successor.
///
/// # Errors
/// The first thing that is not there, and what to do.
pub async fn checks(domain: &Domain, item: &SystemInput, made: &Frozen) -> Result<(), StepError> {
    let (system, settings) = (&item.system, &made.settings);
    item.key()?;
    for region in made.replications.keys() {
        item.key_in(region)?;
    }
    let rds = domain.aws.rds(&system.region).await?;
    offered(&rds, system, settings).await?;
    if let Some(name) = settings.own_parameter_group() {
        let found = rds.describe_db_parameter_groups().db_parameter_group_name(&name).send().await;
        there(found.map_err(|error| failure(&format!("describe parameter group {name}"), &error)))?;
    }
    if let Some(name) = settings.own_option_group() {
        let found = rds.describe_option_groups().option_group_name(&name).send().await;
        there(found.map_err(|error| failure(&format!("describe option group {name}"), &error)))?;
    }
    Ok(())
}

fn there<T>(outcome: Result<T, Failure>) -> Result<(), StepError> {
    outcome.map(|_| ()).map_err(Into::into)
}

/// Whether AWS still offers the class, in this version and across zones where the system stands in two.
async fn offered(rds: &aws_sdk_rds::Client, system: &System, settings: &Settings) -> Result<(), StepError> {
    let call = rds
        .describe_orderable_db_instance_options()
        .engine(&settings.engine)
        .engine_version(&settings.engine_version)
        .db_instance_class(&settings.class);
    let tried = format!("ask whether {} is offered in {}", settings.class, system.region);
    let found = call.send().await.map_err(|error| failure(&tried, &error))?;
    let options = found.orderable_db_instance_options();
    let cause = if options.is_empty() {
        format!(
            "AWS does not offer {} for {} {} in {}: change {} to a class and version that it offers, then retry",
            settings.class, settings.engine, settings.engine_version, system.region, system.id
        )
    } else if settings.multi_az && !options.iter().any(|option| option.multi_az_capable().unwrap_or(true)) {
        format!(
            "AWS does not offer {} for {} {} across zones in {}, where {} stands in two: change its class, then retry",
            settings.class, settings.engine, settings.engine_version, system.region, system.id
        )
    } else {
        return Ok(());
    };
    Err(StepError::new("Keyferry.Unsupported", cause))
}

/// The keys that were asked already, each once.
#[derive(Default)]
struct KeyHealth(BTreeMap<String, Option<StepError>>);

impl KeyHealth {
    async fn ask(&mut self, domain: &Domain, context: &StepContext, region: &str, key: &str) -> Result<(), StepError> {
        if !self.0.contains_key(key) {
            let found = unusable(domain, context, region, key).await?;
            self.0.insert(key.to_owned(), found);
        }
        self.0.get(key).cloned().flatten().map_or(Ok(()), Err)
    }
}

/// What is wrong with a key. A direct use that is denied is no finding: the policy may allow it through RDS alone, which
/// the copy before the window shows.
async fn unusable(
    domain: &Domain,
    context: &StepContext,
    region: &str,
    key: &str,
) -> Result<Option<StepError>, StepError> {
    let kms = domain.aws.kms(region).await?;
    let tags = [("purpose", "keyferry-probe"), ("enterprise", &context.enterprise), ("run", &context.run)];
    let battery = probe(&kms, key, &tags).await?;
    // Whether it grants too much does not keep a system from being migrated.
    let bad = |name: &str| ["key-metadata", "encrypt-decrypt", "data-key"].contains(&name);
    let found = battery.probes.into_iter().find(|probe| probe.state == ProbeState::Failed && bad(&probe.name));
    Ok(found.map(|probe| {
        let cause = format!("key {key} cannot be used: {}. {}", probe.seen, probe.change);
        StepError::new("Keyferry.KeyNotUsable", cause)
    }))
}

/// What a system's migration adds to what the account has, until the purge.
fn need(
    context: &StepContext,
    item: &SystemInput,
    replicas: &[Replica],
    has_early_copy: bool,
) -> Result<Vec<Need>, StepError> {
    let (system, names) = (&item.system, item.names(context));
    let mut snapshots = vec![names.final_snapshot(), names.final_copy()];
    if !has_early_copy {
        snapshots.extend([names.early_snapshot(), names.early_copy()]);
    }
    let mut needs = Vec::new();
    if let Some(region) = item.plan.recovery_of(&system.region)?.filter(|_| system.recovery) {
        snapshots.push(names.recovery_source());
        needs.push(Need { region, snapshots: vec![names.recovery_copy(&system.region)], instances: 0, gb: 0 });
    }
    needs.push(Need {
        region: system.region.clone(),
        snapshots,
        instances: 1,
        gb: i64::from(system.settings.storage_gb),
    });
    for replica in followers(system, replicas) {
        needs.push(Need {
            region: replica.region.clone(),
            snapshots: Vec::new(),
            instances: 1,
            gb: i64::from(replica.settings.storage_gb),
        });
    }
    Ok(needs)
}

/// The replicas of a system and theirs.
fn followers<'a>(system: &System, replicas: &'a [Replica]) -> Vec<&'a System> {
    let mut sources = BTreeSet::from([(system.region.clone(), system.id.clone())]);
    let mut found: Vec<&System> = Vec::new();
    loop {
        let next = replicas.iter().find(|replica| {
            sources.contains(&(replica.source_region.clone(), replica.source.clone()))
                && !found.iter().any(|known| known.arn == replica.system.arn)
        });
        let Some(next) = next else { return found };
        sources.insert((next.system.region.clone(), next.system.id.clone()));
        found.push(&next.system);
    }
}

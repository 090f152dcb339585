//! Multi-Region keys: replicas, which of them is the primary, and what they share.
//!
//! A primary and its replicas have one key id in several regions. They share spec, usage, origin, rotation and the list of
//! key materials; policy, description, tags, aliases, grants and state are each one's own. Imported material has to be
//! brought to every one of them by its owner, so a replica knows it by its id before it has it.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{
    State,
    access::{OWN, require_enabled},
    condition::Context,
    errors,
    key::{Busy, Key, Material, MaterialState},
    keys::check_policy,
    policy, tags,
    validate::{Input, missing},
};
use crate::sandbox::{Answer, AwsError, Call, auth};

/// How long a replica is `Creating` and a change of the primary is `Updating`.
const BUSY: TimeDelta = TimeDelta::seconds(5);

fn not_primary(key: &Key) -> AwsError {
    errors::unsupported(format!("{} is not a multi-Region primary key.", key.arn))
}

impl State {
    /// All of a multi-Region key, in the order of their ARNs: itself and its related keys.
    fn family<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a Key> {
        let related = |other: &&Key| {
            other.arn == key.arn || (key.multi_region && other.id == key.id && other.account == key.account)
        };
        self.keys.iter().map(|(_, other)| other).filter(related)
    }

    /// The ARNs of the replicas of a primary key.
    pub fn replicas_of(&self, primary: &Key) -> Vec<String> {
        self.family(primary).filter(|other| other.replica).map(|other| other.arn.clone()).collect()
    }

    /// `MultiRegionConfiguration`; none for a key of one region.
    pub fn multi_region_configuration(&self, key: &Key) -> Option<Value> {
        let entry = |key: &Key| json!({"Arn": key.arn, "Region": key.region});
        let primary = self.family(key).find(|other| !other.replica).unwrap_or(key);
        let replicas: Vec<Value> = self.family(key).filter(|other| other.replica).map(entry).collect();
        key.multi_region.then(|| {
            json!({
                "MultiRegionKeyType": if key.replica { "REPLICA" } else { "PRIMARY" },
                "PrimaryKey": entry(primary),
                "ReplicaKeys": replicas,
            })
        })
    }

    /// Gives the replicas what they share with the primary of `arn`'s family, after any of them changed.
    pub fn synchronize(&mut self, arn: &str, now: DateTime<Utc>) {
        let Some(key) = self.keys.get(arn).filter(|key| key.multi_region) else { return };
        let Some(mut primary) = self.family(key).find(|other| !other.replica).cloned() else { return };
        let replicas = self.replicas_of(&primary);
        let external = primary.is_external();
        for material in &mut primary.materials {
            if matches!(material.state, MaterialState::PendingRotation | MaterialState::PendingMultiRegion) {
                let there = |arn: &String| {
                    let replica = self.keys.get(arn).and_then(|replica| replica.material(&material.id));
                    !external || replica.is_some_and(|replica| replica.live(now).is_some())
                };
                let everywhere = replicas.iter().all(there);
                material.state =
                    if everywhere { MaterialState::PendingRotation } else { MaterialState::PendingMultiRegion };
            }
        }
        for arn in &replicas {
            let Some(replica) = self.keys.get_mut(arn) else { continue };
            replica.materials = shared(&primary, &replica.materials);
            replica.rotation.clone_from(&primary.rotation);
            replica.on_demand_rotations = primary.on_demand_rotations;
        }
        if let Some(stored) = self.keys.get_mut(&primary.arn.clone()) {
            stored.materials = primary.materials;
        }
    }

    /// Starts the waiting period of every primary that waited for the last of its replicas to go.
    pub fn release_primaries(&mut self, now: DateTime<Utc>) {
        let free = |key: &&Key| key.replica_deletion_days.is_some() && self.replicas_of(key).is_empty();
        let free: Vec<String> = self.keys.iter().map(|(_, key)| key).filter(free).map(|key| key.arn.clone()).collect();
        for arn in free {
            let Some(key) = self.keys.get_mut(&arn) else { continue };
            if let Some(days) = key.replica_deletion_days.take() {
                key.deletion = Some((now + TimeDelta::days(days), days));
            }
        }
    }
}

/// A replica's materials: the primary's, of which imported ones keep what the replica itself has of them.
fn shared(primary: &Key, own: &[Material]) -> Vec<Material> {
    if !primary.is_external() {
        return primary.materials.clone();
    }
    let mine = |material: &Material| own.iter().find(|mine| mine.id == material.id);
    let share = |material: &Material| Material {
        secret: mine(material).and_then(|mine| mine.secret.clone()),
        valid_to: mine(material).and_then(|mine| mine.valid_to),
        description: mine(material).and_then(|mine| mine.description.clone()),
        ..material.clone()
    };
    primary.materials.iter().map(share).collect()
}

/// Whether rotation and new material may be asked of this key: of a primary or of a key of one region.
///
/// # Errors
/// `UnsupportedOperationException`: it is a replica.
pub fn require_no_replica(key: &Key) -> Result<(), AwsError> {
    if key.replica {
        return Err(errors::unsupported(format!("{} is a replica key: ask the primary key.", key.arn)));
    }
    Ok(())
}

pub fn replicate(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let region = region_name(input, "ReplicaRegion", call)?;
    let description = input.sized("Description", 0, 8192)?.unwrap_or_default();
    let tags = tags::read(input, "Tags")?;
    tags::check_count(tags.len())?;
    let bypass = input.flag("BypassPolicyLockoutSafetyCheck")?;
    let text = input.sized("Policy", 1, 131_072)?;
    let mut context = Context::default();
    context.set("kms:ReplicaRegion", region);
    let primary = state.key_with(call, OWN, context)?;
    if !primary.multi_region || primary.replica {
        return Err(not_primary(primary));
    }
    require_enabled(primary, call.now)?;
    let arn = format!("arn:{}:kms:{region}:{}:key/{}", primary.partition, primary.account, primary.id);
    if state.keys.contains(&arn) {
        let message = format!("{} is already replicated to the region {region}.", primary.arn);
        return Err(AwsError::new("AlreadyExistsException", message));
    }
    if let Some(text) = text {
        check_policy(call, &arn, text, bypass)?;
    }
    let default = || policy::default_policy(&primary.partition, &primary.account);
    let replica = Key {
        arn: arn.clone(),
        region: region.to_owned(),
        created: call.now,
        description: description.to_owned(),
        replica: true,
        busy: Some(Busy { until: call.now + BUSY, creating: true }),
        disabled: false,
        policy: text.map_or_else(default, str::to_owned),
        replaced: None,
        materials: shared(primary, &[]),
        tags,
        ..primary.clone()
    };
    let (what, answered) = (format!("created as a replica of {}", primary.arn), replica.clone());
    state.keys.insert(&arn, replica);
    let pairs: Vec<Value> =
        answered.tags.iter().map(|(name, value)| json!({"TagKey": name, "TagValue": value})).collect();
    let mut body = json!({"ReplicaKeyMetadata": state.metadata(&answered, call.now), "ReplicaPolicy": answered.policy});
    if !pairs.is_empty() {
        body["ReplicaTags"] = json!(pairs);
    }
    Ok(Answer::effect(body, arn, what))
}

/// The name of a region in the caller's partition.
fn region_name<'a>(input: Input<'a>, name: &str, call: &Call) -> Result<&'a str, AwsError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let region = input.matching(name, (1, 32), "^([a-z]+-){2,3}\\d+$", good)?.ok_or_else(|| missing(name))?;
    if auth::partition(region) != call.caller.partition {
        return Err(errors::validation(format!(
            "The region {region} is not of the partition {}.",
            call.caller.partition
        )));
    }
    Ok(region)
}

pub fn update_primary(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let region = region_name(Input(&call.params), "PrimaryRegion", call)?;
    let mut context = Context::default();
    context.set("kms:PrimaryRegion", region);
    let primary = state.key_with(call, OWN, context)?;
    if !primary.multi_region || primary.replica {
        return Err(not_primary(primary));
    }
    require_enabled(primary, call.now)?;
    if region == primary.region {
        return Err(errors::validation(format!("{} is the primary key already.", primary.arn)));
    }
    let next = state.family(primary).find(|other| other.replica && other.region == region);
    let next =
        next.ok_or_else(|| errors::not_found(format!("{} has no replica in the region {region}.", primary.arn)))?;
    require_enabled(next, call.now)?;
    let (old, new) = (primary.arn.clone(), next.arn.clone());
    let busy = Some(Busy { until: call.now + BUSY, creating: false });
    for (arn, replica) in [(&old, true), (&new, false)] {
        if let Some(key) = state.keys.get_mut(arn) {
            key.replica = replica;
            key.busy.clone_from(&busy);
        }
    }
    Ok(Answer::effect(json!({}), new, format!("made the primary key in place of {old}")))
}

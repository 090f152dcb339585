//! Rotation: by itself, on demand, and what was rotated when.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::{
    State,
    access::{NO_ALIAS, OWN, require_enabled, require_not_deleting},
    errors,
    key::{Key, Material, MaterialState, Rotation},
    keys::{epoch, new_material},
    multi_region::require_no_replica,
    validate::{Input, page},
};
use crate::sandbox::{Answer, AwsError, Call};

/// On-demand rotations of one key, ever.
const MOST_ON_DEMAND: u32 = 25;
const USUAL_PERIOD_DAYS: i64 = 365;

fn require_symmetric(key: &Key) -> Result<(), AwsError> {
    if key.is_symmetric() {
        return Ok(());
    }
    Err(errors::unsupported(format!("{} key spec {} is not valid for this operation.", key.arn, key.spec)))
}

fn require_automatic(key: &Key) -> Result<(), AwsError> {
    require_symmetric(key)?;
    require_no_replica(key)?;
    if key.origin == "AWS_KMS" {
        return Ok(());
    }
    let message = format!("{} origin is {} which is not valid for this operation.", key.arn, key.origin);
    Err(errors::unsupported(message))
}

pub fn enable(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let days = Input(&call.params).integer("RotationPeriodInDays", 90, 2560)?;
    let key = state.own_key(call, OWN)?;
    require_enabled(key, call.now)?;
    require_automatic(key)?;
    let (now, arn) = (call.now, key.arn.clone());
    let answer = state.change(&arn, "rotation enabled", |key| {
        let before = key.rotation.as_ref();
        let period_days = days.or(before.map(|rotation| rotation.period_days)).unwrap_or(USUAL_PERIOD_DAYS);
        let unchanged = before.filter(|rotation| rotation.period_days == period_days).map(|rotation| rotation.next);
        let next = unchanged.unwrap_or(now + TimeDelta::days(period_days));
        key.rotation = Some(Rotation { period_days, next });
    });
    state.synchronize(&arn, now);
    answer
}

pub fn disable(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, OWN)?;
    require_enabled(key, call.now)?;
    require_automatic(key)?;
    let arn = key.arn.clone();
    let answer = state.change(&arn, "rotation disabled", |key| key.rotation = None);
    state.synchronize(&arn, call.now);
    answer
}

pub fn status(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, NO_ALIAS)?;
    require_symmetric(key)?;
    // What is to be deleted does not rotate; a cancelled deletion brings the rotation back.
    let rotation = key.rotation.as_ref().filter(|_| require_not_deleting(key, call.now).is_ok());
    let mut body = json!({"KeyRotationEnabled": rotation.is_some(), "KeyId": key.arn});
    if let Some(rotation) = rotation {
        body["RotationPeriodInDays"] = json!(rotation.period_days);
        body["NextRotationDate"] = epoch(rotation.next);
    }
    Ok(Answer::read(body))
}

pub fn on_demand(state: &mut State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, OWN)?;
    require_enabled(key, call.now)?;
    require_symmetric(key)?;
    require_no_replica(key)?;
    if key.on_demand_rotations >= MOST_ON_DEMAND {
        return Err(errors::limit(format!("{} has been rotated on demand {MOST_ON_DEMAND} times, the most.", key.arn)));
    }
    let next = if key.is_external() {
        let pending = key.materials.iter().find(|material| material.state == MaterialState::PendingRotation);
        let none =
            || errors::invalid_state(format!("No available key material pending rotation for the key: {}.", key.arn));
        let pending = pending.filter(|material| material.live(call.now).is_some());
        pending.ok_or_else(none)?.clone()
    } else {
        new_material(&key.id, 32)?
    };
    let arn = key.arn.clone();
    let now = call.now;
    state.change(&arn, "rotated on demand", |key| {
        take(key, next, now, "ON_DEMAND");
        key.on_demand_rotations += 1;
    })?;
    state.synchronize(&arn, now);
    Ok(Answer::effect(json!({"KeyId": arn}), arn, "rotated on demand"))
}

fn take(key: &mut Key, next: Material, now: DateTime<Utc>, how: &str) {
    let id = next.id.clone();
    if key.material(&id).is_none() {
        key.materials.push(Material { state: MaterialState::PendingRotation, ..next });
    }
    key.rotate_to(&id, now, how);
}

/// Rotates every key whose time has come.
pub fn rotate_due(state: &mut State, now: DateTime<Utc>) {
    let due: Vec<String> = state
        .keys
        .iter()
        .filter(|(_, key)| !key.replica && key.rotation.as_ref().is_some_and(|rotation| rotation.next <= now))
        .map(|(arn, _)| arn.clone())
        .collect();
    for arn in due {
        let Some(key) = state.keys.get_mut(&arn) else { continue };
        while let Some(rotation) = key.rotation.clone().filter(|rotation| rotation.next <= now) {
            // Without randomness the rotation stays due; the next call tries again.
            let Ok(material) = new_material(&key.id, 32) else { break };
            take(key, material, rotation.next, "AUTOMATIC");
            let next = rotation.next + TimeDelta::days(rotation.period_days.max(1));
            key.rotation = Some(Rotation { next, ..rotation });
        }
        state.synchronize(&arn, now);
    }
}

pub fn list(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let include = input.one_of("IncludeKeyMaterial", &["ALL_KEY_MATERIAL", "ROTATIONS_ONLY"])?;
    let key = state.own_key(call, OWN)?;
    require_symmetric(key)?;
    let all = include == Some("ALL_KEY_MATERIAL");
    let items = key
        .materials
        .iter()
        .enumerate()
        .filter(|(_, material)| all || material.rotated.is_some())
        .map(|(position, material)| (format!("{position:06}"), entry(key, material, call.now)))
        .collect();
    page(input, (100, 1000), "Rotations", items).map(Answer::read)
}

fn entry(key: &Key, material: &Material, now: DateTime<Utc>) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("KeyId", json!(key.arn));
    put("KeyMaterialId", json!(material.id));
    put("KeyMaterialState", json!(material.state.name()));
    if key.is_external() {
        let imported = material.live(now).is_some();
        put("ImportState", json!(if imported { "IMPORTED" } else { "PENDING_IMPORT" }));
        if imported {
            let model = material.valid_to.map_or("KEY_MATERIAL_DOES_NOT_EXPIRE", |_| "KEY_MATERIAL_EXPIRES");
            put("ExpirationModel", json!(model));
        }
        if let Some(end) = material.valid_to.filter(|_| imported) {
            put("ValidTo", epoch(end));
        }
        if let Some(description) = &material.description {
            put("KeyMaterialDescription", json!(description));
        }
    }
    if let Some((at, how)) = &material.rotated {
        put("RotationDate", epoch(*at));
        put("RotationType", json!(how));
    }
    Value::Object(out)
}

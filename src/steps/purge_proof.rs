//! What a deletion needs: the list and its approval from the store, and the proof, made anew, that the data is elsewhere.
//!
//! A step's input is what a definition, a retry or a skip says. Here it says only which list is meant, by its hash: the
//! list, the decision of a person and the lineage are read from the records, and what does not fit together stops.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Domain,
    canary::{canary, end_canary},
    common::{Wait, settled},
    lineage,
    plan_purge::PLANS,
};
use crate::{
    aws::partition,
    keys::{Battery, ProbeState, usable},
    systems::{
        self, Kind,
        purge::{Held, Line, PurgePlan, is_canary},
    },
    worker::{ANSWERS, StepContext, StepError},
};

/// The collection of the checks of whole lists; a record's key is the list's hash.
pub(super) const CHECKS: &str = "purge-check";
/// How old a canary's copy may be at the first deletion.
pub(super) const FRESH: TimeDelta = TimeDelta::minutes(15);

/// A person's decision about a list, as its answering wrote it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Approval {
    form: String,
    run: String,
    answer: Decision,
    /// Who decided, as the token's holder declared it: `{"name", "role"}`.
    pub actor: Value,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Deserialize)]
struct Decision {
    approve: bool,
    /// The hash of what was shown, as each form calls it.
    #[serde(default, alias = "list")]
    plan: String,
    reason: String,
}

impl Approval {
    pub(super) fn reason(&self) -> &str {
        &self.answer.reason
    }

    pub(super) fn approves(&self, hash: &str) -> bool {
        self.answer.approve && self.answer.plan == hash
    }
}

fn refused(cause: String) -> StepError {
    StepError::new("Keyferry.NotApproved", cause)
}

pub(super) fn not_verified(what: &str, cause: impl std::fmt::Display) -> StepError {
    let cause =
        format!("nothing more is purged: {what}: {cause}. Put that right, then retry; what is gone is in the ledger");
    StepError::new("Keyferry.NotVerified", cause)
}

/// The list of this hash and its approval, both of this run.
///
/// # Errors
/// `Keyferry.NotApproved`: there is no such list, or the last decision of this run's people is not its approval.
pub(super) async fn approved(context: &StepContext, hash: &str) -> Result<(PurgePlan, Approval), StepError> {
    let ask_again = "skip nothing here: cancel the run and start another, whose list is asked about";
    let stored = context.record(PLANS, hash).await?.unwrap_or(Value::Null);
    let list = stored.get("list").and_then(PurgePlan::read).filter(|list| list.hash() == hash);
    let of_run = stored.get("run").and_then(Value::as_str) == Some(&context.run);
    let Some(list) = list.filter(|list| of_run && list.enterprise == context.enterprise) else {
        return Err(refused(format!("run {} has planned no purge of the hash {hash:?}: {ask_again}", context.run)));
    };
    match last_decision(context, "purge-approval").await? {
        Some(approval) if approval.approves(hash) => Ok((list, approval)),
        Some(other) => {
            let said = if other.answer.approve { "approves another list" } else { "refuses the purge" };
            Err(refused(format!(
                "the last decision in run {}, of {} at {}, {said}: the list {hash} is not approved: {ask_again}",
                context.run, other.actor["name"], other.at
            )))
        }
        None => Err(refused(format!("nobody has approved the list {hash} in run {}: {ask_again}", context.run))),
    }
}

/// What the people of this run have decided last in a form.
///
/// # Errors
/// The store could not be read.
pub(super) async fn last_decision(context: &StepContext, form: &str) -> Result<Option<Approval>, StepError> {
    let answers = context.records(ANSWERS).await?;
    let decisions = answers.values().filter_map(|body| Approval::deserialize(body).ok());
    let own = decisions.filter(|answer| answer.form == form && answer.run == context.run);
    Ok(own.max_by_key(|answer| answer.at))
}

/// Canaries of a visit, as its checkpoint keeps them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Canaries {
    /// When each key's copy was seen to be there.
    passed: BTreeMap<String, DateTime<Utc>>,
    looked_at: DateTime<Utc>,
    /// Copies that are there were made since this visit began, and somebody has looked since then: they prove something now.
    #[serde(skip)]
    begun: bool,
}

impl Canaries {
    /// When the oldest of them passed.
    pub(super) fn oldest(&self) -> Option<DateTime<Utc>> {
        self.passed.values().min().copied()
    }

    fn is_fresh(&self, key: &str, now: DateTime<Utc>) -> bool {
        self.passed.get(key).is_some_and(|at| now - *at < FRESH)
    }
}

/// What was saved of the canaries of this visit.
pub(super) fn canaries(context: &StepContext) -> Canaries {
    let saved = context.checkpoint.as_ref().and_then(|saved| saved.get("canaries"));
    let mut canaries = saved.and_then(|saved| Canaries::deserialize(saved).ok()).unwrap_or_default();
    canaries.begun = (context.now() - canaries.looked_at).abs() < FRESH;
    canaries.looked_at = context.now();
    canaries
}

/// What the proof found, for the ledger.
pub(super) type Seen = Vec<Value>;

impl Domain {
    /// Proves the whole list: each of its keys by probes and by a copy that RDS makes under it, each successor and each copy
    /// by its status.
    ///
    /// # Errors
    /// `Keyferry.NotVerified`: what is wrong, and what to do.
    pub(super) async fn prove_list(
        &self,
        context: &StepContext,
        list: &PurgePlan,
        canaries: &mut Canaries,
    ) -> Result<Wait<Seen>, StepError> {
        let mut keys: BTreeSet<(String, String)> = list.keys.all().into_iter().collect();
        keys.extend(list.lines.iter().flat_map(Line::keys));
        let mut held: Vec<&Held> = Vec::new();
        for line in &list.lines {
            for one in line.successor.iter().chain(&line.copies) {
                if !held.contains(&one) {
                    held.push(one);
                }
            }
        }
        let mut waits = Vec::new();
        let mut seen = Vec::new();
        for (region, key) in &keys {
            match self.prove_key(context, region, key, true, canaries).await? {
                Wait::For(what) => waits.push(what),
                Wait::Ready(found) => seen.push(found),
            }
        }
        for one in held {
            match self.prove_held(one).await? {
                Wait::For(what) => waits.push(what),
                Wait::Ready(found) => seen.push(found),
            }
        }
        Ok(waits.into_iter().next().map_or(Wait::Ready(seen), Wait::For))
    }

    /// Proves one line again, just before its deletion.
    ///
    /// # Errors
    /// `Keyferry.NotVerified`: what is wrong, and what to do.
    pub(super) async fn prove_line(
        &self,
        context: &StepContext,
        line: &Line,
        canaries: &mut Canaries,
    ) -> Result<Wait<Seen>, StepError> {
        if let Some(successor) = &line.successor {
            let records = lineage::all(context).await?;
            let still = line.resource_id == successor.resource_id
                || records.chain(&line.resource_id).is_ok_and(|chain| {
                    let end = chain.last().and_then(|last| last.successor.as_ref());
                    end.is_some_and(|end| end.resource_id == successor.resource_id && end.key == successor.key)
                });
            if !still {
                return Err(not_verified(&line.id, "the records do not prove any more what replaced it"));
            }
        } else {
            self.prove_bare(&context.enterprise, line).await?;
        }
        let mut seen = Vec::new();
        for (region, key) in line.keys() {
            match self.prove_key(context, &region, &key, false, canaries).await? {
                Wait::For(what) => return Ok(Wait::For(what)),
                Wait::Ready(found) => seen.push(found),
            }
        }
        for one in line.successor.iter().chain(&line.copies) {
            match self.prove_held(one).await? {
                Wait::For(what) => return Ok(Wait::For(what)),
                Wait::Ready(found) => seen.push(found),
            }
        }
        Ok(Wait::Ready(seen))
    }

    /// A key serves now. A policy that lets only RDS use the key denies every direct use: then, and for a whole list always,
    /// a copy by RDS that is younger than [`FRESH`] has to show it. What a copy proves is written down before it is deleted:
    /// else a lost outcome would have it made again.
    async fn prove_key(
        &self,
        context: &StepContext,
        region: &str,
        key: &str,
        with_canary: bool,
        canaries: &mut Canaries,
    ) -> Result<Wait<Value>, StepError> {
        let kms = self.aws.kms(region).await?;
        let tags = [("purpose", "keyferry-probe"), ("enterprise", &context.enterprise), ("run", &context.run)];
        let battery = usable(&kms, key, &tags).await?;
        failed(&battery, region, key)?;
        let rds = self.aws.rds(region).await?;
        let owner = self.owner(context);
        if canaries.is_fresh(key, context.now()) {
            // The result is in the checkpoint: the copy is not needed any more.
            end_canary(&rds, &owner, key).await?;
        } else if with_canary || battery.denied() {
            let account = self.config.aws.partitions.get(partition(region)).map(|place| place.account.as_str());
            let vendor = (self.config.vendor.name.as_str(), account.unwrap_or_default());
            match canary(&rds, &owner, key, vendor, canaries.begun).await? {
                Wait::For(what) => return Ok(Wait::For(what)),
                Wait::Ready(probe) => {
                    failed(&battery.settle(probe, vendor.0, vendor.1), region, key)?;
                    canaries.passed.insert(key.to_owned(), context.now());
                    return Ok(Wait::For(format!("RDS: the copy that proves {key} is deleted")));
                }
            }
        }
        let canary_at = canaries.passed.get(key);
        Ok(Wait::Ready(json!({ "key": key, "region": region, "usable_at": context.now(), "canary_at": canary_at })))
    }

    /// What has no successor is a copy of the empty canary, and nothing else.
    async fn prove_bare(&self, enterprise: &str, line: &Line) -> Result<(), StepError> {
        let rds = self.aws.rds(&line.region).await?;
        let found = if line.kind == Kind::Snapshot { systems::snapshot(&rds, &line.id).await? } else { None };
        let canary = found.is_some_and(|found| {
            let from = found.source_db_snapshot_identifier();
            is_canary(enterprise, &line.id, from, &systems::of_snapshot(&found))
        });
        if canary { Ok(()) } else { Err(not_verified(&line.id, "the list names nothing that holds its data")) }
    }

    /// What holds the data is there, is what the list names, and can be read.
    async fn prove_held(&self, held: &Held) -> Result<Wait<Value>, StepError> {
        let rds = self.aws.rds(&held.region).await?;
        let what = format!("{} in {}", held.id, held.region);
        let (resource_id, key, status) = if held.kind == Kind::Snapshot {
            let Some(found) = systems::snapshot(&rds, &held.id).await? else {
                return Err(not_verified(&what, "the snapshot is not there any more"));
            };
            let status = found.status().unwrap_or_default().to_owned();
            if status != "available" {
                return Err(not_verified(&what, format!("the snapshot is {status}")));
            }
            (found.dbi_resource_id, found.kms_key_id, status)
        } else {
            let Some(found) = systems::instance(&rds, &held.id).await? else {
                return Err(not_verified(&what, "the instance is not there any more"));
            };
            match settled(&found) {
                Ok(Wait::Ready(())) => {}
                Ok(Wait::For(what)) => return Ok(Wait::For(what)),
                Err(error) => return Err(not_verified(&what, error.cause)),
            }
            (found.dbi_resource_id, found.kms_key_id, found.db_instance_status.unwrap_or_default())
        };
        if resource_id.as_deref() != Some(&held.resource_id) || key.as_deref() != Some(&held.key) {
            return Err(not_verified(&what, "it is not what was approved as holding the data"));
        }
        Ok(Wait::Ready(json!({ "kind": held.kind, "id": held.id, "region": held.region, "status": status })))
    }
}

/// # Errors
/// `Keyferry.NotVerified`: a probe of the key failed.
fn failed(battery: &Battery, region: &str, key: &str) -> Result<(), StepError> {
    let failed = battery.probes.iter().find(|probe| probe.state == ProbeState::Failed);
    failed.map_or(Ok(()), |probe| {
        let change = if probe.change.is_empty() { String::new() } else { format!(" ({})", probe.change) };
        Err(not_verified(&format!("the key {key} in {region}"), format!("{}{change}", probe.seen)))
    })
}

//! The canary: a tiny snapshot in each region that RDS copies under a customer's key, to prove that it can.
//!
//! Takes no data of anybody: its source is an empty instance, made once a region, snapshotted and deleted. Its snapshots
//! stay, shared by all enterprises; each verification's copy of one is deleted again. There are several because RDS makes
//! copies of one snapshot one after the other: hundreds of keys would wait in one line for a day.

use aws_sdk_rds::Client;

use super::common::{Copy, Wait, delete_instance, delete_snapshot, ensure_copy, require_ours, settled};
use crate::{
    aws::{Failure, failure, once},
    keys::Probe,
    systems::{self, Owner, Tags, identifier},
    worker::StepError,
};

const NAME: &str = "keyferry-canary";
const SOURCES: [&str; 4] = ["keyferry-canary-1", "keyferry-canary-2", "keyferry-canary-3", "keyferry-canary-4"];
const PROBE: &str = "rds-canary";

fn marked(tags: &Tags) -> Result<(), StepError> {
    if systems::read::role(tags) == Some("canary") {
        return Ok(());
    }
    let cause = format!(
        "an instance or snapshot named {NAME} exists but was not made by keyferry: it was not touched. Rename the instance; of \
         a snapshot keep a copy under another name and free this one; then retry"
    );
    Err(StepError::new("Keyferry.Foreign", cause))
}

fn tags() -> Vec<aws_sdk_rds::types::Tag> {
    systems::sdk(&Tags::from([("keyferry:role".to_owned(), "canary".to_owned())]))
}

/// The shared snapshots, made if they are not there.
async fn ensure_sources(rds: &Client) -> Result<Wait<()>, StepError> {
    let mut missing = None;
    for name in SOURCES {
        match systems::snapshot(rds, name).await? {
            Some(snapshot) => {
                marked(&systems::of_snapshot(&snapshot))?;
                if snapshot.status() != Some("available") {
                    return Ok(Wait::For(format!("RDS: snapshot {name} is made")));
                }
            }
            None => missing = missing.or(Some(name)),
        }
    }
    let source = systems::instance(rds, NAME).await?;
    let Some(missing) = missing else {
        if let Some(source) = &source {
            marked(&systems::of_instance(source))?;
            delete_instance(rds, source).await?;
        }
        return Ok(Wait::Ready(()));
    };
    if let Some(source) = source {
        marked(&systems::of_instance(&source))?;
        if let Wait::For(what) = settled(&source)? {
            return Ok(Wait::For(what));
        }
        let call = rds
            .create_db_snapshot()
            .db_instance_identifier(NAME)
            .db_snapshot_identifier(missing)
            .set_tags(Some(tags()));
        created(
            call.customize()
                .config_override(once())
                .send()
                .await
                .map_err(|error| failure("make the canary's snapshot", &error)),
        )?;
        return Ok(Wait::For(format!("RDS: snapshot {missing} is made")));
    }
    let call = rds
        .create_db_instance()
        .db_instance_identifier(NAME)
        .db_instance_class("db.t4g.micro")
        .engine("postgres")
        .allocated_storage(20)
        .master_username("canary")
        .manage_master_user_password(true)
        .backup_retention_period(0)
        .publicly_accessible(false)
        .set_tags(Some(tags()));
    created(call.customize().config_override(once()).send().await.map_err(|error| failure("make the canary", &error)))?;
    Ok(Wait::For(format!("RDS: instance {NAME} is created")))
}

/// A lost race is no failure: whoever won made the same thing, or is making it of the same instance.
fn created<T>(outcome: Result<T, Failure>) -> Result<(), StepError> {
    match outcome {
        Err(failure) if !["Keyferry.Foreign", "Keyferry.NotReady"].contains(&failure.error) => Err(failure.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The name of the copy by which a run proves a key.
fn copy_name(owner: &Owner, key: &str) -> String {
    identifier(&format!("byok-{}-canary-{}-{}", owner.enterprise, owner.run, systems::short_name(key)))
}

/// One copy under `key`, which stays until [`end_canary`]; `vendor` names the vendor in what the customer has to change. A
/// copy that is there already proves something only where the caller knows that this visit has begun it (`begun`): an older
/// one is deleted and made anew.
///
/// # Errors
/// AWS could not be asked, or the canary itself is not keyferry's.
pub async fn canary(
    rds: &Client,
    owner: &Owner,
    key: &str,
    vendor: (&str, &str),
    begun: bool,
) -> Result<Wait<Probe>, StepError> {
    let name = copy_name(owner, key);
    match systems::snapshot(rds, &name).await? {
        Some(old) if !begun && old.status() == Some("available") => {
            end_canary(rds, owner, key).await?;
            return Ok(Wait::For(format!("RDS: copy {name} of an earlier attempt is deleted")));
        }
        Some(_) => {}
        None => {
            if let Wait::For(what) = ensure_sources(rds).await? {
                return Ok(Wait::For(what));
            }
        }
    }
    // A copy that is there was made of the same one.
    let source = SOURCES[name.bytes().map(usize::from).sum::<usize>() % SOURCES.len()];
    let copy = Copy { source, name: &name, key, role: "canary-copy", tags: Tags::new() };
    match ensure_copy(rds, owner, &copy).await {
        Ok(Wait::For(what)) => Ok(Wait::For(what)),
        Ok(Wait::Ready(_)) => Ok(Wait::Ready(Probe::passed(PROBE, "RDS copied a snapshot under the key"))),
        Err(error) if error.error == "Keyferry.KeyNotUsable" => {
            let (name, account) = vendor;
            let change = format!(
                "add the statement 'Allow {name} attachment of persistent resources' for account {account} to the key's \
                 policy, exactly as it is in the policy you were given (kms:CreateGrant under kms:GrantIsForAWSResource)"
            );
            Ok(Wait::Ready(Probe::failed(PROBE, "statement-attachment-missing", error.cause, change)))
        }
        Err(error) => Err(error),
    }
}

/// Deletes the copy by which a run has proven a key, if it is there.
///
/// # Errors
/// AWS could not be asked, or the copy is not this run's.
pub async fn end_canary(rds: &Client, owner: &Owner, key: &str) -> Result<(), StepError> {
    let name = copy_name(owner, key);
    let Some(copy) = systems::snapshot(rds, &name).await? else { return Ok(()) };
    require_ours(owner, &systems::of_snapshot(&copy), &format!("snapshot {name}"))?;
    delete_snapshot(rds, &name).await
}

//! The steps: Rust code that the definitions name. One file a step.
//!
//! Each file says in the same order what its step is for, what it takes and gives, what it does to the world, and why
//! doing it again is harmless. A step never waits: it looks, does at most one thing, and returns `Pending` until AWS is
//! through. So whatever it finds when it is run again is an answer to "how far is this?", and a crash anywhere leaves
//! nothing that the next run does not find by name.

mod audit;
mod audit_keys;
mod canary;
mod check_purge;
mod common;
mod confirm_cut_over;
mod copy_for_recovery;
mod copy_snapshot;
mod create_import_key;
mod create_replica;
mod fence;
mod freeze_system;
mod key_loss;
mod lineage;
mod list_left_overs;
mod list_outages;
mod outage;
mod plan_outage;
mod plan_purge;
mod plan_reimport;
mod pre_copy_system;
mod preflight;
mod prove_key;
mod provision_system;
mod purge_proof;
mod purge_resource;
mod put_back_system;
mod record_settings;
mod recorded;
mod remove_left_over;
mod render_key_policies;
mod repair;
mod replicate_backups;
mod restore_system;
mod review_import;
mod review_keys;
mod review_migration;
mod review_regions;
mod room;
mod settings;
mod snapshot_system;
mod start_lost_systems;
mod swap_system;
mod take_inventory;
mod tell_outage;
mod thaw_system;
mod verify_key;
mod verify_system;
mod write_custody;

use std::{sync::Arc, time::Duration};

use crate::{aws::Aws, config::Config, systems::Listings, worker::Step};

/// What all steps share.
#[derive(Clone)]
pub struct Domain {
    pub aws: Arc<Aws>,
    pub listings: Arc<Listings>,
    pub config: Arc<Config>,
    /// Between two looks at something that AWS is changing; with a sandbox, divided by its speed.
    pub poll: Duration,
    /// For how long a policy may still be spreading, or something new may not be visible yet; with a sandbox, divided by
    /// its speed.
    pub grace: Duration,
}

impl Domain {
    /// The intervals of the configuration, divided by `speed`: 1 for AWS.
    pub fn new(aws: Arc<Aws>, config: Arc<Config>, speed: f64) -> Self {
        let sped = |seconds: u64| {
            let speed = if speed.is_finite() && speed >= 1.0 { speed } else { 1.0 };
            Duration::from_secs(seconds).div_f64(speed).max(Duration::from_millis(5))
        };
        let (poll, grace) = (sped(config.aws.poll_s), sped(config.aws.policy_grace_s));
        Self::paced(aws, config, poll, grace)
    }

    /// The same with intervals of the caller's own.
    pub fn paced(aws: Arc<Aws>, config: Arc<Config>, poll: Duration, grace: Duration) -> Self {
        Self { listings: Arc::new(Listings::new(Arc::clone(&aws))), aws, config, poll, grace }
    }
}

/// Every step, over one domain.
pub fn register(domain: &Domain) -> Vec<Arc<dyn Step>> {
    let domain = || domain.clone();
    vec![
        Arc::new(review_regions::ReviewRegions(domain())),
        Arc::new(render_key_policies::RenderKeyPolicies(domain())),
        Arc::new(create_import_key::CreateImportKey(domain())),
        Arc::new(review_import::ReviewImport(domain())),
        Arc::new(plan_reimport::PlanReimport(domain())),
        Arc::new(prove_key::ProveKey(domain())),
        Arc::new(verify_key::VerifyKey(domain())),
        Arc::new(review_keys::ReviewKeys),
        Arc::new(take_inventory::TakeInventory(domain())),
        Arc::new(provision_system::ProvisionSystem(domain())),
        Arc::new(pre_copy_system::PreCopySystem(domain())),
        Arc::new(preflight::Preflight(domain())),
        Arc::new(record_settings::RecordSettings(domain())),
        Arc::new(plan_outage::PlanOutage),
        Arc::new(freeze_system::FreezeSystem(domain())),
        Arc::new(snapshot_system::SnapshotSystem(domain())),
        Arc::new(copy_snapshot::CopySnapshot(domain())),
        Arc::new(restore_system::RestoreSystem(domain())),
        Arc::new(verify_system::VerifySystem(domain())),
        Arc::new(swap_system::SwapSystem(domain())),
        Arc::new(confirm_cut_over::ConfirmCutOver(domain())),
        Arc::new(list_left_overs::ListLeftOvers(domain())),
        Arc::new(remove_left_over::RemoveLeftOver(domain())),
        Arc::new(list_outages::ListOutages(domain())),
        Arc::new(put_back_system::PutBackSystem(domain())),
        Arc::new(tell_outage::TellOutage(domain())),
        Arc::new(thaw_system::ThawSystem(domain())),
        Arc::new(review_migration::ReviewMigration),
        Arc::new(copy_for_recovery::CopyForRecovery(domain())),
        Arc::new(replicate_backups::ReplicateBackups(domain())),
        Arc::new(create_replica::CreateReplica(domain())),
        Arc::new(plan_purge::PlanPurge(domain())),
        Arc::new(check_purge::CheckPurge(domain())),
        Arc::new(purge_resource::PurgeResource(domain())),
        Arc::new(write_custody::WriteCustody),
        Arc::new(audit::Audit(domain())),
        Arc::new(key_loss::TellKeyState(domain())),
        Arc::new(key_loss::FollowKey(domain())),
        Arc::new(start_lost_systems::StartLostSystems(domain())),
    ]
}

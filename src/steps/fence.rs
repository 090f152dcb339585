//! Closing a system to its clients: a security group that lets nobody in, in the place of its own.
//!
//! A rename ends every connection, but the instance keeps its address: a client that has it cached comes back. Security
//! groups belong to a VPC, so the configuration names one for each VPC of a region.

use aws_sdk_rds::types::DbInstance;

use super::{Domain, common::modified};
use crate::worker::StepError;

impl Domain {
    /// The closing security group of the VPC that an instance of `region` stands in.
    pub(super) fn closing_group(&self, region: &str, instance: &DbInstance) -> Option<String> {
        let vpc = instance.db_subnet_group().and_then(|group| group.vpc_id())?;
        self.config.aws.closing_groups.get(region)?.get(vpc).cloned()
    }
}

/// Whether an instance has `group` and no other.
pub fn has_only(instance: &DbInstance, group: &str) -> bool {
    matches!(instance.vpc_security_groups(), [only] if only.vpc_security_group_id() == Some(group))
}

/// Whether `group` is the only one and lets nobody in by now.
pub fn is_closed(instance: &DbInstance, group: &str) -> bool {
    let active = |status: Option<&str>| status.is_none_or(|status| status == "active");
    has_only(instance, group) && instance.vpc_security_groups().iter().all(|group| active(group.status()))
}

/// Gives an instance the closing group in the place of its own.
///
/// # Errors
/// AWS refused.
pub async fn close(rds: &aws_sdk_rds::Client, instance: &DbInstance, group: &str) -> Result<(), StepError> {
    // The call has been made before; its effect is not there yet.
    if has_only(instance, group) {
        return Ok(());
    }
    give(rds, instance, &[group.to_owned()]).await
}

/// Gives an instance these security groups in the place of those that it has.
///
/// # Errors
/// AWS refused.
pub async fn give(rds: &aws_sdk_rds::Client, instance: &DbInstance, groups: &[String]) -> Result<(), StepError> {
    let id = instance.db_instance_identifier().unwrap_or_default();
    let call = rds
        .modify_db_instance()
        .db_instance_identifier(id)
        .set_vpc_security_group_ids(Some(groups.to_vec()))
        .apply_immediately(true);
    let tried = format!("give instance {id} the security groups {}", groups.join(", "));
    modified(&tried, call.send().await)
}

//! The commands that causes name: what ends a state that something does not leave by itself.

use aws_sdk_rds::types::DbInstance;

/// How the AWS CLI names an instance.
pub(super) fn named(instance: &DbInstance, id: &str) -> String {
    format!("--region {} --db-instance-identifier {id}", region_of(instance.db_instance_arn()))
}

/// The region of a resource, by its ARN.
pub(super) fn region_of(arn: Option<&str>) -> &str {
    arn.and_then(|arn| arn.split(':').nth(3)).unwrap_or("REGION")
}

/// What a state is that an instance does not leave by itself, and the command that ends it.
pub(super) fn broken(instance: &DbInstance, id: &str, status: &str) -> String {
    let named = named(instance, id);
    match status {
        "stopped" => {
            format!("instance {id} is stopped: start it with `aws rds start-db-instance {named}`, then retry")
        }
        "storage-full" => {
            // RDS takes no less than a tenth more.
            let has = instance.allocated_storage().unwrap_or_default();
            let more = has + has.div_euclid(10) + 1;
            format!(
                "instance {id} is storage-full: give it storage with `aws rds modify-db-instance {named} --allocated-storage {more} \
                 --apply-immediately`, then retry"
            )
        }
        _ => format!(
            "instance {id} is in state {status}, which it does not leave by itself: \
             `aws rds describe-events --region {} --source-type db-instance --source-identifier {id} --duration 20160` says \
             why. Put that right, then retry",
            region_of(instance.db_instance_arn())
        ),
    }
}

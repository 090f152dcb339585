//! RDS's errors, as AWS answers them: the codes and statuses of its service model, the messages of the service itself.

use super::super::{AwsError, kms::KeyNotAccessible};
use super::{params::Params, rows::Instance};

/// An error with one of RDS's codes; the HTTP status follows from the code as in the service model.
pub fn fault(code: &str, message: impl Into<String>) -> AwsError {
    let http_status = match code {
        "DBClusterQuotaExceededFault" => 403,
        _ if code.contains("NotFound") => 404,
        _ => 400,
    };
    AwsError { code: code.to_owned(), message: message.into(), http_status, details: Vec::new() }
}

pub fn invalid_value(message: impl Into<String>) -> AwsError {
    fault("InvalidParameterValue", message)
}

pub fn invalid_combination(message: impl Into<String>) -> AwsError {
    fault("InvalidParameterCombination", message)
}

/// # Errors
/// `InvalidParameterCombination`: a cluster's instance is protected by its cluster's protection alone.
pub fn protection_is_the_clusters(row: &Instance) -> Result<(), AwsError> {
    if row.cluster.is_none() {
        return Ok(());
    }
    Err(invalid_combination(format!(
        "Deletion protection isn't supported for DB instance {}, which is part of a DB cluster. Modify the deletion \
         protection of the DB cluster instead.",
        row.id
    )))
}

/// # Errors
/// `InvalidParameterCombination`: a modification asks for nothing. One that asks for what is so already is taken.
pub fn require_modification(p: &Params<'_>) -> Result<(), AwsError> {
    if p.has_others_than(&NO_MODIFICATION) {
        return Ok(());
    }
    Err(invalid_combination("No modifications were requested"))
}

/// Parameters that say of what, when and how, and ask for nothing.
const NO_MODIFICATION: [&str; 7] = [
    "Action",
    "Version",
    "DBInstanceIdentifier",
    "DBClusterIdentifier",
    "ApplyImmediately",
    "AllowMajorVersionUpgrade",
    "AllowEngineModeChange",
];

pub fn missing(parameter: &str) -> AwsError {
    fault("MissingParameter", format!("The request must contain the parameter {parameter}"))
}

pub fn instance_not_found(id: &str) -> AwsError {
    fault("DBInstanceNotFound", format!("DBInstance {id} not found."))
}

pub fn instance_exists() -> AwsError {
    fault("DBInstanceAlreadyExists", "DB instance already exists")
}

pub fn cluster_not_found(id: &str) -> AwsError {
    fault("DBClusterNotFoundFault", format!("DBCluster {id} not found."))
}

pub fn cluster_exists() -> AwsError {
    fault("DBClusterAlreadyExistsFault", "DB Cluster already exists")
}

pub fn instance_state(message: impl Into<String>) -> AwsError {
    fault("InvalidDBInstanceState", message)
}

pub fn cluster_state(message: impl Into<String>) -> AwsError {
    fault("InvalidDBClusterStateFault", message)
}

/// RDS was not let to use a key: `what` says whose, for example `target` or `source snapshot`.
pub fn key_not_accessible(what: &str, key: &str, reason: &KeyNotAccessible) -> AwsError {
    let subject = if what.is_empty() { "The specified KMS key".to_owned() } else { format!("The {what} KMS key") };
    let mut error = fault(
        "KMSKeyNotAccessibleFault",
        format!("{subject} [{key}] does not exist, is not enabled or you do not have permissions to access it."),
    );
    // AWS gives no reason; the sandbox's own words stay out of the message and go to where a person debugs.
    error.details.push(("SandboxReason".to_owned(), reason.0.clone()));
    error
}

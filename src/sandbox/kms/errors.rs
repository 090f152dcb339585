//! KMS's own errors, with the wording of the KMS API reference where it gives one.

use crate::sandbox::AwsError;

pub fn not_found(message: impl Into<String>) -> AwsError {
    AwsError::new("NotFoundException", message)
}

pub fn no_key(arn: &str) -> AwsError {
    not_found(format!("Key '{arn}' does not exist"))
}

pub fn invalid_arn(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidArnException", message)
}

pub fn invalid_state(message: impl Into<String>) -> AwsError {
    AwsError::new("KMSInvalidStateException", message)
}

pub fn unsupported(message: impl Into<String>) -> AwsError {
    AwsError::new("UnsupportedOperationException", message)
}

pub fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationException", message)
}

/// A violated constraint of one field, in the wording all AWS services share.
pub fn constraint(value: Option<&str>, field: &str, constraint: &str) -> AwsError {
    let shown = value.map_or_else(|| "null".to_owned(), |value| format!("'{value}'"));
    validation(format!(
        "1 validation error detected: Value {shown} at '{field}' failed to satisfy constraint: Member must {constraint}"
    ))
}

/// As [`constraint`], of a field whose value is nobody's business.
pub fn hidden_constraint(field: &str, constraint: &str) -> AwsError {
    validation(format!(
        "1 validation error detected: Value at '{field}' failed to satisfy constraint: Member must {constraint}"
    ))
}

pub fn invalid_ciphertext() -> AwsError {
    AwsError::new("InvalidCiphertextException", "")
}

pub fn dry_run() -> AwsError {
    AwsError::new("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
}

pub fn limit(message: impl Into<String>) -> AwsError {
    AwsError::new("LimitExceededException", message)
}

pub fn internal(what: &str) -> AwsError {
    AwsError::new("KMSInternalException", what).with_status(500)
}

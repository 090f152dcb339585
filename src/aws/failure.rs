//! What a failed AWS call means: one stable error name for each of the SDK's many.
//!
//! Many of AWS's errors are not modelled (throttling, denials, parameter errors), so codes decide, not types. Every name
//! has its entry in `docs/errors.md`, with what to do and whether a definition retries it.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::breaker::NotAsked;
use crate::{telemetry::with_causes, worker::StepError};

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// AWS's own code, when AWS answered.
    pub code: Option<String>,
    /// keyferry's name for it.
    pub error: &'static str,
    /// What was tried and what AWS said.
    pub cause: String,
}

impl Failure {
    /// Whether AWS answered with one of these codes. The `Fault` that some of RDS's codes end in is not significant: the
    /// wire and the model spell it differently.
    pub fn is(&self, codes: &[&str]) -> bool {
        let bare = |code: &str| code.strip_suffix("Fault").unwrap_or(code).to_owned();
        self.code.as_deref().is_some_and(|code| codes.iter().any(|wanted| bare(wanted) == bare(code)))
    }

    /// The thing that was asked for does not exist.
    pub fn not_found(&self) -> bool {
        self.error == "Keyferry.NotFound"
    }

    /// RDS found nothing in a modification that would change anything.
    pub fn nothing_to_modify(&self) -> bool {
        self.is(&["InvalidParameterCombination"]) && self.cause.contains("No modifications were requested")
    }

    /// The caller lacks a permission.
    pub fn denied(&self) -> bool {
        self.error == "Keyferry.AccessDenied"
    }

    /// A region has as many copies of snapshots in progress as AWS allows: the code is the one of a quota that is used up, but
    /// this one frees itself.
    pub fn copies_in_progress(&self) -> bool {
        self.is(&["SnapshotQuotaExceeded"]) && self.cause.contains("progress")
    }

    /// Nobody knows whether the call took effect: its answer was lost, or was an error of AWS's own.
    pub fn lost(&self) -> bool {
        self.error == "Keyferry.Unavailable"
    }

    /// Nothing wrong with the request: the same call may succeed later.
    pub fn transient(&self) -> bool {
        matches!(self.error, "Keyferry.Throttled" | "Keyferry.Unavailable" | "Keyferry.NotReady")
    }
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.error, failure.cause)
    }
}

/// Sorts a failed call; `tried` says in a few words what was tried, for example `copy snapshot a to b in us-east-1`.
pub fn failure<E, R>(tried: &str, error: &SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug,
{
    if let SdkError::ServiceError(service) = error {
        let meta = service.err().meta();
        let code = meta.code().unwrap_or("no code");
        let said = meta.message().unwrap_or("no message");
        return Failure {
            code: Some(code.to_owned()),
            error: name_of(code),
            cause: format!("{tried}: AWS answered {code}: {said}"),
        };
    }
    if let Some(refused) = not_asked(error) {
        return Failure {
            code: None,
            error: "Keyferry.Unavailable",
            cause: format!("{tried}: AWS was not asked: {refused}"),
        };
    }
    let said = with_causes(error);
    // A role that may not be assumed comes out as a dispatch failure of the call that needed it.
    let name = if said.contains("AccessDenied") || said.contains("UnrecognizedClient") {
        "Keyferry.AccessDenied"
    } else {
        "Keyferry.Unavailable"
    };
    Failure {
        code: None,
        error: name,
        cause: format!("{tried}: no answer from AWS, so whether it took effect is unknown: {said}"),
    }
}

/// Why a call was not made at all.
fn not_asked(error: &dyn Error) -> Option<&NotAsked> {
    std::iter::successors(error.source(), |error| (*error).source()).find_map(|error| error.downcast_ref())
}

fn name_of(code: &str) -> &'static str {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => "Keyferry.Throttled",
        "KMSInternalException"
        | "KMSInternal"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "no code" => "Keyferry.Unavailable",
        "InsufficientDBInstanceCapacity" | "InsufficientDBClusterCapacityFault" => "Keyferry.NoCapacity",
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "NotAuthorized" => "Keyferry.AccessDenied",
        "KMSKeyNotAccessibleFault"
        | "KMSKeyNotAccessible"
        | "DisabledException"
        | "KMSInvalidStateException"
        | "InvalidKeyUsageException" => "Keyferry.KeyNotUsable",
        _ if code.starts_with("Invalid") && code.contains("State") => "Keyferry.NotReady",
        _ if code.contains("QuotaExceeded") || code.contains("LimitExceeded") => "Keyferry.QuotaExceeded",
        _ if code.contains("NotFound") => "Keyferry.NotFound",
        _ if code.contains("AlreadyExists") => "Keyferry.Foreign",
        _ => "Keyferry.Unexpected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_code_has_its_name() {
        let table = [
            ("ThrottlingException", "Keyferry.Throttled"),
            ("Throttling", "Keyferry.Throttled"),
            ("KMSInternalException", "Keyferry.Unavailable"),
            ("AccessDeniedException", "Keyferry.AccessDenied"),
            ("KMSKeyNotAccessibleFault", "Keyferry.KeyNotUsable"),
            ("SnapshotQuotaExceeded", "Keyferry.QuotaExceeded"),
            ("InvalidDBInstanceState", "Keyferry.NotReady"),
            ("DBInstanceNotFound", "Keyferry.NotFound"),
            ("DBSnapshotAlreadyExists", "Keyferry.Foreign"),
            ("InvalidParameterValue", "Keyferry.Unexpected"),
        ];
        for (code, name) in table {
            assert_eq!(name_of(code), name, "{code}");
        }
    }

    #[test]
    fn a_modification_without_any_is_told_from_one_that_cannot_be() {
        let said = |code: &str, message: &str| Failure {
            code: Some(code.to_owned()),
            error: name_of(code),
            cause: format!("change instance one: AWS answered {code}: {message}"),
        };
        assert!(said("InvalidParameterCombination", "No modifications were requested").nothing_to_modify());
        assert!(!said("InvalidParameterCombination", "Requested storage size cannot be less").nothing_to_modify());
        assert!(!said("InvalidParameterValue", "No modifications were requested").nothing_to_modify());
    }

    #[test]
    fn a_code_is_the_same_with_and_without_fault_at_its_end() {
        let failure = Failure {
            code: Some("DBClusterNotFoundFault".to_owned()),
            error: "Keyferry.NotFound",
            cause: String::new(),
        };
        assert!(failure.is(&["DBClusterNotFound"]));
        assert!(!failure.is(&["DBInstanceNotFound"]));
    }
}

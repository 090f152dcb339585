//! What went wrong with a call to AWS, in keyferry's own names.
//!
//! Throttling, AccessDenied, validation and RDS's InvalidParameter errors are not modelled by the SDK, so errors are told
//! apart by their code. Every name has its section in `docs/errors.md`.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::{display::DisplayErrorContext, metadata::ProvideErrorMetadata};

use crate::worker::StepError;

/// An SDK error, told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// AWS's own code, empty where no answer came.
    pub code: String,
    /// AWS's message, or what happened on the way.
    pub message: String,
    /// keyferry's name of the error, which Retry and Catch match.
    pub error: &'static str,
}

impl Described {
    pub fn is(&self, code: &str) -> bool {
        self.code.trim_end_matches("Fault") == code.trim_end_matches("Fault")
    }

    /// The error of the step that made the call; `doing` says what it was at.
    pub fn into_step_error(self, doing: &str) -> StepError {
        let code = if self.code.is_empty() { String::new() } else { format!(" ({})", self.code) };
        StepError::new(self.error, format!("{doing}: {}{code}", self.message))
    }
}

/// Tells an SDK error apart.
pub fn describe<E, R>(error: &SdkError<E, R>) -> Described
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or_default().to_owned();
            let message = context.err().message().unwrap_or("AWS gave no message").to_owned();
            Described { error: name(&code), code, message }
        }
        other => Described {
            code: String::new(),
            message: format!("no answer came from AWS, so the outcome is unknown: {}", DisplayErrorContext(other)),
            error: "Keyferry.Unavailable",
        },
    }
}

fn name(code: &str) -> &'static str {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "LimitExceededException" => "Keyferry.Throttled",
        "KMSInternalException"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => "Keyferry.Unavailable",
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId" => "Keyferry.AccessDenied",
        "KMSKeyNotAccessibleFault" | "DisabledException" | "KMSInvalidStateException" | "NotFoundException" => {
            "Keyferry.KeyNotUsable"
        }
        code if code.ends_with("QuotaExceeded") || code.ends_with("QuotaExceededFault") => "Keyferry.QuotaExceeded",
        code if code.starts_with("InsufficientDBInstanceCapacity") => "Keyferry.QuotaExceeded",
        code if code.starts_with("InvalidDBInstanceState") || code.starts_with("InvalidDBSnapshotState") => {
            "Keyferry.Busy"
        }
        _ => "Keyferry.Unexpected",
    }
}

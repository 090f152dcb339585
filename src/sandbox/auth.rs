//! Who calls, in which region, which service: read from the credential scope of a Signature Version 4 request.
//!
//! Signatures are not verified. Access keys that AssumeRole issued act as that role; any other access key acts as the
//! administrator of the default account, so that every tool works with made-up credentials.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::{AwsError, Caller, sts};

/// The credential scope, `ACCESSKEY/DATE/REGION/SERVICE/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub access_key: String,
    pub region: String,
    pub service: String,
    pub session_token: Option<String>,
}

/// Reads the scope from the `Authorization` header, or from `X-Amz-Credential` of a presigned URL's query.
///
/// # Errors
/// There are no credentials, or they are not Signature Version 4's.
pub fn scope(headers: &HeaderMap, query: &HashMap<String, String>) -> Result<Scope, AwsError> {
    let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (credential, token) = match (header, query.get("X-Amz-Credential")) {
        (Some(header), _) => {
            let token = headers.get("x-amz-security-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
            (credential_of(header)?, token)
        }
        (None, Some(credential)) => (credential.as_str(), query.get("X-Amz-Security-Token").cloned()),
        (None, None) => {
            return Err(
                AwsError::new("MissingAuthenticationToken", "Request is missing Authentication Token").with_status(403)
            );
        }
    };
    let parts: Vec<&str> = credential.split('/').collect();
    let [access_key, _date, region, service, "aws4_request"] = parts[..] else {
        return Err(incomplete(&format!(
            "Credential must have exactly 5 slash-delimited elements, got '{credential}'"
        )));
    };
    if access_key.is_empty() || region.is_empty() {
        return Err(incomplete("Credential names no access key or no region"));
    }
    Ok(Scope {
        access_key: access_key.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        session_token: token,
    })
}

fn credential_of(header: &str) -> Result<&str, AwsError> {
    let rest = header
        .strip_prefix("AWS4-HMAC-SHA256")
        .or_else(|| header.strip_prefix("AWS4-ECDSA-P256-SHA256"))
        .ok_or_else(|| incomplete("Unsupported Authorization algorithm: use Signature Version 4"))?;
    rest.split(',')
        .find_map(|part| part.trim().strip_prefix("Credential="))
        .ok_or_else(|| incomplete("Authorization header requires 'Credential' parameter."))
}

fn incomplete(message: &str) -> AwsError {
    AwsError::new("IncompleteSignature", message).with_status(400)
}

/// The partition of a region, by its name's form.
pub fn partition(region: &str) -> &'static str {
    const PREFIXES: [(&str, &str); 6] = [
        ("us-gov-", "aws-us-gov"),
        ("cn-", "aws-cn"),
        ("eusc-", "aws-eusc"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("us-iso-", "aws-iso"),
    ];
    PREFIXES.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

/// The principal behind a scope.
///
/// # Errors
/// The session has expired, or its token is not the one that was issued with its access key.
pub fn caller(
    sessions: &sts::State,
    scope: &Scope,
    now: DateTime<Utc>,
    default_account: &str,
) -> Result<Caller, AwsError> {
    if let Some(session) = sessions.session(&scope.access_key) {
        if session.token_differs(scope.session_token.as_deref()) {
            let message = "The security token included in the request is invalid.";
            return Err(AwsError::new("UnrecognizedClientException", message));
        }
        if now >= session.expires {
            return Err(AwsError::new("ExpiredToken", "The security token included in the request is expired"));
        }
        return Ok(session.caller());
    }
    let partition = partition(&scope.region);
    Ok(Caller {
        account: default_account.to_owned(),
        partition: partition.to_owned(),
        arn: format!("arn:{partition}:iam::{default_account}:root"),
    })
}

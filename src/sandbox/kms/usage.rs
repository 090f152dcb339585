//! When a key was last used, for GetKeyLastUsage.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{State, access::OWN, keys::epoch};
use crate::sandbox::{Answer, AwsError, Call, random};

/// The last cryptographic operation with a key that succeeded, under the key's ARN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Usage {
    operation: String,
    at: DateTime<Utc>,
    event: String,
}

const TRACKED: [&str; 14] = [
    "Decrypt",
    "DeriveSharedSecret",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
    "Encapsulate",
    "Decapsulate",
];

/// Notes a cryptographic operation that succeeded, with both keys of a ReEncrypt.
///
/// # Errors
/// There is no randomness to name the event with.
pub fn record(state: &mut State, call: &Call, answer: &Answer) -> Result<(), AwsError> {
    if !TRACKED.contains(&call.action.as_str()) {
        return Ok(());
    }
    for member in ["KeyId", "SourceKeyId"] {
        if let Some(arn) = answer.body.get(member).and_then(Value::as_str) {
            let usage = Usage { operation: call.action.clone(), at: call.now, event: random::uuid()? };
            state.usages.insert(arn, usage);
        }
    }
    Ok(())
}

pub fn get(state: &State, call: &Call) -> Result<Answer, AwsError> {
    let key = state.own_key(call, OWN)?;
    let last = state.usages.get(&key.arn).map_or_else(
        || json!({}),
        |usage| json!({"Operation": usage.operation, "Timestamp": epoch(usage.at), "CloudTrailEventId": usage.event}),
    );
    Ok(Answer::read(json!({
        "KeyId": key.id,
        "KeyLastUsage": last,
        "TrackingStartDate": epoch(key.created),
        "KeyCreationDate": epoch(key.created),
    })))
}

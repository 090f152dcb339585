//! JSON 1.1.

use serde_json::{Map, Value, json};

use crate::sandbox::AwsError;

const TARGET_PREFIX: &str = "TrentService.";

/// The operation that an `X-Amz-Target` header names.
///
/// # Errors
/// There is no target, or it is not KMS's.
pub fn action(target: Option<&str>) -> Result<String, AwsError> {
    target
        .and_then(|target| target.strip_prefix(TARGET_PREFIX))
        .map(str::to_owned)
        .ok_or_else(|| AwsError::new("UnknownOperationException", ""))
}

/// The input of an operation: an object; an empty body is an empty one.
///
/// # Errors
/// The body is not a JSON object.
pub fn decode(body: &[u8]) -> Result<Value, AwsError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(Value::Object(members)),
        Ok(_) => Err(AwsError::new("SerializationException", "Start of structure or map found where not expected.")),
        Err(_) => Err(AwsError::new("SerializationException", "")),
    }
}

/// The error's document.
pub fn error(error: &AwsError) -> Value {
    let mut document = Map::new();
    document.insert("__type".to_owned(), json!(error.code));
    if !error.message.is_empty() {
        document.insert("message".to_owned(), json!(error.message));
    }
    for (name, value) in &error.details {
        document.insert(name.clone(), json!(value));
    }
    Value::Object(document)
}

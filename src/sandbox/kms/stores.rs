//! Custom key stores: none is emulated, so none is ever found.

use serde_json::json;

use super::{
    errors,
    validate::{Input, missing},
};
use crate::sandbox::{Answer, AwsError, Call};

pub fn not_found(id: &str) -> AwsError {
    AwsError::new("CustomKeyStoreNotFoundException", format!("Custom key store {id} does not exist."))
}

pub fn describe(call: &Call) -> Result<Answer, AwsError> {
    let input = Input(&call.params);
    let (id, name) = (input.sized("CustomKeyStoreId", 1, 64)?, input.sized("CustomKeyStoreName", 1, 256)?);
    match (id, name) {
        (Some(_), Some(_)) => {
            Err(errors::validation("Specify either CustomKeyStoreId or CustomKeyStoreName, not both."))
        }
        (Some(named), None) | (None, Some(named)) => Err(not_found(named)),
        (None, None) => Ok(Answer::read(json!({"CustomKeyStores": [], "Truncated": false}))),
    }
}

pub fn create() -> AwsError {
    errors::unsupported("Custom key stores are not emulated here.")
}

/// Everything that names a store.
pub fn named(call: &Call) -> AwsError {
    match Input(&call.params).sized("CustomKeyStoreId", 1, 64) {
        Ok(Some(id)) => not_found(id),
        Ok(None) => missing("CustomKeyStoreId"),
        Err(error) => error,
    }
}

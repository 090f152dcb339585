//! What commands read.

use std::{
    fs,
    io::{self, Read},
};

use serde_json::Value;

use super::output::Failure;
use crate::http::strict;

/// Reads a file, or standard input for `-`, as JSON.
pub fn read_json(file: &str) -> Result<Value, Failure> {
    let text = if file == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let text = text.map_err(|error| Failure::Failed(format!("cannot read {file}: {error}")))?;
    strict::check(text.as_bytes()).map_err(|inexact| Failure::Failed(format!("{file}: {inexact}")))?;
    serde_json::from_str(&text).map_err(|error| Failure::Failed(format!("{file} is not JSON: {error}")))
}

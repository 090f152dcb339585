//! RDS.

use super::{Answer, AwsError, Call, kms};

/// All instances, clusters, snapshots and groups.
#[derive(Debug, Default)]
pub struct State {}

/// Answers one RDS call. The answer's body is the operation's result as a JSON tree: objects are XML elements, arrays are
/// lists whose member element's name is chosen by the shape (`rds::wire`), scalars are text.
///
/// # Errors
/// The error as AWS answers it.
pub fn handle(state: &mut State, kms: &mut kms::State, call: &Call) -> Result<Answer, AwsError> {
    let _ = (state, kms);
    Err(AwsError {
        code: "InvalidAction".to_owned(),
        message: format!("Could not find operation {}", call.action),
        http_status: 400,
        details: Vec::new(),
    })
}

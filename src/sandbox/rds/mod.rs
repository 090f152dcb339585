//! RDS.

use super::{Answer, AwsError, Call, Changes, Rows, kms};

/// All instances, clusters, snapshots and groups.
#[derive(Debug, Default)]
pub struct State {}

impl Rows for State {
    fn take_changes(&mut self, _changes: &mut Changes) -> Result<(), serde_json::Error> {
        Ok(())
    }

    fn load(&mut self, _kind: &str, _key: &str, _body: &str) -> Result<bool, serde_json::Error> {
        Ok(false)
    }
}

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

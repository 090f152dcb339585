//! What people do to a run. Each verb needs a reason, which the history keeps with who gave it.

use axum::extract::{Path, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api, Reply,
    extract::{self, Acting, Body, IfMatch, committed},
};
use crate::http::problem::Problem;

/// Who acts when the request names no role.
const ENGINEER: &str = "engineer";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Because {
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    reason: String,
    frame: Option<u64>,
    input: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    reason: String,
    frame: Option<u64>,
    output: Option<Value>,
}

/// Refuses when the caller knows another revision than the run has. It protects a person from acting on what they no
/// longer see; between this look and the change the worker may still move the run, and the change itself is checked by
/// the engine against the frame that it names.
async fn unchanged(api: &Api, run: &str, IfMatch(known): IfMatch) -> Result<(), Problem> {
    let Some(known) = known else { return Ok(()) };
    let revision = api.service.run(run).await?.revision;
    if known.contains(&revision) {
        return Ok(());
    }
    let detail = format!("The run has changed since: its revision is {revision}. Look at it again.");
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, "revision-changed", detail).with("revision", json!(revision)))
}

fn reason(text: &str) -> Result<(), Problem> {
    let length = text.trim().chars().count();
    if (1..=1000).contains(&length) {
        return Ok(());
    }
    let detail = "reason: 1 to 1000 characters that say why; the history keeps them";
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-body", detail))
}

/// The body is the answer itself. The administrator answers in the form's own role unless the request names another.
pub async fn answer(
    State(api): State<Api>,
    Path((run, form)): Path<(String, String)>,
    acting: Acting,
    if_match: IfMatch,
    Body(answer): Body<Value>,
) -> Reply {
    let role = api.form_roles.get(&form).map_or(ENGINEER, String::as_str);
    let actor = acting.or(role);
    if actor.role != role && actor.role != "admin" {
        let detail = format!("The form {form} is answered in the role {role}, not {}.", actor.role);
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong-role", detail));
    }
    unchanged(&api, &run, if_match).await?;
    let view = committed(async move { api.service.answer(&run, &form, answer, actor).await }).await?;
    extract::run_answer(StatusCode::OK, &view)
}

pub async fn retry(
    State(api): State<Api>,
    Path(run): Path<String>,
    acting: Acting,
    if_match: IfMatch,
    Body(retry): Body<Retry>,
) -> Reply {
    reason(&retry.reason)?;
    unchanged(&api, &run, if_match).await?;
    let actor = acting.or(ENGINEER);
    let change = async move { api.service.retry(&run, retry.frame, retry.input, actor, &retry.reason).await };
    extract::run_answer(StatusCode::OK, &committed(change).await?)
}

pub async fn skip(
    State(api): State<Api>,
    Path(run): Path<String>,
    acting: Acting,
    if_match: IfMatch,
    Body(skip): Body<Skip>,
) -> Reply {
    reason(&skip.reason)?;
    unchanged(&api, &run, if_match).await?;
    let actor = acting.or(ENGINEER);
    let change = async move { api.service.skip(&run, skip.frame, skip.output, actor, &skip.reason).await };
    extract::run_answer(StatusCode::OK, &committed(change).await?)
}

macro_rules! plain_verb {
    ($name:ident) => {
        pub async fn $name(
            State(api): State<Api>,
            Path(run): Path<String>,
            acting: Acting,
            if_match: IfMatch,
            Body(because): Body<Because>,
        ) -> Reply {
            reason(&because.reason)?;
            unchanged(&api, &run, if_match).await?;
            let actor = acting.or(ENGINEER);
            let change = async move { api.service.$name(&run, actor, &because.reason).await };
            extract::run_answer(StatusCode::OK, &committed(change).await?)
        }
    };
}

plain_verb!(pause);
plain_verb!(resume);
plain_verb!(cancel);

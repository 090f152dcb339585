//! What people do to a run. Each verb needs a reason, which the history keeps with who gave it; one on a frame needs the visit
//! that was seen. Who may act, what was seen and what was done before is for the service to say.

use axum::extract::{Path, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Api, Reply,
    extract::{self, Asking, Body, committed, fenced},
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
pub struct Answer {
    answer: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    reason: String,
    input: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    reason: String,
    output: Option<Value>,
}

fn reason(text: &str) -> Result<(), Problem> {
    let length = text.trim().chars().count();
    if (1..=1000).contains(&length) {
        return Ok(());
    }
    let detail = "reason: 1 to 1000 characters that say why; the history keeps them";
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-body", detail))
}

/// The administrator answers in the form's own role unless the request names another.
pub async fn answer(
    State(api): State<Api>,
    Path((run, form)): Path<(String, String)>,
    asking: Asking,
    Body(body): Body<Value>,
) -> Reply {
    let (visit, Answer { answer }) = fenced(&run, body)?;
    let by = asking.by(api.form_roles.get(&form).map_or(ENGINEER, String::as_str));
    let view = committed(async move { api.service.answer(&run, &form, &visit, answer, by).await }).await?;
    extract::run_answer(StatusCode::OK, &view)
}

pub async fn retry(State(api): State<Api>, Path(run): Path<String>, asking: Asking, Body(body): Body<Value>) -> Reply {
    let (visit, retry): (_, Retry) = fenced(&run, body)?;
    reason(&retry.reason)?;
    let by = asking.by(ENGINEER);
    let change = async move { api.service.retry(&run, &visit, retry.input, by, &retry.reason).await };
    extract::run_answer(StatusCode::OK, &committed(change).await?)
}

pub async fn skip(State(api): State<Api>, Path(run): Path<String>, asking: Asking, Body(body): Body<Value>) -> Reply {
    let (visit, skip): (_, Skip) = fenced(&run, body)?;
    reason(&skip.reason)?;
    let by = asking.by(ENGINEER);
    let change = async move { api.service.skip(&run, &visit, skip.output, by, &skip.reason).await };
    extract::run_answer(StatusCode::OK, &committed(change).await?)
}

macro_rules! plain_verb {
    ($name:ident) => {
        pub async fn $name(
            State(api): State<Api>,
            Path(run): Path<String>,
            asking: Asking,
            Body(because): Body<Because>,
        ) -> Reply {
            reason(&because.reason)?;
            let by = asking.by(ENGINEER);
            let change = async move { api.service.$name(&run, by, &because.reason).await };
            extract::run_answer(StatusCode::OK, &committed(change).await?)
        }
    };
}

plain_verb!(pause);
plain_verb!(resume);
plain_verb!(cancel);

//! Letters that are not delivered: those that wait and those that are dead, and sending one again.

use axum::extract::{Path, State};
use http::StatusCode;
use serde::Deserialize;

use super::{
    Api, Reply,
    extract::{self, Asking, Parameters, committed},
    paging::{Listing, Paging, page_size},
};
use crate::{http::problem::Problem, worker::LetterState};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    state: Option<LetterState>,
    enterprise: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

const LETTERS: Listing = Listing("letters");

/// Those that are due, unless others are asked for.
pub async fn list(State(api): State<Api>, Parameters(filter): Parameters<Filter>) -> Reply {
    let limit = page_size(filter.limit)?;
    let state = filter.state.unwrap_or(LetterState::Due);
    if !matches!(state, LetterState::Due | LetterState::Dead) {
        let detail = "state: due or dead; what was sent or withdrawn is not listed";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail));
    }
    let page = api.service.letters(state, filter.enterprise, limit, LETTERS.place(filter.cursor)?).await?;
    extract::json(StatusCode::OK, &LETTERS.told(page))
}

pub async fn dead(State(api): State<Api>, Parameters(paging): Parameters<Paging>) -> Reply {
    let limit = page_size(paging.limit)?;
    let page = api.service.letters(LetterState::Dead, None, limit, LETTERS.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &LETTERS.told(page))
}

/// Sending the same letter again twice is one letter: it is due, once.
pub async fn resend(State(api): State<Api>, Path(letter): Path<i64>, asking: Asking) -> Reply {
    let by = asking.by("engineer");
    let resent = committed(async move { api.service.resend_letter(letter, by).await }).await?;
    extract::json(StatusCode::OK, &resent)
}

//! API keys are told once, in an answer that may be lost: then a live key would be left that nobody has.
//!
//! A request carries an idempotency key and is sent again under the same one. The server says by then whether it made a key: one
//! that nobody has is revoked, and another is asked for. Whenever what was lost arrives in the end, one live key is left, the one
//! that was shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    client::Client,
    output::{Failure, say},
};
use crate::worker::{Clock as _, SystemClock};

/// Requests that are sent before it is given up.
const TRIES: u32 = 6;
/// After the first answer that did not come; after each further one twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks for a key of an enterprise by a POST to `path`, until an answer comes; its body.
///
/// # Errors
/// As the server refused it; or no answer has come, and it says what to look at.
pub async fn make_key(
    client: &Client,
    enterprise: &str,
    path: &[&str],
    body: &Value,
    headers: &[(&'static str, String)],
) -> Result<Value, Failure> {
    let under = |key: String| [headers, &[("idempotency-key", key)]].concat();
    let mut named = under(SystemClock.new_id());
    // A key of this request, which nobody has.
    let mut lost: Option<String> = None;
    let mut open = false;
    let mut last = None;
    for number in 0..TRIES {
        let answer = match &lost {
            None => client.post(path, body, &named).await,
            Some(id) => revoke(client, enterprise, id, headers).await,
        };
        match answer {
            Ok(made) if lost.is_none() => return Ok(made),
            Ok(_) => {
                say("the answer with an API key was lost; the key is revoked, and another is made");
                named = under(SystemClock.new_id());
                (lost, open) = (None, false);
                continue;
            }
            Err(Failure::Problem(problem)) if open && lost.is_none() && is(&problem, "api-key-made-before") => {
                lost = problem.pointer("/details/id").map(super::output::plain);
                continue;
            }
            Err(failure) if is_uncertain(&failure) || (open && matches!(failure, Failure::Failed(_))) => {
                open = true;
                last = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
        SystemClock.sleep(PAUSE * 2_u32.pow(number)).await;
    }
    say(&format!(
        "an API key that nobody has may be live: look at `keyferry api-key list {enterprise}`, and revoke it"
    ));
    Err(last.unwrap_or_else(|| Failure::Failed("no answer came".to_owned())))
}

async fn revoke(
    client: &Client,
    enterprise: &str,
    id: &str,
    headers: &[(&'static str, String)],
) -> Result<Value, Failure> {
    let path = ["enterprises", enterprise, "api-keys", id, "revocation"];
    client.post(&path, &json!({ "reason": "the answer that told it was lost" }), headers).await
}

fn is(problem: &Value, code: &str) -> bool {
    problem.get("code").is_some_and(|found| found == code)
}

/// Whether it may have been done all the same: no answer, or one of a server or proxy that does not know.
fn is_uncertain(failure: &Failure) -> bool {
    match failure {
        Failure::Unanswered(_) => true,
        Failure::Problem(problem) => problem.get("status").and_then(Value::as_u64).is_some_and(|status| status >= 500),
        Failure::Usage(_) | Failure::Failed(_) => false,
    }
}

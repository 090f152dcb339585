//! What fences the verbs of people: who may act, what was seen, and whether the request has been done before.

use serde_json::{Value, json};

use super::{By, ErrorKind, RunView, Service, ServiceError, Visit, by::Once, runs::MoveError};
use crate::{
    engine::{Actor, Phase, Rejected, Snapshot},
    store::{KeptKey, KeyUse, RecordPut, StoreError},
};

/// A change that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// Answers a form that is for a role.
    Answer { form: &'a str, role: &'a str },
    /// Starts, retries, skips, pauses, resumes or cancels a run.
    Steer,
    /// Changes what is known of an enterprise, its API keys among it.
    Administer,
    /// Corrects an enterprise's name and addresses, or sends a letter again.
    Correct,
}

/// The open form of a name.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenForm {
    /// What an answer is given to.
    pub visit: Visit,
    /// What the form was given, for the person who is to answer it: findings about an earlier answer, for example.
    pub input: Value,
}

impl Service {
    /// Whether somebody may do something: every verb asks here, and nothing else decides it. Today whoever has the
    /// administrator's token acts, in the role that the request declares; a customer's API key reaches no verb.
    ///
    /// # Errors
    /// `wrong-role`: says which role may.
    pub fn authorize(&self, actor: &Actor, act: Act<'_>) -> Result<(), ServiceError> {
        let refused = |message: String| Err(ServiceError::new(ErrorKind::Forbidden, "wrong-role", message));
        match (act, actor.role.as_str()) {
            (_, "admin" | "system")
            | (Act::Steer | Act::Administer | Act::Correct, "engineer")
            | (Act::Correct, "csm") => Ok(()),
            (Act::Answer { role, .. }, own) if role == own => Ok(()),
            (Act::Answer { form, role }, own) => {
                refused(format!("the form {form} is answered in the role {role}, not {own}"))
            }
            (Act::Steer, own) => refused(format!("runs are steered in the role engineer, not {own}")),
            (Act::Correct, own) => {
                refused(format!("addresses and letters are looked after in the roles engineer and csm, not {own}"))
            }
            (Act::Administer, own) => refused(format!("enterprises are administered in the role engineer, not {own}")),
        }
    }

    /// What came of the same request when it was sent before under the same idempotency key; `None` for a new one.
    ///
    /// # Errors
    /// `idempotency-key-reused`: the key was used for another request.
    pub async fn done_before(&self, once: Option<&Once>) -> Result<Option<KeptKey>, ServiceError> {
        let Some(once) = once else { return Ok(None) };
        match self.core.store.key(&once.key).await? {
            Some(kept) if kept.request == once.request => Ok(Some(kept)),
            Some(_) => Err(StoreError::KeyReused { key: once.key.clone() }.into()),
            None => Ok(None),
        }
    }

    /// Keeps an idempotency key of a request that had nothing to change.
    ///
    /// # Errors
    /// `idempotency-key-reused`: the key was used for another request meanwhile.
    pub async fn keep_key(&self, key: KeyUse) -> Result<(), ServiceError> {
        match self.core.store.put_records_once(Vec::new(), Some(key)).await {
            Ok(()) | Err(StoreError::AlreadyStarted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes records as [`Service::put_records`] does, and keeps the idempotency key with them.
    ///
    /// # Errors
    /// As of [`Service::put_records`]; `already-started`, `idempotency-key-reused`: the key was used before, see
    /// [`Service::done_before`].
    pub async fn put_records_once(&self, puts: Vec<RecordPut>, key: Option<KeyUse>) -> Result<(), ServiceError> {
        Ok(self.core.store.put_records_once(puts, key).await?)
    }

    /// The run as it is now, if the same request has changed it before.
    pub(super) async fn changed_before(&self, run: &str, once: Option<&Once>) -> Result<Option<RunView>, ServiceError> {
        match self.done_before(once).await? {
            Some(_) => Ok(Some(self.run(run).await?)),
            None => Ok(None),
        }
    }

    /// Refuses when the run stands at a revision that the person has not seen. Only for a verb on a frame of another run of the
    /// family, which the visit fences; a verb on the run itself is refused by the turn.
    pub(super) async fn expect_seen(&self, run: &str, by: &By) -> Result<(), ServiceError> {
        let Some(seen) = &by.if_match else { return Ok(()) };
        let view = self.run(run).await?;
        if seen.contains(&view.revision) { Ok(()) } else { Err(unseen(&view)) }
    }

    /// The refusal of a verb on a run, with how the run stands now.
    pub(super) async fn unmoved(&self, run: &str, error: MoveError) -> ServiceError {
        match error {
            MoveError::Unseen { .. } => match self.run(run).await {
                Ok(view) => unseen(&view),
                Err(error) => error,
            },
            MoveError::Rejected(_) | MoveError::Store(_) => error.into(),
        }
    }

    /// The refusal of a verb on a frame, with where the frame stands now.
    pub(super) async fn unmoved_at(&self, run: &str, visit: &Visit, error: MoveError) -> ServiceError {
        match error {
            MoveError::Rejected(Rejected::Stale { .. } | Rejected::NoFrame { .. } | Rejected::Ended) => {
                self.over(run, visit).await
            }
            MoveError::Unseen { .. } | MoveError::Rejected(_) | MoveError::Store(_) => self.unmoved(run, error).await,
        }
    }

    /// The refusal of a verb for a visit that is over, or that no run of the family has had.
    pub(super) async fn over(&self, run: &str, visit: &Visit) -> ServiceError {
        match self.stands(run, visit).await {
            Ok((stands, said)) => {
                let message =
                    format!("the visit {visit} is over: {said}; look at it again with `keyferry run show {run}`");
                ServiceError::new(ErrorKind::Conflict, "visit-over", message).with(json!({ "stands": stands }))
            }
            Err(error) => error,
        }
    }

    async fn stands(&self, run: &str, visit: &Visit) -> Result<(Value, String), ServiceError> {
        let store = &self.core.store;
        let family = self.of_family(run, |run| async move { store.load(&run).await }).await?;
        let member = family.iter().find(|(member, _)| visit.is_of(member));
        let frame = member.and_then(|(member, loaded)| place(member, &loaded.snapshot, visit));
        Ok(match frame {
            Some(found) => found,
            None => {
                let view = self.run(run).await?;
                (run_stands(&view), format!("the run {} {}", view.id, view.summary))
            }
        })
    }
}

/// Where the frame of a visit stands in an open run.
fn place(run: &str, snapshot: &Snapshot, visit: &Visit) -> Option<(Value, String)> {
    let frame = snapshot.frames.get(&visit.frame()).filter(|_| snapshot.header.outcome.is_none())?;
    let now = Visit::of(run, frame.id, frame.visit);
    let phase = serde_json::to_value(&frame.phase).unwrap_or_default();
    let word = phase.get("phase").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut stands = json!({
        "run": run, "frame": frame.id, "state": frame.state, "visit": now, "phase": word, "revision": snapshot.header.revision,
    });
    let mut said = format!("the frame stands at visit {now} in {} ({word})", frame.state);
    if let Phase::Attention { error, cause, .. } = &frame.phase {
        stands["error"] = json!(error);
        stands["cause"] = json!(cause);
        said = format!("the frame stands at visit {now} in {} (attention: {error}: {cause})", frame.state);
    }
    Some((stands, said))
}

/// How a run stands, in brief.
fn run_stands(view: &RunView) -> Value {
    json!({ "run": view.id, "status": view.status, "revision": view.revision, "summary": view.summary })
}

fn unseen(view: &RunView) -> ServiceError {
    let message = format!(
        "the run has changed since it was seen: it is at revision {} and {}; look at it again with `keyferry run show {}`",
        view.revision, view.summary, view.id
    );
    ServiceError::new(ErrorKind::Moved, "revision-changed", message)
        .with(json!({ "revision": view.revision, "stands": run_stands(view) }))
}

//! People: they start runs, answer forms, look after what stands in attention, and now and then change their minds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::hub::{Hub, Told};
use crate::{
    engine::{Actor, Standing},
    worker::{ErrorKind, RunView, Service, ServiceError, StartRun, Visit},
};

/// What a person is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// What the run waits for.
    Tend,
    Pause,
    Cancel,
    /// Something that may not fit: an answer that nobody asked for, a retry of what runs.
    Meddle,
}

fn engineer() -> Actor {
    Actor { name: "eve".to_owned(), role: "engineer".to_owned() }
}

/// Asks for a run until somebody says that it is there.
pub(super) async fn start(hub: Arc<Hub>, service: Service, key: String, workflow: &'static str, input: Value) {
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: workflow.to_owned(),
        input,
        actor: engineer(),
        idempotency_key: Some(key.clone()),
    };
    match service.start_run(asked).await {
        Ok(view) => hub.tell(Told::Started { key, run: view.id }),
        Err(error) => refused(&hub, &error),
    }
}

/// Whoever a form is for.
fn of_form(form: &str) -> Actor {
    let role = form.strip_prefix("ask-").unwrap_or(form);
    Actor { name: "eve".to_owned(), role: role.to_owned() }
}

fn refused(hub: &Hub, error: &ServiceError) {
    hub.meet(match error.kind {
        ErrorKind::Unavailable => "people: unavailable",
        ErrorKind::Conflict | ErrorKind::Moved => "people: conflict",
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Forbidden | ErrorKind::Refused => "people: refused",
    });
    hub.tell(Told::Shown { text: format!("{error} {:?}", error.details) });
}

pub(super) async fn act(hub: Arc<Hub>, service: Service, run: String, mood: Mood) {
    let mark = format!("mark-{:016x}", hub.number());
    let view = match service.run(&run).await {
        Ok(view) => view,
        Err(error) => return refused(&hub, &error),
    };
    hub.tell(Told::Shown { text: view.summary.clone() });
    if view.ended_at.is_some() {
        return;
    }
    let did = match mood {
        Mood::Tend => tend(&hub, &service, &view, &mark).await,
        Mood::Pause => Some(("paused", service.pause(&run, engineer(), &mark).await)),
        Mood::Cancel => Some(("cancelled", service.cancel(&run, engineer(), &mark).await)),
        Mood::Meddle => Some(("meddled", meddle(&hub, &service, &view, &mark).await)),
    };
    match did {
        Some((what, Ok(_))) => {
            hub.meet(what);
            hub.tell(Told::Acted { run, mark });
        }
        Some((_, Err(error))) => refused(&hub, &error),
        None => {}
    }
}

async fn tend(
    hub: &Hub,
    service: &Service,
    view: &RunView,
    mark: &str,
) -> Option<(&'static str, Result<RunView, ServiceError>)> {
    let run = &view.id;
    if view.status == Standing::Paused {
        return Some(("resumed", service.resume(run, engineer(), mark).await));
    }
    if let Some(first) = view.attention.first() {
        // What was tried again in vain is let go.
        if hub.below(3) == 0 && first.state != "Purge" && first.state != "Make" && first.state != "Verify" {
            let output = Some(json!({ "skipped": true }));
            return Some(("skipped", service.skip(run, &first.visit, output, engineer(), mark).await));
        }
        return Some(("retried", service.retry(run, &first.visit, None, engineer(), mark).await));
    }
    let (form, visit) = view.waiting_for.iter().find_map(|wait| Some((wait.form.as_deref()?, &wait.visit)))?;
    Some(("answered", service.answer(run, form, visit, json!({ "yes": mark }), of_form(form)).await))
}

async fn meddle(hub: &Hub, service: &Service, view: &RunView, mark: &str) -> Result<RunView, ServiceError> {
    let run = &view.id;
    // A frame that may exist, at a visit that it may have had, will have, or stand at.
    let guess = Visit::of(run, hub.below(4), 1 + hub.below(8));
    match hub.below(4) {
        0 => service.answer(run, "ask-engineer", &guess, json!({ "yes": mark }), engineer()).await,
        1 => match view.attention.first() {
            Some(first) => service.retry(run, &first.visit, None, engineer(), mark).await,
            None => service.retry(run, &guess, None, engineer(), mark).await,
        },
        2 => service.resume(run, engineer(), mark).await,
        _ => service.retry(run, &guess, None, engineer(), mark).await,
    }
}

/// Sends what the world is to be told.
pub(super) async fn post(hub: Arc<Hub>, service: Service) {
    let Ok(letters) = service.next_mail(200).await else { return };
    for letter in letters {
        hub.meet("letters");
        if service.spread_mail(letter.id, Vec::new()).await.is_err() {
            return;
        }
    }
}

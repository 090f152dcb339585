//! What people do to runs.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::{try_join, try_join_all};
use serde_json::{Value, json};

use super::{CheckContext, ErrorKind, RunView, Service, ServiceError, runs::Happening};
use crate::{
    engine::{Actor, EventKind, FrameId, Payload, Phase},
    store::{NewRecord, StoreError, WorkKind},
};

/// The collection of the answers that are kept as records.
pub const ANSWERS: &str = "answer";

/// A frame that a verb is about, in the run itself or in one that it has started.
struct Place {
    run: String,
    frame: FrameId,
    visit: u64,
}

/// The record of an answer to a form that keeps them: by run and visit, so that no other run and no later visit has it.
fn kept(form: &str, place: &Place, answer: &Value, actor: &Actor, at: DateTime<Utc>) -> NewRecord {
    NewRecord {
        collection: ANSWERS.to_owned(),
        key: format!("{}/{}/{}", place.run, place.frame, place.visit),
        body: json!({
            "form": form, "run": place.run, "frame": place.frame, "visit": place.visit, "answer": answer, "actor": actor,
            "at": at,
        }),
    }
}

impl Service {
    /// Folds what a person did into a run.
    async fn act(&self, run: &str, kind: EventKind) -> Result<(), ServiceError> {
        self.act_with(run, kind, Vec::new()).await
    }

    /// The same, with records that are written in the same commit.
    async fn act_with(&self, run: &str, kind: EventKind, records: Vec<NewRecord>) -> Result<(), ServiceError> {
        let core = Arc::clone(&self.core);
        let run = run.to_owned();
        let happening = Happening { records, ..Happening::from(kind) };
        let acted = self.core.apart(async move { core.happen(&run, happening).await }).await?;
        Ok(acted.map(|_| ())?)
    }

    /// What `read` says of the run and of all that it has started and that are still open, itself first. A generation at a time, all
    /// that is to be read of it at once: a person waits.
    async fn of_family<T, F>(&self, run: &str, read: impl Fn(String) -> F) -> Result<Vec<(String, T)>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut all = Vec::new();
        let mut generation = vec![run.to_owned()];
        while !generation.is_empty() {
            let reads = generation.iter().map(|run| try_join(read(run.clone()), self.core.store.children(run)));
            let mut next = Vec::new();
            for (run, (seen, children)) in generation.iter().zip(try_join_all(reads).await?) {
                all.push((run.clone(), seen));
                next.extend(children.into_iter().filter(|child| child.open).map(|child| child.run));
            }
            generation = next;
        }
        Ok(all)
    }

    /// Answers the open form of that name, in the run or in an open one that it has started.
    ///
    /// # Errors
    /// `form-not-open` (says what the run waits for), `answer-invalid` (the findings are the details).
    pub async fn answer(&self, run: &str, form: &str, answer: Value, actor: Actor) -> Result<RunView, ServiceError> {
        // The run that is looked at stays at hand for the act.
        let enterprise = async {
            let id = self.core.look(run, |snapshot| Some(snapshot.header.enterprise.clone())).await?;
            self.enterprise(&id.unwrap_or_default()).await
        };
        let ((place, input), enterprise) = try_join(self.open_form(run, form), enterprise).await?;
        let context = CheckContext {
            config: &self.core.config,
            input: &input,
            now: self.core.clock.now(),
            enterprise: &enterprise,
        };
        let answer = self.core.forms.check(form, &answer, context).map_err(|findings| {
            let message = format!("the answer to the form {form} does not hold: {} to put right", findings.len());
            ServiceError::new(ErrorKind::Invalid, "answer-invalid", message).with(json!(findings))
        })?;
        let keeps = self.core.forms.keeps(form);
        let records = keeps.then(|| kept(form, &place, &answer, &actor, context.now)).into_iter().collect();
        let kind =
            EventKind::FormAnswered { frame: place.frame, visit: place.visit, answer: Payload::from(answer), actor };
        self.act_with(&place.run, kind, records).await?;
        self.run(run).await
    }

    /// What the open form of that name was given, for the person who is to answer it: findings about an earlier answer, for
    /// example.
    ///
    /// # Errors
    /// `form-not-open`, as for [`Service::answer`].
    pub async fn form_input(&self, run: &str, form: &str) -> Result<Value, ServiceError> {
        Ok(self.open_form(run, form).await?.1.into_value())
    }

    async fn open_form(&self, run: &str, form: &str) -> Result<(Place, Payload), ServiceError> {
        let store = &self.core.store;
        let mut found = Vec::new();
        for (run, work) in self.of_family(run, |run| async move { store.work(&run).await }).await? {
            for work in work.into_iter().filter(|work| work.kind == WorkKind::Form && work.name == form) {
                let frame = FrameId::try_from(work.frame).unwrap_or(0);
                found.push((Place { run: run.clone(), frame, visit: work.visit }, work.input));
            }
        }
        if found.len() > 1 {
            let message =
                format!("the form {form} is open {} times in run {run}: answer it in the child run", found.len());
            return Err(ServiceError::new(ErrorKind::Conflict, "form-ambiguous", message));
        }
        match found.pop() {
            Some(found) => Ok(found),
            None => {
                let summary = self.run(run).await?.summary;
                let message = format!("the form {form} is not open: the run {summary}");
                Err(ServiceError::new(ErrorKind::Conflict, "form-not-open", message))
            }
        }
    }

    /// The frame in attention that is meant: the one of that number, in the run before its children, or the only one there is.
    async fn in_attention(&self, run: &str, frame: Option<FrameId>) -> Result<Place, ServiceError> {
        let store = &self.core.store;
        let mut found = Vec::new();
        for (member, loaded) in self.of_family(run, |run| async move { store.load(&run).await }).await? {
            found.extend(
                loaded
                    .snapshot
                    .frames
                    .values()
                    .filter(|stands| frame.is_none_or(|wanted| wanted == stands.id))
                    .filter(|frame| matches!(frame.phase, Phase::Attention { .. }))
                    .map(|frame| Place { run: member.clone(), frame: frame.id, visit: frame.visit }),
            );
        }
        if let Some(frame) = frame
            && found.first().is_none_or(|first| first.run == run)
        {
            // The engine says of a frame that does not stand in attention how it stands.
            return Ok(Place { run: run.to_owned(), frame, visit: 0 });
        }
        if found.len() > 1 {
            let places: Vec<Value> =
                found.iter().map(|place| json!({ "run": place.run, "frame": place.frame })).collect();
            let message = format!("{} frames of run {run} stand in attention: say which one", places.len());
            return Err(ServiceError::new(ErrorKind::Conflict, "frame-ambiguous", message).with(Value::Array(places)));
        }
        match found.pop() {
            Some(place) => Ok(place),
            None => {
                let summary = self.run(run).await?.summary;
                let message = format!("nothing of run {run} stands in attention: the run {summary}");
                Err(ServiceError::new(ErrorKind::Conflict, "not-in-attention", message))
            }
        }
    }

    /// Tries a frame in attention again, with another input if one is given.
    ///
    /// # Errors
    /// Nothing, or more than one frame, stands in attention and none is named.
    pub async fn retry(
        &self,
        run: &str,
        frame: Option<FrameId>,
        input: Option<Value>,
        actor: Actor,
        reason: &str,
    ) -> Result<RunView, ServiceError> {
        let place = self.in_attention(run, frame).await?;
        let input = input.map(Payload::from);
        let kind = EventKind::Retried { frame: place.frame, input, actor, reason: reason.to_owned() };
        self.act(&place.run, kind).await?;
        self.run(run).await
    }

    /// Lets a frame in attention go on as if its state had succeeded with `output`.
    ///
    /// # Errors
    /// As for [`Service::retry`].
    pub async fn skip(
        &self,
        run: &str,
        frame: Option<FrameId>,
        output: Option<Value>,
        actor: Actor,
        reason: &str,
    ) -> Result<RunView, ServiceError> {
        let place = self.in_attention(run, frame).await?;
        let output = output.map(Payload::from);
        let kind = EventKind::Skipped { frame: place.frame, output, actor, reason: reason.to_owned() };
        self.act(&place.run, kind).await?;
        self.run(run).await
    }

    /// Lets nothing new of the run and of those that it has started be claimed; what runs may end.
    ///
    /// # Errors
    /// The run is paused or has ended.
    pub async fn pause(&self, run: &str, actor: Actor, reason: &str) -> Result<RunView, ServiceError> {
        self.act(run, EventKind::Paused { actor, reason: reason.to_owned() }).await?;
        self.run(run).await
    }

    /// # Errors
    /// The run is not paused or has ended.
    pub async fn resume(&self, run: &str, actor: Actor, reason: &str) -> Result<RunView, ServiceError> {
        self.act(run, EventKind::Resumed { actor, reason: reason.to_owned() }).await?;
        self.run(run).await
    }

    /// Ends the run and those that it has started.
    ///
    /// # Errors
    /// The run has ended.
    pub async fn cancel(&self, run: &str, actor: Actor, reason: &str) -> Result<RunView, ServiceError> {
        self.act(run, EventKind::Cancelled { actor, reason: reason.to_owned() }).await?;
        self.run(run).await
    }
}

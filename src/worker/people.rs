//! What people do to runs. A verb on a frame carries the visit that the person saw, one on a run may carry the revision; either
//! is checked by the turn itself, so that of two verbs on one visit one is done. An idempotency key is kept in the turn's commit.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::{try_join, try_join_all};
use serde_json::{Value, json};

use super::{
    Act, By, CheckContext, ErrorKind, OpenForm, RunView, Service, ServiceError, Visit,
    by::Once,
    runs::{Happening, MoveError},
};
use crate::{
    engine::{Actor, EventKind, FrameId, Payload},
    store::{NewRecord, StoreError, WorkKind},
};

/// The collection of the answers that are kept as records.
pub const ANSWERS: &str = "answer";

/// The record of an answer to a form that keeps them: by run and visit, so that no other run and no later visit has it.
fn kept(form: &str, member: &str, visit: &Visit, answer: &Value, actor: &Actor, at: DateTime<Utc>) -> NewRecord {
    let (frame, number) = (visit.frame(), visit.number());
    NewRecord {
        collection: ANSWERS.to_owned(),
        key: format!("{member}/{frame}/{number}"),
        body: json!({
            "form": form, "run": member, "frame": frame, "visit": number, "answer": answer, "actor": actor, "at": at,
        }),
    }
}

impl Service {
    /// Folds what a person did into a run.
    async fn act(
        &self,
        run: &str,
        kind: EventKind,
        seen: Option<Vec<u64>>,
        once: Option<&Once>,
        records: Vec<NewRecord>,
    ) -> Result<(), MoveError> {
        let core = Arc::clone(&self.core);
        let run = run.to_owned();
        let happening = Happening { seen, once: once.cloned().map(Into::into), records, ..Happening::from(kind) };
        self.core.apart(async move { core.happen(&run, happening).await.map(|_| ()) }).await?
    }

    /// Does a verb on the run itself, once.
    async fn act_on_run(&self, run: &str, kind: EventKind, by: By, request: &Value) -> Result<RunView, ServiceError> {
        self.authorize(&by.actor, Act::Steer)?;
        let once = by.once(request);
        if let Some(done) = self.changed_before(run, once.as_ref()).await? {
            return Ok(done);
        }
        match self.act(run, kind, by.if_match, once.as_ref(), Vec::new()).await {
            Ok(()) => self.run(run).await,
            Err(error) => match self.was_first(run, once.as_ref(), &error).await? {
                Some(done) => Ok(done),
                None => Err(self.unmoved(run, error).await),
            },
        }
    }

    /// Does a verb on a frame of the run, or of one that it has started, once.
    async fn act_on_frame(
        &self,
        run: &str,
        visit: &Visit,
        kind: EventKind,
        by: By,
        once: Option<Once>,
        records: impl FnOnce(&str) -> Vec<NewRecord>,
    ) -> Result<RunView, ServiceError> {
        let Some(member) = self.member(run, visit).await? else { return Err(self.over(run, visit).await) };
        let seen = if member == run {
            by.if_match
        } else {
            self.expect_seen(run, &by).await?;
            None
        };
        match self.act(&member, kind, seen, once.as_ref(), records(&member)).await {
            Ok(()) => self.run(run).await,
            Err(error) => match self.was_first(run, once.as_ref(), &error).await? {
                Some(done) => Ok(done),
                None => Err(self.unmoved_at(run, visit, error).await),
            },
        }
    }

    /// Of the same request that came twice at once, one was the first, and the other has its answer.
    async fn was_first(
        &self,
        run: &str,
        once: Option<&Once>,
        error: &MoveError,
    ) -> Result<Option<RunView>, ServiceError> {
        match error {
            MoveError::Unseen { .. }
            | MoveError::Rejected(_)
            | MoveError::Store(StoreError::AlreadyStarted { .. } | StoreError::KeyReused { .. }) => {
                self.changed_before(run, once).await
            }
            MoveError::Store(_) => Ok(None),
        }
    }

    /// The run of a visit: the run itself, or an open one that it has started.
    async fn member(&self, run: &str, visit: &Visit) -> Result<Option<String>, ServiceError> {
        if visit.is_of(run) {
            return Ok(Some(run.to_owned()));
        }
        let family = self.of_family(run, |_| async { Ok(()) }).await?;
        Ok(family.into_iter().map(|(member, ())| member).find(|member| visit.is_of(member)))
    }

    /// What `read` says of the run and of all that it has started and that are still open, itself first. A generation at a time, all
    /// that is to be read of it at once: a person waits.
    pub(super) async fn of_family<T, F>(
        &self,
        run: &str,
        read: impl Fn(String) -> F,
    ) -> Result<Vec<(String, T)>, StoreError>
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

    /// Answers the form of that name which is open at the visit, in the run or in an open one that it has started.
    ///
    /// # Errors
    /// `visit-over` (says where the frame stands now), `form-not-open` (another one is open there), `answer-invalid` (the findings
    /// are the details), `wrong-role`.
    pub async fn answer(
        &self,
        run: &str,
        form: &str,
        visit: &Visit,
        answer: Value,
        by: impl Into<By>,
    ) -> Result<RunView, ServiceError> {
        let by = by.into();
        if let Some(role) = self.core.forms.role(form) {
            self.authorize(&by.actor, Act::Answer { form, role: &role })?;
        }
        let once = by.once(&json!(["answer", run, form, visit, answer]));
        if let Some(done) = self.changed_before(run, once.as_ref()).await? {
            return Ok(done);
        }
        // The run that is looked at stays at hand for the act.
        let enterprise = async {
            let id = self.core.look(run, |snapshot| Some(snapshot.header.enterprise.clone())).await?;
            self.enterprise(&id.unwrap_or_default()).await
        };
        let (input, enterprise) = try_join(self.input_of(run, form, visit), enterprise).await?;
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
        let (at, actor, given) = (context.now, by.actor.clone(), answer.clone());
        let records = |member: &str| keeps.then(|| kept(form, member, visit, &given, &actor, at)).into_iter().collect();
        let kind = EventKind::FormAnswered {
            frame: visit.frame(),
            visit: visit.number(),
            answer: Payload::from(answer),
            actor: by.actor.clone(),
        };
        self.act_on_frame(run, visit, kind, by, once, records).await
    }

    /// What the open form of that name was given, for the person who is to answer it: findings about an earlier answer, for
    /// example.
    ///
    /// # Errors
    /// `form-not-open`, as for [`Service::open_form`].
    pub async fn form_input(&self, run: &str, form: &str) -> Result<Value, ServiceError> {
        Ok(self.open_form(run, form).await?.input)
    }

    /// The open form of that name, in the run or in an open one that it has started.
    ///
    /// # Errors
    /// `form-not-open` (says what the run waits for); `form-ambiguous`: it is open more than once.
    pub async fn open_form(&self, run: &str, form: &str) -> Result<OpenForm, ServiceError> {
        let mut found = self.open_forms(run).await?;
        found.retain(|(name, _)| name == form);
        if found.len() > 1 {
            let places: Vec<Value> = found.iter().map(|(_, open)| json!({ "visit": open.visit })).collect();
            let message = format!("the form {form} is open {} times in run {run}: say at which visit", found.len());
            return Err(ServiceError::new(ErrorKind::Conflict, "form-ambiguous", message).with(Value::Array(places)));
        }
        match found.pop() {
            Some((_, open)) => Ok(open),
            None => Err(self.not_open(run, form).await),
        }
    }

    async fn not_open(&self, run: &str, form: &str) -> ServiceError {
        match self.run(run).await {
            Ok(view) => {
                let message = format!("the form {form} is not open: the run {}", view.summary);
                ServiceError::new(ErrorKind::Conflict, "form-not-open", message)
            }
            Err(error) => error,
        }
    }

    /// The forms that are open in the run and in those that it has started, by name.
    async fn open_forms(&self, run: &str) -> Result<Vec<(String, OpenForm)>, ServiceError> {
        let store = &self.core.store;
        let mut found = Vec::new();
        for (member, work) in self.of_family(run, |run| async move { store.work(&run).await }).await? {
            for work in work.into_iter().filter(|work| work.kind == WorkKind::Form) {
                let frame = FrameId::try_from(work.frame).unwrap_or(0);
                let visit = Visit::of(&member, frame, work.visit);
                found.push((work.name, OpenForm { visit, input: work.input.into_value() }));
            }
        }
        Ok(found)
    }

    /// What the form that is open at a visit was given.
    async fn input_of(&self, run: &str, form: &str, visit: &Visit) -> Result<Value, ServiceError> {
        match self.open_forms(run).await?.into_iter().find(|(_, open)| open.visit == *visit) {
            Some((name, open)) if name == form => Ok(open.input),
            Some(_) => Err(self.not_open(run, form).await),
            None => Err(self.over(run, visit).await),
        }
    }

    /// Tries a frame in attention again, with another input if one is given.
    ///
    /// # Errors
    /// `visit-over` (says where the frame stands now), `not-possible-now`, `wrong-role`.
    pub async fn retry(
        &self,
        run: &str,
        visit: &Visit,
        input: Option<Value>,
        by: impl Into<By>,
        reason: &str,
    ) -> Result<RunView, ServiceError> {
        let by = by.into();
        let request = json!(["retry", run, visit, input, reason]);
        let kind = EventKind::Retried {
            frame: visit.frame(),
            visit: visit.number(),
            input: input.map(Payload::from),
            actor: by.actor.clone(),
            reason: reason.to_owned(),
        };
        self.mend(run, visit, kind, by, &request).await
    }

    /// Lets a frame in attention go on as if its state had succeeded with `output`.
    ///
    /// # Errors
    /// As for [`Service::retry`].
    pub async fn skip(
        &self,
        run: &str,
        visit: &Visit,
        output: Option<Value>,
        by: impl Into<By>,
        reason: &str,
    ) -> Result<RunView, ServiceError> {
        let by = by.into();
        let request = json!(["skip", run, visit, output, reason]);
        let kind = EventKind::Skipped {
            frame: visit.frame(),
            visit: visit.number(),
            output: output.map(Payload::from),
            actor: by.actor.clone(),
            reason: reason.to_owned(),
        };
        self.mend(run, visit, kind, by, &request).await
    }

    async fn mend(
        &self,
        run: &str,
        visit: &Visit,
        kind: EventKind,
        by: By,
        request: &Value,
    ) -> Result<RunView, ServiceError> {
        self.authorize(&by.actor, Act::Steer)?;
        let once = by.once(request);
        match self.changed_before(run, once.as_ref()).await? {
            Some(done) => Ok(done),
            None => self.act_on_frame(run, visit, kind, by, once, |_| Vec::new()).await,
        }
    }

    /// Lets nothing new of the run and of those that it has started be claimed; what runs may end.
    ///
    /// # Errors
    /// The run is paused or has ended; `revision-changed` (says how it stands now); `wrong-role`; it puts systems back.
    pub async fn pause(&self, run: &str, by: impl Into<By>, reason: &str) -> Result<RunView, ServiceError> {
        self.may_not_stop(run, "paused").await?;
        let (by, request) = (by.into(), json!(["pause", run, reason]));
        let kind = EventKind::Paused { actor: by.actor.clone(), reason: reason.to_owned() };
        self.act_on_run(run, kind, by, &request).await
    }

    /// # Errors
    /// The run is not paused or has ended; as for [`Service::pause`].
    pub async fn resume(&self, run: &str, by: impl Into<By>, reason: &str) -> Result<RunView, ServiceError> {
        let (by, request) = (by.into(), json!(["resume", run, reason]));
        let kind = EventKind::Resumed { actor: by.actor.clone(), reason: reason.to_owned() };
        self.act_on_run(run, kind, by, &request).await
    }

    /// Ends the run and those that it has started.
    ///
    /// # Errors
    /// The run has ended; as for [`Service::pause`].
    pub async fn cancel(&self, run: &str, by: impl Into<By>, reason: &str) -> Result<RunView, ServiceError> {
        self.may_not_stop(run, "cancelled").await?;
        let (by, request) = (by.into(), json!(["cancel", run, reason]));
        let kind = EventKind::Cancelled { actor: by.actor.clone(), reason: reason.to_owned() };
        self.act_on_run(run, kind, by, &request).await
    }
}

//! The steps of the simulated worlds: each looks, does at most one thing, and may be cut off anywhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    cloud::{Attempt, Place, Refusal},
    hub::{Hub, Life, SECOND, To, Told},
    site::Site,
    world::Bug,
};
use crate::worker::{OUTAGES, Outage, OutageState, Progress, Record, Registry, Served, Step, StepContext, StepError};

/// What the steps of one life of a process share.
pub(super) struct Hands {
    pub(super) hub: Arc<Hub>,
    pub(super) life: Life,
    pub(super) bug: Option<Bug>,
    pub(super) running: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Finds the data systems.
    List,
    /// Copies a data system, or makes something else.
    Make,
    Verify,
    Purge,
    /// Fails, waits, saves its progress, or just ends.
    Moody,
    /// Takes a system out of service, brings it back, brings back what others have left.
    Plan,
    Serve,
    Bring,
    /// Works for long and shows that it lives.
    Long,
}

struct Code {
    name: &'static str,
    kind: Kind,
    hands: Arc<Hands>,
}

pub(super) fn registry(hands: &Arc<Hands>) -> Registry {
    let mut registry = Registry::new();
    for (name, kind) in [
        ("list", Kind::List),
        ("make", Kind::Make),
        ("verify", Kind::Verify),
        ("purge", Kind::Purge),
        ("moody", Kind::Moody),
        ("plan", Kind::Plan),
        ("serve", Kind::Serve),
        ("bring", Kind::Bring),
        ("long", Kind::Long),
        // What the random definitions call.
        ("s", Kind::Make),
        ("t", Kind::Moody),
    ] {
        registry.add(Arc::new(Code { name, kind, hands: Arc::clone(hands) }));
    }
    registry
}

/// Counts for as long as a step runs, however it ends.
struct Counted<'a>(&'a Hands);

impl<'a> Counted<'a> {
    fn new(hands: &'a Hands) -> Self {
        let now = hands.running.fetch_add(1, Ordering::SeqCst) + 1;
        hands.hub.tell(Told::Running { process: hands.life.process, now });
        Self(hands)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Step for Code {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        let _counted = Counted::new(&self.hands);
        self.hands.hub.meet("steps");
        match self.kind {
            Kind::List => self.list(context).await,
            Kind::Make => self.make(context, &input).await,
            Kind::Verify => self.verify(context, &input).await,
            Kind::Purge => self.purge(context, &input).await,
            Kind::Moody => self.moody(context, input).await,
            Kind::Plan => Ok(self.plan(context, &input)),
            Kind::Serve => self.serve(context, &input).await,
            Kind::Bring => self.bring(context, &input).await,
            Kind::Long => self.long(context, input).await,
        }
    }
}

fn throttled() -> StepError {
    StepError::new("Keyferry.Throttled", "the cloud asks for patience")
}

impl Code {
    async fn ask<T: Send + 'static>(
        &self,
        kind: &'static str,
        by: Option<Attempt>,
        act: impl FnOnce(&mut Site, i64) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let hub = Arc::clone(&self.hands.hub);
        let act = move |site: &mut Site| {
            let answer = act(site, hub.now());
            site.checker.cloud(&site.store.tables(), &site.cloud, by.as_ref());
            answer
        };
        self.hands.hub.call(self.hands.life, To::Cloud, kind, act, |_| Err(Refusal::Throttled)).await
    }

    fn attempt(&self, context: &StepContext) -> Attempt {
        let place = Place { run: context.run.clone(), state: context.state.clone(), frame: context.frame };
        let more = u32::from(self.hands.bug == Some(Bug::ActsUnclaimed));
        Attempt { place, visit: context.visit, attempt: context.attempt + more }
    }

    async fn list(&self, context: &StepContext) -> Result<Progress, StepError> {
        let run = context.run.clone();
        let found = self.ask("list", None, move |site, _| Ok(site.cloud.inventory(&run, 2))).await;
        let found = found.map_err(|_| throttled())?;
        let records = vec![Record { collection: "inventory", key: context.run.clone(), body: json!(found.len()) }];
        let systems: Vec<Value> = found.into_iter().map(|system| json!({ "system": system })).collect();
        Ok(Progress::recorded(json!(systems), records))
    }

    async fn make(&self, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
        let by = self.attempt(context);
        let mut name = format!("{}-{}-{}", context.run, context.state, context.frame);
        if self.hands.bug == Some(Bug::NamesByAttempt) {
            name = format!("{name}-{}", context.attempt);
        }
        let looked = name.clone();
        let seen = self.ask("describe", None, move |site, _| Ok(site.cloud.describe(&looked))).await;
        let object = match seen.map_err(|_| throttled())? {
            Some(object) => {
                self.hands.hub.meet("adopted");
                object
            }
            None => {
                let of = input.get("system").and_then(Value::as_str).map(str::to_owned);
                let takes = i64::try_from(self.hands.hub.below(25)).unwrap_or(0) * SECOND;
                let (made, maker) = (name.clone(), by.clone());
                let act = move |site: &mut Site, now| site.cloud.create(&maker, &made, of, now + takes);
                match self.ask("create", Some(by.clone()), act).await {
                    Ok(object) => object,
                    // Whether it is there is looked up by the next try.
                    Err(Refusal::Throttled | Refusal::Missing) => return Err(throttled()),
                    Err(Refusal::Exists) => {
                        self.hands.hub.meet("came second");
                        return Err(throttled());
                    }
                }
            }
        };
        if object.owner != by.place {
            return Err(StepError::new("Keyferry.Foreign", format!("{name} is not ours")));
        }
        if object.ready_at > self.hands.hub.now() {
            self.save(context).await?;
            return Ok(Progress::Pending {
                poll_after: Duration::from_secs(5),
                checkpoint: counted(context, 2),
                waiting_for: "the cloud copies".to_owned(),
            });
        }
        let mut output = json!({ "made": name });
        if let Some(system) = input.get("system") {
            output["system"] = system.clone();
        }
        Ok(Progress::done(output))
    }

    async fn verify(&self, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
        let by = self.attempt(context);
        let name = input.get("made").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (verifier, verified) = (by.clone(), name.clone());
        let skips = self.hands.bug == Some(Bug::SkipsVerification);
        let act = move |site: &mut Site, now| {
            if skips {
                return Ok(());
            }
            site.cloud.verify(&verifier, &verified, now)
        };
        match self.ask("verify", Some(by), act).await {
            Ok(()) => Ok(Progress::done(json!({ "system": input.get("system"), "made": name }))),
            Err(Refusal::Missing) => Err(StepError::new("Keyferry.NotReady", format!("{name} is not there"))),
            Err(Refusal::Throttled | Refusal::Exists) => Err(throttled()),
        }
    }

    async fn purge(&self, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
        let by = self.attempt(context);
        let system = input.get("system").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (purger, purged) = (by.clone(), system.clone());
        if self.hands.bug != Some(Bug::SkipsVerification) {
            // The last look before what cannot be taken back.
            let looked = system.clone();
            let copy = self.ask("describe", None, move |site, _| Ok(site.cloud.copy_of(&looked))).await;
            if !copy.map_err(|_| throttled())?.is_some_and(|(_, copy)| copy.verified) {
                return Err(StepError::new("Keyferry.NotVerified", format!("{system} has no verified copy")));
            }
        }
        let act = move |site: &mut Site, _| site.cloud.delete(&purger, &purged);
        self.ask("delete", Some(by), act).await.map_err(|_| throttled())?;
        Ok(Progress::done(json!({ "purged": system })))
    }

    fn plan(&self, context: &StepContext, input: &Value) -> Progress {
        let system = input.get("system").and_then(Value::as_str).unwrap_or_default();
        let now = context.now();
        let outage = Outage {
            run: context.run.clone(),
            frame: context.frame,
            system: system.to_owned(),
            region: "here".to_owned(),
            resource_id: format!("{}-{system}", context.run),
            old: format!("{system}-old"),
            state: OutageState::Planned,
            since: now,
            cutoff: now + chrono::TimeDelta::hours(7),
            end: now + chrono::TimeDelta::hours(8),
            input: Value::Null,
            served: None,
            ended_at: None,
        };
        self.hands.hub.meet("out of service");
        Progress::recorded(json!({}), vec![record(&outage)])
    }

    async fn serve(&self, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
        let system = input.get("system").and_then(Value::as_str).unwrap_or_default();
        let found = context.record(OUTAGES, &format!("{}-{system}", context.run)).await?;
        let found = found.and_then(|body| serde_json::from_value::<Outage>(body).ok());
        let ended = found.map(|outage| record(&outage.ended(Served::Migrated, context.now())));
        Ok(Progress::recorded(json!({}), ended.into_iter().collect()))
    }

    async fn bring(&self, context: &StepContext, input: &Value) -> Result<Progress, StepError> {
        let run = input.get("run").and_then(Value::as_str).unwrap_or_default();
        if context.is_open(run).await? {
            return Ok(Progress::Pending {
                poll_after: Duration::from_secs(1),
                checkpoint: Value::Null,
                waiting_for: "the end of the run".to_owned(),
            });
        }
        let mut ended = Vec::new();
        for body in context.records(OUTAGES).await?.into_values() {
            let Ok(outage) = serde_json::from_value::<Outage>(body) else { continue };
            if outage.is_open() && !context.is_open(&outage.run).await? {
                self.hands.hub.meet("brought back");
                ended.push(record(&outage.ended(Served::Kept, context.now())));
            }
        }
        Ok(Progress::recorded(json!({}), ended))
    }

    async fn moody(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        let hub = &self.hands.hub;
        let moods = hub.weather().moods;
        if hub.below(1_000) < moods {
            match hub.below(8) {
                0 | 1 => return Err(StepError::new("E", "a mood")),
                2 => return Err(StepError::new("F", self.cause(&input))),
                3 | 4 => {
                    return Ok(Progress::Pending {
                        poll_after: Duration::from_secs(3),
                        checkpoint: counted(context, 1),
                        waiting_for: "a mood".to_owned(),
                    });
                }
                // A panic without its message on the terminal.
                5 => std::panic::resume_unwind(Box::new("a mood")),
                _ => {}
            }
        }
        if hub.below(3) == 0 {
            self.save(context).await?;
        }
        Ok(Progress::done(json!({ "n": 1, "items": [1, 2], "was": input.get("n") })))
    }

    fn cause(&self, input: &Value) -> String {
        if self.hands.bug == Some(Bug::TellsSecrets) {
            return format!("a mood about {input}");
        }
        "another mood".to_owned()
    }

    async fn long(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        for _ in 0..8 {
            let after = i64::try_from(self.hands.hub.below(7)).unwrap_or(0) * SECOND;
            self.hands.hub.sleep(self.hands.life, after).await;
            context.heartbeat().await?;
            // Two words of one piece of work may share a flush: this one and a renewal.
            self.save(context).await?;
        }
        Ok(Progress::done(input))
    }

    /// Saves a checkpoint that counts, and tells that it was saved.
    async fn save(&self, context: &StepContext) -> Result<(), StepError> {
        let hub = &self.hands.hub;
        let checkpoint = counted(context, 1);
        let count = checkpoint.get("count").and_then(Value::as_u64).unwrap_or(0);
        context.save_checkpoint(checkpoint).await?;
        hub.meet("checkpoints");
        hub.tell(Told::Saved { run: context.run.clone(), frame: context.frame, visit: context.visit, count });
        Ok(())
    }
}

fn counted(context: &StepContext, more: u64) -> Value {
    let saved = context.checkpoint.as_ref().and_then(|checkpoint| checkpoint.get("count")).and_then(Value::as_u64);
    json!({ "count": saved.unwrap_or(0) + more })
}

fn record(outage: &Outage) -> Record {
    Record { collection: OUTAGES, key: outage.resource_id.clone(), body: json!(outage) }
}

//! What both calls of an import share: which keys wait for material, and what the run is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    again::Reimport,
    refusal::{Refusal, RefusalKind},
    session::{KeyMaterial, Realm, Target},
    vault::current_material,
};
use crate::{
    aws::{Aws, Failure},
    config::Config,
    engine::Actor,
    worker::{Clock, ErrorKind, RecordPut, RunFilter, RunView, Service, ServiceError, StoredRecord},
};

/// The form that the import answers.
pub const FORM: &str = "key-import";
/// For so long after an import KMS may still show the key without it.
const SPREADING: TimeDelta = TimeDelta::minutes(5);
/// Tries to tell a run that others are moving too.
const TELLS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Where an enterprise's keys are.
#[derive(Clone)]
pub struct Cloud {
    pub aws: Arc<Aws>,
    /// How many of its seconds pass in one of keyferry's: 1 for AWS.
    pub speed: f64,
}

/// The cloud of an enterprise, by its identifier.
pub type Clouds = Arc<dyn Fn(&str) -> Cloud + Send + Sync>;

/// What a desk is made of.
pub struct DeskOptions {
    pub service: Service,
    pub clock: Arc<dyn Clock>,
    pub config: Arc<Config>,
    pub realm: Realm,
    pub clouds: Clouds,
    /// Uploads that KMS refuses are answered at a multiple of this, so that the time tells nothing of the reason.
    pub floor: Duration,
}

/// Takes imports; a clone is another handle.
#[derive(Clone)]
pub struct Desk(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub service: Service,
    pub clock: Arc<dyn Clock>,
    pub config: Arc<Config>,
    pub realm: Realm,
    pub clouds: Clouds,
    pub floor: Duration,
    /// This process, in the sessions that it relays.
    pub owner: String,
    /// Sessions, by token hash, that a task of this process relays now.
    pub in_flight: Mutex<BTreeSet<String>>,
    /// Held while a new round of the test environment is begun.
    pub round: tokio::sync::Mutex<()>,
}

/// The keys of an import that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The run that waits; none in the test environment.
    pub run: Option<String>,
    pub targets: Vec<Target>,
    /// None for the keys' first material.
    pub reimport: Option<Reimport>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("realm", &self.0.realm).finish_non_exhaustive()
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        let kind = match error.kind {
            ErrorKind::Unavailable => RefusalKind::Unavailable,
            ErrorKind::Invalid => RefusalKind::Invalid,
            ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Moved
            | ErrorKind::Forbidden
            | ErrorKind::Refused => RefusalKind::Conflict,
        };
        Self::new(kind, error.code, error.message)
    }
}

/// A body as its type; one that is not is damage, which the log names.
pub(super) fn body<T: for<'a> Deserialize<'a>>(record: &StoredRecord) -> Result<T, Refusal> {
    T::deserialize(&record.body).map_err(|error| {
        tracing::error!(record.collection = record.collection, error = %error, "a record cannot be read");
        Refusal::not_possible_now()
    })
}

impl Desk {
    pub fn new(options: DeskOptions) -> Self {
        let DeskOptions { service, clock, config, realm, clouds, floor } = options;
        let owner = clock.new_id();
        let (in_flight, round) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { service, clock, config, realm, clouds, floor, owner, in_flight, round }))
    }

    pub fn realm(&self) -> Realm {
        self.0.realm
    }

    pub(super) fn cloud(&self, enterprise: &str) -> Cloud {
        (self.0.clouds)(enterprise)
    }

    pub(super) async fn kms(&self, cloud: &Cloud, region: &str) -> Result<aws_sdk_kms::Client, Refusal> {
        cloud.aws.kms(region).await.map_err(|error| {
            tracing::error!(error = error.error, cause = error.cause, "key import: no KMS client");
            Refusal::not_possible_now()
        })
    }

    /// What AWS failed at, as the customer hears it; the cause goes to the log.
    pub(super) fn failed(&self, failure: &Failure) -> Refusal {
        if failure.error == "Keyferry.Throttled" {
            return Refusal::too_many_requests(4);
        }
        tracing::warn!(error = failure.error, cause = failure.cause, "key import: AWS failed");
        // Production's keys are in one cloud, and nobody deletes them.
        if self.0.realm == Realm::Test && failure.not_found() {
            return Refusal::test_environment_elsewhere();
        }
        if failure.transient() { Refusal::kms_unavailable() } else { Refusal::not_possible_now() }
    }

    /// The time by which KMS's own times are read.
    pub(super) fn cloud_now(&self, cloud: &Cloud) -> DateTime<Utc> {
        cloud.aws.time().unwrap_or_else(|| self.0.clock.now())
    }

    pub(super) fn put(&self, enterprise: &str, collection: &str, key: &str, expected: u64, body: Value) -> RecordPut {
        RecordPut {
            enterprise: enterprise.to_owned(),
            collection: collection.to_owned(),
            key: key.to_owned(),
            expected,
            body,
            at: self.0.clock.now(),
        }
    }

    /// The keys that an open import is for.
    ///
    /// # Errors
    /// No import is open: says what the onboarding waits for.
    pub(super) async fn place(&self, enterprise: &str) -> Result<Place, Refusal> {
        match self.0.realm {
            Realm::Test => self.round(enterprise).await,
            Realm::Production => self.waiting_run(enterprise).await,
        }
    }

    /// The same without beginning anything; none if no import is open.
    pub(super) async fn open_place(&self, enterprise: &str) -> Result<Option<Place>, Refusal> {
        match self.0.realm {
            Realm::Test => Ok(self.current_round(enterprise).await?.map(|(round, _)| round.place())),
            Realm::Production => match self.waiting_run(enterprise).await {
                Ok(place) => Ok(Some(place)),
                Err(refusal) if refusal.code == "import-not-open" => Ok(None),
                Err(refusal) => Err(refusal),
            },
        }
    }

    /// The import that a session was opened in; none once it is closed.
    pub(super) async fn place_of(&self, enterprise: &str, run: Option<&str>) -> Result<Option<Place>, Refusal> {
        let Some(run) = run else { return self.open_place(enterprise).await };
        match self.targets_of(run.to_owned()).await {
            Ok(place) => Ok(Some(place)),
            Err(refusal) if refusal.code == "form-not-open" => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The run that waits for an import: a custody drill only when no other does.
    pub(super) async fn waiting_run(&self, enterprise: &str) -> Result<Place, Refusal> {
        let (places, open) = self.waiting(enterprise).await?;
        let is_drill = |place: &Place| place.reimport.as_ref().is_some_and(|reimport| reimport.drill);
        let needed = places.iter().position(|place| !is_drill(place)).unwrap_or(0);
        if let Some(place) = places.into_iter().nth(needed) {
            return Ok(place);
        }
        Err(Refusal::import_not_open(match open {
            Some(run) => format!("the run {} {}", run.workflow, run.summary),
            None => format!("no onboarding of {enterprise} is open; your onboarding engineer starts it"),
        }))
    }

    /// Every import that a run waits for, the newest run's first; and an open run that waits for none.
    pub(super) async fn waiting(&self, enterprise: &str) -> Result<(Vec<Place>, Option<RunView>), Refusal> {
        let mut places = Vec::new();
        let mut open: Option<RunView> = None;
        let mut cursor = None;
        loop {
            let filter = RunFilter { enterprise: Some(enterprise.to_owned()), cursor, ..RunFilter::default() };
            let page = self.0.service.runs(filter).await?;
            for run in page.items.into_iter().filter(|run| run.ended_at.is_none() && run.parent.is_none()) {
                if !run.waiting_for.iter().any(|wait| wait.form.as_deref() == Some(FORM)) {
                    open.get_or_insert(run);
                    continue;
                }
                match self.targets_of(run.id).await {
                    Ok(place) => places.push(place),
                    // It has gone on since it was read.
                    Err(refusal) if refusal.code == "form-not-open" => {}
                    Err(refusal) => return Err(refusal),
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok((places, open));
            }
        }
    }

    async fn targets_of(&self, run: String) -> Result<Place, Refusal> {
        #[derive(Deserialize)]
        struct Given {
            keys: Vec<Target>,
            #[serde(default)]
            reimport: Option<Reimport>,
        }
        let given = self.0.service.form_input(&run, FORM).await?;
        match Given::deserialize(given) {
            Ok(Given { keys, reimport }) => Ok(Place { run: Some(run), targets: keys, reimport }),
            Err(error) => {
                tracing::error!(run.id = run, error = %error, "the form key-import was given no keys");
                Err(Refusal::not_possible_now())
            }
        }
    }

    /// Everything that is known to have been imported, by the key's ARN.
    pub(super) async fn materials(
        &self,
        enterprise: &str,
        realm: Realm,
    ) -> Result<BTreeMap<String, KeyMaterial>, Refusal> {
        let mut all = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = self.0.service.records(enterprise, realm.materials(), 200, cursor).await?;
            for record in &page.items {
                all.insert(record.key.clone(), body(record)?);
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// The targets without material, in their order. KMS decides; what it holds and nobody wrote down is written down now. Of a
    /// re-import, the evidence decides.
    pub(super) async fn lacking(&self, enterprise: &str, place: &Place) -> Result<Vec<Target>, Refusal> {
        let cloud = self.cloud(enterprise);
        let known = self.materials(enterprise, self.0.realm).await?;
        if let Some(reimport) = &place.reimport {
            let proven = |target: &&Target| {
                known.get(&target.arn).is_some_and(|evidence| evidence.is_proven_since(reimport.since))
            };
            return Ok(place.targets.iter().filter(|target| !proven(target)).cloned().collect());
        }
        let looks = place.targets.iter().map(|target| {
            let (cloud, known) = (&cloud, &known);
            async move {
                let evidence = known.get(&target.arn);
                if evidence.is_some_and(|evidence| self.0.clock.now() - evidence.at < SPREADING) {
                    return Ok(true);
                }
                let kms = self.kms(cloud, &target.region).await?;
                let held = current_material(&kms, &target.arn).await.map_err(|failure| self.failed(&failure))?;
                if let (Some(held), None) = (&held, evidence) {
                    self.note_found(enterprise, place, target, held).await?;
                }
                Ok::<bool, Refusal>(held.is_some())
            }
        });
        let held = try_join_all(looks).await?;
        Ok(place.targets.iter().zip(held).filter(|(_, held)| !held).map(|(target, _)| target.clone()).collect())
    }

    async fn note_found(&self, enterprise: &str, place: &Place, target: &Target, held: &str) -> Result<(), Refusal> {
        let evidence = KeyMaterial {
            target: target.clone(),
            key_material_id: held.to_owned(),
            run: place.run.clone(),
            import: None,
            imported_by: String::new(),
            at: self.0.clock.now(),
        };
        let put = self.put(enterprise, self.0.realm.materials(), &target.arn, 0, json!(evidence));
        match self.0.service.put_records(vec![put]).await {
            Err(error) if error.code != "record-changed" => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Answers the run's form. A run that has gone on needs no answer; one that cannot be told now is told by the next call, or
    /// looks by itself when its wait is over.
    pub(super) async fn tell(&self, run: &str, answer: &Value, actor: &Actor) {
        for _ in 0..TELLS {
            match self.answer(run, answer, actor).await {
                Ok(_) => return,
                Err(error) if error.kind == ErrorKind::Conflict => {
                    let over = match self.0.service.run(run).await {
                        Ok(view) => {
                            let moves =
                                !view.working_in.is_empty() || view.waiting_for.iter().any(|wait| wait.on == "worker");
                            view.ended_at.is_some() || moves
                        }
                        Err(_) => false,
                    };
                    if over && error.code == "form-not-open" {
                        return;
                    }
                }
                Err(error) => tracing::warn!(run.id = run, error = %error, "key import: the run could not be told"),
            }
            self.0.clock.sleep(PAUSE).await;
        }
        tracing::warn!(run.id = run, "key import: the run could not be told");
    }

    /// Answers the form as it stands now: what was imported holds for any visit of it.
    async fn answer(&self, run: &str, answer: &Value, actor: &Actor) -> Result<RunView, ServiceError> {
        let open = self.0.service.open_form(run, FORM).await?;
        self.0.service.answer(run, FORM, &open.visit, answer.clone(), actor.clone()).await
    }

    /// Lets the run go on once nothing is lacking.
    pub(super) async fn complete(&self, enterprise: &str, place: &Place) -> Result<(), Refusal> {
        let Some(run) = &place.run else { return Ok(()) };
        let materials = self.materials(enterprise, self.0.realm).await?;
        let imported: Vec<&KeyMaterial> =
            place.targets.iter().filter_map(|target| materials.get(&target.arn)).collect();
        let answer = json!({ "state": "imported", "materials": imported });
        let actor = Actor { name: "key import".to_owned(), role: "system".to_owned() };
        self.tell(run, &answer, &actor).await;
        Ok(())
    }

    pub(super) fn in_flight(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The regions of these targets, each once, in their order.
pub(super) fn regions(targets: &[Target]) -> Vec<String> {
    let mut regions: Vec<String> = Vec::new();
    for target in targets {
        if !regions.contains(&target.region) {
            regions.push(target.region.clone());
        }
    }
    regions
}

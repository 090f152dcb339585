//! The second call: the ciphertext goes to KMS, once for each token.
//!
//! A session is taken by compare-and-set before anything is sent, and done in the same transaction as its evidence after. A
//! process that dies in between leaves a session that says so; whoever comes next looks at the key in KMS, which holds the
//! material or does not. KMS itself takes no other material into a key that has one, so no order of events imports two. Of a
//! re-import the key tells nothing, since it may have held the material all along: that upload is sent once more.

use aws_sdk_kms::{
    primitives::Blob,
    types::{ExpirationModelType, ImportType},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use fail::fail_point;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    desk::{Cloud, Desk, body, regions},
    refusal::{Refusal, Terms},
    session::{KeyMaterial, MOST_FAILURES, RELAY, Realm, Session, SessionState, digest},
    upload::Part,
    vault::current_material,
};
use crate::aws::{Failure, failure};

/// An upload.
#[derive(Debug)]
pub struct Uploaded {
    pub enterprise: String,
    /// The caller, as histories name them.
    pub by: String,
    pub parts: Vec<Part>,
}

/// Material that is in its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    pub status: &'static str,
    /// The import's.
    pub id: String,
    pub region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The key's ARN.
    pub key_id: String,
    pub key_material_id: String,
}

/// The answer: the first part by itself, and all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    #[serde(flatten)]
    pub first: Imported,
    /// Regions that still lack material.
    pub remaining: Vec<String>,
    pub results: Vec<Imported>,
}

/// A part whose token is known.
struct Admitted {
    part: Part,
    /// SHA-256 of the token: the session's key.
    key: String,
    session: Session,
    version: u64,
    /// SHA-256 of the ciphertext.
    upload: String,
}

impl Admitted {
    /// This very upload was imported before.
    fn repeats(&self) -> bool {
        matches!(&self.session.state, SessionState::Done { upload, .. } if *upload == self.upload)
    }
}

/// A session among those that a task of this process relays. It leaves them with the value: after a panic too, or the token
/// would be busy for as long as the process lives.
struct InFlight<'a> {
    desk: &'a Desk,
    key: String,
}

impl<'a> InFlight<'a> {
    fn enter(desk: &'a Desk, key: &str) -> Result<Self, Refusal> {
        if desk.in_flight().insert(key.to_owned()) {
            Ok(Self { desk, key: key.to_owned() })
        } else {
            Err(Refusal::import_in_progress(1))
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.desk.in_flight().remove(&self.key);
    }
}

fn imported(session: &Session, key_material_id: &str) -> Imported {
    Imported {
        status: "imported",
        id: session.id.clone(),
        region: session.target.region.clone(),
        instance: session.target.instance.clone(),
        key_id: session.target.arn.clone(),
        key_material_id: key_material_id.to_owned(),
    }
}

impl Desk {
    /// Relays an upload. Everything that can be seen to be wrong is found before anything is sent. It runs to its end even if
    /// its caller goes away.
    ///
    /// # Errors
    /// What the customer has to do. With several parts some may have been imported: the member `results` says which.
    pub async fn import(&self, uploaded: Uploaded) -> Result<Receipt, Refusal> {
        let desk = self.clone();
        match tokio::spawn(async move { desk.import_here(uploaded).await }).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // The panic's own message could hold anything: it is not repeated.
                tracing::error!(panicked = error.is_panic(), "key import: an upload was cut off");
                Err(Refusal::kms_unavailable())
            }
        }
    }

    async fn import_here(&self, uploaded: Uploaded) -> Result<Receipt, Refusal> {
        let began = self.0.clock.now();
        let Uploaded { enterprise, by, parts } = uploaded;
        let cloud = self.cloud(&enterprise);
        let mut admitted = Vec::with_capacity(parts.len());
        for part in parts {
            admitted.push(self.admit(&enterprise, &cloud, part).await?);
        }
        if admitted.iter().all(Admitted::repeats)
            && let Some(first) = admitted.first()
        {
            // A process that died before it told the run has left that to whoever asks next.
            self.after(&enterprise, first.session.run.as_deref()).await?;
            return Err(used(&first.session, true));
        }
        let place_run = admitted.first().and_then(|first| first.session.run.clone());
        let relays = admitted.into_iter().map(|admitted| self.relay(&enterprise, &by, &cloud, admitted));
        let outcomes = join_all(relays).await;
        let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).cloned();
        let remaining = self.after(&enterprise, place_run.as_deref()).await;
        if let Some(refusal) = refused {
            let results: Vec<Value> = outcomes.iter().map(told).collect();
            let refusal = if results.len() > 1 { refusal.with("results", json!(results)) } else { refusal };
            self.even_out(began).await;
            return Err(refusal);
        }
        let results: Vec<Imported> = outcomes.into_iter().flatten().collect();
        let first = results.first().cloned().ok_or_else(Refusal::body_shape_wrong)?;
        Ok(Receipt { first, remaining: remaining?, results })
    }

    /// What is left after an upload; lets the run go on when that is nothing, and others that waited for the same.
    async fn after(&self, enterprise: &str, run: Option<&str>) -> Result<Vec<String>, Refusal> {
        let mut left = Vec::new();
        // Without one the run has gone on already: another upload was the last.
        if let Some(place) = self.place_of(enterprise, run).await? {
            left = self.lacking(enterprise, &place).await?;
            if left.is_empty() {
                self.complete(enterprise, &place).await?;
            }
        }
        // Those that are not told now look by themselves when their wait is over.
        if let Some(run) = run
            && let Err(refusal) = self.tell_others(enterprise, run).await
        {
            tracing::warn!(enterprise, code = refusal.code, "key import: other runs were not told: {}", refusal.detail);
        }
        Ok(regions(&left))
    }

    /// An import counts for every run that waits for its key.
    async fn tell_others(&self, enterprise: &str, run: &str) -> Result<(), Refusal> {
        let (places, _) = self.waiting(enterprise).await?;
        for place in places.iter().filter(|place| place.run.as_deref() != Some(run)) {
            if self.lacking(enterprise, place).await?.is_empty() {
                self.complete(enterprise, place).await?;
            }
        }
        Ok(())
    }

    /// Waits until a whole number of floors has passed since `began`.
    async fn even_out(&self, began: chrono::DateTime<chrono::Utc>) {
        let floor = self.0.floor.as_millis().max(1);
        let passed = (self.0.clock.now() - began).to_std().unwrap_or_default().as_millis();
        let left = floor - passed % floor;
        self.0.clock.sleep(std::time::Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
    }

    /// The session of a part, as far as it can be judged without KMS.
    async fn admit(&self, enterprise: &str, cloud: &Cloud, part: Part) -> Result<Admitted, Refusal> {
        match Realm::of_token(part.token.text()) {
            Some(realm) if realm == self.0.realm => {}
            Some(realm) => return Err(self.of_other_environment(enterprise, realm, part.token.text()).await),
            None => return Err(Refusal::token_unknown()),
        }
        let key = digest(part.token.text().as_bytes());
        let found = self.0.service.find_record(self.0.realm.sessions(), &key).await?;
        // Another enterprise's token is as unknown as one that never was.
        let record = found.filter(|record| record.enterprise == enterprise).ok_or_else(Refusal::token_unknown)?;
        let session: Session = body(&record)?;
        if let Some(named) = part.region.as_ref().filter(|named| **named != session.target.region) {
            return Err(Refusal::token_of_another_region(&session.target.region, named, Terms::of(&session)));
        }
        let upload = digest(part.material.bytes());
        let admitted = Admitted { part, key, version: record.version, upload, session };
        let session = &admitted.session;
        match &session.state {
            SessionState::Done { .. } if admitted.repeats() => return Ok(admitted),
            SessionState::Done { .. } => return Err(used(session, false)),
            SessionState::Locked => return Err(Refusal::token_locked(Terms::of(session))),
            // What it came to is seen in KMS, whatever has become of its run and its token since.
            SessionState::Relaying { .. } => return Ok(admitted),
            SessionState::Open => {}
        }
        let found = admitted.part.material.bytes().len();
        if found != session.spec.bytes() {
            return Err(Refusal::key_material_wrong_length(found, Terms::of(session)));
        }
        if self.cloud_now(cloud) >= session.valid_to {
            return Err(Refusal::token_expired(session.valid_to, Terms::of(session)));
        }
        self.require_open(enterprise, session).await?;
        Ok(admitted)
    }

    /// What a token of the other environment is answered: what it was asked for is asked for here.
    async fn of_other_environment(&self, enterprise: &str, realm: Realm, token: &str) -> Refusal {
        let key = digest(token.as_bytes());
        let found = self.0.service.find_record(realm.sessions(), &key).await.ok().flatten();
        let own = found.filter(|record| record.enterprise == enterprise);
        let session = own.and_then(|record| body::<Session>(&record).ok());
        // Its region may have no key here: only how it was to be wrapped counts.
        let terms = session.as_ref().map(|session| Terms { region: None, instance: None, ..Terms::of(session) });
        Refusal::token_of_other_environment(realm.word(), terms)
    }

    /// The import that a token is of is open still.
    async fn require_open(&self, enterprise: &str, session: &Session) -> Result<(), Refusal> {
        let place = self.place_of(enterprise, session.run.as_deref()).await?;
        match place {
            Some(place) if place.targets.contains(&session.target) => Ok(()),
            Some(_) | None => Err(Refusal::import_not_open("this import token is of an import that is closed")),
        }
    }

    /// Takes the session, sends the material, and writes down what came of it.
    async fn relay(&self, enterprise: &str, by: &str, cloud: &Cloud, mut taken: Admitted) -> Result<Imported, Refusal> {
        loop {
            match &taken.session.state {
                SessionState::Done { key_material_id, .. } if taken.repeats() => {
                    return Ok(imported(&taken.session, key_material_id));
                }
                SessionState::Done { .. } => return Err(used(&taken.session, false)),
                SessionState::Locked => return Err(Refusal::token_locked(Terms::of(&taken.session))),
                SessionState::Relaying { .. } => {
                    if let Some(done) = self.resolve(enterprise, by, cloud, &mut taken).await? {
                        return Ok(done);
                    }
                }
                SessionState::Open => {
                    let state = SessionState::Relaying {
                        owner: self.0.owner.clone(),
                        since: self.0.clock.now(),
                        upload: taken.upload.clone(),
                    };
                    // Before the session says so, since whoever reads it there looks here.
                    let in_flight = InFlight::enter(self, &taken.key)?;
                    if self.write(enterprise, &mut taken, state).await? {
                        return self.send(enterprise, by, cloud, &mut taken).await;
                    }
                    drop(in_flight);
                }
            }
        }
    }

    /// Writes a session's state on the version that was read; false when somebody else wrote it, which is read then.
    async fn write(&self, enterprise: &str, taken: &mut Admitted, state: SessionState) -> Result<bool, Refusal> {
        let session = Session { state, ..taken.session.clone() };
        let put = self.put(enterprise, self.0.realm.sessions(), &taken.key, taken.version, json!(session));
        match self.0.service.put_records(vec![put]).await {
            Ok(()) => {
                taken.session = session;
                taken.version += 1;
                Ok(true)
            }
            Err(error) if error.code == "record-changed" => {
                self.reread(enterprise, taken).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn reread(&self, enterprise: &str, taken: &mut Admitted) -> Result<(), Refusal> {
        let record = self.0.service.record(enterprise, self.0.realm.sessions(), &taken.key).await?;
        let record = record.ok_or_else(Refusal::token_unknown)?;
        taken.session = body(&record)?;
        taken.version = record.version;
        Ok(())
    }

    /// What became of a relay that is on its way or was cut off: the import if it was this upload's, or none when the session
    /// can be taken again.
    async fn resolve(
        &self,
        enterprise: &str,
        by: &str,
        cloud: &Cloud,
        taken: &mut Admitted,
    ) -> Result<Option<Imported>, Refusal> {
        let SessionState::Relaying { owner, since, upload } = taken.session.state.clone() else { return Ok(None) };
        let own = owner == self.0.owner;
        if own && self.in_flight().contains(&taken.key) {
            return Err(Refusal::import_in_progress(1));
        }
        if let Some(held) = self.held(cloud, &taken.session).await? {
            self.settle(enterprise, by, taken, &upload, &held).await?;
            if upload == taken.upload {
                return Ok(Some(imported(&taken.session, &held)));
            }
            return Err(used(&taken.session, false));
        }
        let passed = (self.0.clock.now() - since).to_std().unwrap_or_default();
        // A store that is one process's alone: whoever else relayed is dead.
        let lives = !own && self.0.service.is_shared();
        if lives && passed < RELAY {
            return Err(Refusal::import_in_progress((RELAY - passed).as_secs()));
        }
        self.write(enterprise, taken, SessionState::Open).await?;
        Ok(None)
    }

    /// The material that shows that a key's first import has happened.
    async fn held(&self, cloud: &Cloud, session: &Session) -> Result<Option<String>, Refusal> {
        if session.existing.is_some() {
            return Ok(None);
        }
        let kms = self.kms(cloud, &session.target.region).await?;
        current_material(&kms, &session.target.arn).await.map_err(|failure| self.failed(&failure))
    }

    async fn send(&self, enterprise: &str, by: &str, cloud: &Cloud, taken: &mut Admitted) -> Result<Imported, Refusal> {
        fail_point!("import::before_relay");
        let sent = self.send_to_kms(cloud, taken).await?;
        fail_point!("import::after_relay");
        match sent {
            Ok(key_material_id) => {
                let upload = taken.upload.clone();
                self.finish(enterprise, by, taken, &upload, &key_material_id).await?;
                fail_point!("import::after_commit");
                Ok(imported(&taken.session, &key_material_id))
            }
            Err(failure) => self.not_sent(enterprise, by, cloud, taken, &failure).await,
        }
    }

    async fn send_to_kms(&self, cloud: &Cloud, taken: &Admitted) -> Result<Result<String, Failure>, Refusal> {
        let target = &taken.session.target;
        let kms = self.kms(cloud, &target.region).await?;
        let token = BASE64.decode(&taken.session.kms_token).map_err(|_| Refusal::not_possible_now())?;
        // No ImportType for a key's first material, by which it is new. NEW_KEY_MATERIAL would put a second one beside the first.
        let existing = taken.session.existing.clone();
        let call = kms
            .import_key_material()
            .key_id(&target.arn)
            .import_token(Blob::new(token))
            .encrypted_key_material(Blob::new(taken.part.material.bytes()))
            .expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire)
            .set_import_type(existing.as_ref().map(|_| ImportType::ExistingKeyMaterial))
            .set_key_material_id(existing);
        let sent = call.send().await.map_err(|error| failure(&format!("import into {}", target.arn), &error));
        Ok(match sent.map(|output| output.key_material_id) {
            Ok(Some(id)) => Ok(id),
            // An emulator that tells none: the key says it.
            Ok(None) => current_material(&kms, &target.arn).await.map(Option::unwrap_or_default),
            Err(failure) => Err(failure),
        })
    }

    /// KMS holds material, and nobody wrote down by which upload: by this session's, unless another's evidence says otherwise.
    async fn settle(
        &self,
        enterprise: &str,
        by: &str,
        taken: &mut Admitted,
        upload: &str,
        held: &str,
    ) -> Result<(), Refusal> {
        let arn = &taken.session.target.arn;
        let known = self.0.service.record(enterprise, self.0.realm.materials(), arn).await?;
        let known = known.map(|record| body::<KeyMaterial>(&record)).transpose()?;
        let by_another = known.and_then(|known| known.import).is_some_and(|import| import != taken.session.id);
        if by_another {
            self.write(enterprise, taken, SessionState::Open).await?;
            return Err(Refusal::region_has_material(&taken.session.target.region));
        }
        self.finish(enterprise, by, taken, upload, held).await
    }

    /// The session is done and the evidence is kept, both or neither.
    async fn finish(
        &self,
        enterprise: &str,
        by: &str,
        taken: &mut Admitted,
        upload: &str,
        key_material_id: &str,
    ) -> Result<(), Refusal> {
        let (sessions, materials) = (self.0.realm.sessions(), self.0.realm.materials());
        loop {
            let now = self.0.clock.now();
            let state =
                SessionState::Done { at: now, upload: upload.to_owned(), key_material_id: key_material_id.to_owned() };
            let session = Session { state, ..taken.session.clone() };
            let target = session.target.clone();
            let mut puts = vec![self.put(enterprise, sessions, &taken.key, taken.version, json!(session))];
            let known = self.0.service.record(enterprise, materials, &target.arn).await?;
            let evidence = KeyMaterial {
                key_material_id: key_material_id.to_owned(),
                run: session.run.clone(),
                import: Some(session.id.clone()),
                imported_by: by.to_owned(),
                at: now,
                target,
            };
            let version = known.as_ref().map_or(0, |record| record.version);
            puts.push(self.put(enterprise, materials, &evidence.target.arn, version, json!(evidence)));
            match self.0.service.put_records(puts).await {
                Ok(()) => {
                    taken.session = session;
                    taken.version += 1;
                    return Ok(());
                }
                Err(error) if error.code == "record-changed" => {
                    self.reread(enterprise, taken).await?;
                    if matches!(taken.session.state, SessionState::Done { .. }) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// KMS did not take it, or nobody knows.
    async fn not_sent(
        &self,
        enterprise: &str,
        by: &str,
        cloud: &Cloud,
        taken: &mut Admitted,
        failure: &Failure,
    ) -> Result<Imported, Refusal> {
        let unwrap = failure.is(&["InvalidCiphertextException", "IncorrectKeyMaterialException"]);
        if unwrap || failure.lost() {
            // The key has material already, by another token or by this call whose reply was lost: KMS knows.
            if let Some(held) = self.held(cloud, &taken.session).await? {
                if failure.lost() {
                    let upload = taken.upload.clone();
                    self.settle(enterprise, by, taken, &upload, &held).await?;
                    return Ok(imported(&taken.session, &held));
                }
                self.write(enterprise, taken, SessionState::Open).await?;
                return Err(Refusal::region_has_material(&taken.session.target.region));
            }
        }
        if unwrap {
            taken.session.failures += 1;
            let locked = taken.session.failures >= MOST_FAILURES;
            self.write(enterprise, taken, if locked { SessionState::Locked } else { SessionState::Open }).await?;
            // Only what was unwrapped is compared, so this tells no reason why an unwrap failed.
            let differs = taken.session.existing.is_some() && failure.is(&["IncorrectKeyMaterialException"]);
            return Err(match differs {
                true => Refusal::key_material_differs(Terms::of(&taken.session)),
                false => Refusal::material_refused(Terms::of(&taken.session)),
            });
        }
        if failure.is(&["InvalidImportTokenException"]) {
            self.write(enterprise, taken, SessionState::Locked).await?;
            return Err(Refusal::token_superseded(Terms::of(&taken.session)));
        }
        self.write(enterprise, taken, SessionState::Open).await?;
        if failure.is(&["ExpiredImportTokenException"]) {
            return Err(Refusal::token_expired(taken.session.valid_to, Terms::of(&taken.session)));
        }
        Err(self.failed(failure))
    }
}

fn used(session: &Session, same: bool) -> Refusal {
    let refusal = Refusal::token_used(&session.target.region, same);
    match &session.state {
        SessionState::Done { at, key_material_id, .. } => refusal
            .with("id", session.id.clone())
            .with("region", session.target.region.clone())
            .with("keyId", session.target.arn.clone())
            .with("keyMaterialId", key_material_id.clone())
            .with("importedAt", at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        SessionState::Open | SessionState::Relaying { .. } | SessionState::Locked => refusal,
    }
}

fn told(outcome: &Result<Imported, Refusal>) -> Value {
    match outcome {
        Ok(imported) => json!(imported),
        Err(refusal) => json!({ "status": "refused", "code": refusal.code, "detail": refusal.detail }),
    }
}

//! The first call: fresh parameters from KMS, and a token for them.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::{
    desk::{Cloud, Desk, regions},
    limiter::{Limited, Turn, take_turn},
    refusal::Refusal,
    session::{Realm, Session, SessionState, Target, digest},
    wait::import_wait,
    wrapping::{Algorithm, Spec},
};
use crate::engine::Actor;

/// KMS allows one call every four seconds for an account and region.
const INTERVAL: TimeDelta = TimeDelta::seconds(4);
/// The longest that a request waits for its turn.
const PATIENCE: TimeDelta = TimeDelta::seconds(10);
/// The longest that a customer of the test environment waits for a wrapping key to be made.
const MAKING: TimeDelta = TimeDelta::seconds(12);
const API: &str = "GetParametersForImport";

/// A request for an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub enterprise: String,
    /// The caller, as histories name them.
    pub by: String,
    /// None: the next region that lacks material, and all others beside it.
    pub region: Option<String>,
    /// An instance with a key of its own.
    pub instance: Option<String>,
    pub algorithm: Algorithm,
    pub spec: Spec,
}

fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}

/// What the customer needs to import into one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenTarget {
    pub region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub import_token: String,
    /// PEM of a `SubjectPublicKeyInfo`.
    pub public_key: String,
    pub algorithm: Algorithm,
    pub wrapping_key_spec: Spec,
    #[serde(serialize_with = "rfc3339")]
    pub valid_to: DateTime<Utc>,
}

/// The answer: the first target by itself, and all that are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    #[serde(flatten)]
    pub first: OpenTarget,
    /// Regions that lack material, the first target's among them.
    pub remaining: Vec<String>,
    pub targets: Vec<OpenTarget>,
}

impl Desk {
    /// Opens an import for the keys that lack material.
    ///
    /// # Errors
    /// What the customer can do instead.
    pub async fn request(&self, asked: Asked) -> Result<Opened, Refusal> {
        let place = self.place(&asked.enterprise).await?;
        let lacking = self.lacking(&asked.enterprise, &place).await?;
        if lacking.is_empty() {
            self.complete(&asked.enterprise, &place).await?;
            return Err(Refusal::import_complete());
        }
        let wanted = chosen(&asked, &place.targets, &lacking)?;
        let cloud = self.cloud(&asked.enterprise);
        let parameters = wanted.iter().map(|target| self.parameters(&cloud, &asked, target, place.run.as_deref()));
        // What a re-import is checked against.
        let known = match place.reimport {
            Some(_) => self.materials(&asked.enterprise, self.0.realm).await?,
            None => BTreeMap::new(),
        };
        let mut opened = Vec::new();
        for (number, outcome) in join_all(parameters).await.into_iter().enumerate() {
            match outcome {
                Ok((mut session, target)) => {
                    session.existing = known.get(&session.target.arn).map(|known| known.key_material_id.clone());
                    opened.push((session, target));
                }
                Err(refusal) if number == 0 => return Err(refusal),
                // Its turn is too far away, or its region does not answer: it stays among those that remain.
                Err(refusal) => tracing::debug!(code = refusal.code, "key import: a further region was left out"),
            }
        }
        self.keep(&asked, place.run.as_deref(), &opened).await?;
        let targets: Vec<OpenTarget> = opened.into_iter().map(|(_, target)| target).collect();
        let first = targets.first().cloned().ok_or_else(Refusal::kms_unavailable)?;
        Ok(Opened { first, remaining: regions(&lacking), targets })
    }

    /// One session and its token, for fresh parameters.
    async fn parameters(
        &self,
        cloud: &Cloud,
        asked: &Asked,
        target: &Target,
        run: Option<&str>,
    ) -> Result<(Session, OpenTarget), Refusal> {
        let limited = Limited {
            enterprise: &asked.enterprise,
            account: cloud.aws.account(&target.region).unwrap_or_default(),
            region: &target.region,
            api: API,
            interval: INTERVAL,
            patience: PATIENCE,
        };
        match take_turn(&self.0.service, self.0.clock.as_ref(), limited).await? {
            Turn::At(time) => self.0.clock.sleep_until(time).await,
            Turn::After(wait) => {
                return Err(Refusal::too_many_requests(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)));
            }
        }
        let kms = self.kms(cloud, &target.region).await?;
        let call = kms.get_parameters_for_import().key_id(&target.arn);
        let call = call.wrapping_algorithm(asked.algorithm.kms()).wrapping_key_spec(asked.spec.kms());
        let tried = format!("get parameters for an import into {}", target.arn);
        let given = tokio::select! {
            given = call.send() => given.map_err(|error| self.failed(&crate::aws::failure(&tried, &error)))?,
            () = self.busy_making() => return Err(Refusal::keys_are_being_made(MAKING.num_seconds().unsigned_abs())),
        };
        let valid_to = given.parameters_valid_to.and_then(|time| DateTime::from_timestamp(time.secs(), 0));
        let (Some(kms_token), Some(key), Some(valid_to)) = (given.import_token, given.public_key, valid_to) else {
            tracing::error!(key = target.arn, "key import: KMS answered without token, public key or time");
            return Err(Refusal::kms_unavailable());
        };
        let import_token = self.0.realm.new_token().map_err(|error| {
            tracing::error!(error = %error, "key import: the system gives no random bits");
            Refusal::not_possible_now()
        })?;
        let now = self.0.clock.now();
        let left = (valid_to - self.cloud_now(cloud)).to_std().unwrap_or_default().div_f64(cloud.speed.max(1.0));
        let session = Session {
            id: self.0.clock.new_id(),
            target: target.clone(),
            run: run.map(str::to_owned),
            algorithm: asked.algorithm,
            spec: asked.spec,
            kms_token: BASE64.encode(kms_token),
            asked_by: asked.by.clone(),
            asked_at: now,
            valid_to,
            expires_at: now + TimeDelta::from_std(left).unwrap_or_default(),
            existing: None,
            failures: 0,
            state: SessionState::Open,
        };
        let open = OpenTarget {
            region: target.region.clone(),
            instance: target.instance.clone(),
            import_token,
            public_key: public_key(key.into_inner()),
            algorithm: asked.algorithm,
            wrapping_key_spec: asked.spec,
            valid_to,
        };
        Ok((session, open))
    }

    /// Ends when the test environment, which makes its wrapping keys itself, takes longer for one than anybody should wait.
    async fn busy_making(&self) {
        match self.0.realm {
            Realm::Production => std::future::pending().await,
            Realm::Test => self.0.clock.sleep_until(self.0.clock.now() + MAKING).await,
        }
    }

    /// Keeps the sessions, then lets the run wait for their end. A crash before leaves tokens that nobody was told.
    async fn keep(&self, asked: &Asked, run: Option<&str>, opened: &[(Session, OpenTarget)]) -> Result<(), Refusal> {
        let collection = self.0.realm.sessions();
        let puts = opened.iter().map(|(session, target)| {
            self.put(&asked.enterprise, collection, &digest(target.import_token.as_bytes()), 0, json!(session))
        });
        self.0.service.put_records(puts.collect()).await?;
        let Some(run) = run else { return Ok(()) };
        let sessions: Vec<&Session> = opened.iter().map(|(session, _)| session).collect();
        let regions: Vec<&str> = sessions.iter().map(|session| session.target.region.as_str()).collect();
        let wait = import_wait(&sessions, self.0.clock.now(), true);
        let answer = json!({ "state": "asked", "regions": regions, "wait": wait });
        self.tell(run, &answer, &Actor { name: asked.by.clone(), role: "customer".to_owned() }).await;
        Ok(())
    }
}

/// The keys that a request is for, the one that is answered first in front.
fn chosen(asked: &Asked, all: &[Target], lacking: &[Target]) -> Result<Vec<Target>, Refusal> {
    if asked.region.is_none() && asked.instance.is_none() {
        return Ok(lacking.to_vec());
    }
    let fits = |target: &&Target| {
        asked.region.as_ref().is_none_or(|region| *region == target.region) && asked.instance == target.instance
    };
    let wanted: Vec<Target> = lacking.iter().filter(fits).cloned().collect();
    if !wanted.is_empty() {
        return Ok(wanted);
    }
    let of = asked.region.clone().or_else(|| asked.instance.clone()).unwrap_or_default();
    if all.iter().any(|target| fits(&target)) {
        return Err(Refusal::region_has_material(&of));
    }
    Err(Refusal::region_not_in_plan(&of, &regions(all)))
}

fn public_key(der: Vec<u8>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("PUBLIC KEY", der), config)
}

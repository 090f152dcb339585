//! The frame: one request in, one answer out, and what changed made durable in between.
//!
//! Calls run one after the other under one lock, each in a task of its own: a caller that goes away (a timeout, a dropped
//! future) cannot stop a call between its effect and its commit. When a commit fails, the world in memory is ahead of the
//! file; it is then thrown away and read back, so that no answer ever rests on state that a crash would undo.

use std::{
    collections::HashMap,
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Method, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::{
    Answer, AwsError, Call, Changes, FaultKind, FaultRule, Faults, Rows, World, auth,
    clock::{Anchor, SandboxClock, Wall},
    data::DataFile,
    judge::Watch,
    kms, listen, random, rds, sts,
    wire::{self, Protocol},
};

/// How to open a sandbox.
#[derive(Clone)]
pub struct Options {
    /// The data file; none: everything is gone with the process.
    pub data: Option<PathBuf>,
    /// How much faster than the wall's the sandbox's clock runs: more than 0, finite.
    pub speed: f64,
    /// The wall clock.
    pub wall: Wall,
    /// Whose administrator all made-up credentials are: 12 digits, the same in every partition.
    pub default_account: String,
    /// How many times the quotas that RDS gives to a new account.
    pub quotas: u16,
}

/// Why a sandbox cannot be opened or cannot keep what it did.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox's data file {path} is in use by another process: stop that one, or name another file")]
    InUse { path: PathBuf },
    #[error("cannot lock the sandbox's data file with {path}")]
    Lock { path: PathBuf, source: io::Error },
    #[error("the sandbox's data file {path} failed")]
    Data { path: PathBuf, source: sqlx::Error },
    #[error("SQLite does not keep {path} durably: journal mode {mode}, synchronous {level}; move it to a local disk")]
    NotDurable { path: PathBuf, mode: String, level: i64 },
    #[error("the sandbox's data file {path} holds rows of the unknown kind {kind}: it was written by a newer version")]
    UnknownRow { path: PathBuf, kind: String },
    #[error("the sandbox's data file {path} holds a {kind} row {key} that cannot be read")]
    BadRow { path: PathBuf, kind: String, key: String, source: serde_json::Error },
    #[error("the sandbox's data file {path} holds {text:?} where a time belongs")]
    BadClock { path: PathBuf, text: String },
    #[error("a row cannot be written")]
    Encode { source: serde_json::Error },
    #[error("the sandbox's speed {0} is not a finite number above 0")]
    Speed(f64),
    #[error("the default account {0:?} is not 12 digits")]
    Account(String),
}

/// One mutating call that took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// From 1, without gaps.
    pub seq: i64,
    /// Sandbox time.
    pub at: DateTime<Utc>,
    /// The caller's account.
    pub account: String,
    pub region: String,
    pub service: String,
    pub action: String,
    /// The ARN of what was made, changed or deleted.
    pub resource: String,
    pub what: String,
    pub request_id: String,
}

/// What a request comes to.
pub(super) enum Reply {
    Answered(Response<Bytes>),
    /// The effect happened; the answer does not arrive.
    Lost,
}

pub(super) struct Live {
    pub(super) world: World,
    data: Option<DataFile>,
    /// The world is ahead of the file and has to be read back before the next call.
    stale: bool,
}

pub(super) struct Inner {
    pub(super) live: Mutex<Live>,
    ledger: SyncMutex<Vec<LedgerEntry>>,
    pub(super) clock: SandboxClock,
    pub(super) watch: Watch,
    faults: Faults,
    default_account: String,
    quotas: rds::Quotas,
}

/// An emulated cloud; clones share it.
#[derive(Clone)]
pub struct Sandbox(pub(super) Arc<Inner>);

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("default_account", &self.0.default_account).finish_non_exhaustive()
    }
}

/// A request whose sender, service and operation are known.
struct Decoded {
    scope: auth::Scope,
    service: &'static str,
    protocol: Protocol,
    action: String,
    params: serde_json::Value,
}

const RDS_NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";
const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

impl Sandbox {
    /// Opens a sandbox, with what its data file holds from before.
    ///
    /// # Errors
    /// The options are not good, or the data file is in use, unreadable or not durable.
    pub async fn open(options: Options) -> Result<Self, SandboxError> {
        if !(options.speed.is_finite() && options.speed > 0.0) {
            return Err(SandboxError::Speed(options.speed));
        }
        if options.default_account.len() != 12 || !options.default_account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SandboxError::Account(options.default_account));
        }
        let wall_now = (options.wall)();
        let (world, ledger, data, anchor) = match &options.data {
            None => (World::default(), Vec::new(), None, Anchor::resume(None, wall_now, options.speed, None)),
            Some(path) => {
                let mut data = DataFile::open(path).await?;
                let ledger = data.ledger().await?;
                let floor = ledger.last().map(|entry| entry.at);
                let anchor = Anchor::resume(data.anchor().await?, wall_now, options.speed, floor);
                data.set_anchor(anchor).await?;
                (data.world().await?, ledger, Some(data), anchor)
            }
        };
        Ok(Self(Arc::new(Inner {
            live: Mutex::new(Live { world, data, stale: false }),
            ledger: SyncMutex::new(ledger),
            clock: SandboxClock::new(anchor, options.wall),
            watch: Watch::default(),
            faults: Faults::default(),
            default_account: options.default_account,
            quotas: rds::Quotas::default().raised(options.quotas),
        })))
    }

    /// Answers any AWS request, and the sandbox's own `GET /_sandbox/ledger` and `GET|POST|DELETE /_sandbox/faults`.
    /// What the request changed is durable when this returns. A fault that loses the reply comes out as HTTP 504.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.reply(request).await {
            Reply::Answered(response) => response,
            Reply::Lost => wire::own_json(504, &json!({"message": "the reply was lost on purpose"})),
        }
    }

    /// Every mutating call that took effect, oldest first.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn faults(&self) -> Faults {
        self.0.faults.clone()
    }

    /// Sandbox time.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    /// The wall's time, by which requests are signed and sessions expire.
    pub fn wall(&self) -> DateTime<Utc> {
        self.0.clock.wall()
    }

    pub(super) async fn reply(&self, request: Request<Bytes>) -> Reply {
        if let Some(path) = request.uri().path().strip_prefix("/_sandbox/") {
            return Reply::Answered(self.own(request.method(), path, request.body()));
        }
        let request_id = match random::uuid() {
            Ok(id) => id,
            Err(error) => return Reply::Answered(Protocol::Json.failure(&error, "")),
        };
        let hint = protocol_of(&request);
        match decode(&request) {
            Ok(decoded) => self.answer(decoded, request_id).await,
            Err(error) => Reply::Answered(hint.failure(&error, &request_id)),
        }
    }

    async fn answer(&self, decoded: Decoded, request_id: String) -> Reply {
        let protocol = decoded.protocol;
        let mut lost = false;
        match self.0.faults.strike(decoded.service, &decoded.action) {
            Some(FaultKind::LostReply) => lost = true,
            Some(FaultKind::Delay { milliseconds }) => listen::pause(Duration::from_millis(milliseconds)).await,
            Some(kind) => return Reply::Answered(protocol.failure(&fault(kind, decoded.service), &request_id)),
            None => {}
        }
        let action = decoded.action.clone();
        let params = &decoded.params;
        // Here, so that a caller who goes away has nothing made.
        let prepared = kms::Prepared::make(decoded.service, &action, params, &decoded.scope.access_key).await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Reply::Answered(protocol.failure(&error, &request_id)),
        };
        let sandbox = self.clone();
        let id = request_id.clone();
        let outcome = match tokio::spawn(async move { sandbox.run(decoded, prepared, &id).await }).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(error = %error, "sandbox: a call crashed");
                self.0.live.lock().await.stale = true;
                Err(internal())
            }
        };
        if lost {
            return Reply::Lost;
        }
        Reply::Answered(match outcome {
            Ok(answer) => protocol.success(&action, &answer.body, &request_id),
            Err(error) => protocol.failure(&error, &request_id),
        })
    }

    /// Runs one call and makes it durable.
    async fn run(&self, decoded: Decoded, prepared: kms::Prepared, request_id: &str) -> Result<Answer, AwsError> {
        let mut live = self.0.live.lock().await;
        if live.stale {
            live.read_back().await.map_err(|error| unkept(&error))?;
        }
        let now = self.0.clock.now();
        let wall = self.0.clock.wall();
        let caller = auth::caller(&live.world.sts, &decoded.scope, wall, &self.0.default_account)
            .map_err(|error| spelled(error, decoded.protocol))?;
        let call = Call { now, caller, region: decoded.scope.region, action: decoded.action, params: decoded.params };
        live.world.kms.set_policy_delay(self.0.faults.policy_delay());
        live.world.rds.set_quotas(self.0.quotas);
        let before = self.0.watch.before(&mut live.world, decoded.service, &call);
        let outcome = match decoded.service {
            "kms" => kms::handle(&mut live.world.kms, &call, prepared),
            "sts" => sts::handle(&mut live.world.sts, &Call { now: wall, ..call.clone() }),
            _ => {
                let world = &mut live.world;
                rds::handle(&mut world.rds, &mut world.kms, &call)
            }
        };
        let entry = outcome.as_ref().ok().and_then(|answer| answer.effect.as_ref()).map(|effect| LedgerEntry {
            seq: self.next_seq(),
            at: now,
            account: call.caller.account.clone(),
            region: call.region.clone(),
            service: decoded.service.to_owned(),
            action: call.action.clone(),
            resource: effect.resource.clone(),
            what: effect.what.clone(),
            request_id: request_id.to_owned(),
        });
        if let Err(error) = live.keep(entry.as_ref()).await {
            live.stale = true;
            return Err(unkept(&error));
        }
        if let Some(entry) = entry {
            self.0.watch.after(&live.world, before, &entry);
            self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
        outcome
    }

    fn next_seq(&self) -> i64 {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner).last().map_or(1, |entry| entry.seq + 1)
    }

    fn own(&self, method: &Method, path: &str, body: &Bytes) -> Response<Bytes> {
        match (method.as_str(), path) {
            ("GET", "ledger") => wire::own_json(200, &json!({"entries": self.ledger(), "now": self.now()})),
            ("GET", "faults") => wire::own_json(200, &json!({"rules": self.0.faults.rules()})),
            ("POST", "faults") => match serde_json::from_slice::<FaultRule>(body) {
                Ok(rule) => {
                    self.0.faults.add(rule);
                    wire::own_json(201, &json!({"rules": self.0.faults.rules()}))
                }
                Err(error) => wire::own_json(400, &json!({"message": format!("not a fault rule: {error}")})),
            },
            ("DELETE", "faults") => {
                self.0.faults.clear();
                wire::own_json(200, &json!({"rules": []}))
            }
            _ => wire::own_json(404, &json!({"message": format!("there is no {method} /_sandbox/{path}")})),
        }
    }
}

impl Live {
    /// The world, read back from the file first when it was ahead of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) async fn current(&mut self) -> Result<&mut World, SandboxError> {
        if self.stale {
            self.read_back().await?;
        }
        Ok(&mut self.world)
    }

    /// Makes what changed durable; where that fails, the next look reads the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) async fn keep_all(&mut self) -> Result<(), SandboxError> {
        let kept = self.keep(None).await;
        self.stale |= kept.is_err();
        kept
    }

    async fn keep(&mut self, entry: Option<&LedgerEntry>) -> Result<(), SandboxError> {
        let mut changes = Changes::default();
        self.world.take_changes(&mut changes).map_err(|source| SandboxError::Encode { source })?;
        match &mut self.data {
            Some(data) if !changes.rows.is_empty() || entry.is_some() => data.commit(changes, entry).await,
            _ => Ok(()),
        }
    }

    /// Throws the world in memory away for the file's. Without a file there is nothing truer than memory.
    async fn read_back(&mut self) -> Result<(), SandboxError> {
        if let Some(data) = &mut self.data {
            self.world = data.world().await?;
        }
        self.stale = false;
        Ok(())
    }
}

fn decode(request: &Request<Bytes>) -> Result<Decoded, AwsError> {
    let query: HashMap<String, String> =
        form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let scope = auth::scope(request.headers(), &query).map_err(|error| spelled(error, protocol_of(request)))?;
    let (service, protocol) = match scope.service.as_str() {
        "kms" => ("kms", Protocol::Json),
        "rds" => ("rds", Protocol::Query { namespace: RDS_NAMESPACE }),
        "sts" => ("sts", Protocol::Query { namespace: STS_NAMESPACE }),
        other => {
            let message = format!("The sandbox emulates kms, rds and sts, not {other}");
            return Err(AwsError::new("UnknownOperationException", message));
        }
    };
    let (action, params) = match protocol {
        Protocol::Json => {
            let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
            (wire::json::action(target)?, wire::json::decode(request.body())?)
        }
        Protocol::Query { .. } => {
            let form: Vec<_> = form_urlencoded::parse(request.body()).collect();
            let pairs = || {
                let in_query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                in_query.chain(form.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
            };
            let action = pairs().find(|(name, _)| *name == "Action").map(|(_, value)| value.to_owned());
            let missing = || AwsError::new("MissingAction", "The request must contain the parameter Action");
            (action.ok_or_else(missing)?, wire::query::decode(pairs())?)
        }
    };
    Ok(Decoded { scope, service, protocol, action, params })
}

/// How to spell an error of a request that was not understood.
fn protocol_of(request: &Request<Bytes>) -> Protocol {
    if request.headers().contains_key("x-amz-target") {
        Protocol::Json
    } else {
        Protocol::Query { namespace: STS_NAMESPACE }
    }
}

/// JSON services name their authentication errors as exceptions and answer them with HTTP 400.
fn spelled(mut error: AwsError, protocol: Protocol) -> AwsError {
    match protocol {
        Protocol::Json => {
            if !error.code.ends_with("Exception") {
                error.code.push_str("Exception");
            }
            error.with_status(400)
        }
        Protocol::Query { .. } => {
            if error.code == "UnrecognizedClientException" {
                "InvalidClientTokenId".clone_into(&mut error.code);
            }
            error.with_status(403)
        }
    }
}

fn fault(kind: FaultKind, service: &str) -> AwsError {
    match kind {
        FaultKind::Throttle if service == "kms" => {
            let message = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
            AwsError::new("ThrottlingException", message)
        }
        FaultKind::Throttle => AwsError::new("Throttling", "Rate exceeded"),
        FaultKind::Error { code, message, status } => AwsError::new(code, message).with_status(status),
        FaultKind::Unavailable => {
            AwsError::new("ServiceUnavailable", "The request has failed due to a temporary failure of the server.")
                .with_status(503)
        }
        FaultKind::LostReply | FaultKind::Delay { .. } => internal(),
    }
}

fn unkept(error: &SandboxError) -> AwsError {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(error = %error, source, "sandbox: a call could not be kept");
    internal()
}

fn internal() -> AwsError {
    AwsError::new("InternalFailure", "The request processing has failed because of an unknown error.").with_status(500)
}

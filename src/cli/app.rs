//! keyferry put together: cloud, service, mail and HTTP over one data directory. `serve` and `demo` share it.
//!
//! Everything runs until the first signal; then no new request is taken, the worker gives its leases back, the letter that
//! is being sent is finished. A part that fails stops the others: half a server would look like a whole one.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::Mode;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::{
    descriptors,
    imports::{self, TestCloud},
    output::Failure,
    shipped,
};
use crate::{
    access::Access,
    audit::Calendar,
    aws::{Aws, AwsOptions},
    config::Config,
    forms::{Form, Forms},
    http::{
        self, AdminToken, Api, Limits, Machines, Workflow,
        customer::{self, CustomerApi, Imports},
    },
    keys::{self, watch::KeyWatch},
    mail::{FormRole, Postman, Transport},
    sandbox::{Options, Sandbox},
    steps::{self, Domain},
    store::{PostgresStore, SqliteStore, Store},
    telemetry::Metrics,
    worker::{Clock, Registry, Service, ServiceOptions, SteeredClock, SystemClock},
};

/// What stands behind the AWS SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Cloud {
    /// The emulated cloud, in this process.
    #[default]
    Sandbox,
    /// AWS itself, with the credentials that the SDK finds.
    Live,
}

/// Where customers import to try it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestEnvironment {
    /// In this process, which has it to itself.
    Own,
    /// At the URL of a sandbox, which several servers over one database share.
    At(String),
}

/// What an [`App`] is made of.
#[derive(Debug, Clone)]
pub struct AppOptions {
    pub config: Config,
    /// Holds `keyferry.db`, `sandbox.db`, `test-cloud.db`, `admin-token` and `mail/`; it is made if it is missing.
    pub data_dir: PathBuf,
    /// The URL of a PostgreSQL that is used instead of `keyferry.db`.
    pub database: Option<String>,
    pub cloud: Cloud,
    /// Where the test environment of the customers is that are served here; none are if there is none.
    pub customers: Option<TestEnvironment>,
    /// Where a sandbox listens that is not this process's own.
    pub sandbox_url: Option<String>,
    /// How many of the sandbox's seconds pass in one of the wall's; the configuration's if not given.
    pub speed: Option<f64>,
    /// Whether an empty database is begun where traces say that there was another.
    pub new: bool,
}

/// keyferry, opened and not yet at work.
pub struct App {
    pub service: Service,
    pub sandbox: Option<Sandbox>,
    pub token: AdminToken,
    config: Arc<Config>,
    metrics: Metrics,
    transport: Transport,
    forms: Arc<Forms>,
    workflows: BTreeMap<String, Workflow>,
    database: Database,
    imports: Option<Imports>,
    /// Where the keys in use are, if this process looks after them.
    watched: Option<keys::import::Cloud>,
    /// Between two looks at the keys that customers imported material into.
    custody_check: Duration,
    /// Between two looks at what is out of service.
    outage_check: Duration,
}

/// The store, with what it brings.
enum Database {
    File(SqliteStore),
    /// A server's, by whose clock this process goes.
    Shared(PostgresStore, SteeredClock),
}

impl Database {
    /// By which everything goes that is kept there.
    fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::File(_) => Arc::new(SystemClock),
            Self::Shared(_, clock) => Arc::new(clock.clone()),
        }
    }
}

/// How often a process asks what time it is at the database.
const STEERING: Duration = Duration::from_secs(30);

/// Between two looks at systems that are out of service.
const OUTAGE_CHECK: Duration = Duration::from_secs(60);

/// Between two looks for entries of the trail that are too old.
const TRAIL_CHECK: Duration = Duration::from_secs(3_600);

/// How long steps that run may go on after the signal.
const DRAIN: Duration = Duration::from_secs(20);

/// Where an [`App`] listens.
#[derive(Debug, Default)]
pub struct Listeners {
    pub api: Option<TcpListener>,
    /// Health and metrics alone, to whoever asks.
    pub machines: Option<TcpListener>,
    /// The customers' own; without it their paths are served where the operators' API is.
    pub customer: Option<TcpListener>,
    /// The emulated cloud's own, if it is to be reached from outside.
    pub sandbox: Option<TcpListener>,
}

impl App {
    /// Opens everything that keeps state, in an order in which nothing is changed before all of it could be opened.
    ///
    /// # Errors
    /// The data directory, a file in it, or the configuration cannot be used.
    pub async fn open(options: AppOptions) -> Result<Self, Failure> {
        make_data_dir(&options.data_dir)?;
        if options.database.is_none() && !options.new {
            not_anew(&options.data_dir)?;
        }
        let config = Arc::new(options.config);
        let transport = Transport::new(&config.mail, &options.data_dir.join("mail")).map_err(failed)?;
        let sandbox = match options.cloud {
            Cloud::Sandbox if options.sandbox_url.is_some() => None,
            Cloud::Sandbox => Some(open_sandbox(&config, &options.data_dir, options.speed).await?),
            Cloud::Live => None,
        };
        let forms = Arc::new(Forms::shipped().map_err(failed)?);
        let test_cloud = match options.customers {
            Some(TestEnvironment::Own) => {
                let file = options.data_dir.join("test-cloud.db");
                Some(TestCloud::Own(open_cloud(&config, file, imports::SPEED).await?))
            }
            Some(TestEnvironment::At(url)) => Some(TestCloud::At(url)),
            None => None,
        };
        let speed = match options.cloud {
            Cloud::Sandbox => options.speed.unwrap_or(config.sandbox.speed),
            Cloud::Live => 1.0,
        };
        let aws = Arc::new(match (&sandbox, &options.sandbox_url) {
            (Some(sandbox), _) => Aws::sandboxed(&config, sandbox),
            (None, Some(url)) => Aws::sandboxed_at(&config, url, speed),
            (None, None) => Aws::new(AwsOptions { config: Some(&config), ..AwsOptions::default() }),
        });
        let mut steps = Registry::new();
        steps::register(&Domain::new(Arc::clone(&aws), Arc::clone(&config), speed))
            .into_iter()
            .for_each(|step| steps.add(step));
        let (store, clock, database) = open_store(&options.data_dir, options.database.as_deref()).await?;
        let definitions = shipped::definitions().map_err(failed)?;
        let workflows = shipped::as_shown(&definitions);
        let service = Service::open(ServiceOptions {
            store,
            definitions,
            steps,
            forms: Arc::<Forms>::clone(&forms),
            clock,
            config: Arc::clone(&config),
            poll: None,
        })
        .await
        .map_err(failed)?;
        let token = AdminToken::load_or_create(&options.data_dir).map_err(failed)?;
        let metrics = Metrics::new().map_err(failed)?;
        metrics.show(aws.silence().map_err(failed)?).map_err(failed)?;
        let custody_check = Duration::from_secs(config.aws.custody_check_s).div_f64(speed.max(1.0));
        let cloud = keys::import::Cloud { aws, speed };
        let watched = test_cloud.is_some().then(|| cloud.clone());
        let imports = test_cloud.map(|test_cloud| imports::desks(&service, &config, cloud, test_cloud));
        Ok(Self {
            service,
            sandbox,
            token,
            config,
            metrics,
            transport,
            forms,
            workflows,
            database,
            imports,
            watched,
            custody_check,
            outage_check: OUTAGE_CHECK.div_f64(speed.clamp(1.0, 12.0)),
        })
    }

    /// Where the database is, without what is secret of its URL.
    pub fn database(&self) -> String {
        match &self.database {
            Database::File(store) => store.path().display().to_string(),
            Database::Shared(store, _) => store.place().to_owned(),
        }
    }

    /// Works until `shutdown` turns true and everything has ended in order.
    ///
    /// # Errors
    /// A part failed; the others were stopped.
    pub async fn run(self, listeners: Listeners, shutdown: watch::Receiver<bool>) -> Result<(), Failure> {
        descriptors::allow_all();
        let (stop, stopping) = watch::channel(false);
        let mut parts: JoinSet<Result<(), Failure>> = JoinSet::new();
        let forms: Vec<&Form> = self.forms.iter().collect();
        let roles = forms.iter().map(|form| (form.name.clone(), form.role.clone())).collect();
        let letters = forms.iter().map(|form| (form.name.clone(), form_role(form))).collect();
        let clock = self.database.clock();
        let access = Access::new(self.service.clone(), Arc::clone(&clock), &self.config);
        let limits = Limits { proxies: access.proxies().clone(), ..Limits::default() };
        if let Some(listener) = listeners.machines {
            let machines = Machines { service: self.service.clone(), metrics: self.metrics.clone() };
            let served = http::serve(listener, http::machines_router(machines), limits.clone(), stopping.clone());
            parts.spawn(async move { served.await.map_err(failed) });
        }
        if let Some(imports) = &self.imports {
            let (watch, stopped) = (imports.production.clone().watch(self.custody_check), stopping.clone());
            parts.spawn(async move {
                tokio::select! {
                    () = super::signals::received(stopped) => {}
                    () = watch => {}
                }
                Ok(())
            });
        }
        let watched = self.service.clone().watch_outages(self.outage_check);
        let stopped = stopping.clone();
        parts.spawn(async move {
            tokio::select! {
                () = super::signals::received(stopped) => {}
                () = watched => {}
            }
            Ok(())
        });
        // A process that serves customers looks after keys in use and the audits' dates; of several, one is heard.
        if let Some(cloud) = &self.watched {
            let calendar = Calendar::new(self.service.clone(), Arc::clone(&clock)).keep();
            let watch = KeyWatch::new(self.service.clone(), Arc::clone(&clock), Arc::clone(&cloud.aws), cloud.speed);
            let (watch, stopped) = (watch.watch(self.custody_check), stopping.clone());
            parts.spawn(async move {
                tokio::select! {
                    () = super::signals::received(stopped) => {}
                    () = calendar => {}
                    () = watch => {}
                }
                Ok(())
            });
        }
        let (keep, stopped) = (access.clone().keep_trails(TRAIL_CHECK), stopping.clone());
        parts.spawn(async move {
            tokio::select! {
                () = super::signals::received(stopped) => {}
                () = keep => {}
            }
            Ok(())
        });
        let customers = self.imports.map(|imports| CustomerApi {
            service: self.service.clone(),
            config: Arc::clone(&self.config),
            access: access.clone(),
            metrics: self.metrics.clone(),
            imports,
        });
        let customers_limits = Limits::customers(access.proxies().clone());
        let mut beside = customers.clone();
        if let (Some(listener), Some(customers)) = (listeners.customer, customers) {
            beside = None;
            let served = http::serve(listener, customer::router(customers), customers_limits.clone(), stopping.clone());
            parts.spawn(async move { served.await.map_err(failed) });
        }
        if let Some(listener) = listeners.api {
            let api = Api {
                service: self.service.clone(),
                config: Arc::clone(&self.config),
                access,
                token: self.token,
                metrics: self.metrics,
                workflows: Arc::new(self.workflows),
                form_roles: Arc::new(roles),
                shutdown: stopping.clone(),
            };
            let operators = http::router(api);
            let (router, limits) = match beside {
                Some(customers) => (operators.merge(customer::paths(customers)), customers_limits),
                None => (operators, limits),
            };
            let served = http::serve(listener, router, limits, stopping.clone());
            parts.spawn(async move { served.await.map_err(failed) });
        }
        let (service, working) = (self.service.clone(), stopping.clone());
        parts.spawn(async move { service.run_worker(working, DRAIN).await.map_err(failed) });
        let postman =
            Postman::new(self.service.clone(), self.transport, self.config, letters, Arc::new(move || clock.now()));
        let posting = stopping.clone();
        parts.spawn(async move {
            postman.run(posting).await;
            Ok(())
        });
        if let Database::Shared(store, clock) = self.database {
            let steering = stopping.clone();
            parts.spawn(async move {
                steer(&store, &clock, steering).await;
                Ok(())
            });
        }
        if let (Some(sandbox), Some(listener)) = (self.sandbox, listeners.sandbox) {
            let stopped = super::signals::received(stopping);
            parts.spawn(async move { sandbox.listen(listener, stopped).await.map_err(failed) });
        }
        end_together(parts, stop, shutdown).await
    }

    /// The same, and then closes the database's file: what lies beside it belongs to nothing any more. Nothing of the app can
    /// be asked afterwards.
    ///
    /// # Errors
    /// As [`App::run`].
    pub async fn run_and_close(self, listeners: Listeners, shutdown: watch::Receiver<bool>) -> Result<(), Failure> {
        let file = match &self.database {
            Database::File(store) => Some(store.clone()),
            Database::Shared(..) => None,
        };
        let ended = self.run(listeners, shutdown).await;
        if let Some(store) = file
            && tokio::time::timeout(DRAIN, store.close()).await.is_err()
        {
            tracing::warn!("the database could not be closed in time: its log stays beside it and belongs to it");
        }
        ended
    }
}

fn form_role(form: &Form) -> FormRole {
    FormRole { role: form.role.clone(), title: form.title.clone() }
}

/// Waits for the signal or for the first part that ends, stops the rest, and gives the first failure.
async fn end_together(
    mut parts: JoinSet<Result<(), Failure>>,
    stop: watch::Sender<bool>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let flatten = |ended: Result<Result<(), Failure>, JoinError>| ended.unwrap_or_else(|error| Err(failed(error)));
    let mut outcome = tokio::select! {
        () = super::signals::received(shutdown) => Ok(()),
        Some(ended) = parts.join_next() => flatten(ended),
    };
    stop.send_replace(true);
    while let Some(ended) = parts.join_next().await {
        outcome = outcome.and(flatten(ended));
    }
    outcome
}

/// No empty database takes the place of one that is missing: whoever looks at the enterprises would see none.
fn not_anew(data_dir: &Path) -> Result<(), Failure> {
    if data_dir.join("keyferry.db").symlink_metadata().is_ok() {
        return Ok(());
    }
    let is_saved = |name: &str| name.starts_with("keyferry.db.saved-");
    let files = fs::read_dir(data_dir).map_err(failed)?;
    let mut traces: Vec<String> = files
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter(|name| ["admin-token", "keyferry.db-wal", "keyferry.db-shm"].contains(&name.as_str()) || is_saved(name))
        .collect();
    traces.sort_unstable();
    let Some(newest) = traces.last() else { return Ok(()) };
    let cure = if is_saved(newest) {
        format!(
            "What was acknowledged was saved: mv {0}/{newest} {0}/keyferry.db && rm -f {0}/keyferry.db-wal {0}/keyferry.db-shm",
            data_dir.display()
        )
    } else {
        "Put the file, its disk or a backup back; name a database that is elsewhere with --database".to_owned()
    };
    Err(Failure::Failed(format!(
        "{} has no keyferry.db, but a keyferry has worked there ({}). {cure}; or begin with an empty database: --new",
        data_dir.display(),
        traces.join(", ")
    )))
}

async fn open_store(data_dir: &Path, url: Option<&str>) -> Result<(Arc<dyn Store>, Arc<dyn Clock>, Database), Failure> {
    let Some(url) = url else {
        let path = data_dir.join("keyferry.db");
        let store = SqliteStore::open(&path).await.map_err(failed)?;
        return Ok((Arc::new(store.clone()), Arc::new(SystemClock), Database::File(store)));
    };
    let store = PostgresStore::open(url).await.map_err(failed)?;
    let clock = SteeredClock::default();
    clock.steer(store.ahead(|| clock.now()).await.map_err(failed)?);
    Ok((Arc::new(store.clone()), Arc::new(clock.clone()), Database::Shared(store, clock)))
}

/// Keeps this process's clock at the database's, until told to stop.
async fn steer(store: &PostgresStore, clock: &SteeredClock, mut shutdown: watch::Receiver<bool>) {
    loop {
        // A sender that is gone is a shutdown too.
        let stopped = async { drop(shutdown.wait_for(|stop| *stop).await) };
        if tokio::time::timeout(STEERING, stopped).await.is_ok() {
            return;
        }
        match store.ahead(|| clock.now()).await {
            Ok(ahead) => clock.steer(ahead),
            // What it was set by before still holds.
            Err(error) => tracing::debug!(%error, "the database's clock could not be read"),
        }
    }
}

async fn open_sandbox(config: &Config, data_dir: &Path, speed: Option<f64>) -> Result<Sandbox, Failure> {
    open_cloud(config, data_dir.join("sandbox.db"), speed.unwrap_or(config.sandbox.speed)).await
}

async fn open_cloud(config: &Config, data: PathBuf, speed: f64) -> Result<Sandbox, Failure> {
    let vendor = config.aws.partitions.get("aws").or_else(|| config.aws.partitions.values().next());
    let default_account = vendor.map(|partition| partition.account.clone()).unwrap_or_default();
    let options = Options { data: Some(data), speed, wall: Arc::new(|| SystemClock.now()), default_account, quotas: 1 };
    Sandbox::open(options).await.map_err(failed)
}

/// The directory holds the administrator's token and what customers' keys protect: it is for its owner alone. One that was there
/// before may let others in, so the files are for their owner alone too, those of before and those that are made from now on.
fn make_data_dir(path: &Path) -> Result<(), Failure> {
    let unmade =
        |error: io::Error| Failure::Failed(format!("cannot make the data directory {}: {error}", path.display()));
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unmade)?;
    for entry in fs::read_dir(path).map_err(unmade)? {
        let entry = entry.map_err(unmade)?;
        let (name, found) = (entry.file_name(), entry.metadata().map_err(unmade)?);
        let is_database = DATABASES.iter().any(|database| name.to_string_lossy().starts_with(database));
        if is_database && found.is_file() && found.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600)).map_err(unmade)?;
        }
    }
    Ok(())
}

/// What the names of the databases' files in the data directory begin with.
const DATABASES: [&str; 3] = ["keyferry.db", "sandbox.db", "test-cloud.db"];

fn failed(error: impl std::error::Error) -> Failure {
    Failure::from_error(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_fails_stops_the_others_and_is_told() {
        let (stop, mut stopping) = watch::channel(false);
        let (_signal, shutdown) = watch::channel(false);
        let mut parts = JoinSet::new();
        parts.spawn(async { Err(Failure::Failed("the disk is full".to_owned())) });
        parts.spawn(async move {
            drop(stopping.wait_for(|stop| *stop).await);
            Ok(())
        });
        let outcome = tokio::time::timeout(Duration::from_secs(5), end_together(parts, stop, shutdown)).await;
        assert!(matches!(outcome, Ok(Err(Failure::Failed(reason))) if reason == "the disk is full"));
    }
}

//! keyferry put together: cloud, service, mail and HTTP over one data directory. `serve` and `demo` share it.
//!
//! Everything runs until the first signal; then no new request is taken, the worker gives its leases back, the letter that
//! is being sent is finished. A part that fails stops the others: half a server would look like a whole one.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::output::Failure;
use crate::{
    config::Config,
    forms::{Form, Forms},
    http::{self, AdminToken, Api, Limits},
    mail::{FormRole, Postman, Transport},
    sandbox::{Options, Sandbox},
    telemetry::Metrics,
    worker::Service,
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

/// What an [`App`] is made of.
#[derive(Debug, Clone)]
pub struct AppOptions {
    pub config: Config,
    /// Holds `keyferry.db`, `sandbox.db`, `admin-token` and `mail/`; it is made if it is missing.
    pub data_dir: PathBuf,
    pub cloud: Cloud,
    /// How many of the sandbox's seconds pass in one of the wall's; the configuration's if not given.
    pub speed: Option<f64>,
}

/// keyferry, opened and not yet at work.
pub struct App {
    pub service: Service,
    pub sandbox: Option<Sandbox>,
    pub token: AdminToken,
    config: Arc<Config>,
    metrics: Metrics,
    transport: Transport,
    forms: Forms,
}

/// Where an [`App`] listens.
#[derive(Debug, Default)]
pub struct Listeners {
    pub api: Option<TcpListener>,
    /// The emulated cloud's own, if it is to be reached from outside.
    pub sandbox: Option<TcpListener>,
}

/// How long the steps wait between two looks at the cloud, and for a key policy to spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub poll: Duration,
    pub grace: Duration,
}

impl Pace {
    /// The configuration's times, divided by the sandbox's speed if there is one. No pace is faster than 20 ms: a busy
    /// loop would starve what it waits for.
    pub fn new(config: &Config, speed: Option<f64>) -> Self {
        let at_speed = |seconds: u64| {
            let seconds = Duration::from_secs(seconds);
            let scaled = match speed {
                Some(speed) if speed.is_finite() && speed > 0.0 => {
                    Duration::try_from_secs_f64(seconds.as_secs_f64() / speed).unwrap_or(seconds)
                }
                _ => seconds,
            };
            scaled.max(Duration::from_millis(20))
        };
        Self { poll: at_speed(config.aws.poll_s), grace: at_speed(config.aws.policy_grace_s) }
    }
}

impl App {
    /// Opens everything that keeps state, in an order in which nothing is changed before all of it could be opened.
    ///
    /// # Errors
    /// The data directory, a file in it, or the configuration cannot be used.
    pub async fn open(options: AppOptions) -> Result<Self, Failure> {
        make_data_dir(&options.data_dir)?;
        let config = Arc::new(options.config);
        let transport = Transport::new(&config.mail, &options.data_dir.join("mail")).map_err(failed)?;
        let sandbox = match options.cloud {
            Cloud::Sandbox => Some(open_sandbox(&config, &options.data_dir, options.speed).await?),
            Cloud::Live => None,
        };
        let forms = Forms::shipped().map_err(failed)?;
        let token = AdminToken::load_or_create(&options.data_dir).map_err(failed)?;
        let metrics = Metrics::new().map_err(failed)?;
        Ok(Self { service: Service, sandbox, token, config, metrics, transport, forms })
    }

    /// Works until `shutdown` turns true and everything has ended in order.
    ///
    /// # Errors
    /// A part failed; the others were stopped.
    pub async fn run(self, listeners: Listeners, shutdown: watch::Receiver<bool>) -> Result<(), Failure> {
        let (stop, stopping) = watch::channel(false);
        let mut parts: JoinSet<Result<(), Failure>> = JoinSet::new();
        let forms: Vec<&Form> = self.forms.names().filter_map(|name| self.forms.get(name)).collect();
        let roles = forms.iter().map(|form| (form.name.clone(), form.role.clone())).collect();
        let letters = forms.iter().map(|form| (form.name.clone(), form_role(form))).collect();
        if let Some(listener) = listeners.api {
            let api = Api {
                service: self.service.clone(),
                token: self.token,
                metrics: self.metrics,
                workflows: Arc::new(BTreeMap::new()),
                form_roles: Arc::new(roles),
                shutdown: stopping.clone(),
            };
            let served = http::serve(listener, http::router(api), Limits::default(), stopping.clone());
            parts.spawn(async move { served.await.map_err(failed) });
        }
        let postman = Postman::new(self.service.clone(), self.transport, self.config, letters, Arc::new(super::now));
        let posting = stopping.clone();
        parts.spawn(async move {
            postman.run(posting).await;
            Ok(())
        });
        if let (Some(sandbox), Some(listener)) = (self.sandbox, listeners.sandbox) {
            let stopped = super::signals::received(stopping);
            parts.spawn(async move { sandbox.listen(listener, stopped).await.map_err(failed) });
        }
        end_together(parts, stop, shutdown).await
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

async fn open_sandbox(config: &Config, data_dir: &Path, speed: Option<f64>) -> Result<Sandbox, Failure> {
    let vendor = config.aws.partitions.get("aws").or_else(|| config.aws.partitions.values().next());
    let default_account = vendor.map(|partition| partition.account.clone()).unwrap_or_default();
    let options = Options {
        data: Some(data_dir.join("sandbox.db")),
        speed: speed.unwrap_or(config.sandbox.speed),
        wall: Arc::new(super::now),
        default_account,
    };
    Sandbox::open(options).await.map_err(failed)
}

/// The directory holds the administrator's token and what customers' keys protect: it is for its owner alone.
fn make_data_dir(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error: io::Error| {
        Failure::Failed(format!("cannot make the data directory {}: {error}", path.display()))
    })
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::from_error(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sandbox_pace_follows_its_speed_and_aws_keeps_its_own() {
        let config = Config::default();
        let live = Pace::new(&config, None);
        assert_eq!((live.poll, live.grace), (Duration::from_secs(30), Duration::from_secs(300)));
        let sped = Pace::new(&config, Some(60.0));
        assert_eq!((sped.poll, sped.grace), (Duration::from_millis(500), Duration::from_secs(5)));
        assert_eq!(Pace::new(&config, Some(1e9)).poll, Duration::from_millis(20));
    }

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

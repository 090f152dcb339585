//! The wire between keyferry and the cloud: it notes the calls of steps, and at one of them the process dies.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient as _, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
    },
    orchestrator::HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use keyferry::{
    aws::{Aws, AwsOptions},
    config::Config,
    sandbox::Sandbox,
};

use super::rogue::Rogue;

tokio::task_local! {
    /// The step that is being executed, and its execution's number.
    pub static STEP: (&'static str, u32);
}

/// A call of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    pub step: &'static str,
    pub execution: u32,
    pub action: String,
}

impl Called {
    /// Whether it changes nothing in the cloud.
    pub fn reads(&self) -> bool {
        ["Describe", "List", "Get", "Assume"].iter().any(|verb| self.action.starts_with(verb))
    }
}

/// At which call of some steps the process dies.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub steps: &'static [&'static str],
    /// Of this operation only.
    pub action: Option<&'static str>,
    /// From 0.
    pub nth: usize,
    /// The call takes effect, and its answer is lost; else it does not reach the cloud.
    pub after: bool,
}

#[derive(Debug, Default)]
struct Inner {
    calls: Vec<Called>,
    cut: Option<Cut>,
    seen: usize,
    rogues: Vec<Rogue>,
}

#[derive(Debug, Clone, Default)]
pub struct Wire {
    inner: Arc<Mutex<Inner>>,
    dead: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Time(Sandbox);

impl TimeSource for Time {
    fn now(&self) -> std::time::SystemTime {
        self.0.now().into()
    }
}

#[derive(Debug)]
struct Wired {
    wire: Wire,
    inner: SharedHttpConnector,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vendor's clients against `sandbox`, over this wire.
    pub fn aws(&self, config: &Config, sandbox: &Sandbox) -> Aws {
        let (wire, client) = (self.clone(), sandbox.connector());
        let http: SharedHttpClient = http_client_fn(move |settings, components| {
            let inner = client.http_connector(settings, components);
            SharedHttpConnector::new(Wired { wire: wire.clone(), inner })
        });
        let time = Some(SharedTimeSource::new(Time(sandbox.clone())));
        Aws::new(AwsOptions { config: Some(config), http: Some(http), time, elsewhere: None })
    }

    /// From now on: notes calls anew, the process dies at `cut`, and requests say what `rogues` want.
    pub fn arm(&self, cut: Option<Cut>, rogues: &[Rogue]) {
        *self.lock() = Inner { cut, rogues: rogues.to_vec(), ..Inner::default() };
        self.dead.store(false, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub fn calls(&self) -> Vec<Called> {
        self.lock().calls.clone()
    }

    /// Notes a call; whether the process dies at it, and if after its effect.
    fn note(&self, called: Called) -> Option<bool> {
        let mut inner = self.lock();
        let cut = inner
            .cut
            .filter(|cut| cut.steps.contains(&called.step) && cut.action.is_none_or(|action| action == called.action));
        inner.calls.push(called);
        let cut = cut?;
        inner.seen += 1;
        (inner.seen == cut.nth + 1).then_some(cut.after)
    }
}

impl HttpConnector for Wired {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let Ok((step, execution)) = STEP.try_with(|step| *step) else { return self.inner.call(request) };
        let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        if let Some(body) = self.wire.lock().rogues.iter().find_map(|rogue| rogue.rewires(step, &body)) {
            *request.body_mut() = SdkBody::from(body);
        }
        let dies = self.wire.note(Called { step, execution, action: action(&request) });
        let Some(after) = dies else { return self.inner.call(request) };
        let (dead, answer) = (Arc::clone(&self.wire.dead), after.then(|| self.inner.call(request)));
        HttpConnectorFuture::new(async move {
            if let Some(answer) = answer {
                drop(answer.await);
            }
            dead.store(true, Ordering::SeqCst);
            std::future::pending().await
        })
    }
}

/// The operation's name, as each of the protocols has it.
fn action(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    action.unwrap_or_default().to_owned()
}

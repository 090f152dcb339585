//! Traces over OTLP (HTTP with protobuf), when the standard variables name a collector; without them nothing is made.
//!
//! A run is one trace in whatever processes it is worked on, before and after restarts: its trace identifier is its own
//! identifier, the 128 bits of a UUID, and the identifier of its root span is taken from that by a hash. So every process
//! knows where a step belongs without being told. Each execution of a step is a span under the root; the process in which the
//! run ends sends the root. A child run has a trace of its own, and its parent's trace one span for it with a link there:
//! nobody needs to know a run's ancestors to trace its steps.
//!
//! A span says where and what (run, step, enterprise, attempt, outcome), never what a step was given or gave: inputs and
//! causes may hold what only the run's readers may see.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter},
};
use sha2::{Digest as _, Sha256};

use super::TelemetryError;

/// The longest that the end of the process waits for the last spans to be sent.
const FLUSH: Duration = Duration::from_secs(5);
const PROTOCOL: &str = "http/protobuf";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

thread_local! {
    /// The identifiers of the next span that is made on this thread, when they are not to be drawn.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Sends what is left when it is asked to.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

/// An execution of a step that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    pub run: &'a str,
    pub enterprise: &'a str,
    pub workflow: &'a str,
    pub state: &'a str,
    pub name: &'a str,
    pub frame: u64,
    pub visit: u64,
    pub attempt: u32,
}

/// A run that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    pub run: &'a str,
    pub enterprise: &'a str,
    pub workflow: &'a str,
    pub started_at: SystemTime,
    pub ended_at: SystemTime,
    /// `succeeded`, `failed`, `cancelled`.
    pub outcome: &'static str,
    /// The name of the error that it failed with.
    pub error: Option<&'a str>,
}

/// An execution of a step that goes on. Nothing, when there is no collector.
#[derive(Debug)]
pub struct StepSpan(Option<Span>);

/// Begins tracing for the whole process, if `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set.
/// `instance` tells this process from others of its service.
///
/// # Errors
/// An endpoint that is no URL; a protocol that keyferry does not speak.
pub fn init(instance: &str) -> Result<Traces, TelemetryError> {
    let set = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let wanted = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT")).is_some();
    let off = set("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|text| text == "none");
    if !wanted || off {
        return Ok(Traces(None));
    }
    let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
    if let Some(protocol) = protocol.filter(|protocol| protocol != PROTOCOL) {
        let reason = format!("OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, keyferry speaks {PROTOCOL} (port 4318)");
        return Err(TelemetryError::Traces(reason));
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build();
    let exporter = exporter.map_err(|error| TelemetryError::Traces(error.to_string()))?;
    let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut resource = Resource::builder();
    if set("OTEL_SERVICE_NAME").is_none() && !attributes.contains("service.name=") {
        resource = resource.with_service_name("keyferry");
    }
    if !attributes.contains("service.instance.id=") {
        resource = resource.with_attribute(KeyValue::new("service.instance.id", instance.to_owned()));
    }
    if !attributes.contains("service.version=") {
        resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Told { exporter, failing: AtomicBool::new(false) })
        .with_id_generator(Ids(RandomIdGenerator::default()))
        .with_resource(resource.build())
        .build();
    // A second call in one process keeps the first collector.
    let _ = TRACER.set(provider.tracer("keyferry"));
    Ok(Traces(Some(provider)))
}

impl Traces {
    /// Sends what has not been sent, for at most five seconds. It blocks.
    pub fn flush(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Begins the span of a step's execution.
pub fn step(step: Step<'_>) -> StepSpan {
    StepSpan(TRACER.get().map(|tracer| {
        let attributes = [
            KeyValue::new("run.id", step.run.to_owned()),
            KeyValue::new("enterprise", step.enterprise.to_owned()),
            KeyValue::new("workflow", step.workflow.to_owned()),
            KeyValue::new("state", step.state.to_owned()),
            KeyValue::new("step.name", step.name.to_owned()),
            KeyValue::new("frame", whole(step.frame)),
            KeyValue::new("visit", whole(step.visit)),
            KeyValue::new("attempt", i64::from(step.attempt)),
        ];
        builder(step.name.to_owned()).with_attributes(attributes).start_with_context(tracer, &under(step.run))
    }))
}

impl StepSpan {
    /// Ends it. `error` is empty for what is no failure.
    pub fn end(self, outcome: &'static str, error: &str) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("outcome", outcome));
        fail(&mut span, error);
        span.end();
    }
}

/// Sends the root span of a run.
pub fn run_ended(ended: Ended<'_>) {
    let Some(tracer) = TRACER.get() else { return };
    NEXT.set(Some((trace_id(ended.run), root_id(ended.run))));
    let span = builder(format!("run {}", ended.workflow))
        .with_start_time(ended.started_at)
        .with_attributes(about(&ended))
        .start_with_context(tracer, &Context::new());
    NEXT.set(None);
    finish(span, &ended);
}

/// Sends the span of a child run in the trace of the run that waited for it.
pub fn child_ended(parent: &str, ended: Ended<'_>) {
    let Some(tracer) = TRACER.get() else { return };
    let span = builder(format!("child {}", ended.workflow))
        .with_start_time(ended.started_at)
        .with_attributes(about(&ended))
        .with_links(vec![Link::with_context(root(ended.run))])
        .start_with_context(tracer, &under(parent));
    finish(span, &ended);
}

fn builder(name: String) -> SpanBuilder {
    SpanBuilder::from_name(Cow::Owned(name)).with_kind(SpanKind::Internal)
}

fn about(ended: &Ended<'_>) -> [KeyValue; 4] {
    [
        KeyValue::new("run.id", ended.run.to_owned()),
        KeyValue::new("enterprise", ended.enterprise.to_owned()),
        KeyValue::new("workflow", ended.workflow.to_owned()),
        KeyValue::new("outcome", ended.outcome),
    ]
}

fn finish(mut span: Span, ended: &Ended<'_>) {
    fail(&mut span, ended.error.unwrap_or_default());
    span.end_with_timestamp(ended.ended_at);
}

fn fail(span: &mut Span, error: &str) {
    if !error.is_empty() {
        span.set_attribute(KeyValue::new("error.type", error.to_owned()));
        span.set_status(Status::error(error.to_owned()));
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The identifier of a run's trace: its own, or the hash of one that is no UUID.
fn trace_id(run: &str) -> TraceId {
    let of_hash = || {
        let digest: [u8; 32] = Sha256::digest(run.as_bytes()).into();
        digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    };
    TraceId::from(uuid::Uuid::parse_str(run).map_or_else(|_| of_hash(), |id| id.as_u128()))
}

fn root_id(run: &str) -> SpanId {
    let digest: [u8; 32] = Sha256::digest(format!("root span of {run}").as_bytes()).into();
    SpanId::from(digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn root(run: &str) -> SpanContext {
    SpanContext::new(trace_id(run), root_id(run), TraceFlags::SAMPLED, true, TraceState::NONE)
}

fn under(run: &str) -> Context {
    Context::new().with_remote_span_context(root(run))
}

/// Draws identifiers, unless this thread has said the next ones.
#[derive(Debug)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// Logs that the collector cannot be reached, once for each time that it goes away.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.exporter.export(batch).await;
        match &outcome {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("spans are sent again");
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "spans cannot be sent; those that do not fit into memory are lost");
                }
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_identifier_is_its_traces() {
        let run = "019477a1-5c5e-7b0a-9c3d-0123456789ab";
        assert_eq!(trace_id(run).to_string(), "019477a15c5e7b0a9c3d0123456789ab");
        assert_eq!((trace_id("r1"), root_id("r1")), (trace_id("r1"), root_id("r1")));
        assert_ne!((trace_id("r1"), root_id("r1")), (trace_id("r2"), root_id("r2")));
        assert!(root("r1").is_valid());
    }

    #[test]
    fn without_a_collector_nothing_is_made() {
        let place =
            Step { run: "r", enterprise: "e", workflow: "w", state: "s", name: "n", frame: 0, visit: 1, attempt: 1 };
        assert!(step(place).0.is_none());
    }
}

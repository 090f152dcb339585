//! What keyferry says about itself: logs on stderr, metrics for Prometheus.
//!
//! Standard output belongs to the data of commands, so that logs can never get into a pipe. `RUST_LOG` chooses what is
//! logged; without it, keyferry's own `info` and everybody's warnings.

use std::io::{self, IsTerminal};

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

const DEFAULT_FILTER: &str = "warn,keyferry=info";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("RUST_LOG cannot be used: {0}")]
    Filter(String),
    #[error("logging has begun already: {0}")]
    Twice(String),
}

/// Begins logging for the whole process.
///
/// # Errors
/// A `RUST_LOG` that cannot be parsed; a second call in one process.
pub fn init(format: LogFormat) -> Result<(), TelemetryError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| TelemetryError::Filter(error.to_string()))?
        }
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let begun = match format {
        LogFormat::Text => {
            let ansi = io::stderr().is_terminal();
            registry.with(fmt::layer().with_writer(io::stderr).with_ansi(ansi)).try_init()
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr).with_ansi(false)).try_init()
        }
    };
    begun.map_err(|error| TelemetryError::Twice(error.to_string()))
}

/// The process's own counters. What the store knows (due work, attention, outbox) is read from it at each scrape, so that
/// several processes over one database never disagree about it.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
}

impl Metrics {
    /// A registry with all of keyferry's metrics, at zero.
    ///
    /// # Errors
    /// Two metrics of one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("keyferry_http_requests_total", "Answered HTTP requests"),
            &["method", "route", "status"],
        )?;
        let request_seconds = HistogramVec::new(
            HistogramOpts::new("keyferry_http_request_seconds", "Seconds from a request's head to its answer's head"),
            &["method", "route"],
        )?;
        let registry = Registry::new();
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(request_seconds.clone()))?;
        Ok(Self { registry, requests, request_seconds })
    }

    /// Counts an answered request. `route` is the router's pattern, never the path itself: paths have no bound.
    pub fn request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[method, route]).observe(seconds);
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// A metric that cannot be written as text.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_requests_are_rendered_under_their_route() {
        let metrics = Metrics::new().expect("names differ");
        metrics.request("GET", "/api/v1/runs/{id}", 200, 0.01);
        metrics.request("GET", "/api/v1/runs/{id}", 200, 0.01);
        let text = metrics.render().expect("text");
        let line = r#"keyferry_http_requests_total{method="GET",route="/api/v1/runs/{id}",status="200"} 2"#;
        assert!(text.contains(line), "{text}");
    }
}

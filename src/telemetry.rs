//! What keyferry says about itself: logs on stderr, metrics for Prometheus, traces for an OpenTelemetry collector.
//!
//! Standard output belongs to the data of commands, so that logs can never get into a pipe. `RUST_LOG` chooses what is
//! logged; without it, keyferry's own `info` and everybody's warnings.

mod causes;
mod families;
mod json;
mod metrics;
mod process;
pub mod traces;

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

pub use causes::with_causes;
pub use families::Families;
pub use metrics::Metrics;

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

/// Why logging or tracing could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("RUST_LOG cannot be used: {0}")]
    Filter(String),
    #[error("logging has begun already: {0}")]
    Twice(String),
    #[error("traces cannot be sent: {0}")]
    Traces(String),
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
        LogFormat::Json => registry.with(json::Lines::new(io::stderr)).try_init(),
    };
    begun.map_err(|error| TelemetryError::Twice(error.to_string()))
}

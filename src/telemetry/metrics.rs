//! The metrics of this process's HTTP side, and the page that all metrics are written on.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder, core::Collector, proto::MetricFamily,
};

use super::{Families, process};

/// Seconds of a request: from one answered from memory to the time limit.
const REQUEST: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Counters of requests. What the store knows (due work, attention, outbox) is read from it at each scrape, so that several
/// processes over one database never disagree about it.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
}

impl Metrics {
    /// The counters, at zero.
    ///
    /// # Errors
    /// Two metrics of one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("keyferry_http_requests_total", "Answered HTTP requests"),
            &["method", "route", "status"],
        )?;
        let request_seconds = HistogramVec::new(
            HistogramOpts::new(
                "keyferry_http_request_duration_seconds",
                "Seconds from a request's head to its answer's head",
            )
            .buckets(REQUEST.to_vec()),
            &["method", "route"],
        )?;
        let registry = Registry::new();
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(request_seconds.clone()))?;
        Ok(Self { registry, requests, request_seconds })
    }

    /// Shows what another part of the process measures.
    ///
    /// # Errors
    /// Its name is taken.
    pub fn show(&self, measured: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(measured))
    }

    /// Counts an answered request. `route` is the router's pattern, never the path itself: paths have no bound.
    pub fn request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[method, route]).observe(seconds);
    }

    /// These metrics, the process's and `others`, in Prometheus' text format.
    ///
    /// # Errors
    /// A metric that cannot be written as text.
    pub fn render(&self, others: Vec<MetricFamily>) -> Result<String, prometheus::Error> {
        let mut families = Families::default();
        process::add(&mut families);
        let version = [([env!("CARGO_PKG_VERSION")], 1.0)];
        families.gauges("keyferry_build_info", "The version that runs", ["version"], version);
        let mut all = self.registry.gather();
        all.extend(families.into_inner());
        all.extend(others);
        all.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&all)
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
        let text = metrics.render(Vec::new()).expect("text");
        let line = r#"keyferry_http_requests_total{method="GET",route="/api/v1/runs/{id}",status="200"} 2"#;
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn the_process_says_what_it_uses() {
        let text = Metrics::new().expect("names differ").render(Vec::new()).expect("text");
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 1_000_000.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0 && value("process_threads") >= 1.0);
    }
}

//! Metrics that are not counted but looked up when they are asked for.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Metrics in the making: name, help, and values by their labels. Counts are whole numbers up to 2^53.
#[derive(Debug, Default)]
pub struct Families(Vec<MetricFamily>);

impl Families {
    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [], [([], value)]);
    }

    /// One value for each row of labels; nothing is shown when there is no row.
    pub fn gauges<const N: usize, R>(&mut self, name: &str, help: &str, labels: [&str; N], rows: R)
    where
        R: IntoIterator<Item = ([&'static str; N], f64)>,
    {
        let rows = rows.into_iter().map(|(values, value)| (values.map(str::to_owned), value));
        self.gauges_of(name, help, labels, rows);
    }

    /// The same for labels that are not words of the code; whoever calls it bounds them.
    pub fn gauges_of<const N: usize, R>(&mut self, name: &str, help: &str, labels: [&str; N], rows: R)
    where
        R: IntoIterator<Item = ([String; N], f64)>,
    {
        self.add(name, help, MetricType::GAUGE, labels, rows, |metric, value| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    /// A value that only grows while the process lives.
    pub fn counters<const N: usize, R>(&mut self, name: &str, help: &str, labels: [&str; N], rows: R)
    where
        R: IntoIterator<Item = ([&'static str; N], f64)>,
    {
        let rows = rows.into_iter().map(|(values, value)| (values.map(str::to_owned), value));
        self.add(name, help, MetricType::COUNTER, labels, rows, |metric, value| {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        });
    }

    fn add<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([String; N], f64)>,
        set: impl Fn(&mut Metric, f64),
    ) {
        let metric = |(values, value): ([String; N], f64)| {
            let pairs = labels.iter().zip(values).map(|(label, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*label).to_owned());
                pair.set_value(value);
                pair
            });
            let mut metric = Metric::default();
            metric.set_label(pairs.collect());
            set(&mut metric, value);
            metric
        };
        let metrics: Vec<Metric> = rows.into_iter().map(metric).collect();
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// What was made.
    pub fn into_inner(self) -> Vec<MetricFamily> {
        self.0
    }
}

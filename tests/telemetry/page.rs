//! A page of metrics, read as strictly as Prometheus and its linter would.

use std::collections::{BTreeMap, BTreeSet};

/// Series of one metric: its labels and value.
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A metric with its samples; a histogram's are those of `_bucket`, `_sum` and `_count`.
pub struct Family {
    pub help: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

pub struct Page(pub BTreeMap<String, Family>);

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `{a="b",c="d"}`, without the braces.
fn labels(mut text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label has a value in quotes");
        let mut value = String::new();
        let mut letters = rest.char_indices();
        let end = loop {
            match letters.next().expect("the quotes are closed") {
                (at, '"') => break at,
                (_, '\\') => match letters.next().expect("something is escaped").1 {
                    'n' => value.push('\n'),
                    letter => value.push(letter),
                },
                (_, letter) => value.push(letter),
            }
        };
        assert!(found.insert(name.to_owned(), value).is_none(), "the label {name} stands twice");
        text = rest[end + 1..].trim_start_matches(',');
    }
    found
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a series and a value");
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().expect("a number") };
    match series.split_once('{') {
        Some((name, rest)) => {
            let inside = rest.strip_suffix('}').expect("the braces are closed");
            Sample { name: name.to_owned(), labels: labels(inside), value }
        }
        None => Sample { name: series.to_owned(), labels: BTreeMap::new(), value },
    }
}

impl Page {
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        let mut series = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a help");
                let family = Family { help: help.to_owned(), kind: String::new(), samples: Vec::new() };
                assert!(families.insert(name.to_owned(), family).is_none(), "{name} stands at two places");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert_eq!(name, current, "the type follows the help");
                kind.clone_into(&mut families.get_mut(name).expect("the help came first").kind);
            } else {
                let sample = sample(line);
                let family = families.get_mut(&current).expect("the help comes before the samples");
                let own = match family.kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{current}{part}")).to_vec(),
                    _ => vec![current.clone()],
                };
                assert!(own.contains(&sample.name), "{line} stands under {current}");
                assert!(series.insert(format!("{}{:?}", sample.name, sample.labels)), "{line} stands twice");
                family.samples.push(sample);
            }
        }
        Self(families)
    }

    /// The value of the series that has at least these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        };
        let mut found = self.0.values().flat_map(|family| &family.samples).filter(has);
        let first = found.next().unwrap_or_else(|| panic!("there is no {name} with {labels:?}"));
        assert!(found.next().is_none(), "{name} with {labels:?} is more than one series");
        first.value
    }

    /// Names under which a query finds something, the families' own included.
    pub fn names(&self) -> BTreeSet<String> {
        let series = self.0.values().flat_map(|family| family.samples.iter().map(|sample| sample.name.clone()));
        series.chain(self.0.keys().cloned()).collect()
    }

    /// What is not as Prometheus' conventions have it.
    pub fn lint(&self) -> Vec<String> {
        self.0.iter().flat_map(|(name, family)| family.lint(name)).collect()
    }
}

impl Family {
    fn lint(&self, name: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut rule = |holds: bool, reason: &str| {
            if !holds {
                wrong.push(format!("{name}: {reason}"));
            }
        };
        rule(is_name(name) && (name.starts_with("keyferry_") || name.starts_with("process_")), "is no name of ours");
        rule(matches!(self.kind.as_str(), "counter" | "gauge" | "histogram"), "has no type that we use");
        rule((self.kind == "counter") == name.ends_with("_total"), "counters, and they alone, end in _total");
        rule(self.help.starts_with(|first: char| first.is_ascii_uppercase()), "the help is no sentence");
        rule(!self.help.ends_with('.') && self.help.len() > 15, "the help is short or ends in a full stop");
        let units = ["_ms", "_milliseconds", "_minutes", "_micros", "_kb", "_mb", "_kilobytes", "_megabytes"];
        rule(
            !units.iter().any(|unit| name.ends_with(unit) || name.contains(&format!("{unit}_"))),
            "is in no base unit",
        );
        rule(!name.ends_with("_count") && !name.ends_with("_sum") && !name.ends_with("_bucket"), "is named as a part");
        if self.help.contains("Seconds") {
            rule(name.contains("_seconds"), "does not say its unit");
        }
        if self.help.contains("Bytes") {
            rule(name.contains("_bytes"), "does not say its unit");
        }
        rule(!self.samples.is_empty() && self.samples.len() < 1_000, "has no samples or too many");
        for sample in &self.samples {
            rule(sample.labels.keys().all(|label| is_name(label)), "has a label that is no name");
            rule(sample.labels.values().all(|value| value.len() <= 100), "has a label without a bound");
            rule(sample.value.is_finite() && sample.value >= 0.0, "has a value that is no amount");
        }
        if self.kind == "histogram" {
            wrong.extend(self.buckets().into_iter().map(|reason| format!("{name}: {reason}")));
        }
        wrong
    }

    /// What is wrong with the buckets, by the labels beside their bounds.
    fn buckets(&self) -> Vec<String> {
        let mut all: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            if let Some(bound) = labels.remove("le") {
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound is a number") };
                all.entry(format!("{labels:?}")).or_default().push((bound, sample.value));
            } else if sample.name.ends_with("_count") {
                counts.insert(format!("{labels:?}"), sample.value);
            }
        }
        let mut wrong = Vec::new();
        for (labels, buckets) in &all {
            if !buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1) {
                wrong.push(format!("the buckets of {labels} do not grow"));
            }
            let whole = buckets.last().filter(|(bound, _)| bound.is_infinite()).map(|(_, count)| *count);
            if whole != counts.get(labels).copied() {
                wrong.push(format!("the last bucket of {labels} does not hold all"));
            }
        }
        if all.is_empty() || all.len() != counts.len() {
            wrong.push("has no buckets".to_owned());
        }
        wrong
    }
}

#[test]
fn the_linter_finds_what_it_looks_for() {
    let good = "# HELP keyferry_work_due Pieces of work that are due\n# TYPE keyferry_work_due gauge\nkeyferry_work_due{age=\"a\\\"b\"} 3\n";
    let page = Page::parse(good);
    assert_eq!(page.lint(), Vec::<String>::new());
    assert!((page.value("keyferry_work_due", &[("age", "a\"b")]) - 3.0).abs() < f64::EPSILON);
    for (bad, said) in [
        (
            "# HELP keyferry_claims Claims of this process\n# TYPE keyferry_claims counter\nkeyferry_claims 3\n",
            "_total",
        ),
        (
            "# HELP claims_total Claims of this process\n# TYPE claims_total counter\nclaims_total 3\n",
            "no name of ours",
        ),
        ("# HELP keyferry_step Seconds of one step\n# TYPE keyferry_step gauge\nkeyferry_step 3\n", "its unit"),
        ("# HELP keyferry_step_ms Time of one step\n# TYPE keyferry_step_ms gauge\nkeyferry_step_ms 3\n", "base unit"),
        (
            "# HELP keyferry_h_seconds Seconds of one step\n# TYPE keyferry_h_seconds histogram\n\
             keyferry_h_seconds_bucket{le=\"1\"} 3\nkeyferry_h_seconds_bucket{le=\"+Inf\"} 2\n\
             keyferry_h_seconds_sum 1\nkeyferry_h_seconds_count 2\n",
            "do not grow",
        ),
    ] {
        let found = Page::parse(bad).lint();
        assert!(found.iter().any(|line| line.contains(said)), "{said} is not among {found:?}");
    }
}

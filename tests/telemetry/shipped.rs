//! The files for operators name what there is.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::metrics::busy;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names of metrics in a text: words that begin as ours do.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .filter(|word| word.starts_with("keyferry_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Every query of a dashboard, its variables' included.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("expr" | "definition", Value::String(query)) => found.push(query.clone()),
                    _ => queries(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_rules_ask_for_metrics_that_exist() {
    let (_server, page) = busy().await;
    let names = page.names();
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/keyferry.json")).expect("the dashboard is JSON");
    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    assert!(asked.len() > 15, "{asked:?}");
    for query in &asked {
        let named = metrics_in(query);
        assert!(!named.is_empty(), "`{query}` asks for nothing of ours");
        let missing: Vec<_> = named.difference(&names).collect();
        assert!(missing.is_empty(), "the dashboard asks for {missing:?} in `{query}`");
    }
    let rules = metrics_in(&read("docs/alerts.yaml"));
    assert!(rules.len() >= 10, "{rules:?}");
    let missing: Vec<_> = rules.difference(&names).collect();
    assert!(missing.is_empty(), "docs/alerts.yaml asks for {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_its_line_in_the_manual() {
    let (_server, page) = busy().await;
    let manual = metrics_in(&read("docs/operating.md"));
    let missing: Vec<_> = page.0.keys().filter(|name| !manual.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/operating.md does not tell of {missing:?}");
    let names = page.names();
    let unknown: Vec<_> = manual.difference(&names).collect();
    assert!(unknown.is_empty(), "docs/operating.md tells of {unknown:?}, which nobody sees");
}

/// The values of a unit's setting, by its file.
fn setting<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn units_are_hardened_and_wait_for_the_steps_that_run() {
    for file in ["deploy/keyferry-serve.service", "deploy/keyferry-worker@.service"] {
        let unit = read(file);
        for (name, value) in [
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("LimitCORE", "0"),
            ("Restart", "always"),
            ("KillSignal", "SIGTERM"),
        ] {
            assert_eq!(setting(&unit, name), [value], "{name} in {file}");
        }
        let wait: u64 = setting(&unit, "TimeoutStopSec")[0].parse().unwrap();
        // Steps have 20 seconds to end and 2 to be given back, the last spans 5; the rest is for a slow disk.
        assert!(wait >= 20 + 2 + 5 + 5, "{file} kills after {wait} s");
    }
}

//! All workloads in a row, each part in a process of its own on a fresh database; medians of the repetitions.

use std::{process::ExitCode, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    super::{
        Common,
        output::{Failure, print, say},
    },
    kill,
    place::Place,
    process::Part,
    raw,
};
use crate::worker::{Clock as _, SystemClock};

/// Steps of a run in w1 and w5.
const STEPS: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Many runs of ten steps, started up front: steps a second
    W1,
    /// One run of 200 steps: milliseconds a step
    W2,
    /// Answers to a form: milliseconds to the next step
    W3,
    /// kill -9 half-way: seconds to the first recovered step and to the end
    W4,
    /// Runs that wait for a form: memory, bytes of database, and w1 beside them
    W5,
}

#[derive(Debug, clap::Args)]
pub struct Command {
    /// Where the bench makes its databases: sqlite:DIR/bench.db, where nothing may be, or postgres://HOST/NAME, beside which a
    /// database NAME_bench is made; the last part's is taken away
    #[arg(long, value_name = "URL")]
    database: String,
    /// Which workloads; all if not given
    #[arg(long, value_enum)]
    workload: Vec<Workload>,
    /// Runs in w1
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    runs: usize,
    /// Runs that wait in w5
    #[arg(long, value_name = "N", default_values_t = [0, 20_000, 100_000])]
    parked: Vec<usize>,
    /// Repetitions; the median is printed
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: usize,
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts of a bench are far below 2^52")]
pub fn bytes(count: u64) -> f64 {
    count as f64
}

fn count(count: usize) -> f64 {
    bytes(u64::try_from(count).unwrap_or(u64::MAX))
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let place = Place::new(&self.database).await?;
        let all = [Workload::W1, Workload::W2, Workload::W3, Workload::W4, Workload::W5];
        let chosen = if self.workload.is_empty() { all.to_vec() } else { self.workload.clone() };
        let mut figures = Map::new();
        if let Some(path) = place.file() {
            figures.insert("raw_commits_per_s".to_owned(), json!(raw::commits_per_second(path).await?.round()));
        }
        for workload in chosen {
            say(&format!("{workload:?}, {} times", self.repeat));
            let (name, figure) = match workload {
                Workload::W1 => ("w1", self.repeated(&place, || self.w1(&place)).await?),
                Workload::W2 => ("w2", self.repeated(&place, || line(&place, &["w2", "200"])).await?),
                Workload::W3 => ("w3", self.repeated(&place, || line(&place, &["w3", "200"])).await?),
                Workload::W4 => ("w4", self.repeated(&place, || kill::half_way(&place)).await?),
                Workload::W5 => {
                    let mut each = Vec::new();
                    for parked in &self.parked {
                        place.fresh().await?;
                        each.push(self.w5(&place, *parked).await?);
                    }
                    ("w5", Value::Array(each))
                }
            };
            figures.insert(name.to_owned(), figure);
        }
        place.clear().await?;
        print(common.output, &figures, || text(&figures))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn repeated(&self, place: &Place, once: impl Fn() -> Result<Value, Failure>) -> Result<Value, Failure> {
        let mut found = Vec::with_capacity(self.repeat);
        for _ in 0..self.repeat.max(1) {
            place.fresh().await?;
            found.push(tokio::task::block_in_place(&once)?);
        }
        Ok(medians(&found))
    }

    fn w1(&self, place: &Place) -> Result<Value, Failure> {
        let enqueued = line(place, &["enq", &self.runs.to_string(), &STEPS.to_string(), "0"])?;
        let mut part = Part::start(&place.url, &["work", &self.runs.to_string()], None)?;
        let seconds = number(&part.line()?, "run_s");
        let steps = count(self.runs * STEPS);
        let figure = json!({
            "steps_per_s": steps / seconds,
            "run_s": seconds,
            "enqueue_s": number(&enqueued, "enqueue_s"),
            "written_bytes_per_step": part.written().map(|written| written / steps),
            "resident_mb": part.resident_mb(),
        });
        part.end()?;
        Ok(figure)
    }

    async fn w5(&self, place: &Place, parked: usize) -> Result<Value, Failure> {
        let mut part = Part::start(&place.url, &["park", &parked.to_string()], None)?;
        let done = tokio::task::block_in_place(|| part.line())?;
        SystemClock.sleep(Duration::from_secs(3)).await;
        let (resident, size) = (part.resident_mb(), bytes(place.bytes().await?));
        part.say(&format!("{} {STEPS}", self.runs))?;
        let seconds = number(&tokio::task::block_in_place(|| part.line())?, "run_s");
        tokio::task::block_in_place(|| part.end())?;
        Ok(json!({
            "parked": parked,
            "park_s": number(&done, "park_s"),
            "resident_mb": resident,
            "database_bytes_per_run": if parked == 0 { 0.0 } else { size / count(parked) },
            "steps_per_s": count(self.runs * STEPS) / seconds,
        }))
    }
}

/// Runs a part to its end and gives the line that it prints.
fn line(place: &Place, arguments: &[&str]) -> Result<Value, Failure> {
    let mut part = Part::start(&place.url, arguments, None)?;
    let line = part.line()?;
    part.end()?;
    Ok(line)
}

fn number(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// Each figure's median; of the first one, least and greatest too.
fn medians(found: &[Value]) -> Value {
    let Some(Value::Object(first)) = found.first() else { return Value::Null };
    let mut figures = Map::new();
    for name in first.keys() {
        let mut values: Vec<f64> = found.iter().filter_map(|one| one.get(name).and_then(Value::as_f64)).collect();
        values.sort_by(f64::total_cmp);
        if figures.is_empty() {
            figures.insert("spread".to_owned(), json!([values.first(), values.last()]));
        }
        figures.insert(name.clone(), json!(values.get(values.len() / 2)));
    }
    Value::Object(figures)
}

fn text(figures: &Map<String, Value>) -> String {
    let lines: Vec<String> = figures.iter().map(|(name, figure)| format!("{name}: {figure}")).collect();
    lines.join("\n")
}

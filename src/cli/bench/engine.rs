//! All workloads in a row, each part in a process of its own on a fresh database; medians of the repetitions.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

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
    step_log::{Lines, StepLog, of, seconds, word},
};
use crate::worker::{Clock as _, SystemClock};

/// How often w1 is worked beside runs that wait.
const BESIDE: usize = 5;
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
    /// Worker processes in w1; of more than one, on a server that they share, by what they note in a file
    #[arg(long, value_name = "N", default_values_t = [1])]
    workers: Vec<usize>,
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
                Workload::W1 if self.workers == [1] => ("w1", self.repeated(&place, || self.w1(&place)).await?),
                Workload::W1 => {
                    let mut each = Vec::new();
                    for workers in &self.workers {
                        each.push(self.repeated(&place, || self.fleet(&place, *workers)).await?);
                    }
                    ("w1", Value::Array(each))
                }
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

    /// The same by several processes: from the first step that one of them begins to the last end of a run.
    fn fleet(&self, place: &Place, workers: usize) -> Result<Value, Failure> {
        let runs = self.runs.to_string();
        line(place, &["enq", &runs, &STEPS.to_string(), "0"])?;
        let log = StepLog::begin(place)?;
        let start = |_| Part::start(&place.url, &["work", &runs], Some(log.path()));
        let parts: Vec<Part> = (0..workers).map(start).collect::<Result<_, _>>()?;
        log.until(|lines| ends(lines).len() >= self.runs)?;
        parts.into_iter().try_for_each(Part::kill)?;
        let lines = log.end()?;
        let first = of(&lines, "S").map(|line| seconds(line)).fold(f64::INFINITY, f64::min);
        let last = ends(&lines).into_values().fold(0.0, f64::max);
        let by_process = of(&lines, "S").fold(BTreeMap::<&str, u32>::new(), |mut counts, line| {
            *counts.entry(word(line, 1)).or_default() += 1;
            counts
        });
        Ok(json!({
            "steps_per_s": count(self.runs * STEPS) / (last - first),
            "workers": workers,
            "steps_of_the_idlest": by_process.values().min(),
        }))
    }

    async fn w5(&self, place: &Place, parked: usize) -> Result<Value, Failure> {
        let mut part = Part::start(&place.url, &["park", &parked.to_string()], None)?;
        let done = tokio::task::block_in_place(|| part.line())?;
        SystemClock.sleep(Duration::from_secs(3)).await;
        let (resident, size) = (part.resident_mb(), bytes(place.bytes().await?));
        part.say(&format!("0 {STEPS}"))?;
        tokio::task::block_in_place(|| part.line().and_then(|_| part.end()))?;
        place.settle().await?;
        let beside: Vec<Value> =
            tokio::task::block_in_place(|| (0..BESIDE).map(|_| self.w1(place)).collect::<Result<_, _>>())?;
        Ok(json!({
            "parked": parked,
            "park_s": number(&done, "park_s"),
            "resident_mb": resident,
            "database_bytes_per_run": if parked == 0 { 0.0 } else { size / count(parked) },
            "w1": medians(&beside),
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

/// When each run's end was noted first.
fn ends(lines: &Lines) -> BTreeMap<&str, f64> {
    let mut ends = BTreeMap::new();
    for line in of(lines, "C") {
        let at = seconds(line);
        ends.entry(word(line, 2)).and_modify(|first: &mut f64| *first = first.min(at)).or_insert(at);
    }
    ends
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

//! One part of a workload in a process of its own, for a driver that starts, measures and kills it. The database is `DBURL`;
//! each part prints one line of JSON.

use std::{io::BufRead as _, process::ExitCode, time::Duration};

use serde_json::json;

use super::{
    super::output::{Failure, Output, print_each},
    failed,
    house::{Database, House},
    workloads,
};
use crate::worker::{Clock as _, SystemClock};

/// Time for the driver to look at the process before it ends.
const LINGER: Duration = Duration::from_millis(700);
/// Steps of the runs that are worked beside parked ones.
const STEPS: usize = 10;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the tables
    Setup,
    /// Start RUNS runs of STEPS steps of `SLEEP_MS` milliseconds, and do not work on them
    Enq { runs: usize, steps: usize, sleep_ms: u64 },
    /// Work until RUNS runs have ended
    Work { runs: usize },
    /// One run of STEPS steps
    W2 { steps: usize },
    /// Answer a form TIMES times
    W3 { times: usize },
    /// Park RUNS runs on a form; then read a line "M 10", start M runs of 10 steps and work until they have ended
    Park { runs: usize },
}

impl Command {
    pub async fn execute(self) -> Result<ExitCode, Failure> {
        let url = std::env::var("DBURL").map_err(|_| Failure::Usage("DBURL names no database".to_owned()))?;
        let database = Database::of(&url)?;
        let sequences = match self {
            Self::Enq { steps, .. } | Self::W2 { steps } => vec![steps],
            Self::Park { .. } => vec![STEPS],
            Self::Setup | Self::Work { .. } | Self::W3 { .. } => Vec::new(),
        };
        let mut house = House::open(&database, &sequences).await?;
        house.marks.line('B', "-", 0);
        let printed = match self {
            Self::Setup => json!({}),
            Self::Enq { runs, steps, sleep_ms } => {
                json!({ "enqueue_s": workloads::enqueue(&house, runs, steps, sleep_ms).await? })
            }
            Self::Work { runs } => json!({ "run_s": workloads::work(&mut house, runs).await? }),
            Self::W2 { steps } => workloads::times(workloads::one_after_the_other(&mut house, steps).await?),
            Self::W3 { times } => workloads::times(workloads::answers(&mut house, times).await?),
            Self::Park { runs } => {
                let took = workloads::park(&mut house, runs).await?;
                line(&json!({ "parked": runs, "park_s": took }))?;
                let runs = asked().await?;
                let enqueue_s = workloads::enqueue(&house, runs, STEPS, 0).await?;
                json!({ "enqueue_s": enqueue_s, "run_s": house.marks.until_ended(runs).await })
            }
        };
        line(&printed)?;
        if !matches!(self, Self::Setup | Self::Enq { .. }) {
            SystemClock.sleep(LINGER).await;
        }
        house.close().await?;
        Ok(ExitCode::SUCCESS)
    }
}

fn line(value: &serde_json::Value) -> Result<(), Failure> {
    print_each(Output::Json, value, String::new)
}

/// How many runs the driver asks for.
async fn asked() -> Result<usize, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(failed)?.map_err(failed)?;
    let numbers: Vec<usize> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers.as_slice() {
        [runs, STEPS] => Ok(*runs),
        _ => Err(Failure::Usage(format!("the line is not `M {STEPS}`: {}", line.trim_end()))),
    }
}

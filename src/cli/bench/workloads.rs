//! The parts that workloads are made of.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    super::output::Failure,
    CONCURRENCY, failed,
    house::{ASK, FORM, House, actor, sequence},
};
use crate::worker::{Clock as _, SystemClock};

/// Runs that wait for their answer at once in [`answers`].
const WAITING: usize = 50;

/// Starts `runs` runs, [`CONCURRENCY`] at a time, and returns their identifiers and the seconds that it took.
async fn start(house: &House, runs: usize, workflow: &str, input: Value) -> Result<(Vec<String>, f64), Failure> {
    let begun = Instant::now();
    let input = Arc::new(input);
    let mut starting = JoinSet::new();
    let mut started = Vec::with_capacity(runs);
    for number in 0..runs + CONCURRENCY {
        if number < runs {
            let (service, workflow, input) = (house.service.clone(), workflow.to_owned(), Arc::clone(&input));
            starting.spawn(async move { House::start(&service, workflow, Value::clone(&input)).await });
        }
        if number >= CONCURRENCY
            && let Some(one) = starting.join_next().await
        {
            started.push(one.map_err(failed)??);
        }
    }
    Ok((started, begun.elapsed().as_secs_f64()))
}

/// Starts `runs` runs of `steps` steps. Returns the seconds that it took.
pub async fn enqueue(house: &House, runs: usize, steps: usize, sleep_ms: u64) -> Result<f64, Failure> {
    let input = json!({ "steps": steps, "sleep_ms": sleep_ms });
    Ok(start(house, runs, &sequence(steps), input).await?.1)
}

/// Works until `runs` runs have ended. Returns the seconds from the first step's begin to the last run's end.
pub async fn work(house: &mut House, runs: usize) -> Result<f64, Failure> {
    house.work();
    let noted = async {
        if house.marks.is_logged() {
            House::mark_ended(house.store(), &house.marks).await?;
        }
        Ok::<_, Failure>(house.marks.until_ended(runs).await)
    };
    noted.await
}

/// One run of `steps` steps. Returns the seconds from each step to the next.
pub async fn one_after_the_other(house: &mut House, steps: usize) -> Result<Vec<f64>, Failure> {
    house.work();
    enqueue(house, 1, steps, 0).await?;
    house.marks.until_ended(1).await;
    Ok(house.marks.gaps())
}

/// Answers a form `times` times. Returns the seconds from the call of the API to the begin of the step behind the form.
pub async fn answers(house: &mut House, times: usize) -> Result<Vec<f64>, Failure> {
    house.work();
    let mut latencies = Vec::with_capacity(times);
    while latencies.len() < times {
        let (runs, _) = start(house, WAITING.min(times - latencies.len()), ASK, json!({})).await?;
        SystemClock.sleep(Duration::from_secs(1)).await;
        for run in runs {
            let open = house.service.open_form(&run, FORM).await.map_err(failed)?;
            let asked = Instant::now();
            house.service.answer(&run, FORM, &open.visit, json!({ "go": true }), actor()).await.map_err(failed)?;
            latencies.push(house.marks.until_woken(&run).await.duration_since(asked).as_secs_f64());
            SystemClock.sleep(Duration::from_millis(10 + SystemClock.chance() % 50)).await;
        }
    }
    Ok(latencies)
}

/// Parks `runs` runs on a form. Returns the seconds that it took.
pub async fn park(house: &mut House, runs: usize) -> Result<f64, Failure> {
    house.work();
    Ok(start(house, runs, ASK, json!({})).await?.1)
}

/// Mean, median and 99th percentile, least and greatest, in milliseconds.
pub fn times(mut seconds: Vec<f64>) -> Value {
    seconds.sort_by(f64::total_cmp);
    let count = seconds.len();
    let at = |index: usize| seconds.get(index.min(count.saturating_sub(1))).map_or(0.0, |time| time * 1e3);
    let mean = seconds.iter().sum::<f64>() / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX)) * 1e3;
    json!({
        "mean_ms": mean,
        "p50_ms": at(count / 2),
        "p99_ms": at(count * 99 / 100),
        "min_ms": at(0),
        "max_ms": at(count.saturating_sub(1)),
    })
}

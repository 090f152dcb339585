//! Sums up the verification of all keys.
//!
//! Takes `results` of `verify-key`. Gives `verdict` (`passed` or `failed`) and `findings` for the customer, and leaves the
//! whole as the record `key-verification`/run. Effect: none. Again: the same.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::common::input;
use crate::{
    keys::{Probe, ProbeState, Verdict},
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct ReviewKeys;

#[derive(Deserialize)]
struct Input {
    results: Vec<Verified>,
}

#[derive(Deserialize, serde::Serialize)]
struct Verified {
    region: String,
    arn: String,
    verdict: Verdict,
    probes: Vec<Probe>,
}

#[async_trait]
impl Step for ReviewKeys {
    fn name(&self) -> &'static str {
        "review-keys"
    }

    async fn run(&self, context: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { results } = input(self.name(), value)?;
        let mut findings = Vec::new();
        for result in &results {
            for probe in result.probes.iter().filter(|probe| probe.state == ProbeState::Failed) {
                findings.push(json!({
                    "region": result.region, "key": result.arn, "probe": probe.name, "code": probe.code,
                    "message": probe.seen, "change": probe.change,
                }));
            }
        }
        let passed = !results.is_empty() && results.iter().all(|result| result.verdict == Verdict::Passed);
        let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
        let body = json!({ "verdict": verdict, "findings": findings, "results": results });
        let record = Record { collection: "key-verification", key: context.run.clone(), body };
        Ok(Progress::recorded(json!({ "verdict": verdict, "findings": findings }), vec![record]))
    }
}

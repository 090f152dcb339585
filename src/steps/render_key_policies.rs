//! Renders the key policy of each region.
//!
//! Takes the plan. Gives `policies` (by region) and leaves them as records in `key-policy`, by region, for download.
//! Effect: none. Again: the same records.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Domain,
    common::{Plan, input},
};
use crate::{
    aws::partition,
    keys::{PolicyRequest, render},
    worker::{Progress, Record, Step, StepContext, StepError},
};

pub struct RenderKeyPolicies(pub Domain);

#[derive(Deserialize)]
struct Input {
    plan: Plan,
}

#[async_trait]
impl Step for RenderKeyPolicies {
    fn name(&self) -> &'static str {
        "render-key-policies"
    }

    async fn run(&self, _: &StepContext, value: Value) -> Result<Progress, StepError> {
        let Input { plan } = input(self.name(), value)?;
        let customer = plan.aws_account.as_deref().ok_or_else(|| {
            StepError::new(
                "Keyferry.BadInput",
                "the plan names no AWS account of the customer: answer the form regions again",
            )
        })?;
        let config = &self.0.config;
        let mut policies = Map::new();
        let mut records = Vec::new();
        for region in &plan.regions {
            let vendor = config.aws.partitions.get(partition(region)).ok_or_else(|| {
                StepError::new("Keyferry.UnsupportedRegion", format!("the configuration has no account for {region}"))
            })?;
            let request = PolicyRequest {
                region,
                customer_account: customer,
                vendor_account: &vendor.account,
                vendor: &config.vendor.name,
            };
            let policy = render(request);
            records.push(Record { collection: "key-policy", key: region.clone(), body: policy.clone() });
            policies.insert(region.clone(), policy);
        }
        Ok(Progress::recorded(json!({ "policies": policies }), records))
    }
}

//! The one adapter to AWS: SDK clients that act as the vendor's role in a region's partition.
//!
//! Whether AWS, another emulator or the sandbox stands behind it is a matter of the HTTP client and of the SDK's own
//! environment variables; nothing above this module knows. Credentials come from one AssumeRole per partition and
//! region, cached with five minutes to spare. Timeouts are set because the SDK has none by default. Calls that create
//! something go out once: the SDK would retry a lost reply without knowing that the first call took effect, so the
//! step looks first when it is run again.

mod breaker;
mod elsewhere;
mod failure;
mod jurisdiction;
mod sandboxed;

use std::{collections::HashMap, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_sdk_sts::config::{Credentials, SharedAsyncSleep, SharedCredentialsProvider};
use aws_smithy_async::{rt::sleep::TokioSleep, time::SharedTimeSource};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;

use breaker::Breakers;

pub use elsewhere::Elsewhere;
pub use failure::{Failure, failure};
pub use jurisdiction::{default_recovery, jurisdiction};

use crate::{
    config::Config,
    worker::{Clock as _, StepError, SystemClock},
};

/// How the adapter reaches AWS.
#[derive(Default)]
pub struct AwsOptions<'a> {
    /// Where the vendor is; the default configuration if none.
    pub config: Option<&'a Config>,
    /// The sandbox's connector. With it, no credential or endpoint of the environment is looked at.
    pub http: Option<SharedHttpClient>,
    /// The time by which requests are signed and sessions expire: that of the sandbox's wall, when `http` is the sandbox.
    pub time: Option<SharedTimeSource>,
    /// A sandbox in another process; instead of `http`.
    pub elsewhere: Option<Elsewhere>,
}

/// SDK clients by region, for the vendor's account.
pub struct Aws {
    config: Config,
    http: Option<SharedHttpClient>,
    time: Option<SharedTimeSource>,
    elsewhere: Option<Elsewhere>,
    /// By role and region.
    assumed: Mutex<HashMap<(String, String), Dated>>,
    breakers: Breakers,
}

/// The configuration of an assumed role and the time at which it was made.
type Dated = (SdkConfig, DateTime<Utc>);

/// The session's name in CloudTrail.
const SESSION: &str = "keyferry";

impl Aws {
    /// Opens nothing yet: credentials are fetched with the first client.
    pub fn new(options: AwsOptions<'_>) -> Self {
        Self {
            config: options.config.cloned().unwrap_or_default(),
            http: options.http,
            breakers: Breakers::new(options.time.clone()),
            time: options.time,
            elsewhere: options.elsewhere,
            assumed: Mutex::new(HashMap::new()),
        }
    }

    /// A KMS client for `region`, as the vendor's role. GovCloud is reached at its FIPS endpoint.
    ///
    /// # Errors
    /// `Keyferry.UnsupportedRegion`: the configuration has no place of the vendor for it.
    pub async fn kms(&self, region: &str) -> Result<aws_sdk_kms::Client, StepError> {
        let config = kms_config(&self.vendor(region).await?, region);
        Ok(aws_sdk_kms::Client::from_conf(config.interceptor(self.breakers.at("KMS", region)).build()))
    }

    /// Where AWS is silent, as a metric.
    ///
    /// # Errors
    /// A name that Prometheus does not take: a mistake in this module.
    pub fn silence(&self) -> Result<prometheus::GaugeVec, prometheus::Error> {
        self.breakers.gauge()
    }

    /// The vendor's account in a region's partition; none if the configuration names none.
    pub fn account(&self, region: &str) -> Option<&str> {
        self.config.aws.partitions.get(partition(region)).map(|place| place.account.as_str())
    }

    /// The cloud's time when it is not the wall's: the sandbox's.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        self.time.as_ref().map(|time| time.now().into())
    }

    /// An RDS client for `region`, as the vendor's role. In GovCloud the standard endpoint is the FIPS endpoint.
    ///
    /// # Errors
    /// `Keyferry.UnsupportedRegion`: the configuration has no place of the vendor for it.
    pub async fn rds(&self, region: &str) -> Result<aws_sdk_rds::Client, StepError> {
        let config = aws_sdk_rds::config::Builder::from(&self.vendor(region).await?);
        Ok(aws_sdk_rds::Client::from_conf(config.interceptor(self.breakers.at("RDS", region)).build()))
    }

    /// The SDK's configuration for another role, for example the customer's in the demo.
    pub async fn assumed(&self, role_arn: &str, region: &str) -> SdkConfig {
        let mut assumed = self.assumed.lock().await;
        let key = (role_arn.to_owned(), region.to_owned());
        let keeps = self.elsewhere.as_ref().and_then(|elsewhere| TimeDelta::from_std(elsewhere.keeps()).ok());
        if let Some((config, made_at)) = assumed.get(&key)
            && keeps.is_none_or(|keeps| SystemClock.now() - *made_at < keeps)
        {
            return config.clone();
        }
        let base = self.base(region).await;
        // The sandbox's clock runs ahead of the wall's, so its sessions are asked for as long as AWS grants them; a live
        // role may be limited to the default hour.
        let mut role = AssumeRoleProvider::builder(role_arn).session_name(SESSION).configure(&base);
        if self.http.is_some() || self.elsewhere.is_some() {
            role = role.session_length(elsewhere::SESSION_LENGTH);
        }
        let config = base
            .into_builder()
            .credentials_provider(SharedCredentialsProvider::new(role.build().await))
            .identity_cache(IdentityCache::lazy().buffer_time(Duration::from_secs(300)).build())
            .build();
        assumed.insert(key, (config.clone(), SystemClock.now()));
        config
    }

    async fn vendor(&self, region: &str) -> Result<SdkConfig, StepError> {
        let partition = partition(region);
        let Some(place) = self.config.aws.partitions.get(partition) else {
            return Err(StepError::new(
                "Keyferry.UnsupportedRegion",
                format!("region {region} is in partition {partition}, for which the configuration names no account"),
            ));
        };
        let role = format!("arn:{partition}:iam::{}:role/{}", place.account, place.role);
        Ok(self.assumed(&role, region).await)
    }

    async fn base(&self, region: &str) -> SdkConfig {
        let region = Region::new(region.to_owned());
        let timeouts = limits();
        let version = BehaviorVersion::v2026_01_12();
        let retries = RetryConfig::standard().with_max_attempts(3);
        if let Some(elsewhere) = &self.elsewhere {
            let made_up = Credentials::new("AKIASANDBOXVENDOR000", "sandbox", None, None, "sandbox");
            return aws_config::defaults(version)
                .region(region)
                .endpoint_url(&elsewhere.url)
                .credentials_provider(made_up)
                .timeout_config(timeouts)
                .retry_config(retries)
                .load()
                .await;
        }
        let Some(http) = &self.http else {
            return aws_config::defaults(version)
                .region(region)
                .timeout_config(timeouts)
                .retry_config(retries)
                .load()
                .await;
        };
        // In this process no answer is lost on a network. One that takes long is being computed, key pairs of 4,096 bits on a
        // busy machine above all; an attempt that was given up would have the same computed again beside it.
        let credentials = Credentials::new("AKIASANDBOXVENDOR000", "sandbox", None, None, "sandbox");
        SdkConfig::builder()
            .behavior_version(version)
            .region(region)
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries)
            .http_client(http.clone())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .time_source(self.time.clone().unwrap_or_default())
            .build()
    }
}

/// How long an answer from a network is waited for; the SDK has no limits by default.
fn limits() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(3100))
        .read_timeout(Duration::from_secs(20))
        .operation_attempt_timeout(Duration::from_secs(30))
        .operation_timeout(Duration::from_secs(120))
        .build()
}

/// A KMS client over `config`, at the FIPS endpoint in GovCloud unless an endpoint of the operator's own is set.
pub fn kms_client(config: &SdkConfig, region: &str) -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::from_conf(kms_config(config, region).build())
}

fn kms_config(config: &SdkConfig, region: &str) -> aws_sdk_kms::config::Builder {
    let own_endpoint = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_KMS").is_some();
    let fips = partition(region) == "aws-us-gov" && !own_endpoint;
    let builder = aws_sdk_kms::config::Builder::from(config);
    if fips { builder.use_fips(true) } else { builder }
}

/// The override for a call that creates something and has no idempotency token.
pub fn once() -> aws_sdk_rds::config::Builder {
    aws_sdk_rds::config::Builder::new().retry_config(RetryConfig::standard().with_max_attempts(1))
}

/// The partition of a region, by the form of its name.
pub fn partition(region: &str) -> &'static str {
    const PREFIXES: [(&str, &str); 6] = [
        ("us-gov-", "aws-us-gov"),
        ("cn-", "aws-cn"),
        ("eusc-", "aws-eusc"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("us-iso-", "aws-iso"),
    ];
    PREFIXES.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

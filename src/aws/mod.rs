//! The one adapter to AWS: the SDK's clients, acting as the vendor's role of each region's partition.
//!
//! What stands behind them is a matter of the connection: AWS (the SDK's own environment variables and profiles apply),
//! another emulator (`AWS_ENDPOINT_URL`), or the sandbox, whose connector needs no socket.

mod errors;

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Mutex;

use crate::config::Config;

pub use errors::{Described, describe};

/// The SDK's clients by role and region, made when first asked for.
#[derive(Clone)]
pub struct Aws {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    /// The sandbox's connector; `None` is the SDK's own HTTP client.
    sandbox: Option<SharedHttpClient>,
    loaded: Mutex<HashMap<(String, String), SdkConfig>>,
}

/// A region that no configured partition supports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the region {region} belongs to no partition of the configuration: add it under [aws.partitions]")]
pub struct UnknownRegion {
    pub region: String,
}

/// The partition that a region belongs to, by its name.
/// Source: the `regionRegex` of botocore's `partitions.json`.
pub fn partition_of(region: &str) -> &'static str {
    match region {
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("eusc-") => "aws-eusc",
        region if region.starts_with("us-iso") => "aws-iso",
        _ => "aws",
    }
}

impl Aws {
    /// An adapter over the sandbox's connector, or over AWS where there is none.
    pub fn new(config: Arc<Config>, sandbox: Option<SharedHttpClient>) -> Self {
        Self { inner: Arc::new(Inner { config, sandbox, loaded: Mutex::default() }) }
    }

    /// The vendor's account in a region's partition.
    ///
    /// # Errors
    /// No partition of the configuration has the region.
    pub fn vendor_account(&self, region: &str) -> Result<&str, UnknownRegion> {
        let partition = self.inner.config.aws.partitions.get(partition_of(region));
        partition.map(|partition| partition.account.as_str()).ok_or_else(|| UnknownRegion { region: region.to_owned() })
    }

    /// KMS in a region, as the vendor.
    ///
    /// # Errors
    /// No partition of the configuration has the region.
    pub async fn kms(&self, region: &str) -> Result<aws_sdk_kms::Client, UnknownRegion> {
        let shared = self.vendor(region).await?;
        let mut config = aws_sdk_kms::config::Builder::from(&shared);
        if partition_of(region) == "aws-us-gov" && self.inner.sandbox.is_none() {
            config = config.use_fips(true);
        }
        Ok(aws_sdk_kms::Client::from_conf(config.build()))
    }

    /// RDS in a region, as the vendor. The client never sends a request twice by itself: a create whose answer was lost
    /// is looked for before it is sent again.
    ///
    /// # Errors
    /// No partition of the configuration has the region.
    pub async fn rds(&self, region: &str) -> Result<aws_sdk_rds::Client, UnknownRegion> {
        let shared = self.vendor(region).await?;
        let config = aws_sdk_rds::config::Builder::from(&shared).retry_config(RetryConfig::disabled());
        Ok(aws_sdk_rds::Client::from_conf(config.build()))
    }

    async fn vendor(&self, region: &str) -> Result<SdkConfig, UnknownRegion> {
        let partition = partition_of(region);
        let vendor = self.inner.config.aws.partitions.get(partition);
        let vendor = vendor.ok_or_else(|| UnknownRegion { region: region.to_owned() })?;
        let role = format!("arn:{partition}:iam::{}:role/{}", vendor.account, vendor.role);
        Ok(self.acting_as(&role, region).await)
    }

    /// SDK settings for a role in a region. Credentials are renewed five minutes before they end.
    pub async fn acting_as(&self, role: &str, region: &str) -> SdkConfig {
        let mut loaded = self.inner.loaded.lock().await;
        let key = (role.to_owned(), region.to_owned());
        if let Some(config) = loaded.get(&key) {
            return config.clone();
        }
        let base = self.base(region).await;
        let provider = AssumeRoleProvider::builder(role).session_name("keyferry").configure(&base).build().await;
        let config = base.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build();
        loaded.insert(key, config.clone());
        config
    }

    async fn base(&self, region: &str) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(3_100))
            .read_timeout(Duration::from_secs(20))
            .operation_attempt_timeout(Duration::from_secs(30))
            .operation_timeout(Duration::from_secs(120))
            .build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .identity_cache(IdentityCache::lazy().buffer_time(Duration::from_secs(300)).build());
        match &self.inner.sandbox {
            Some(connector) => {
                let account = self.inner.config.aws.partitions.get(partition_of(region));
                let account = account.map(|partition| partition.account.clone()).unwrap_or_default();
                let credentials = Credentials::new("AKIASANDBOXVENDOR000", account, None, None, "sandbox");
                loader.http_client(connector.clone()).credentials_provider(credentials).load().await
            }
            None => loader.load().await,
        }
    }
}

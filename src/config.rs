//! `keyferry.toml`: the vendor is configuration. Nothing in the code knows one vendor's name, accounts or paths.

mod address;
mod check;
mod load;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use address::mail_address;
pub use load::{ConfigError, FILE_NAME};

/// Everything an operator sets. Unknown keys are refused, so that a typo cannot pass as a default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub vendor: Vendor,
    pub customer: Customer,
    pub aws: Aws,
    pub windows: Windows,
    pub mail: Mail,
    pub sandbox: Sandbox,
    pub worker: Worker,
}

/// Who the vendor is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vendor {
    /// The name that people read, in the key policy's statement identifiers too (`Allow Replicon use of the key`).
    pub name: String,
    /// Path prefix of the customers' API.
    pub customer_api_prefix: String,
    pub support_email: String,
    /// Mail to engineers when an enterprise has none of its own.
    pub engineer_email: String,
    pub csm_email: String,
}

/// How customers reach their API, and how much of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Customer {
    /// Where the customers' API listens; without it, on the operators' address. `serve --customer-listen` wins.
    pub listen: Option<String>,
    /// What stands before the API's prefix in what customers are told, and before `/handover/…` in one-time links.
    pub public_url: String,
    /// The same for the test environment: whatever a proxy in between makes of it must arrive as `/test` and the prefix.
    pub test_public_url: String,
    /// Networks whose word about where a request came from is believed.
    pub trusted_proxies: Vec<String>,
    /// The one header in which they say it: `x-forwarded-for` or `forwarded`.
    pub forwarded_header: String,
    /// Requests a minute with one key, by one process.
    pub key_requests_per_minute: u32,
    /// Requests a minute from one address that fail to authenticate and are still told why.
    pub address_failures_per_minute: u32,
    /// Days for which the trail of API keys is kept; 0 for ever.
    pub trail_days: u32,
}

/// Where the vendor's systems are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Aws {
    /// By partition name: `aws`, `aws-us-gov`.
    pub partitions: BTreeMap<String, Partition>,
    /// Tag key whose value is the enterprise's identifier, on its data systems.
    pub enterprise_tag: String,
    /// Tag key whose value is `production`, `sandbox` or `development`.
    pub instance_tag: String,
    /// By region, then VPC: the security group without any rule that a system is given before it is taken out of service.
    pub closing_groups: BTreeMap<String, BTreeMap<String, String>>,
    /// Seconds between two looks at a resource that AWS is changing. The sandbox divides it by its speed.
    pub poll_s: u64,
    /// Seconds for which a key policy may still be spreading before an `AccessDenied` counts as a finding. The sandbox
    /// divides it by its speed.
    pub policy_grace_s: u64,
    /// Seconds between two looks at the keys that customers imported material into. The sandbox divides it by its speed.
    pub custody_check_s: u64,
}

/// The vendor's place in one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// The vendor's account there, 12 digits.
    pub account: String,
    /// The role that keyferry acts as, a name or path within `account`.
    pub role: String,
    /// Supported regions.
    pub regions: Vec<String>,
}

/// Maintenance windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Windows {
    /// Hours between the scheduling of a window and its earliest start. With 0 a window may start `now`.
    pub notice_hours: u64,
    /// Minutes kept free at a window's end for going back; no cut-over starts after the end minus these. Going back may take
    /// two renames, of which AWS says that each takes about ten minutes.
    pub go_back_minutes: u64,
}

/// How mail leaves. Without a host it is written to `DIR/mail/` as `.eml` files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    pub from: String,
    pub smtp_host: Option<String>,
    pub smtp_port: u16,
    pub smtp_username: Option<String>,
    /// Name of the environment variable that holds the password.
    pub smtp_password_env: Option<String>,
    /// `none`, `starttls` or `tls`.
    pub smtp_tls: String,
}

/// The emulated cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// How many of its seconds pass in one of the wall's.
    pub speed: f64,
}

/// The worker's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Steps that run at once.
    pub concurrency: usize,
    /// Seconds that a lease lasts.
    pub lease_s: u64,
    /// Crashes of its process after which a step is parked in attention.
    pub crash_limit: u32,
}

impl Default for Vendor {
    fn default() -> Self {
        Self {
            name: "Replicon".to_owned(),
            customer_api_prefix: "/!/ems".to_owned(),
            support_email: "support@replicon.example".to_owned(),
            engineer_email: "cloud-operations@replicon.example".to_owned(),
            csm_email: "customer-success@replicon.example".to_owned(),
        }
    }
}

impl Default for Customer {
    fn default() -> Self {
        Self {
            listen: None,
            public_url: "https://global.replicon.example".to_owned(),
            test_public_url: "https://global.replicon.example/test".to_owned(),
            trusted_proxies: Vec::new(),
            forwarded_header: "x-forwarded-for".to_owned(),
            key_requests_per_minute: 120,
            address_failures_per_minute: 20,
            trail_days: 400,
        }
    }
}

impl Default for Aws {
    fn default() -> Self {
        let partition = |account: &str, regions: &[&str]| Partition {
            account: account.to_owned(),
            role: "keyferry".to_owned(),
            regions: regions.iter().map(|&region| region.to_owned()).collect(),
        };
        Self {
            partitions: BTreeMap::from([
                (
                    "aws".to_owned(),
                    partition(
                        "127450652264",
                        &[
                            "us-west-2",
                            "us-east-1",
                            "us-east-2",
                            "eu-central-1",
                            "eu-west-1",
                            "ap-southeast-2",
                            "ca-central-1",
                        ],
                    ),
                ),
                ("aws-us-gov".to_owned(), partition("127450652265", &["us-gov-west-1", "us-gov-east-1"])),
            ]),
            enterprise_tag: "keyferry:enterprise".to_owned(),
            instance_tag: "keyferry:instance".to_owned(),
            closing_groups: BTreeMap::new(),
            poll_s: 30,
            policy_grace_s: 300,
            custody_check_s: 900,
        }
    }
}

impl Default for Windows {
    fn default() -> Self {
        Self { notice_hours: 0, go_back_minutes: 60 }
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            from: "keyferry@replicon.example".to_owned(),
            smtp_host: None,
            smtp_port: 25,
            smtp_username: None,
            smtp_password_env: None,
            smtp_tls: "none".to_owned(),
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { speed: 60.0 }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self { concurrency: 16, lease_s: 60, crash_limit: 10 }
    }
}

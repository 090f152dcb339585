//! Builds an enterprise's estate in the sandbox, with what makes estates awkward.

use std::{path::PathBuf, sync::Arc};

use aws_sdk_rds::{
    Client,
    types::{DbInstance, Tag},
};
use chrono::{DateTime, Utc};
use keyferry::{
    aws::{Aws, kms_client},
    config::Config,
    keys::{PolicyRequest, render},
    sandbox::{Options, Sandbox, Writer},
    worker::Clock as _,
};

use super::{clock::VirtualClock, life::ClosingGroups};

pub const WEST: &str = "us-west-2";
pub const EAST: &str = "us-east-1";
/// No region of the configuration's.
pub const ABROAD: &str = "sa-east-1";
pub const CUSTOMER: &str = "123456789012";
pub const VENDOR: &str = "127450652264";
pub const OTHER: &str = "210987654321";
const CLOSING: &str = "sg-00000000000c105ed";

/// What an instance is like. The default is a small plain one without encryption.
#[derive(Debug, Clone)]
pub struct Shape {
    pub engine: &'static str,
    pub class: &'static str,
    pub gb: i32,
    pub key: Option<String>,
    /// The value of the tag that says whose it is.
    pub enterprise: &'static str,
    pub instance: &'static str,
    pub multi_az: bool,
    pub protected: bool,
    pub retention_days: i32,
    pub managed_password: bool,
    pub insights: bool,
    pub iam: bool,
    pub option_group: Option<&'static str>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            engine: "postgres",
            class: "db.m6g.large",
            gb: 20,
            key: None,
            enterprise: "dave",
            instance: "production",
            multi_az: false,
            protected: false,
            retention_days: 1,
            managed_password: false,
            insights: false,
            iam: false,
            option_group: None,
        }
    }
}

pub fn tags(enterprise: &str, instance: &str) -> Vec<Tag> {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    vec![tag("keyferry:enterprise", enterprise), tag("keyferry:instance", instance), tag("team", "payroll")]
}

/// A cloud in virtual time.
pub struct Estate {
    pub clock: VirtualClock,
    pub sandbox: Sandbox,
    pub aws: Arc<Aws>,
}

impl Estate {
    /// A group that lets nobody in, for each VPC in which systems stand.
    pub async fn closing_groups(&self) -> ClosingGroups {
        let mut all = ClosingGroups::new();
        for region in [WEST, EAST] {
            let found = self.rds(region).await.describe_db_instances().send().await.unwrap();
            for vpc in found.db_instances().iter().filter_map(|found| found.db_subnet_group()?.vpc_id()) {
                all.entry(region.to_owned()).or_default().insert(vpc.to_owned(), CLOSING.to_owned());
            }
        }
        self.sandbox.arrange(|rds, _| rds.close_security_group(CLOSING)).await.unwrap();
        all
    }

    /// An empty one, with so many times the quotas of a new account.
    pub async fn new(quotas: u16) -> Self {
        Self::open(quotas, None, DateTime::from_timestamp(1_790_000_000, 0).unwrap()).await
    }

    /// What the sandbox's file holds, at a time; an empty one where there is none.
    pub async fn open(quotas: u16, data: Option<PathBuf>, now: DateTime<Utc>) -> Self {
        let clock = VirtualClock::new(now);
        let wall = clock.clone();
        let options = Options {
            data,
            speed: 1.0,
            wall: Arc::new(move || wall.now()),
            default_account: VENDOR.to_owned(),
            quotas,
        };
        let sandbox = Sandbox::open(options).await.unwrap();
        let aws = Arc::new(Aws::sandboxed(&Config::default(), &sandbox));
        Self { clock, sandbox, aws }
    }

    pub async fn rds(&self, region: &str) -> Client {
        self.aws.rds(region).await.unwrap()
    }

    /// A key of the vendor's own.
    pub async fn vendors_key(&self, region: &str) -> String {
        let made = self.aws.kms(region).await.unwrap().create_key().send().await.unwrap();
        made.key_metadata.unwrap().arn.unwrap()
    }

    pub async fn found(&self, region: &str, id: &str) -> Option<DbInstance> {
        let found = self.rds(region).await.describe_db_instances().db_instance_identifier(id).send().await;
        found.ok().and_then(|found| found.db_instances.unwrap_or_default().into_iter().next())
    }

    /// Waits until an instance is in a state; time passes.
    pub async fn until(&self, region: &str, id: &str, status: &str) -> DbInstance {
        for _ in 0..2_000 {
            if let Some(found) = self.found(region, id).await
                && found.db_instance_status() == Some(status)
            {
                return found;
            }
            self.clock.pass(120);
        }
        panic!("{id} does not become {status}")
    }

    /// A system with something written in it.
    pub async fn system(&self, region: &str, id: &str, shape: &Shape) -> DbInstance {
        let password = (!shape.managed_password).then(|| "long-enough-for-RDS".to_owned());
        self.rds(region)
            .await
            .create_db_instance()
            .db_instance_identifier(id)
            .engine(shape.engine)
            .db_instance_class(shape.class)
            .allocated_storage(shape.gb)
            .master_username("keeper")
            .set_master_user_password(password)
            .set_manage_master_user_password(shape.managed_password.then_some(true))
            .vpc_security_group_ids("sg-0123456789abcdef0")
            .multi_az(shape.multi_az)
            .deletion_protection(shape.protected)
            .backup_retention_period(shape.retention_days)
            .copy_tags_to_snapshot(true)
            .enable_iam_database_authentication(shape.iam)
            .set_enable_performance_insights(shape.insights.then_some(true))
            .set_performance_insights_kms_key_id(shape.key.clone().filter(|_| shape.insights))
            .set_option_group_name(shape.option_group.map(str::to_owned))
            .storage_encrypted(shape.key.is_some())
            .set_kms_key_id(shape.key.clone())
            .set_tags(Some(tags(shape.enterprise, shape.instance)))
            .send()
            .await
            .unwrap();
        let made = self.until(region, id, "available").await;
        self.write(&made).await;
        made
    }

    /// An application's write through the endpoint.
    pub async fn write(&self, instance: &DbInstance) -> u64 {
        let address = instance.endpoint().and_then(|endpoint| endpoint.address()).unwrap_or_default();
        self.sandbox.write(&Writer::Endpoint(address.to_owned())).await.unwrap()
    }

    /// A read replica of `source` (an ARN), here or across regions.
    pub async fn replica(&self, region: &str, id: &str, source: &str, key: Option<String>) -> DbInstance {
        let create = self.rds(region).await.create_db_instance_read_replica().db_instance_identifier(id);
        let create = create.source_db_instance_identifier(source).set_kms_key_id(key);
        create.set_tags(Some(tags("dave", "production"))).send().await.unwrap();
        self.until(region, id, "available").await
    }

    /// A manual snapshot; its ARN.
    pub async fn snapshot(&self, region: &str, of: &str, id: &str) -> String {
        let rds = self.rds(region).await;
        let make = rds.create_db_snapshot().db_instance_identifier(of).db_snapshot_identifier(id);
        let arn = make.send().await.unwrap().db_snapshot.unwrap().db_snapshot_arn.unwrap();
        self.until(region, of, "available").await;
        arn
    }

    /// A copy of a snapshot in another region, when it is there.
    pub async fn copy(&self, region: &str, source: &str, id: &str, key: Option<String>) {
        let rds = self.rds(region).await;
        let copy = rds.copy_db_snapshot().source_db_snapshot_identifier(source).target_db_snapshot_identifier(id);
        copy.set_kms_key_id(key).copy_tags(true).send().await.unwrap();
        for _ in 0..2_000 {
            let found = rds.describe_db_snapshots().db_snapshot_identifier(id).send().await.unwrap();
            if found.db_snapshots()[0].status() == Some("available") {
                return;
            }
            self.clock.pass(60);
        }
        panic!("the copy {id} is never there")
    }

    /// A snapshot of a system that is gone: an archive that nothing replaces.
    pub async fn archive(&self, region: &str, id: &str, shape: &Shape) -> String {
        self.system(region, id, shape).await;
        let arn = self.snapshot(region, id, &format!("{id}-archive")).await;
        let rds = self.rds(region).await;
        let gone = rds.delete_db_instance().db_instance_identifier(id).skip_final_snapshot(true);
        gone.delete_automated_backups(true).send().await.unwrap();
        while self.found(region, id).await.is_some() {
            self.clock.pass(60);
        }
        arn
    }

    /// An Aurora cluster with members.
    pub async fn cluster(&self, region: &str, id: &str, members: usize, key: Option<String>) {
        let rds = self.rds(region).await;
        let create = rds.create_db_cluster().db_cluster_identifier(id).engine("aurora-postgresql");
        let create = create.master_username("keeper").master_user_password("long-enough-for-RDS");
        let create = create.storage_encrypted(key.is_some()).set_kms_key_id(key);
        create.set_tags(Some(tags("dave", "production"))).send().await.unwrap();
        for number in 1..=members {
            let member = format!("{id}-{number}");
            let create = rds.create_db_instance().db_instance_identifier(&member).db_cluster_identifier(id);
            let create = create.engine("aurora-postgresql").db_instance_class("db.r6g.large");
            create.set_tags(Some(tags("dave", "production"))).send().await.unwrap();
            self.until(region, &member, "available").await;
        }
    }

    pub async fn customers_kms(&self, region: &str) -> aws_sdk_kms::Client {
        let role = format!("arn:aws:iam::{CUSTOMER}:role/administrator");
        kms_client(&self.aws.assumed(&role, region).await, region)
    }

    /// A customer's key under the policy that the vendor hands out.
    pub async fn customers_key(&self, region: &str) -> String {
        let made = self.customers_kms(region).await.create_key().policy(policy(region)).send().await.unwrap();
        made.key_metadata.unwrap().arn.unwrap()
    }
}

/// The policy that the vendor hands out.
pub fn policy(region: &str) -> String {
    let request = PolicyRequest { region, customer_account: CUSTOMER, vendor_account: VENDOR, vendor: "Replicon" };
    render(request).to_string()
}

/// The policy without the vendor's statements.
pub fn policy_without_vendor(region: &str) -> String {
    let mut policy: serde_json::Value = serde_json::from_str(&policy(region)).unwrap();
    let statements = policy["Statement"].as_array_mut().unwrap();
    statements.retain(|statement| !statement["Principal"].to_string().contains(VENDOR));
    policy.to_string()
}

/// The policy that the vendor hands out, and nobody uses the key through RDS.
pub fn policy_without_rds(region: &str) -> String {
    let mut policy: serde_json::Value = serde_json::from_str(&policy(region)).unwrap();
    policy["Statement"].as_array_mut().unwrap().push(serde_json::json!({
        "Sid": "Not through RDS", "Effect": "Deny", "Principal": { "AWS": "*" }, "Action": "kms:*", "Resource": "*",
        "Condition": { "StringEquals": { "kms:ViaService": format!("rds.{region}.amazonaws.com") } },
    }));
    policy.to_string()
}

//! What every operation works with: the tables, the caller's place and parameters, and the look-ups that they share.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::{Answer, AwsError, Call, Caller, Effect, kms};
use super::State;
use super::error;
use super::ids::{Arn, Place};
use super::params::Params;
use super::rows::{Cluster, Instance};

/// One call at work.
pub struct Context<'a> {
    pub state: &'a mut State,
    pub kms: &'a mut kms::State,
    pub caller: &'a Caller,
    pub now: DateTime<Utc>,
    pub place: Place,
    pub p: Params<'a>,
    pub action: &'a str,
}

impl<'a> Context<'a> {
    pub fn new(state: &'a mut State, kms: &'a mut kms::State, call: &'a Call) -> Self {
        let place = Place {
            partition: call.caller.partition.clone(),
            account: call.caller.account.clone(),
            region: call.region.clone(),
        };
        Self { state, kms, caller: &call.caller, now: call.now, place, p: Params::of(call), action: &call.action }
    }

    /// The id that a parameter names, by identifier or by ARN: an ARN of another place or kind is not found here.
    fn local_id(&self, kind: &str, named: &str) -> Option<String> {
        if !named.starts_with("arn:") {
            return Some(named.to_lowercase());
        }
        Arn::parse(named).filter(|arn| arn.kind == kind && arn.place == self.place).map(|arn| arn.id)
    }

    /// The ARN that a parameter names, by identifier or by ARN.
    pub fn arn(&self, kind: &str, named: &str) -> Option<String> {
        self.local_id(kind, named).map(|id| self.place.arn(kind, &id))
    }

    /// An instance of this place by identifier or ARN.
    ///
    /// # Errors
    /// `DBInstanceNotFound`.
    pub fn instance(&self, named: &str) -> Result<Instance, AwsError> {
        self.arn("db", named)
            .and_then(|arn| self.state.instances.get(&arn))
            .cloned()
            .ok_or_else(|| error::instance_not_found(named))
    }

    /// A cluster of this place by identifier or ARN.
    ///
    /// # Errors
    /// `DBClusterNotFoundFault`.
    pub fn cluster(&self, named: &str) -> Result<Cluster, AwsError> {
        self.arn("cluster", named)
            .and_then(|arn| self.state.clusters.get(&arn))
            .cloned()
            .ok_or_else(|| error::cluster_not_found(named))
    }

    /// Whether an instance has this identifier here or is about to be renamed to it.
    ///
    /// # Errors
    /// `DBInstanceAlreadyExists`.
    pub fn instance_id_is_free(&self, id: &str) -> Result<(), AwsError> {
        let taken = self.instances().any(|row| row.id == id || is_becoming(row, id));
        if taken { Err(error::instance_exists()) } else { Ok(()) }
    }

    /// # Errors
    /// `DBClusterAlreadyExistsFault`.
    pub fn cluster_id_is_free(&self, id: &str) -> Result<(), AwsError> {
        let renamed = |row: &Cluster| {
            row.status == "renaming" && row.pending.get("DBClusterIdentifier").is_some_and(|new| new == id)
        };
        let taken = self.clusters().any(|row| row.id == id || renamed(row));
        if taken { Err(error::cluster_exists()) } else { Ok(()) }
    }

    /// The instances of this place.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.state.instances.within(self.place.prefix("db"))
    }

    /// The clusters of this place.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.state.clusters.within(self.place.prefix("cluster"))
    }

    /// Takes the key `named` into use for `resource` and answers its ARN.
    ///
    /// # Errors
    /// `KMSKeyNotAccessibleFault`.
    pub fn attach(&mut self, named: &str, resource: &str, what: &str) -> Result<String, AwsError> {
        self.kms
            .attach(self.now, self.caller, &self.place.region, named, resource)
            .map_err(|reason| error::key_not_accessible(what, named, &reason))
    }

    /// The key for a resource that is to be encrypted: the one named, or the account's default for RDS.
    ///
    /// # Errors
    /// `KMSKeyNotAccessibleFault`.
    pub fn attach_or_default(&mut self, named: Option<&str>, resource: &str) -> Result<String, AwsError> {
        let key = match named {
            Some(named) => named.to_owned(),
            None => self.kms.default_rds_key(self.now, self.caller, &self.place.region),
        };
        self.attach(&key, resource, "")
    }

    /// Whether a key in use still works.
    ///
    /// # Errors
    /// `KMSKeyNotAccessibleFault`.
    pub fn key_works(&self, key: &str, what: &str) -> Result<(), AwsError> {
        self.kms.usable(self.now, key).map_err(|reason| error::key_not_accessible(what, key, &reason))
    }
}

/// Whether an instance has begun to be renamed to `id`.
fn is_becoming(row: &Instance, id: &str) -> bool {
    row.status == "renaming" && row.pending.get("DBInstanceIdentifier").is_some_and(|new| new == id)
}

/// The answer of an operation that changed something: one member, and the effect.
pub fn changed(member: &str, body: Value, resource: String, what: impl Into<String>) -> Answer {
    Answer { body: json!({ member: body }), effect: Some(Effect { resource, what: what.into() }) }
}

/// The answer of an operation that changed nothing.
pub fn seen(body: Value) -> Answer {
    Answer { body, effect: None }
}

//! A key and its material.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Key material: never shown. It is at rest in the data file as an HSM's would be in its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// What a key can be used for at a moment; `KeyState` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion,
    PendingReplicaDeletion,
    PendingImport,
    Creating,
    Updating,
}

impl KeyState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::PendingImport => "PendingImport",
            Self::Creating => "Creating",
            Self::Updating => "Updating",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaterialState {
    Current,
    NonCurrent,
    PendingRotation,
    /// As `PendingRotation`, but a replica of the key does not have it yet.
    PendingMultiRegion,
}

impl MaterialState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "CURRENT",
            Self::NonCurrent => "NON_CURRENT",
            Self::PendingRotation => "PENDING_ROTATION",
            Self::PendingMultiRegion => "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
        }
    }
}

/// One generation of a key's material.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Material {
    /// 64 hexadecimal digits.
    pub id: String,
    /// None: imported material that was deleted or has expired.
    pub secret: Option<Secret>,
    pub state: MaterialState,
    /// When and how it became current, unless it was the first.
    pub rotated: Option<(DateTime<Utc>, String)>,
    pub valid_to: Option<DateTime<Utc>>,
    pub description: Option<String>,
}

impl Material {
    /// Whether it never was current and waits to be.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, MaterialState::PendingRotation | MaterialState::PendingMultiRegion)
    }

    pub fn live(&self, now: DateTime<Utc>) -> Option<&Secret> {
        self.secret.as_ref().filter(|_| self.valid_to.is_none_or(|end| now < end))
    }
}

/// Automatic rotation, while it is on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rotation {
    pub period_days: i64,
    pub next: DateTime<Utc>,
}

/// A multi-Region key at work on itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Busy {
    pub until: DateTime<Utc>,
    /// A new replica; else the primary changes.
    pub creating: bool,
}

/// A policy that was replaced, and since when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replaced {
    pub policy: String,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Key {
    pub arn: String,
    pub id: String,
    pub account: String,
    pub partition: String,
    pub region: String,
    pub created: DateTime<Utc>,
    pub description: String,
    pub usage: String,
    pub spec: String,
    pub origin: String,
    pub aws_managed: bool,
    pub multi_region: bool,
    /// Whether it is a replica of a multi-Region primary key.
    #[serde(default)]
    pub replica: bool,
    #[serde(default)]
    pub busy: Option<Busy>,
    pub disabled: bool,
    /// When it will be gone, and the waiting period in days.
    pub deletion: Option<(DateTime<Utc>, i64)>,
    /// The waiting period in days of a primary that is to be deleted after the last of its replicas.
    #[serde(default)]
    pub replica_deletion_days: Option<i64>,
    pub policy: String,
    pub replaced: Option<Replaced>,
    /// Oldest first.
    pub materials: Vec<Material>,
    pub rotation: Option<Rotation>,
    pub on_demand_rotations: u32,
    pub tags: BTreeMap<String, String>,
}

impl Key {
    pub fn is_external(&self) -> bool {
        self.origin == "EXTERNAL"
    }

    pub fn is_symmetric(&self) -> bool {
        self.spec == "SYMMETRIC_DEFAULT"
    }

    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        if self.replica_deletion_days.is_some() {
            return KeyState::PendingReplicaDeletion;
        }
        if self.deletion.is_some() {
            return KeyState::PendingDeletion;
        }
        let busy = self.busy.as_ref().filter(|busy| now < busy.until);
        if busy.is_some_and(|busy| busy.creating) {
            return KeyState::Creating;
        }
        let in_use =
            |material: &&Material| matches!(material.state, MaterialState::Current | MaterialState::NonCurrent);
        let mut needed = self.materials.iter().filter(in_use);
        if self.current().is_none() || needed.any(|material| material.live(now).is_none()) {
            return KeyState::PendingImport;
        }
        match (self.disabled, busy) {
            (true, _) => KeyState::Disabled,
            (false, Some(_)) => KeyState::Updating,
            (false, None) => KeyState::Enabled,
        }
    }

    pub fn current(&self) -> Option<&Material> {
        self.materials.iter().find(|material| material.state == MaterialState::Current)
    }

    pub fn material(&self, id: &str) -> Option<&Material> {
        self.materials.iter().find(|material| material.id == id)
    }

    /// The policy in effect, given how long a changed one takes to take effect.
    pub fn effective_policy(&self, now: DateTime<Utc>, delay: chrono::TimeDelta) -> &str {
        match &self.replaced {
            Some(replaced) if now < replaced.at + delay => &replaced.policy,
            _ => &self.policy,
        }
    }

    /// Makes `material` the current one.
    pub fn rotate_to(&mut self, id: &str, now: DateTime<Utc>, how: &str) {
        for material in &mut self.materials {
            if material.id == id {
                material.state = MaterialState::Current;
                material.rotated = Some((now, how.to_owned()));
            } else if material.state == MaterialState::Current {
                material.state = MaterialState::NonCurrent;
            }
        }
    }
}

/// A second name of a key, under its ARN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alias {
    pub name: String,
    pub arn: String,
    pub target: String,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// A grant, under its key's ARN and its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grant {
    pub id: String,
    pub key: String,
    /// What all its tokens begin with.
    pub token: String,
    pub name: Option<String>,
    pub created: DateTime<Utc>,
    pub grantee: String,
    pub retiring: Option<String>,
    pub issuing_account: String,
    pub operations: Vec<String>,
    pub context_equals: Option<BTreeMap<String, String>>,
    pub context_subset: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub source_arn: Option<String>,
    /// The resource that RDS holds it for.
    pub resource: Option<String>,
}

impl Grant {
    pub fn row_key(key: &str, id: &str) -> String {
        format!("{key}#{id}")
    }
}

/// A wrapping key and the import token that names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportParameters {
    pub key: String,
    pub private_key: Secret,
    pub algorithm: String,
    pub valid_to: DateTime<Utc>,
}

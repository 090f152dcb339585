//! Systems that a run takes out of service, and the run that puts them back.
//!
//! Before a step takes a system out of service, a record says so: collection `outage`, key the system's resource id, with the
//! run, the name that the original bears meanwhile, the cutoff and the end of the window, and what the steps are given. The
//! record ends in the commit that ends the outage. So whatever becomes of the run, what is down is read from records and not
//! from the run.
//!
//! A run that ends while a system may be down begins a run of `put-back` in the same commit and hands it its exclusive place:
//! no other run that changes the enterprise's systems starts before that one has ended. A crash before the commit leaves the
//! run as it was, a crash after it leaves `put-back` as due work.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    core::Core,
    reading::why,
    turns::{self, Begin, Beginning},
};
use crate::{
    engine::{Actor, Header, Outcome, Payload},
    store::{ParentLink, RecordsPage, Start, StoreError},
};

/// The collection of the records.
pub const OUTAGES: &str = "outage";
/// The workflow that puts systems back.
pub const PUT_BACK: &str = "put-back";

/// How far an outage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutageState {
    /// The next step takes the system out of service, or has.
    Planned,
    /// It is out of service.
    Frozen,
    /// It serves again.
    Serving,
}

/// Which system serves after an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Served {
    /// The original.
    Kept,
    /// Its successor.
    Migrated,
}

impl Served {
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Migrated => "migrated",
        }
    }
}

/// A system that is, or was, out of service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// In whose name its things are made.
    pub run: String,
    /// The frame of that run that takes it out of service.
    pub frame: u64,
    pub system: String,
    pub region: String,
    /// AWS's own id of the original, which a rename does not change.
    pub resource_id: String,
    /// The name of the original while it is out of service.
    pub old: String,
    pub state: OutageState,
    pub since: DateTime<Utc>,
    /// No cut-over begins after this: what is not being cut over is put back.
    pub cutoff: DateTime<Utc>,
    /// By this it has to serve again.
    pub end: DateTime<Utc>,
    /// What the steps of the cut-over are given.
    pub input: Value,
    #[serde(default)]
    pub served: Option<Served>,
    #[serde(default)]
    pub ended_at: Option<DateTime<Utc>>,
}

impl Outage {
    /// Whether the system may be out of service.
    pub fn is_open(&self) -> bool {
        self.state != OutageState::Serving
    }

    /// The outage, ended.
    #[must_use]
    pub fn ended(self, served: Served, at: DateTime<Utc>) -> Self {
        Self { state: OutageState::Serving, served: Some(served), ended_at: Some(at), ..self }
    }
}

/// A run and those that it has started, and theirs.
pub(super) struct Family {
    pub(super) members: Vec<String>,
    /// Whether one that another has started is open.
    pub(super) descendant_is_open: bool,
}

impl Core {
    /// The open outages of an enterprise, by resource id.
    pub(super) async fn outages(&self, enterprise: &str) -> Result<BTreeMap<String, Outage>, StoreError> {
        let mut open = BTreeMap::new();
        let mut cursor = None;
        loop {
            let asked =
                RecordsPage { enterprise: enterprise.to_owned(), collection: OUTAGES.to_owned(), limit: 200, cursor };
            let page = self.store.records(asked).await?;
            for record in page.items {
                let outage: Outage = serde_json::from_value(record.body).map_err(|error| {
                    StoreError::corrupt(format!("record {OUTAGES}/{} of {enterprise}", record.key), error)
                })?;
                if outage.is_open() {
                    open.insert(record.key, outage);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(open);
            }
        }
    }

    pub(super) async fn family(&self, run: &str) -> Result<Family, StoreError> {
        let mut family = Family { members: vec![run.to_owned()], descendant_is_open: false };
        let mut next = 0;
        while let Some(member) = family.members.get(next).cloned() {
            for child in self.store.children(&member).await? {
                family.descendant_is_open |= child.open;
                family.members.push(child.run);
            }
            next += 1;
        }
        Ok(family)
    }

    /// The run that has to begin in the commit that ends a run: when a system may be down by its doing, or may still come to be
    /// because a run that it has started has not heard of the end. A run whose own parent has ended leaves that to the parent,
    /// which ended while this one was open.
    pub(super) async fn put_back_after(&self, header: &Header) -> Result<Option<Beginning>, StoreError> {
        let Some(definition) = self.definitions.get(PUT_BACK) else { return Ok(None) };
        let cause = match &header.outcome {
            None => return Ok(None),
            Some(Outcome::Succeeded { .. }) => "ended with a system out of service".to_owned(),
            Some(failed @ Outcome::Failed { .. }) => {
                let (error, cause) = failed.failure();
                format!("failed{}", why(&error, &cause))
            }
            Some(Outcome::Cancelled { reason }) => format!("was cancelled: {reason}"),
        };
        let open = self.outages(&header.enterprise).await?;
        let family = self.family(&header.run).await?;
        let is_down =
            open.values().any(|outage| family.members.contains(&outage.run)) || self.is_left(header, &open).await?;
        let may_come = family.descendant_is_open && !matches!(header.outcome, Some(Outcome::Succeeded { .. }));
        if !is_down && !may_come {
            return Ok(None);
        }
        let loaded = self.store.load(&header.run).await?;
        if let Some(ParentLink { run: parent, .. }) = &loaded.parent
            && self.store.load(parent).await?.snapshot.header.outcome.is_some()
        {
            return Ok(None);
        }
        let input = json!({ "run": header.run, "cause": format!("the run {} {cause}", header.run), "resources": [] });
        let start = Start { parent: None, exclusive: loaded.exclusive, idempotency: Vec::new() };
        self.begin_put_back(Arc::clone(definition), &header.enterprise, input, start).map(Some)
    }

    /// Whether a run of `put-back` leaves something of its own that does not serve: it is followed by another.
    async fn is_left(&self, header: &Header, open: &BTreeMap<String, Outage>) -> Result<bool, StoreError> {
        if header.workflow != PUT_BACK {
            return Ok(false);
        }
        let named = header.input.get("resources").and_then(Value::as_array).cloned().unwrap_or_default();
        for (resource, outage) in open {
            if named.iter().any(|name| name == resource.as_str()) {
                return Ok(true);
            }
            if self.store.load(&outage.run).await?.snapshot.header.outcome.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn begin_put_back(
        &self,
        definition: Arc<crate::engine::Definition>,
        enterprise: &str,
        input: Value,
        start: Start,
    ) -> Result<Beginning, StoreError> {
        let asked = Begin {
            enterprise: enterprise.to_owned(),
            workflow: PUT_BACK.to_owned(),
            input: Payload::from(input),
            actor: Actor { name: "keyferry".to_owned(), role: "system".to_owned() },
            start,
        };
        turns::begin(self, definition, asked)
    }
}

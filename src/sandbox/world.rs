//! What the emulated cloud remembers: tables of rows that know which of them changed.
//!
//! Every service keeps its resources in [`Table`]s. A call runs against the tables in memory and synchronously; when it
//! has ended well, the rows it touched and its ledger entry are written to the data file in one transaction before the
//! answer leaves. A call that fails changes nothing: an operation checks everything before it touches a row.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{kms, rds, sts};

/// All state of the emulated cloud, over all partitions, accounts and regions.
#[derive(Debug, Default)]
pub struct World {
    pub kms: kms::State,
    pub rds: rds::State,
    pub sts: sts::State,
}

/// A service's tables, as the data file sees them.
pub trait Rows {
    /// Moves what changed in any table since the last call into `changes`.
    ///
    /// # Errors
    /// A row that cannot be written as JSON.
    fn take_changes(&mut self, changes: &mut Changes) -> Result<(), serde_json::Error>;

    /// Puts back a row read from the data file; false when no table of this service is of that kind.
    ///
    /// # Errors
    /// A body that is not a row of its table.
    fn load(&mut self, kind: &str, key: &str, body: &str) -> Result<bool, serde_json::Error>;
}

impl Rows for World {
    fn take_changes(&mut self, changes: &mut Changes) -> Result<(), serde_json::Error> {
        let before = changes.rows.len();
        self.kms.take_changes(changes)?;
        self.rds.take_changes(changes)?;
        // Something may follow from what changed, from a key that was disabled for example.
        if changes.rows.len() > before {
            self.rds.unsettle();
        }
        self.sts.take_changes(changes)
    }

    fn load(&mut self, kind: &str, key: &str, body: &str) -> Result<bool, serde_json::Error> {
        Ok(self.kms.load(kind, key, body)? || self.rds.load(kind, key, body)? || self.sts.load(kind, key, body)?)
    }
}

/// A table's changes since they were last taken: `None` as a row's body says that the row is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub rows: Vec<(&'static str, String, Option<String>)>,
}

/// Rows of one kind under string keys, in key order, with a note of those that changed.
#[derive(Debug)]
pub struct Table<T> {
    kind: &'static str,
    rows: BTreeMap<String, T>,
    changed: BTreeSet<String>,
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// An empty table; `kind` names it in the data file and never changes.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, rows: BTreeMap::new(), changed: BTreeSet::new() }
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    pub fn get(&self, key: &str) -> Option<&T> {
        self.rows.get(key)
    }

    /// The row for changing; it counts as changed from here on.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        let row = self.rows.get_mut(key)?;
        self.changed.insert(key.to_owned());
        Some(row)
    }

    pub fn insert(&mut self, key: impl Into<String>, row: T) {
        let key = key.into();
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    pub fn remove(&mut self, key: &str) -> Option<T> {
        let row = self.rows.remove(key)?;
        self.changed.insert(key.to_owned());
        Some(row)
    }

    pub fn contains(&self, key: &str) -> bool {
        self.rows.contains_key(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.rows.iter()
    }

    /// Rows whose keys begin with `prefix`.
    pub fn within(&self, prefix: String) -> impl Iterator<Item = &T> {
        let from = self.rows.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, row)| row)
    }

    /// Moves what changed since the last call into `changes`.
    ///
    /// # Errors
    /// A row that cannot be written as JSON; the table keeps its note of it.
    pub fn take_changes(&mut self, changes: &mut Changes) -> Result<(), serde_json::Error> {
        let mut taken = Vec::with_capacity(self.changed.len());
        for key in &self.changed {
            let body = self.rows.get(key).map(serde_json::to_string).transpose()?;
            taken.push((self.kind, key.clone(), body));
        }
        self.changed.clear();
        changes.rows.extend(taken);
        Ok(())
    }

    /// Puts back a row read from the data file.
    ///
    /// # Errors
    /// A body that is not a row of this table.
    pub fn load(&mut self, key: &str, body: &str) -> Result<(), serde_json::Error> {
        self.rows.insert(key.to_owned(), serde_json::from_str(body)?);
        Ok(())
    }
}

//! The definitions that new runs start with, by name. Open runs keep theirs by content hash, from the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::engine::{Definition, language::Problem};

/// Definitions by name.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    by_name: BTreeMap<String, Arc<Definition>>,
    shared: BTreeSet<String>,
}

impl Definitions {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a definition, in place of one that had the name.
    ///
    /// # Errors
    /// Every problem of the text with its JSON pointer.
    pub fn add(&mut self, name: &str, source: &str) -> Result<(), Vec<Problem>> {
        let loaded = Definition::load(source)?;
        self.by_name.insert(name.to_owned(), Arc::new(loaded.definition));
        Ok(())
    }

    /// Says that runs of this definition change nothing of an enterprise's systems: they may be open beside another.
    pub fn share(&mut self, name: &str) {
        self.shared.insert(name.to_owned());
    }

    /// Whether a run of this definition must be the only open one of its enterprise.
    pub fn is_exclusive(&self, name: &str) -> bool {
        !self.shared.contains(name)
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Definition>> {
        self.by_name.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Definition>)> {
        self.by_name.iter().map(|(name, definition)| (name.as_str(), definition))
    }
}

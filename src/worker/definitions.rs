//! The definitions that new runs start with, by name. Open runs keep theirs by content hash, from the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::engine::{Definition, language::Problem};

/// A file that holds no definition.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the definition {}: {reason}", path.display())]
pub struct DefinitionsError {
    pub path: PathBuf,
    pub reason: String,
    pub problems: Vec<Problem>,
}

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

    /// Adds every `NAME.asl.json` of a folder.
    ///
    /// # Errors
    /// A file that cannot be read, or the first that is no definition, with its problems.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), DefinitionsError> {
        let unreadable = |path: &Path, error: std::io::Error| DefinitionsError {
            path: path.to_owned(),
            reason: error.to_string(),
            problems: Vec::new(),
        };
        for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
            let path = entry.map_err(|error| unreadable(folder, error))?.path();
            let Some(name) =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".asl.json"))
            else {
                continue;
            };
            let source = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            self.add(name, &source).map_err(|problems| DefinitionsError {
                path: path.clone(),
                reason: format!("it has {} problems", problems.len()),
                problems,
            })?;
        }
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

//! The steps that there are, by name.

use std::{collections::BTreeMap, sync::Arc};

use super::Step;

/// Steps by the name that definitions call them by.
#[derive(Clone, Default)]
pub struct Registry {
    steps: BTreeMap<&'static str, Arc<dyn Step>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.steps.keys()).finish()
    }
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a step under its name, in place of one that had it.
    #[must_use]
    pub fn with(mut self, step: impl Step) -> Self {
        self.add(Arc::new(step));
        self
    }

    pub fn add(&mut self, step: Arc<dyn Step>) {
        self.steps.insert(step.name(), step);
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Step>> {
        self.steps.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.steps.keys().copied()
    }
}

//! A cloud with a ledger. Names are unique, as those of RDS are; everything else it does as it is told: what must not be done is
//! for the steps to know, and for the checker to find.

use std::collections::{BTreeMap, BTreeSet};

/// Who asks: the place in a run that a step works for, as it is written in tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) run: String,
    pub(super) state: String,
    pub(super) frame: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) owner: Place,
    /// The system that it is a copy of.
    pub(super) of: Option<String>,
    pub(super) ready_at: i64,
    pub(super) verified: bool,
}

/// An attempt of a step, which acts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attempt {
    pub(super) place: Place,
    pub(super) visit: u64,
    pub(super) attempt: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    Created { name: String },
    Verified { name: String },
    Deleted { system: String },
}

#[derive(Debug, Default)]
pub(super) struct Cloud {
    pub(super) objects: BTreeMap<String, Object>,
    /// Data systems that there have been, by run; and those that live.
    pub(super) systems: BTreeMap<String, BTreeSet<String>>,
    pub(super) live: BTreeSet<String>,
    pub(super) ledger: Vec<(Attempt, Effect)>,
}

/// What the cloud says to a call that it did not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Try again later; it may have happened all the same.
    Throttled,
    Exists,
    Missing,
}

impl Cloud {
    /// The systems that a run finds when it begins.
    pub(super) fn inventory(&mut self, run: &str, many: u64) -> Vec<String> {
        if !self.systems.contains_key(run) {
            let all: BTreeSet<String> = (0..many).map(|number| format!("{run}/system-{number}")).collect();
            self.live.extend(all.iter().cloned());
            self.systems.insert(run.to_owned(), all);
        }
        self.systems.get(run).into_iter().flatten().cloned().collect()
    }

    pub(super) fn describe(&self, name: &str) -> Option<Object> {
        self.objects.get(name).cloned()
    }

    pub(super) fn create(
        &mut self,
        by: &Attempt,
        name: &str,
        of: Option<String>,
        ready_at: i64,
    ) -> Result<Object, Refusal> {
        if self.objects.contains_key(name) {
            return Err(Refusal::Exists);
        }
        let object = Object { owner: by.place.clone(), of, ready_at, verified: false };
        self.objects.insert(name.to_owned(), object.clone());
        self.ledger.push((by.clone(), Effect::Created { name: name.to_owned() }));
        Ok(object)
    }

    /// The copy of a system that is done, if there is one.
    pub(super) fn copy_of(&self, system: &str) -> Option<(String, Object)> {
        let found = self.objects.iter().find(|(_, object)| object.of.as_deref() == Some(system));
        found.map(|(name, object)| (name.clone(), object.clone()))
    }

    pub(super) fn verify(&mut self, by: &Attempt, name: &str, now: i64) -> Result<(), Refusal> {
        let object = self.objects.get_mut(name).filter(|object| object.ready_at <= now).ok_or(Refusal::Missing)?;
        object.verified = true;
        self.ledger.push((by.clone(), Effect::Verified { name: name.to_owned() }));
        Ok(())
    }

    /// Deletes a system; one that is gone is no error.
    pub(super) fn delete(&mut self, by: &Attempt, system: &str) -> Result<(), Refusal> {
        if self.live.remove(system) {
            self.ledger.push((by.clone(), Effect::Deleted { system: system.to_owned() }));
        }
        Ok(())
    }
}

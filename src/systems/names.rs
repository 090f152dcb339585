//! Deterministic names, so that a step that is run again finds what it made.
//!
//! `byok-<enterprise>-g<generation>-<system>-<what>-<run>`: `run` is six hex digits of the run's hash, so that the leavings
//! of a cancelled run are never taken for this run's. RDS allows 63 letters, digits and single hyphens, beginning with a
//! letter; a name that is too long is cut and ends in a hash of the whole.

use sha2::{Digest, Sha256};

/// What RDS allows.
const LONGEST: usize = 63;

/// Names of what is made of one data system by one run.
#[derive(Debug, Clone)]
pub struct Names {
    enterprise: String,
    generation: u64,
    run: String,
    system: String,
    /// Which window this is of the run, from 1: a new window needs a new snapshot, because data has moved on.
    attempt: u64,
}

impl Names {
    pub fn new(enterprise: &str, generation: u64, run: &str, system: &str, attempt: u64) -> Self {
        let run = hash(run);
        Self { enterprise: enterprise.to_owned(), generation, run, system: system.to_owned(), attempt }
    }

    fn name(&self, what: &str) -> String {
        identifier(&format!("byok-{}-g{}-{}-{what}-{}", self.enterprise, self.generation, self.system, self.run))
    }

    /// The original, from freeze to purge.
    pub fn old(&self) -> String {
        self.name("old")
    }

    /// The restored system, until it takes the original's name.
    pub fn new_system(&self) -> String {
        self.name(&format!("a{}-new", self.attempt))
    }

    /// The snapshot that is copied before the window, so that the copy in the window is short.
    pub fn early_snapshot(&self) -> String {
        self.name("early")
    }

    pub fn early_copy(&self) -> String {
        self.name("early-copy")
    }

    /// The snapshot of the frozen original.
    pub fn final_snapshot(&self) -> String {
        self.name(&format!("a{}-final", self.attempt))
    }

    pub fn final_copy(&self) -> String {
        self.name(&format!("a{}-copy", self.attempt))
    }

    /// The snapshot that the copy for disaster recovery is made of.
    pub fn recovery_source(&self) -> String {
        self.name("recovery-source")
    }

    /// The copy for disaster recovery; `home` is the system's region, because two regions may hold systems of one name.
    pub fn recovery_copy(&self, home: &str) -> String {
        self.name(&format!("recovery-{home}"))
    }
}

fn hash(text: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest.truncate(6);
    digest
}

/// `text` as an identifier that RDS takes.
pub fn identifier(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        let character = if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' };
        if character != '-' || !clean.ends_with('-') {
            clean.push(character);
        }
    }
    let clean = clean.trim_matches('-');
    if clean.len() <= LONGEST {
        return clean.to_owned();
    }
    let head = clean[..LONGEST - 7].trim_end_matches('-');
    format!("{head}-{}", hash(clean))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_rds_takes_and_differ_by_run_window_and_system() {
        let names = Names::new("dave", 1, "run-1", "dave-production", 1);
        assert!(names.old().starts_with("byok-dave-g1-dave-production-old-"));
        assert_ne!(names.old(), Names::new("dave", 1, "run-2", "dave-production", 1).old());
        assert_ne!(names.final_copy(), Names::new("dave", 1, "run-1", "dave-production", 2).final_copy());
        assert_eq!(names.old(), Names::new("dave", 1, "run-1", "dave-production", 2).old());
    }

    #[test]
    fn a_long_name_is_cut_and_stays_unique() {
        let (a, b) = ("x".repeat(80) + "a", "x".repeat(80) + "b");
        let (a, b) = (identifier(&a), identifier(&b));
        assert!(a.len() <= LONGEST && b.len() <= LONGEST);
        assert_ne!(a, b);
    }

    #[test]
    fn hyphens_are_single_and_not_at_the_ends() {
        assert_eq!(identifier("byok--Dave.one-"), "byok-dave-one");
    }
}

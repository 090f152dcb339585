//! The two environments that every enterprise has.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Production, or the test environment that runs against the sandbox. A key of one never opens the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    Production,
    Test,
}

impl Environment {
    pub const ALL: [Self; 2] = [Self::Production, Self::Test];

    pub fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|environment| environment.word() == word)
    }

    /// What stands before the customers' API's prefix in a path of this environment.
    pub fn path_prefix(self) -> &'static str {
        match self {
            Self::Production => "",
            Self::Test => "/test",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

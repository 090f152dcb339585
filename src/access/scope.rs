//! What an API key is for. A key of one scope opens nothing of the other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Environment;

/// A key that imports can be used where keys are made; one that reads audits can go to whoever files them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyScope {
    #[default]
    Import,
    Audits,
}

impl KeyScope {
    pub fn word(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Audits => "audits",
        }
    }

    /// Under which the live keys of an environment are counted.
    pub(super) fn set(self, environment: Environment) -> String {
        match self {
            Self::Import => environment.word().to_owned(),
            Self::Audits => format!("{}-{}", environment.word(), self.word()),
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

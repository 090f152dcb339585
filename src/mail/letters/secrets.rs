//! The letter about a master password whose secret has another ARN since a migration.

use serde_json::Value;

use super::{Matter, member};
use crate::mail::letter::Block;

/// What the swap of a system with a managed master password tells.
pub const SECRET_MOVED: &str = "secret-moved";

pub fn moved(matter: &Matter<'_>, about: &Value) -> Vec<Block> {
    let facts = [
        ("system", member(about, "system")),
        ("region", member(about, "region")),
        ("secret before", member(about, "before")),
        ("secret now", member(about, "now")),
    ];
    let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned()));
    vec![
        Block::Paragraph(format!(
            "RDS manages the master password of {}, a system of {}. The migrated system has a secret of its own, under the \
             enterprise's key, with another ARN and another password:",
            member(about, "system"),
            matter.enterprise.name
        )),
        Block::Facts(facts.into()),
        Block::Paragraph(
            "Give the new ARN to whatever reads the secret (applications, rotation, IAM policies). The secret before belongs \
             to the replaced system and goes with it at the purge."
                .to_owned(),
        ),
    ]
}

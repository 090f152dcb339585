//! The definitions that come with keyferry.

use std::collections::BTreeMap;

use crate::{
    http::Workflow,
    worker::{Definitions, DefinitionsError},
};

/// By name, with the text.
pub const DEFINITIONS: [(&str, &str); 8] = [
    ("compliance-audit", include_str!("../../workflows/compliance-audit.asl.json")),
    ("customer-managed", include_str!("../../workflows/customer-managed.asl.json")),
    ("final-steps", include_str!("../../workflows/final-steps.asl.json")),
    ("key-loss", include_str!("../../workflows/key-loss.asl.json")),
    ("left-overs", include_str!("../../workflows/left-overs.asl.json")),
    ("put-back", include_str!("../../workflows/put-back.asl.json")),
    ("reimport", include_str!("../../workflows/reimport.asl.json")),
    ("vendor-managed", include_str!("../../workflows/vendor-managed.asl.json")),
];

/// The shipped definitions, loaded.
///
/// # Errors
/// Never, in a build whose tests passed.
pub fn definitions() -> Result<Definitions, DefinitionsError> {
    let mut definitions = Definitions::new();
    for (name, source) in DEFINITIONS {
        definitions.add(name, source).map_err(|problems| DefinitionsError {
            path: format!("workflows/{name}.asl.json").into(),
            reason: format!("it has {} problems", problems.len()),
            problems,
        })?;
    }
    definitions.share("compliance-audit");
    definitions.share("key-loss");
    definitions.share("reimport");
    Ok(definitions)
}

/// The definitions as the API shows them.
pub fn as_shown(definitions: &Definitions) -> BTreeMap<String, Workflow> {
    definitions
        .iter()
        .map(|(name, found)| {
            (name.to_owned(), Workflow { definition: found.hash.clone(), source: found.source.clone() })
        })
        .collect()
}

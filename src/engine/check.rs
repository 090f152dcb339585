//! What the author of a definition is told of it.

use serde::Serialize;

use super::{Definition, Resource, language::Problem};

/// Problems refuse a definition; warnings do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// Checks a definition's text. `is_registered` says whether something answers to a resource: what nothing answers to is
/// a warning here, and refuses a run's start.
pub fn check(source: &str, is_registered: impl Fn(&Resource) -> bool) -> Report {
    let (definition, problems, mut warnings) = Definition::read(source);
    let tasks = definition.iter().flat_map(Definition::resources);
    for (state, resource) in tasks.filter(|(_, resource)| !is_registered(resource)) {
        let pointer = format!("{}/Resource", state.pointer);
        warnings.push(Problem::new(pointer, format!("nothing is registered under `{}`", resource.uri())));
    }
    Report { problems, warnings }
}

//! The path that a client may have meant: most paths that lead nowhere are nearly right.

use std::sync::Arc;

use axum::http::Uri;
use http::StatusCode;

use super::problem::Problem;

/// The paths that there are, `{…}` standing for any part.
#[derive(Debug, Clone)]
pub struct Paths(Arc<Vec<String>>);

impl Paths {
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(Arc::new(patterns.into_iter().collect()))
    }

    /// The answer to a path that leads nowhere; `hint` says where the paths are told.
    pub fn not_found(&self, uri: &Uri, hint: &str) -> Problem {
        let meant = self.meant(uri.path()).filter(|meant| meant != uri.path());
        let detail = match &meant {
            Some(meant) => format!("There is no such path. Perhaps {meant} was meant; {hint}."),
            None => format!("There is no such path; {hint}."),
        };
        let problem = Problem::new(StatusCode::NOT_FOUND, "not-found", detail);
        match meant {
            Some(meant) => problem.with("meant", meant.into()),
            None => problem,
        }
    }

    /// The path with its letters' case, slashes and front put right, of which the least is missing.
    fn meant(&self, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let completed = self.0.iter().filter_map(|pattern| complete(pattern, &parts));
        completed.min_by_key(|(missing, _)| *missing).map(|(_, meant)| meant)
    }
}

/// The pattern with the path's own parts in it and how many of its first parts the path lacks, if the path is the pattern's end.
fn complete(pattern: &str, parts: &[&str]) -> Option<(usize, String)> {
    let wanted: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let missing = wanted.len().checked_sub(parts.len())?;
    let (front, end) = wanted.split_at(missing);
    let is_open = |part: &str| part.starts_with('{');
    let fits =
        |(wanted, part): (&&str, &&str)| is_open(wanted) || wanted.eq_ignore_ascii_case(&part.replace("%21", "!"));
    // What is one part of everything alone is a guess.
    let says_enough = end.iter().any(|part| !is_open(part));
    if !says_enough || front.iter().any(|part| is_open(part)) || !end.iter().zip(parts).all(fits) {
        return None;
    }
    let own = end.iter().zip(parts).map(|(wanted, part)| if is_open(wanted) { *part } else { wanted });
    let whole: String = front.iter().copied().chain(own).map(|part| format!("/{part}")).collect();
    Some((missing, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_case_and_a_front_that_is_missing_are_put_right() {
        let paths = Paths::new(
            [
                "/!/ems/enterprises/{enterprise}/cmk/import-key",
                "/test/!/ems/enterprises/{enterprise}/cmk/import-key",
                "/!/ems/enterprises/{enterprise}/audits/{report}",
                "/healthz",
            ]
            .map(str::to_owned),
        );
        let import = "/!/ems/enterprises/Dave/cmk/import-key";
        for (path, meant) in [
            ("/!/ems/enterprises/Dave/cmk/import-key/", Some(import)),
            ("//!/ems//enterprises/Dave/cmk/import-key", Some(import)),
            ("/%21/EMS/Enterprises/Dave/CMK/Import-Key", Some(import)),
            ("/ems/enterprises/Dave/cmk/import-key", Some(import)),
            ("/enterprises/Dave/cmk/import-key", Some(import)),
            ("/test/!/ems/enterprises/d/cmk/import-key/", Some("/test/!/ems/enterprises/d/cmk/import-key")),
            ("/Healthz", Some("/healthz")),
            ("/!/ems/enterprises/Dave/cmk/import-keys", None),
            ("/!/ems/enterprises/Dave/cmk", None),
            ("/latest", None),
            ("/", None),
        ] {
            assert_eq!(paths.meant(path).as_deref(), meant, "{path}");
        }
    }
}

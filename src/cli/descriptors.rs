//! The process's file descriptors: each connection takes one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Allows this process as many as the system lets it have: systemd starts services with 1,024, which two listeners' clients
/// and the databases' connections go beyond.
pub fn allow_all() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of open files could not be raised: many connections at once may be refused");
    }
}

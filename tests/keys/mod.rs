//! Key import without HTTP: the desk over a store, a worker and the sandbox.

mod import;
mod imported;
mod losses;
mod reimport;
mod watch;

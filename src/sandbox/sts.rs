//! STS.

/// Issued sessions.
#[derive(Debug, Default)]
pub struct State {}

//! The steps against the sandbox, through the real SDK.

mod flow;
mod keys;
mod onboarding;
mod world;

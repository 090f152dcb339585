//! The steps against the sandbox, through the real SDK.

mod faults;
mod flow;
mod keys;
mod onboarding;
mod world;

//! The steps and the shipped definitions against the sandbox, through the real SDK and the real engine.

mod custody;
mod faults;
mod flow;
mod keys;
mod onboarding;
mod table;
mod vendor;
mod world;

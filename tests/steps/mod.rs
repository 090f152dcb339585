//! The steps and the shipped definitions against the sandbox, through the real SDK and the real engine.

mod audit;
mod faults;
mod flow;
mod key_loss;
mod keys;
mod onboarding;
mod table;
mod vendor;
mod world;

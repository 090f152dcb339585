//! The steps and the shipped definitions against the sandbox, through the real SDK and the real engine.

mod audit;
mod cures;
mod custody;
mod faults;
mod fidelity;
mod flow;
mod forged;
mod key_loss;
mod keys;
mod onboarding;
mod outage;
mod preflight;
mod put_back;
mod replicas;
mod residency;
mod table;
mod vendor;
mod world;
mod writers;

//! Key import as customers do it: their clients against the program, what is left of a key, and what an upload may be.

mod canary;
mod client;
mod crowd;
mod cures;
mod expiry;
mod fleet;
mod imports;
mod loss;
mod timing;
mod uploads;

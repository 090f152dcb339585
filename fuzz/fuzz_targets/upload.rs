//! What a customer uploads: the body's parser and the decoder of material.

#![no_main]

#[path = "../upload_law.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|body: &[u8]| law::holds(body));

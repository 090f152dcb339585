//! The engine from outside.

mod operators;
mod shipped;
mod width;

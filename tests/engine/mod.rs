//! The engine from outside.

mod agreement;
mod operators;
mod shipped;
mod width;

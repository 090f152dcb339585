//! The engine from outside.

mod width;

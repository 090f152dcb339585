//! The one test binary; its modules mirror `src/`.

mod architecture;
mod engine;

//! The one test binary; its modules mirror `src/`.

#![expect(clippy::expect_used, reason = "a test says by a panic what does not hold")]

mod architecture;
mod cli;
mod http;

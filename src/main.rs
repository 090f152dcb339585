//! The program: everything is in the library.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Overwrites what is freed: a key that a customer sends unwrapped by mistake passes through buffers that only their owners,
/// in other crates, could clear.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    keyferry::cli::main()
}

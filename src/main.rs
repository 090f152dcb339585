//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    keyferry::cli::main()
}

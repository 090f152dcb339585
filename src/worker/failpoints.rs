//! Named places at which a test makes the process die, or a task of it panic. Without the feature `failpoints` they are not in
//! the program.

/// Every place, in the order of a step's life.
pub const NAMES: &[&str] = &[
    "claim::before",
    "claim::after",
    "step::before",
    "step::after_effect",
    "checkpoint::before",
    "checkpoint::after",
    "commit::before",
    "commit::inside",
    "commit::after",
    "outbox::before",
    "outbox::after",
    "letter::before",
    "letter::after",
];

/// Places in a key import, in their order: no run comes to them by itself.
pub const IMPORT: &[&str] = &["import::before_relay", "import::after_relay", "import::after_commit"];

/// Reads `KEYFERRY_FAILPOINT=name[:nth][=panic]` and lets the process abort when it comes to that place for the nth time (the
/// first, if none is given); with `=panic`, whatever task came there panics and the process lives on.
///
/// # Errors
/// There is no such place, or the number is none.
#[cfg(feature = "failpoints")]
pub fn arm_from_env() -> Result<(), String> {
    use std::sync::atomic::{AtomicU64, Ordering};

    let Ok(asked) = std::env::var("KEYFERRY_FAILPOINT") else { return Ok(()) };
    let (asked, panics) = match asked.strip_suffix("=panic") {
        Some(rest) => (rest.to_owned(), true),
        None => (asked, false),
    };
    // The names themselves hold colons: the number stands behind a single one.
    let (name, nth) = match asked.rsplit_once(':') {
        Some((name, nth)) if !name.ends_with(':') && nth.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, nth.parse::<u64>().map_err(|error| format!("KEYFERRY_FAILPOINT={asked}: {error}"))?)
        }
        _ => (asked.as_str(), 1),
    };
    if !NAMES.contains(&name) && !IMPORT.contains(&name) {
        return Err(format!(
            "KEYFERRY_FAILPOINT={asked}: there is no failpoint {name}; there are {}",
            [NAMES, IMPORT].concat().join(", ")
        ));
    }
    let reached = AtomicU64::new(0);
    fail::cfg_callback(name, move || {
        if reached.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            if panics {
                panicked();
            }
            std::process::abort();
        }
    })
}

#[cfg(feature = "failpoints")]
#[expect(clippy::panic, reason = "it is what the test asks for")]
fn panicked() -> ! {
    panic!("a failpoint")
}

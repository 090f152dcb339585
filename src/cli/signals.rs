//! SIGTERM and SIGINT: the first asks everything to end in order, the second ends the process at once.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::output::{Failure, say};

/// Turns true at the first SIGTERM or SIGINT. At the second the process exits with 130.
///
/// # Errors
/// The system grants no signal handlers.
pub fn shutdown() -> Result<watch::Receiver<bool>, Failure> {
    let mut term = signal(SignalKind::terminate()).map_err(|error| Failure::from_error(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure::from_error(&error))?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                say("ended at once; what was in flight goes on at the next start");
                std::process::exit(130);
            }
            asked = true;
            say("ending in order; a second signal ends at once");
            stop.send_replace(true);
        }
    });
    Ok(stopped)
}

/// Returns at the first signal.
pub async fn received(mut shutdown: watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

//! A run's changes as server-sent events: the run as it stands, then again after each commit, until it has ended.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Path, State},
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use tokio::sync::watch;

use super::{Api, Reply};
use crate::{engine::Standing, http::server::stopped, worker::RunView};

/// A comment is sent after this long without a change, so that proxies keep the connection and a dead client is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often a run is looked at that another process may move.
const LOOK: Duration = Duration::from_secs(1);

struct Following {
    api: Api,
    run: String,
    changes: watch::Receiver<u64>,
    /// What was seen and is not sent yet.
    ready: Option<RunView>,
    /// The revision that was sent last.
    sent: u64,
    ended: bool,
}

/// Whether nothing more will happen.
fn has_ended(run: &RunView) -> bool {
    match run.status {
        Standing::Succeeded | Standing::Failed | Standing::Cancelled => true,
        Standing::Working | Standing::Waiting | Standing::Attention | Standing::Paused => false,
    }
}

pub async fn events(State(api): State<Api>, Path(run): Path<String>) -> Reply {
    // A run that does not exist must not be watched: its watcher would stay.
    api.service.run(&run).await?;
    // Subscribed before the look that is sent: a commit between the two is then seen as a change.
    let changes = api.service.watch(&run);
    let first = api.service.run(&run).await?;
    let following = Following { api, run, changes, ready: Some(first), sent: 0, ended: false };
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Following {
    /// The next event; `None` when the run has ended, the server stops or the run cannot be read any more. A client that
    /// still wants to know connects again.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let view = match self.ready.take() {
            Some(view) => view,
            None => self.changed().await?,
        };
        self.ended = has_ended(&view);
        self.sent = view.revision;
        Event::default().event("run").id(view.revision.to_string()).json_data(&view).ok()
    }

    async fn changed(&mut self) -> Option<RunView> {
        let mut shutdown = self.api.shutdown.clone();
        loop {
            tokio::select! {
                changed = tokio::time::timeout(LOOK, self.changes.changed()) => match changed {
                    Ok(changed) => changed.ok()?,
                    Err(_) if self.api.service.is_shared() => {}
                    Err(_) => continue,
                },
                () = stopped(&mut shutdown) => return None,
            }
            let view = self.api.service.run(&self.run).await.ok()?;
            if view.revision != self.sent {
                return Some(view);
            }
        }
    }
}

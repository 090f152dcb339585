//! Replay: a run's history folded again from its first event.

use super::{Definition, Event, Rejected, Snapshot, advance};

/// Folds a whole history. The events are those that [`advance`] accepted, in order.
///
/// # Errors
/// An event that does not fit: the history is not that of a run of this definition.
pub fn fold<'a>(definition: &Definition, events: impl IntoIterator<Item = &'a Event>) -> Result<Snapshot, Rejected> {
    let mut snapshot: Option<Snapshot> = None;
    for event in events {
        let turn = advance(definition, snapshot.as_ref(), event)?;
        match &mut snapshot {
            Some(snapshot) => snapshot.apply(&turn),
            None => snapshot = Some(Snapshot::begin(&turn)),
        }
    }
    snapshot.ok_or(Rejected::NotStarted)
}

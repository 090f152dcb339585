//! The words of a batch, one row a piece of work.
//!
//! A statement that updates from a list of rows uses one row for each piece of work and drops the others without saying so:
//! a renewal and a checkpoint that share a batch would both be acknowledged, and one be lost.

use std::collections::HashMap;

use super::{Say, WorkWord, micros};

/// What the words of a batch say of one piece of work. Times are microseconds since 1970; `None` leaves a value as it is.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said<'a> {
    pub(crate) run: &'a str,
    pub(crate) frame: i64,
    pub(crate) visit: u64,
    pub(crate) fence: u64,
    pub(crate) due_at: Option<i64>,
    /// The lease ends.
    pub(crate) free: bool,
    pub(crate) lease_until: Option<i64>,
    pub(crate) checkpoint: Option<String>,
    pub(crate) waiting_for: Option<&'a str>,
    /// It came so far that earlier crashes no longer count.
    pub(crate) progressed: bool,
    /// There is nothing left to do.
    pub(crate) dropped: bool,
}

/// Puts the words about each piece of work together, later ones over earlier ones. All are words of who holds it, and none
/// comes after one that gives it back.
pub(crate) fn together<'a>(words: &[&'a WorkWord]) -> Vec<Said<'a>> {
    let mut all: Vec<Said<'a>> = Vec::with_capacity(words.len());
    let mut places: HashMap<(&str, i64), usize> = HashMap::new();
    for word in words {
        let place = *places.entry((&word.run, word.frame)).or_insert_with(|| {
            let (run, frame, visit, fence) = (word.run.as_str(), word.frame, word.visit, word.fence);
            all.push(Said { run, frame, visit, fence, ..Said::default() });
            all.len() - 1
        });
        let Some(said) = all.get_mut(place) else { continue };
        match &word.say {
            Say::Renew { lease_until } => said.lease_until = Some(micros(*lease_until)),
            Say::Checkpoint { checkpoint } => said.checkpoint = Some(checkpoint.to_string()),
            Say::Pending { due_at, checkpoint, waiting_for } => {
                said.due_at = Some(micros(*due_at));
                said.free = true;
                said.checkpoint = Some(checkpoint.to_string());
                said.waiting_for = Some(waiting_for);
                said.progressed = true;
            }
            Say::Release { due_at } => {
                said.due_at = Some(micros(*due_at));
                said.free = true;
            }
            Say::Drop => said.dropped = true,
        }
    }
    all
}

//! Where runs stand, remembered from the last commits: a batch of runs that move needs no look at the database first.
//!
//! A memory and not the truth: what is written by it proves in its own transaction that it holds, and is judged again by the
//! database's word if it does not.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Write,
    batch::{Asked, Found, Holding, Plan, Stand},
};

/// Runs that are remembered.
const MOST: usize = 4_096;

#[derive(Default)]
pub(super) struct Known {
    runs: Mutex<HashMap<String, Stand>>,
}

/// Run, frame, visit and fence of what a batch answers.
pub(super) type Claims = Vec<(i64, i64, u64, u64)>;

/// What a batch teaches once it is durable: by run, where it stands, or nothing when it has ended.
pub(super) type Lesson = Vec<(String, Option<Stand>)>;

impl Known {
    fn runs(&self) -> MutexGuard<'_, HashMap<String, Stand>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a look at the database would find if memory is right and all work is held as the batch says; `None` if that takes
    /// more than memory. With it, the claims that the batch's own transaction must prove.
    pub(super) fn found(&self, batch: &[Write]) -> Option<(Found, Claims)> {
        let asked = Asked::of(batch);
        if asked.new > 0 || !asked.parents.is_empty() || !asked.keys.is_empty() {
            return None;
        }
        let runs = self.runs();
        let mut found = Found::default();
        for run in &asked.runs {
            found.runs.insert((*run).to_owned(), runs.get(*run)?.clone());
        }
        let mut claims = Vec::new();
        let mut hold = |run: &str, frame: i64, visit: u64, fence: u64| {
            let n = runs.get(run)?.n;
            let earlier = found.held.insert((run.to_owned(), frame), Holding { n, visit, fence });
            claims.push((n, frame, visit, fence));
            earlier.is_none().then_some(())
        };
        for write in batch {
            match write {
                Write::Word(word) => hold(&word.run, word.frame, word.visit, word.fence)?,
                Write::Turns(group) => {
                    for turn in group {
                        for answer in &turn.answers {
                            hold(&turn.run, answer.frame, answer.visit, answer.fence)?;
                        }
                    }
                }
            }
        }
        Some((found, claims))
    }

    pub(super) fn learn(&self, lesson: Lesson) {
        let mut runs = self.runs();
        if runs.len() + lesson.len() > MOST {
            runs.clear();
        }
        for (run, stand) in lesson {
            match stand {
                Some(stand) => runs.insert(run, stand),
                None => runs.remove(&run),
            };
        }
    }

    /// Learns where a run that was just read stands, unless more is known.
    pub(super) fn meet(&self, run: &str, stand: Stand) {
        let is_newer = self.runs().get(run).is_none_or(|known| known.revision < stand.revision);
        if is_newer {
            self.learn(vec![(run.to_owned(), Some(stand))]);
        }
    }

    pub(super) fn forget(&self) {
        self.runs().clear();
    }
}

/// What there is to learn of a plan.
pub(super) fn lesson(batch: &[Write], plan: &Plan<'_>, found: &Found) -> Lesson {
    let moved = plan.rows.old.iter().map(|row| (row.n, &row.head));
    let heads: HashMap<_, _> = moved.chain(plan.rows.new.iter().map(|row| (row.n, &row.head))).collect();
    let mut lesson = Vec::new();
    for (write, _) in batch.iter().zip(&plan.outcomes).filter(|(_, outcome)| outcome.is_ok()) {
        let Write::Turns(group) = write else { continue };
        for turn in group {
            let before = found.runs.get(&turn.run).filter(|_| turn.ended_at.is_none());
            let stand = before.and_then(|before| heads.get(&before.n).map(|head| (before, head)));
            let stand = stand.map(|(before, head)| Stand {
                n: before.n,
                revision: turn.revision,
                status: turn.status.to_owned(),
                head: head.0.clone(),
                is_child: before.is_child,
            });
            lesson.push((turn.run.clone(), stand));
        }
    }
    lesson
}

//! The rows of a batch as statements, each of which takes its rows as arrays, one a column.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::{sql, text::kept, together::Together};
use crate::store::{
    StoreError,
    batch::{Found, Rows, SignalRow, Stand, WorkRow},
    known::Claims,
};

pub(super) type Bound = Result<(), StoreError>;

pub(super) fn all_kept<'a>(texts: &[&'a str]) -> Vec<Cow<'a, str>> {
    texts.iter().copied().map(kept).collect()
}

/// A column of rows.
fn column<'r, R, T>(rows: impl IntoIterator<Item = &'r R>, of: impl Fn(&'r R) -> T) -> Vec<T>
where
    R: 'r,
{
    rows.into_iter().map(of).collect()
}

fn pairs(to: &mut Together, statement: &'static str, rows: &[(i64, i64)]) -> Bound {
    if rows.is_empty() {
        return Ok(());
    }
    to.say(statement);
    to.bind(column(rows, |row| row.0))?;
    to.bind(column(rows, |row| row.1))
}

/// What workers say of what they hold.
pub(super) fn words(to: &mut Together, rows: &Rows<'_>) -> Bound {
    let words = &rows.words;
    if words.is_empty() {
        return Ok(());
    }
    to.say(sql::UPDATE_WORK);
    to.bind(column(words, |row| row.n))?;
    to.bind(column(words, |row| row.frame))?;
    to.bind(column(words, |row| row.visit))?;
    to.bind(column(words, |row| row.fence))?;
    to.bind(column(words, |row| row.due_at))?;
    to.bind(column(words, |row| row.free))?;
    to.bind(column(words, |row| row.lease_until))?;
    to.bind(column(words, |row| row.checkpoint.clone()))?;
    to.bind(column(words, |row| row.waiting_for.map(kept)))?;
    to.bind(column(words, |row| row.progressed))?;
    to.expect(words.len());
    Ok(())
}

/// The work that words and turns take away.
pub(super) fn no_work(to: &mut Together, rows: &[(i64, i64)]) -> Bound {
    pairs(to, sql::DELETE_WORK, rows)
}

/// The work of runs that have ended, but for `others` that are taken away at the same time.
pub(super) fn no_work_of(to: &mut Together, runs: &[i64], others: &[(i64, i64)]) -> Bound {
    if runs.is_empty() {
        return Ok(());
    }
    to.say(sql::DELETE_WORK_OF_RUNS);
    to.bind(runs.to_vec())?;
    to.bind(column(others, |row| row.0))?;
    to.bind(column(others, |row| row.1))
}

pub(super) fn hold(to: &mut Together, rows: &Rows<'_>) -> Bound {
    if rows.hold.is_empty() {
        return Ok(());
    }
    to.say(sql::HOLD_WORK);
    to.bind(column(&rows.hold, |row| row.0))?;
    to.bind(column(&rows.hold, |row| row.1))
}

pub(super) fn work<'r>(to: &mut Together, rows: impl IntoIterator<Item = &'r WorkRow<'r>>) -> Bound {
    let rows: Vec<_> = rows.into_iter().collect();
    if rows.is_empty() {
        return Ok(());
    }
    to.say(sql::UPSERT_WORK);
    work_columns(to, &rows)
}

fn work_columns(to: &mut Together, rows: &[&WorkRow<'_>]) -> Bound {
    let rows = || rows.iter().copied();
    to.bind(column(rows(), |row| row.n))?;
    to.bind(column(rows(), |row| row.frame))?;
    to.bind(column(rows(), |row| row.visit))?;
    to.bind(column(rows(), |row| row.kind))?;
    to.bind(column(rows(), |row| kept(row.name)))?;
    to.bind(column(rows(), |row| row.input))?;
    to.bind(column(rows(), |row| row.due_at))?;
    to.bind(column(rows(), |row| row.held))?;
    to.bind(column(rows(), |row| row.fence))?;
    to.bind(column(rows(), |row| row.attempt))?;
    to.bind(column(rows(), |row| row.timeout_s))?;
    to.bind(column(rows(), |row| row.heartbeat_s))?;
    to.bind(column(rows(), |row| row.deadline))?;
    to.bind(column(rows(), |row| row.owner.map(kept)))?;
    to.bind(column(rows(), |row| row.lease_until))?;
    to.bind(column(rows(), |row| row.since))
}

/// Words for children in rounds, one word for each parent in a round: two of them may be for the same child.
pub(super) fn rounds<'r>(rows: &'r Rows<'_>) -> Vec<Vec<&'r SignalRow<'r>>> {
    let mut words: HashMap<&str, usize> = HashMap::new();
    let mut rounds: Vec<Vec<_>> = Vec::new();
    for row in &rows.signals {
        let earlier = words.entry(row.parent).or_default();
        if rounds.len() == *earlier {
            rounds.push(Vec::new());
        }
        if let Some(round) = rounds.get_mut(*earlier) {
            round.push(row);
        }
        *earlier += 1;
    }
    rounds
}

pub(super) fn signals(to: &mut Together, round: &[&SignalRow<'_>]) -> Bound {
    let rows = || round.iter().copied();
    to.say(sql::SIGNAL_CHILDREN);
    to.bind(column(rows(), |row| kept(row.parent)))?;
    to.bind(column(rows(), |row| row.frame))?;
    to.bind(column(rows(), |row| row.visit))?;
    to.bind(column(rows(), |row| row.word))?;
    to.bind(column(rows(), |row| row.input.as_str()))?;
    to.bind(column(rows(), |row| row.at))?;
    to.bind(column(rows(), |row| row.fence))
}

pub(super) fn parents(to: &mut Together, rows: &Rows<'_>) -> Bound {
    pairs(to, sql::WAKE_PARENTS, &rows.ended_at)
}

/// Runs that begin and, unless that was written before, runs that move, with all that is theirs but work.
pub(super) fn runs(to: &mut Together, rows: &Rows<'_>, found: &Found, with_moved: bool) -> Bound {
    payloads(to, rows)?;
    new_runs(to, rows)?;
    if with_moved {
        moved_runs(to, rows, found)?;
    }
    frames(to, rows)?;
    history(to, rows)?;
    outbox(to, rows)?;
    records(to, rows)?;
    keys(to, rows)
}

fn payloads(to: &mut Together, rows: &Rows<'_>) -> Bound {
    if rows.blobs.is_empty() {
        return Ok(());
    }
    to.say(sql::INSERT_PAYLOADS);
    to.bind(column(&rows.blobs, |row| row.hash))?;
    to.bind(column(&rows.blobs, |row| row.body))
}

fn new_runs(to: &mut Together, rows: &Rows<'_>) -> Bound {
    let new = &rows.new;
    if new.is_empty() {
        return Ok(());
    }
    to.say(sql::INSERT_RUNS);
    to.bind(column(new, |row| row.n))?;
    to.bind(column(new, |row| kept(row.id)))?;
    to.bind(column(new, |row| kept(row.enterprise)))?;
    to.bind(column(new, |row| kept(row.workflow)))?;
    to.bind(column(new, |row| row.definition))?;
    to.bind(column(new, |row| row.parent.map(kept)))?;
    to.bind(column(new, |row| row.parent_frame))?;
    to.bind(column(new, |row| row.parent_visit))?;
    to.bind(column(new, |row| row.exclusive))?;
    to.bind(column(new, |row| row.revision))?;
    to.bind(column(new, |row| row.status))?;
    to.bind(column(new, |row| row.ended_at))?;
    to.bind(column(new, |row| row.head.0.as_slice()))?;
    to.bind(column(new, |row| row.state))
}

/// Runs that move.
pub(super) fn moved_runs(to: &mut Together, rows: &Rows<'_>, found: &Found) -> Bound {
    let old = &rows.old;
    if old.is_empty() {
        return Ok(());
    }
    let stands: HashMap<i64, &Stand> = found.runs.values().map(|stand| (stand.n, stand)).collect();
    let changed: HashMap<i64, _> = rows.status.iter().map(|row| (row.n, row)).collect();
    let was = |n: i64| stands.get(&n).ok_or_else(|| StoreError::corrupt("batch", "a run moves that was not found"));
    let mut heads = Vec::with_capacity(old.len());
    let mut statuses = Vec::with_capacity(old.len());
    for row in old {
        let stand = was(row.n)?;
        heads.push(stand.head.as_slice());
        statuses.push(changed.get(&row.n).map_or(stand.status.as_str(), |row| row.status));
    }
    to.say(sql::UPDATE_RUNS);
    to.bind(column(old, |row| row.n))?;
    to.bind(column(old, |row| row.expected))?;
    to.bind(heads)?;
    to.bind(column(old, |row| row.revision))?;
    to.bind(column(old, |row| row.head.0.as_slice()))?;
    to.bind(column(old, |row| row.state))?;
    to.bind(statuses)?;
    to.bind(column(old, |row| changed.get(&row.n).and_then(|row| row.ended_at)))?;
    to.expect(old.len());
    Ok(())
}

fn frames(to: &mut Together, rows: &Rows<'_>) -> Bound {
    if !rows.frames.is_empty() {
        to.say(sql::UPSERT_FRAMES);
        to.bind(column(&rows.frames, |row| row.n))?;
        to.bind(column(&rows.frames, |row| row.frame))?;
        to.bind(column(&rows.frames, |row| row.revision))?;
        to.bind(column(&rows.frames, |row| row.body))?;
    }
    pairs(to, sql::DELETE_FRAMES, &rows.no_frames)
}

fn history(to: &mut Together, rows: &Rows<'_>) -> Bound {
    if rows.history.is_empty() {
        return Ok(());
    }
    to.say(sql::INSERT_HISTORY);
    to.bind(column(&rows.history, |row| row.n))?;
    to.bind(column(&rows.history, |row| row.seq))?;
    to.bind(column(&rows.history, |row| row.hash.0.as_slice()))?;
    to.bind(column(&rows.history, |row| row.event))?;
    to.bind(column(&rows.history, |row| row.entered))
}

fn outbox(to: &mut Together, rows: &Rows<'_>) -> Bound {
    pairs(to, sql::WITHDRAW_NOTICES, &rows.withdrawn)?;
    pairs(to, sql::WITHDRAW_LETTERS, &rows.withdrawn)?;
    if rows.outbox.is_empty() {
        return Ok(());
    }
    to.say(sql::INSERT_OUTBOX);
    to.bind(column(&rows.outbox, |row| row.n))?;
    to.bind(column(&rows.outbox, |row| row.at))?;
    to.bind(column(&rows.outbox, |row| row.notice))
}

fn records(to: &mut Together, rows: &Rows<'_>) -> Bound {
    if rows.records.is_empty() {
        return Ok(());
    }
    to.say(sql::UPSERT_RECORDS);
    to.bind(column(&rows.records, |row| kept(row.enterprise)))?;
    to.bind(column(&rows.records, |row| kept(row.collection)))?;
    to.bind(column(&rows.records, |row| kept(row.key)))?;
    to.bind(column(&rows.records, |row| kept(row.run)))?;
    to.bind(column(&rows.records, |row| row.at))?;
    to.bind(column(&rows.records, |row| row.body.as_str()))?;
    to.bind(column(&rows.records, |row| row.versions))
}

fn keys(to: &mut Together, rows: &Rows<'_>) -> Bound {
    if rows.keys.is_empty() {
        return Ok(());
    }
    to.say(sql::INSERT_KEYS);
    to.bind(column(&rows.keys, |row| kept(row.key)))?;
    to.bind(column(&rows.keys, |row| row.request))?;
    to.bind(column(&rows.keys, |row| kept(row.run)))?;
    to.bind(column(&rows.keys, |row| row.answer.as_str()))
}

/// A whole batch as one statement that proves what it was judged by: where each run stood, and that `claims` hold. `None` when
/// it would write a row twice, or needs more than its own rows.
pub(super) fn whole(rows: &Rows<'_>, found: &Found, claims: &Claims) -> Result<Option<Together>, StoreError> {
    if !rows.new.is_empty() || !rows.hold.is_empty() || !rows.signals.is_empty() || !rows.ended_at.is_empty() {
        return Ok(None);
    }
    let held: HashMap<(i64, i64), (i64, i64)> = claims
        .iter()
        .map(|(n, frame, visit, fence)| ((*n, *frame), (visit.cast_signed(), fence.cast_signed())))
        .collect();
    let ended: HashSet<i64> = rows.ended.iter().copied().collect();
    let (replaced, added): (Vec<_>, Vec<_>) = rows.work.iter().partition(|row| held.contains_key(&(row.n, row.frame)));
    let said = rows.words.iter().map(|row| (row.n, row.frame));
    let stay: Vec<_> = said.chain(rows.work.iter().map(|row| (row.n, row.frame))).collect();
    let go: Vec<_> = rows.dropped.iter().chain(&rows.no_work).copied().collect();
    let mut places = HashSet::new();
    let each_once = stay.iter().all(|place| places.insert(*place));
    let staying = places.clone();
    let each_once = each_once && go.iter().all(|place| places.insert(*place));
    // What is held and does not stay goes, by itself or with its run.
    let removed: Vec<_> = held.keys().filter(|place| !staying.contains(place)).copied().collect();
    let all_go = removed.iter().all(|place| places.contains(place) || ended.contains(&place.0));
    if !each_once || !all_go || stay.iter().any(|(n, _)| ended.contains(n)) {
        return Ok(None);
    }
    let deleted: Vec<_> = go.into_iter().filter(|place| !held.contains_key(place)).collect();
    let mut to = Together::default();
    words(&mut to, rows)?;
    if !replaced.is_empty() {
        let held = || replaced.iter().filter_map(|row| held.get(&(row.n, row.frame)));
        to.say(sql::REPLACE_WORK);
        work_columns(&mut to, &replaced)?;
        to.bind(column(held(), |held| held.0))?;
        to.bind(column(held(), |held| held.1))?;
        to.expect(replaced.len());
    }
    if !removed.is_empty() {
        let held = || removed.iter().filter_map(|place| held.get(place));
        to.say(sql::REMOVE_WORK);
        to.bind(column(&removed, |place| place.0))?;
        to.bind(column(&removed, |place| place.1))?;
        to.bind(column(held(), |held| held.0))?;
        to.bind(column(held(), |held| held.1))?;
        to.expect(removed.len());
    }
    no_work(&mut to, &deleted)?;
    no_work_of(&mut to, &rows.ended, &[removed, deleted].concat())?;
    work(&mut to, added)?;
    runs(&mut to, rows, found, true)?;
    Ok(Some(to))
}

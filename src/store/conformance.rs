//! What every store must do, as tests over the trait: each database runs all of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::*;
use crate::engine::{Actor, Definition, Event, EventKind, Payload, Snapshot, advance};

mod keys;
mod letters;
mod records;

pub(super) use keys::*;
pub(super) use letters::*;
mod places;

pub(super) use places::*;
pub(super) use records::*;

/// Every law, for the test of each store.
macro_rules! laws {
    ($each:ident) => {
        $each!(
            a_turn_is_read_back_whole,
            a_group_is_all_or_nothing_and_others_of_its_batch_stand,
            a_late_worker_cannot_commit,
            words_keep_what_they_say,
            words_of_one_batch_about_one_piece_of_work_all_count,
            what_is_due_longest_comes_first_and_what_is_held_does_not_come,
            work_is_claimed_by_the_commit_that_writes_it,
            a_commit_and_a_claim_that_come_together_do_not_depend_on_each_other,
            a_fence_is_looked_at_even_if_the_run_was_just_moved,
            a_key_starts_one_run_and_one_exclusive_run_is_open,
            a_key_is_kept_with_the_turn_that_it_asked_for,
            a_key_is_kept_with_records_and_enterprises,
            a_run_that_ends_hands_its_place_to_one_that_begins_with_it,
            listings_have_pages,
            a_record_is_written_on_the_version_that_was_read,
            an_enterprise_is_changed_on_the_version_that_was_read_and_a_record_says_so,
            a_notice_becomes_letters_once_one_a_reader,
            a_letter_goes_its_own_way_and_what_was_sent_stays_sent,
            one_letter_of_a_reader_is_held_at_a_time,
            a_hold_is_put_off_by_its_holder_alone,
            a_run_that_is_cancelled_withdraws_what_it_asks,
            a_record_is_deleted_on_the_version_that_was_read_and_another_says_so,
            values_that_look_like_references_are_values,
            a_moment_is_seen_whole,
            a_later_word_to_a_child_never_has_the_fence_of_an_earlier,
            records_of_one_key_in_one_batch_keep_the_last,
            texts_with_nul_come_back,
            work_is_counted_by_how_long_it_has_been_due,
            attention_is_counted_by_error,
        );
    };
}
pub(super) use laws;

const FORM_AND_STEP: &str =
    r#"{"StartAt":"Work","States":{"Work":{"Type":"Task","Resource":"urn:keyferry:step:work","End":true}}}"#;

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn actor() -> Actor {
    Actor { name: "eve".to_owned(), role: "engineer".to_owned() }
}

fn definition() -> Definition {
    Definition::load(FORM_AND_STEP).unwrap().definition
}

/// A run in the test's own hands.
pub(super) struct Hand {
    pub(super) snapshot: Snapshot,
    definition: Definition,
}

impl Hand {
    pub(super) fn begin(run: &str, exclusive: bool, key: Option<(&str, &str)>) -> (Self, Transition) {
        let definition = definition();
        let event = Event {
            at: at(0),
            chance: 1,
            kind: EventKind::Started {
                run: run.to_owned(),
                enterprise: "dave".to_owned(),
                workflow: "work".to_owned(),
                definition: definition.hash.clone(),
                input: Payload::from(json!({ "n": 1 })),
                actor: actor(),
            },
        };
        let turn = advance(&definition, None, &event).unwrap();
        let snapshot = Snapshot::begin(&turn);
        let of = |(key, request): (&str, &str)| Idempotency { key: key.to_owned(), request: request.to_owned() };
        let idempotency = key.map(of).into_iter().collect();
        let order = WorkOrder {
            visit: 1,
            kind: WorkKind::Step,
            name: "work".to_owned(),
            input: Payload::from(json!({ "n": 1 })),
            due_at: Some(at(0)),
            timeout_s: Some(60),
            heartbeat_s: None,
            claim: None,
        };
        let mut transition = Self::transition(&snapshot, 0, event);
        transition.start = Some(Start { parent: None, exclusive, idempotency });
        transition.work = BTreeMap::from([(0, Some(order))]);
        (Self { snapshot, definition }, transition)
    }

    fn transition(snapshot: &Snapshot, expected: u64, event: Event) -> Transition {
        Transition {
            expected,
            start: None,
            header: snapshot.header.clone(),
            root: snapshot.frames.get(&0).cloned(),
            status: snapshot.standing(),
            at: event.at,
            events: vec![Happened { event, entered: vec!["Work".to_owned()] }],
            changed: Vec::new(),
            removed: Vec::new(),
            work: BTreeMap::new(),
            hold: None,
            signals: Vec::new(),
            notices: Vec::new(),
            records: Vec::new(),
            answers: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn happens(&mut self, seconds: i64, kind: EventKind) -> Transition {
        let event = Event { at: at(seconds), chance: 3, kind };
        let expected = self.snapshot.header.revision;
        let turn = advance(&self.definition, Some(&self.snapshot), &event).unwrap();
        self.snapshot.apply(&turn);
        Self::transition(&self.snapshot, expected, event)
    }

    /// The step's end, answering a claim.
    pub(super) fn end(&mut self, fence: u64) -> Transition {
        let visit = self.snapshot.frames[&0].visit;
        let kind = EventKind::StepSucceeded { frame: 0, visit, output: Payload::from(json!("done")) };
        let event = Event { at: at(5), chance: 2, kind };
        let expected = self.snapshot.header.revision;
        let turn = advance(&self.definition, Some(&self.snapshot), &event).unwrap();
        self.snapshot.apply(&turn);
        let mut transition = Self::transition(&self.snapshot, expected, event);
        transition.answers = vec![Answered { frame: 0, visit, fence }];
        transition.records = vec![NewRecord { collection: "report".to_owned(), key: "k".to_owned(), body: json!(1) }];
        transition
    }
}

pub(super) fn group(transitions: Vec<Transition>) -> Write {
    Write::Turns(transitions.into_iter().map(|transition| seal(transition, &mut Blobs::default()).unwrap()).collect())
}

/// The beginning of a run.
pub(super) fn start(run: &str) -> Write {
    group(vec![Hand::begin(run, false, None).1])
}

async fn commit(store: &dyn Store, batch: Vec<Write>) -> Vec<Result<(), StoreError>> {
    store.commit(Arc::from(batch)).await.unwrap()
}

async fn one(store: &dyn Store, write: Write) -> Result<(), StoreError> {
    commit(store, vec![write]).await.pop().unwrap()
}

async fn claim(store: &dyn Store, now: i64, limit: u32) -> Vec<ClaimedWork> {
    let asked = Claim { owner: "test".to_owned(), now: at(now), lease_until: at(now + 60), limit };
    store.claim(asked).await.unwrap()
}

pub(super) async fn prepare(store: &dyn Store) {
    let definition = definition();
    store.keep_definition(&definition.hash, "work", &definition.source, at(0)).await.unwrap();
    for id in ["dave", "erin"] {
        let enterprise = Enterprise {
            id: id.to_owned(),
            name: id.to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
            version: 1,
            created_at: at(0),
        };
        assert!(store.add_enterprise(enterprise.clone()).await.unwrap());
        assert!(!store.add_enterprise(enterprise).await.unwrap(), "one enterprise an identifier");
    }
}

/// Everything but the preparation runs on a fresh store that has been prepared.
pub(super) async fn a_turn_is_read_back_whole(store: &dyn Store) {
    let (mut hand, begin) = Hand::begin("r1", true, None);
    one(store, group(vec![begin])).await.unwrap();
    assert_eq!(store.load("r1").await.unwrap().snapshot, hand.snapshot);
    let work = claim(store, 0, 10).await.remove(0);
    assert_eq!((work.run.as_str(), work.attempt, work.crashes), ("r1", 1, 0));
    assert_eq!(work.input.as_deref(), Ok(&json!({ "n": 1 })));
    assert_eq!(work.deadline, Some(at(60)));
    one(store, group(vec![hand.end(work.fence)])).await.unwrap();
    let loaded = store.load("r1").await.unwrap();
    assert_eq!(loaded.snapshot, hand.snapshot);
    assert!(store.work("r1").await.unwrap().is_empty(), "an ended run has no work");
    let record = store.record("dave", "report", "k").await.unwrap().unwrap();
    assert_eq!((record.body, record.run.as_str()), (json!(1), "r1"));
    let rows = store.history(HistoryPage { run: "r1".to_owned(), after: 0, limit: 10 }).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2]);
    let first = chain(&[], &rows[0].event_text, &rows[0].entered_text);
    assert_eq!(rows[0].hash, first);
    assert_eq!(rows[1].hash, chain(&first, &rows[1].event_text, &rows[1].entered_text));
}

pub(super) async fn a_group_is_all_or_nothing_and_others_of_its_batch_stand(store: &dyn Store) {
    let (_, first) = Hand::begin("r1", false, None);
    let (_, second) = Hand::begin("r2", false, None);
    let (_, stale) = Hand::begin("r3", false, None);
    let stale = Transition { expected: 4, start: None, ..stale };
    let outcomes = commit(store, vec![group(vec![second, stale]), group(vec![first])]).await;
    assert_eq!(outcomes[0], Err(StoreError::Conflict { run: "r3".to_owned(), expected: 4, found: 0 }));
    assert_eq!(outcomes[1], Ok(()));
    assert!(matches!(store.load("r2").await, Err(StoreError::NotFound { .. })), "half a group was written");
    assert!(store.load("r1").await.is_ok());
}

pub(super) async fn a_late_worker_cannot_commit(store: &dyn Store) {
    let (mut hand, begin) = Hand::begin("r1", false, None);
    one(store, group(vec![begin])).await.unwrap();
    let old = claim(store, 0, 1).await.remove(0);
    assert!(claim(store, 59, 1).await.is_empty(), "the lease holds until its time");
    let new = claim(store, 60, 1).await.remove(0);
    assert!(new.fence > old.fence);
    assert_eq!((new.attempt, new.crashes), (2, 1));
    let before = hand.snapshot.clone();
    let late = hand.end(old.fence);
    let refused = one(store, group(vec![late])).await.unwrap_err();
    let lost = StoreError::LeaseLost { run: "r1".to_owned(), frame: 0, expected: old.fence, found: Some(new.fence) };
    assert_eq!(refused, lost);
    assert_eq!(store.load("r1").await.unwrap().snapshot, before);
    for say in [
        Say::Renew { lease_until: at(900) },
        Say::Checkpoint { checkpoint: json!(1) },
        Say::Release { due_at: at(0) },
        Say::Drop,
        Say::Pending { due_at: at(0), checkpoint: json!(1), waiting_for: "x".to_owned() },
    ] {
        let word =
            |fence| Write::Word(WorkWord { run: "r1".to_owned(), frame: 0, visit: old.visit, fence, say: say.clone() });
        assert_eq!(one(store, word(old.fence)).await, Err(lost.clone()), "{say:?}");
    }
    let work = store.work("r1").await.unwrap().remove(0);
    assert_eq!((work.fence, work.lease_until, work.checkpoint), (new.fence, Some(at(120)), None));
    hand.snapshot = before;
    one(store, group(vec![hand.end(new.fence)])).await.unwrap();
    assert_eq!(
        one(store, group(vec![hand_again()])).await.unwrap_err(),
        StoreError::Conflict { run: "r1".to_owned(), expected: 1, found: 2 }
    );
}

/// The same end once more, by a worker that has not seen the first.
fn hand_again() -> Transition {
    Hand::begin("r1", false, None).0.end(1)
}

pub(super) async fn words_keep_what_they_say(store: &dyn Store) {
    let (_, begin) = Hand::begin("r1", false, None);
    one(store, group(vec![begin])).await.unwrap();
    let held = claim(store, 0, 1).await.remove(0);
    let say = |fence: u64, say: Say| Write::Word(WorkWord { run: "r1".to_owned(), frame: 0, visit: 1, fence, say });
    one(store, say(held.fence, Say::Checkpoint { checkpoint: json!({ "at": "half" }) })).await.unwrap();
    one(store, say(held.fence, Say::Renew { lease_until: at(500) })).await.unwrap();
    assert!(claim(store, 499, 1).await.is_empty(), "a renewed lease holds");
    let again = claim(store, 500, 1).await.remove(0);
    assert_eq!((again.checkpoint.clone(), again.crashes), (Some(json!({ "at": "half" })), 1));
    one(store, say(again.fence, Say::Release { due_at: at(500) })).await.unwrap();
    let third = claim(store, 500, 1).await.remove(0);
    assert_eq!((third.attempt, third.crashes), (3, 1), "a release is not a crash");
    let pending = Say::Pending { due_at: at(700), checkpoint: json!(2), waiting_for: "AWS".to_owned() };
    one(store, say(third.fence, pending)).await.unwrap();
    assert!(claim(store, 699, 1).await.is_empty());
    assert_eq!(store.next_due().await.unwrap(), Some(at(700)));
    let last = claim(store, 700, 1).await.remove(0);
    assert_eq!((last.checkpoint.clone(), last.crashes), (Some(json!(2)), 0), "what came that far has not crashed");
    assert_eq!(last.deadline, Some(at(60)), "the time limit runs from the first claim");
    assert_eq!(store.expire_leases().await.unwrap(), 1);
    assert_eq!(claim(store, 0, 1).await.len(), 1, "an ended lease is claimed at once");
}

/// A renewal and a checkpoint come from two tasks and may share a flush; both are acknowledged.
pub(super) async fn words_of_one_batch_about_one_piece_of_work_all_count(store: &dyn Store) {
    let (mut hand, begin) = Hand::begin("r1", false, None);
    one(store, group(vec![begin])).await.unwrap();
    let held = claim(store, 0, 1).await.remove(0);
    let say = |say: Say| Write::Word(WorkWord { run: "r1".to_owned(), frame: 0, visit: 1, fence: held.fence, say });
    let checkpoint = |value| say(Say::Checkpoint { checkpoint: json!(value) });
    let renew = say(Say::Renew { lease_until: at(500) });
    let outcomes = commit(store, vec![checkpoint(1), renew.clone(), checkpoint(2)]).await;
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(())]);
    let work = store.work("r1").await.unwrap().remove(0);
    assert_eq!((work.checkpoint, work.lease_until), (Some(json!(2)), Some(at(500))));
    // What is given back is held no more, by a word or by an answer of the same batch.
    let release = say(Say::Release { due_at: at(7) });
    let outcomes = commit(store, vec![checkpoint(3), release, renew, group(vec![hand.end(held.fence)])]).await;
    let lost = StoreError::LeaseLost { run: "r1".to_owned(), frame: 0, expected: held.fence, found: None };
    assert_eq!(outcomes, [Ok(()), Ok(()), Err(lost.clone()), Err(lost)]);
    let work = store.work("r1").await.unwrap().remove(0);
    assert_eq!((work.checkpoint, work.owner, work.due_at), (Some(json!(3)), None, Some(at(7))));
}

pub(super) async fn what_is_due_longest_comes_first_and_what_is_held_does_not_come(store: &dyn Store) {
    for (run, due) in [("r1", 30), ("r2", 10), ("r3", 20), ("r4", 40)] {
        let (_, mut begin) = Hand::begin(run, false, None);
        if let Some(Some(order)) = begin.work.get_mut(&0) {
            order.due_at = Some(at(due));
        }
        begin.header.paused = run == "r3";
        one(store, group(vec![begin])).await.unwrap();
    }
    assert!(claim(store, 9, 10).await.is_empty(), "nothing is claimed before it is due");
    let order: Vec<String> =
        claim(store, 35, 1).await.into_iter().chain(claim(store, 35, 10).await).map(|work| work.run).collect();
    assert_eq!(order, ["r2", "r1"]);
}

pub(super) async fn work_is_claimed_by_the_commit_that_writes_it(store: &dyn Store) {
    let (mut hand, mut begin) = Hand::begin("r1", false, None);
    if let Some(Some(order)) = begin.work.get_mut(&0) {
        order.claim = Some(ClaimAtOnce { owner: "test".to_owned(), lease_until: at(60) });
    }
    one(store, group(vec![begin])).await.unwrap();
    assert!(claim(store, 10, 1).await.is_empty());
    let work = store.work("r1").await.unwrap().remove(0);
    assert_eq!((work.attempt, work.fence, work.deadline), (1, Transition::fence_at(1), Some(at(60))));
    one(store, group(vec![hand.end(work.fence)])).await.unwrap();
}

pub(super) async fn a_commit_and_a_claim_that_come_together_do_not_depend_on_each_other(store: &dyn Store) {
    let (mut hand, begin) = Hand::begin("r1", false, None);
    let other = Hand::begin("r2", false, None).1;
    one(store, group(vec![begin])).await.unwrap();
    one(store, group(vec![other])).await.unwrap();
    let fence = claim(store, 1, 1).await[0].fence;
    let ask = |limit| Claim { owner: "test".to_owned(), now: at(2), lease_until: at(62), limit };
    let end = group(vec![hand.end(fence)]);
    let (outcomes, claimed) = store.commit_and_claim(Arc::from([end.clone()]), ask(5)).await;
    assert_eq!(outcomes.unwrap(), [Ok(())]);
    let claimed = claimed.unwrap();
    assert_eq!(claimed.iter().map(|work| work.run.as_str()).collect::<Vec<_>>(), ["r2"]);
    assert_eq!(claimed[0].lease_until, at(62));
    // What does not hold is refused, and what can be claimed is claimed all the same.
    one(store, group(vec![Hand::begin("r3", false, None).1])).await.unwrap();
    let (outcomes, claimed) = store.commit_and_claim(Arc::from([end]), ask(5)).await;
    assert!(matches!(outcomes.unwrap()[..], [Err(StoreError::Conflict { expected: 1, found: 2, .. })]));
    assert_eq!(claimed.unwrap().len(), 1);
    assert!(claim(store, 3, 5).await.is_empty());
}

/// Begins a run and gives the write that moves it next.
pub(super) async fn next_move(store: &dyn Store) -> Write {
    let (mut hand, begin) = Hand::begin("r1", false, None);
    one(store, group(vec![begin])).await.unwrap();
    let fence = claim(store, 0, 1).await[0].fence;
    group(vec![hand.end(fence)])
}

/// A store may remember where runs stand: what it remembers is no substitute for the fence.
pub(super) async fn a_fence_is_looked_at_even_if_the_run_was_just_moved(store: &dyn Store) {
    let (mut hand, begin) = Hand::begin("r1", false, None);
    one(store, group(vec![begin])).await.unwrap();
    let late = claim(store, 0, 1).await[0].fence;
    let fence = claim(store, 100, 1).await[0].fence;
    assert!(late < fence);
    let refused = one(store, group(vec![hand.end(late)])).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost { found: Some(found), .. }) if found == fence), "{refused:?}");
    let say = |fence| Write::Word(WorkWord { run: "r1".to_owned(), frame: 0, visit: 1, fence, say: Say::Drop });
    let refused = commit(store, vec![say(late), say(fence)]).await;
    assert!(matches!(refused[..], [Err(StoreError::LeaseLost { .. }), Ok(())]), "{refused:?}");
}

pub(super) async fn a_key_starts_one_run_and_one_exclusive_run_is_open(store: &dyn Store) {
    let begin = |run: &str, exclusive, key| group(vec![Hand::begin(run, exclusive, key).1]);
    let outcomes = commit(
        store,
        vec![
            begin("r1", true, Some(("k", "a"))),
            begin("r2", true, Some(("k", "a"))),
            begin("r3", false, Some(("k", "b"))),
            begin("r4", true, None),
            begin("r5", false, None),
        ],
    )
    .await;
    assert_eq!(outcomes[0], Ok(()));
    assert_eq!(outcomes[1], Err(StoreError::AlreadyStarted { run: "r1".to_owned() }));
    assert_eq!(outcomes[2], Err(StoreError::KeyReused { key: "k".to_owned() }));
    assert_eq!(outcomes[3], Err(StoreError::ExclusiveOpen { enterprise: "dave".to_owned(), run: "r1".to_owned() }));
    assert_eq!(outcomes[4], Ok(()));
    // The same across two commits.
    assert_eq!(one(store, begin("r2", true, Some(("k", "a")))).await, outcomes[1]);
    assert_eq!(one(store, begin("r4", true, None)).await, outcomes[3]);
    let kept = |run: &str, request: &str| {
        Some(KeptKey { request: request.to_owned(), run: run.to_owned(), answer: Value::Null })
    };
    assert_eq!(store.key("k").await.unwrap(), kept("r1", "a"));
    // A run that has several keys has each of them, and none when one of them is another's.
    let several = |run: &str, keys: [&str; 2]| {
        let mut transition = Hand::begin(run, false, None).1;
        let of = |key: &str| Idempotency { key: key.to_owned(), request: run.to_owned() };
        transition.start.as_mut().unwrap().idempotency = keys.map(of).to_vec();
        group(vec![transition])
    };
    let outcomes =
        commit(store, vec![several("r7", ["m", "n"]), several("r8", ["o", "n"]), several("r9", ["k", "o"])]).await;
    assert_eq!(outcomes[0], Ok(()));
    assert_eq!(outcomes[1], Err(StoreError::KeyReused { key: "n".to_owned() }));
    assert_eq!(outcomes[2], Err(StoreError::KeyReused { key: "k".to_owned() }));
    for (key, run) in [("m", Some("r7")), ("n", Some("r7")), ("o", None)] {
        assert_eq!(store.key(key).await.unwrap().map(|kept| kept.run).as_deref(), run, "{key}");
    }
    let (_, mut nobody) = Hand::begin("r6", false, None);
    nobody.header.enterprise = "nobody".to_owned();
    assert!(matches!(one(store, group(vec![nobody])).await, Err(StoreError::NotFound { what: "enterprise", .. })));
}

pub(super) async fn listings_have_pages(store: &dyn Store) {
    for number in 0..5 {
        one(store, group(vec![Hand::begin(&format!("r{number}"), false, None).1])).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let asked = RunsPage { enterprise: Some("dave".to_owned()), limit: 2, cursor, ..RunsPage::default() };
        let page = store.runs(asked).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["r4", "r3", "r2", "r1", "r0"]);
    let none = RunsPage { enterprise: Some("erin".to_owned()), limit: 2, ..RunsPage::default() };
    assert!(store.runs(none).await.unwrap().items.is_empty());
    let first = store.enterprises(1, None).await.unwrap();
    assert_eq!(store.enterprises(1, first.next).await.unwrap().items[0].id, "erin");
}

/// A value that looks like a reference of the store's own is data like any other.
pub(super) async fn values_that_look_like_references_are_values(store: &dyn Store) {
    let hash = "0".repeat(64);
    let odd = json!({ "at": hash, "input@": hash, "payload@": hash, "is": null });
    let (_, mut begin) = Hand::begin("r1", false, None);
    if let Some(Some(order)) = begin.work.get_mut(&0) {
        order.input = Payload::from(odd.clone());
    }
    one(store, group(vec![begin])).await.unwrap();
    assert_eq!(claim(store, 0, 1).await[0].input.as_deref(), Ok(&odd));
    let tally = store.tally(at(0) + TimeDelta::from_std(Duration::from_secs(1)).unwrap()).await.unwrap();
    assert_eq!((tally.leases, tally.due), (1, [0; 6]));
}

pub(super) async fn a_moment_is_seen_whole(store: &dyn Store) {
    let (mut hand, begin) = Hand::begin("r1", false, None);
    one(store, group(vec![begin])).await.unwrap();
    let seen = store.see("r1").await.unwrap();
    assert_eq!((seen.loaded.snapshot.clone(), seen.work.len(), seen.children.len()), (hand.snapshot.clone(), 1, 0));
    let fence = claim(store, 0, 1).await[0].fence;
    one(store, group(vec![hand.end(fence)])).await.unwrap();
    let seen = store.see("r1").await.unwrap();
    assert_eq!((seen.loaded.snapshot.header.revision, seen.work.len()), (2, 0));
    let rows = store.history(HistoryPage { run: "r1".to_owned(), after: 1, limit: 10 }).await.unwrap();
    assert_eq!(seen.loaded.head, rows[0].hash, "the run keeps the hash of its last row");
    assert!(matches!(store.see("r2").await, Err(StoreError::NotFound { what: "run", .. })));
}

pub(super) async fn a_later_word_to_a_child_never_has_the_fence_of_an_earlier(store: &dyn Store) {
    let (mut parent, begin) = Hand::begin("p", false, None);
    let (mut child, mut begin_child) = Hand::begin("c", false, None);
    let link = ParentLink { run: "p".to_owned(), frame: 0, visit: 1 };
    begin_child.start = Some(Start { parent: Some(link), exclusive: false, idempotency: Vec::new() });
    one(store, group(vec![begin, begin_child])).await.unwrap();
    let mut fences = Vec::new();
    for (seconds, word) in [(1, Word::Pause), (2, Word::Resume), (3, Word::Pause)] {
        let kind = || {
            let reason = "because".to_owned();
            if word == Word::Resume {
                EventKind::Resumed { actor: actor(), reason }
            } else {
                EventKind::Paused { actor: actor(), reason }
            }
        };
        let mut says = parent.happens(seconds, kind());
        says.signals = vec![Signal { frame: None, word, body: json!({}) }];
        one(store, group(vec![says])).await.unwrap();
        let claimed = claim(store, seconds, 10).await.into_iter().find(|work| work.kind == WorkKind::Signal).unwrap();
        assert_eq!((claimed.run.as_str(), claimed.name.as_str()), ("c", word.word()));
        let mut hears = child.happens(seconds, kind());
        hears.answers = vec![Answered { frame: SIGNAL, visit: 0, fence: claimed.fence }];
        hears.work = BTreeMap::from([(SIGNAL, None)]);
        one(store, group(vec![hears])).await.unwrap();
        fences.push(claimed.fence);
    }
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
}

pub(super) async fn records_of_one_key_in_one_batch_keep_the_last(store: &dyn Store) {
    let begin = |run: &str, body: i64| {
        let mut begin = Hand::begin(run, false, None).1;
        let record = |body: i64| NewRecord { collection: "report".to_owned(), key: "k".to_owned(), body: json!(body) };
        begin.records = vec![record(body), record(body + 1)];
        group(vec![begin])
    };
    assert_eq!(commit(store, vec![begin("r1", 1), begin("r2", 3)]).await, [Ok(()), Ok(())]);
    let record = store.record("dave", "report", "k").await.unwrap().unwrap();
    assert_eq!((record.body, record.run.as_str()), (json!(4), "r2"));
}

/// JSON allows a NUL in a text, and so do names and messages that others choose.
pub(super) async fn texts_with_nul_come_back(store: &dyn Store) {
    let odd = "a\0b\u{ffff}\u{1f511}";
    let value = json!({ "text": odd, odd: [odd], "big": odd.repeat(2_000) });
    let (_, mut begin) = Hand::begin("r1", false, Some((odd, "request")));
    begin.records = vec![NewRecord { collection: "notes".to_owned(), key: odd.to_owned(), body: value.clone() }];
    if let Some(Some(order)) = begin.work.get_mut(&0) {
        order.input = Payload::from(value.clone());
    }
    one(store, group(vec![begin])).await.unwrap();
    let kept = KeptKey { request: "request".to_owned(), run: "r1".to_owned(), answer: Value::Null };
    assert_eq!(store.key(odd).await.unwrap(), Some(kept));
    let record = store.record("dave", "notes", odd).await.unwrap().unwrap();
    assert_eq!((record.key.as_str(), &record.body), (odd, &value));
    let held = claim(store, 0, 1).await.remove(0);
    assert_eq!(held.input.as_deref(), Ok(&value));
    let say = Say::Pending { due_at: at(1), checkpoint: value.clone(), waiting_for: odd.to_owned() };
    one(store, Write::Word(WorkWord { run: "r1".to_owned(), frame: 0, visit: 1, fence: held.fence, say }))
        .await
        .unwrap();
    let work = store.work("r1").await.unwrap().remove(0);
    assert_eq!((work.checkpoint, work.waiting_for.as_deref()), (Some(value), Some(odd)));
}

pub(super) async fn work_is_counted_by_how_long_it_has_been_due(store: &dyn Store) {
    for run in ["r1", "r2", "r3"] {
        one(store, group(vec![Hand::begin(run, false, None).1])).await.unwrap();
    }
    // All three are due at 0.
    for (now, class) in [(0, 0), (1, 1), (9, 1), (10, 2), (60, 3), (600, 4), (3_599, 4), (3_600, 5)] {
        let tally = store.tally(at(now)).await.unwrap();
        let mut wanted = [0; AGES.len() + 1];
        wanted[class] = 3;
        assert_eq!((tally.due, tally.oldest_due), (wanted, Some(at(0))), "{now} s");
        assert_eq!((tally.working, tally.leases), (3, 0));
    }
    assert_eq!(store.tally(at(-1)).await.unwrap().due, [0; 6], "what will be due is not");
    claim(store, 0, 2).await;
    let tally = store.tally(at(59)).await.unwrap();
    assert_eq!((tally.due.iter().sum::<u64>(), tally.leases, tally.leases_passed), (1, 2, 0));
    assert_eq!(store.tally(at(60)).await.unwrap().leases_passed, 2);
}

pub(super) async fn attention_is_counted_by_error(store: &dyn Store) {
    for (run, error) in [("r1", "Keyferry.Foreign"), ("r2", "Keyferry.Missing"), ("r3", "Keyferry.Foreign")] {
        let (mut hand, begin) = Hand::begin(run, false, None);
        one(store, group(vec![begin])).await.unwrap();
        let kind = EventKind::StepFailed { frame: 0, visit: 1, error: error.to_owned(), cause: "no".to_owned() };
        one(store, group(vec![hand.happens(1, kind)])).await.unwrap();
    }
    let tally = store.tally(at(2)).await.unwrap();
    assert_eq!((tally.attention, tally.working), (3, 0));
    let counted = [("Keyferry.Foreign".to_owned(), 2), ("Keyferry.Missing".to_owned(), 1)];
    assert_eq!(tally.attention_by_error, counted);
}

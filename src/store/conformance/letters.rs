//! The laws of letters: a notice becomes one a reader, and each goes its own way.

use serde_json::json;

use super::{Hand, actor, at, group, one};
use crate::{
    engine::{EventKind, Notice, Payload},
    store::{Delivery, LetterState, LettersPage, Store},
};

fn asks() -> Notice {
    let input = Payload::from(json!({ "big": "x".repeat(9_000) }));
    Notice::FormOpened { frame: 0, visit: 1, state: "Ask".to_owned(), form: "ask".to_owned(), input }
}

fn tells() -> Notice {
    Notice::Told { frame: 0, visit: 1, letter: "news".to_owned(), about: Payload::from(json!("\u{0}")) }
}

/// A run with these notices.
async fn told(store: &dyn Store, run: &str, notices: Vec<Notice>) -> Hand {
    let (hand, mut begin) = Hand::begin(run, false, None);
    begin.notices = notices;
    one(store, group(vec![begin])).await.unwrap();
    hand
}

fn readers(of: &[&str]) -> Vec<String> {
    of.iter().map(|reader| (*reader).to_owned()).collect()
}

async fn listed(store: &dyn Store, state: LetterState) -> Vec<i64> {
    let asked = LettersPage { enterprise: Some("dave".to_owned()), state, limit: 50, cursor: None };
    store.letters(asked).await.unwrap().items.into_iter().map(|letter| letter.id).collect()
}

fn sent() -> Delivery {
    Delivery::Sent { address: "csm@dave.example".to_owned() }
}

pub async fn a_notice_becomes_letters_once_one_a_reader(store: &dyn Store) {
    told(store, "r1", vec![asks(), tells()]).await;
    let notices = store.outbox(at(1), 9).await.unwrap();
    assert_eq!(notices.len(), 2);
    for _ in 0..2 {
        store.outbox_spread(notices[0].id, readers(&["customer", "audit:a\0@dave.example"]), at(2)).await.unwrap();
    }
    store.outbox_spread(notices[1].id, Vec::new(), at(2)).await.unwrap();
    assert!(store.outbox(at(3_600), 9).await.unwrap().is_empty());
    let tally = store.tally(at(3)).await.unwrap();
    assert_eq!((tally.outbox, tally.oldest_outbox, tally.dead_letters), (2, Some(at(2)), 0));
    assert!(store.letters_hold(at(1), at(60), 9).await.unwrap().is_empty(), "nothing is due before its time");
    let held = store.letters_hold(at(2), at(60), 9).await.unwrap();
    let of: Vec<&str> = held.iter().map(|letter| letter.reader.as_str()).collect();
    assert_eq!(of, ["customer", "audit:a\0@dave.example"]);
    let first = &held[0];
    assert_eq!((first.run.as_str(), first.enterprise.as_str(), first.noticed_at), ("r1", "dave", at(0)));
    assert_eq!((&first.notice, first.state, first.attempts, first.due_at), (&asks(), LetterState::Due, 0, Some(at(2))));
    assert!(store.letters_hold(at(59), at(90), 9).await.unwrap().is_empty(), "they are somebody's");
    assert_eq!(store.letters_hold(at(60), at(90), 1).await.unwrap().len(), 1, "who held them is dead");
    let of_run = store.letters_of(&["r1".to_owned(), "none".to_owned()]).await.unwrap();
    assert_eq!(of_run.len(), 2);
    assert_eq!(store.letter(first.id).await.unwrap().unwrap().id, first.id);
    assert_eq!(store.letter(99).await.unwrap(), None);
}

pub async fn a_letter_goes_its_own_way_and_what_was_sent_stays_sent(store: &dyn Store) {
    told(store, "r1", vec![tells()]).await;
    let notice = store.outbox(at(1), 9).await.unwrap()[0].id;
    store.outbox_spread(notice, readers(&["csm", "engineer", "customer"]), at(2)).await.unwrap();
    let ids: Vec<i64> = store.letters_hold(at(2), at(60), 9).await.unwrap().iter().map(|letter| letter.id).collect();
    let failed = |retry: i64| Delivery::Failed {
        address: "old@dave.example".to_owned(),
        error: "451 \u{0}later".to_owned(),
        retry_at: at(retry),
    };
    store.letter_done(ids[0], failed(10), at(3)).await.unwrap();
    store.letter_done(ids[0], failed(20), at(11)).await.unwrap();
    store.letter_done(ids[1], sent(), at(3)).await.unwrap();
    let first = store.letter(ids[0]).await.unwrap().unwrap();
    assert_eq!((first.attempts, first.failing_since, first.due_at), (2, Some(at(3)), Some(at(20))));
    assert_eq!(first.error.as_deref(), Some("451 \u{0}later"));
    assert_eq!(listed(store, LetterState::Due).await, [ids[2], ids[0]], "newest first");
    let dead = |tell: Option<&str>| Delivery::Dead {
        address: "old@dave.example".to_owned(),
        error: "550".to_owned(),
        tell: tell.map(str::to_owned),
    };
    store.letter_done(ids[0], dead(Some("engineer")), at(21)).await.unwrap();
    // It is dead: what comes late of it changes nothing, and nobody is told twice.
    store.letter_done(ids[0], failed(30), at(22)).await.unwrap();
    store.letter_done(ids[0], dead(Some("engineer")), at(22)).await.unwrap();
    assert_eq!(listed(store, LetterState::Dead).await, [ids[0]]);
    let telling = store.letters_hold(at(61), at(90), 9).await.unwrap();
    let abouts: Vec<(Option<i64>, &str)> = telling.iter().map(|row| (row.about, row.reader.as_str())).collect();
    assert_eq!(abouts, [(None, "customer"), (Some(ids[0]), "engineer")]);
    assert!(store.letter_resend(ids[0], at(62)).await.unwrap());
    let again = store.letter(ids[0]).await.unwrap().unwrap();
    assert_eq!((again.state, again.attempts, again.failing_since), (LetterState::Due, 0, None));
    assert_eq!((again.due_at, again.ended_at), (Some(at(62)), None));
    store.letter_done(ids[0], dead(Some("engineer")), at(63)).await.unwrap();
    // A delivery that was under way when it died.
    store.letter_done(ids[0], sent(), at(64)).await.unwrap();
    let gone = store.letter(ids[0]).await.unwrap().unwrap();
    assert_eq!((gone.state, gone.ended_at, gone.error), (LetterState::Sent, Some(at(64)), None));
    assert_eq!(gone.address.as_deref(), Some("csm@dave.example"));
    assert!(!store.letter_resend(ids[0], at(65)).await.unwrap() && !store.letter_resend(99, at(65)).await.unwrap());
    let withdrawn = Delivery::Withdrawn { reason: "moot".to_owned() };
    store.letter_done(ids[2], withdrawn, at(66)).await.unwrap();
    assert_eq!(store.letter(ids[2]).await.unwrap().unwrap().state, LetterState::Withdrawn);
    let tally = store.tally(at(70)).await.unwrap();
    assert_eq!((tally.outbox, tally.dead_letters), (1, 0), "one tells of the letter that was dead");
}

pub async fn one_letter_of_a_reader_is_held_at_a_time(store: &dyn Store) {
    told(store, "r1", vec![tells(), tells(), tells()]).await;
    for (nth, notice) in store.outbox(at(1), 9).await.unwrap().iter().enumerate() {
        let at = at(i64::try_from(nth).unwrap());
        store.outbox_spread(notice.id, readers(&["csm", "engineer"]), at).await.unwrap();
    }
    let held = store.letters_hold(at(5), at(60), 9).await.unwrap();
    let of: Vec<&str> = held.iter().map(|letter| letter.reader.as_str()).collect();
    assert_eq!(of, ["csm", "engineer"], "the one due longest of each");
    assert!(store.letters_hold(at(5), at(60), 9).await.unwrap().is_empty(), "the others wait for it");
    store.letter_done(held[0].id, sent(), at(6)).await.unwrap();
    let next = store.letters_hold(at(6), at(60), 9).await.unwrap();
    assert_eq!((next.len(), next[0].reader.as_str()), (1, "csm"));
    assert!(next[0].id > held[0].id);
    let retry = Delivery::Failed { address: String::new(), error: "451".to_owned(), retry_at: at(900) };
    store.letter_done(next[0].id, retry, at(7)).await.unwrap();
    let last = store.letters_hold(at(8), at(60), 9).await.unwrap();
    assert_eq!(
        (last.len(), last[0].reader.as_str()),
        (1, "csm"),
        "one that waits for its retry keeps no later one waiting"
    );
}

pub async fn a_hold_is_put_off_by_its_holder_alone(store: &dyn Store) {
    told(store, "r1", vec![tells()]).await;
    let notice = store.outbox(at(1), 9).await.unwrap()[0].id;
    store.outbox_spread(notice, readers(&["csm"]), at(2)).await.unwrap();
    let id = store.letters_hold(at(2), at(60), 9).await.unwrap()[0].id;
    assert!(store.letter_keep(id, at(60), at(100)).await.unwrap());
    assert!(store.letters_hold(at(99), at(150), 9).await.unwrap().is_empty(), "it is held still");
    assert!(!store.letter_keep(id, at(60), at(120)).await.unwrap(), "a renewal is known by the hold that it follows");
    assert_eq!(store.letters_hold(at(100), at(160), 9).await.unwrap().len(), 1, "who held it is dead");
    assert!(!store.letter_keep(id, at(100), at(200)).await.unwrap(), "another has it");
    assert!(store.letter_keep(id, at(160), at(200)).await.unwrap());
    store.letter_done(id, sent(), at(170)).await.unwrap();
    assert!(
        !store.letter_keep(id, at(200), at(300)).await.unwrap() && !store.letter_keep(99, at(1), at(2)).await.unwrap()
    );
}

pub async fn a_run_that_is_cancelled_withdraws_what_it_asks(store: &dyn Store) {
    let mut hand = told(store, "r1", vec![asks(), asks(), tells(), tells()]).await;
    let other = told(store, "r2", vec![asks()]).await;
    let notices = store.outbox(at(1), 9).await.unwrap();
    for notice in [&notices[0], &notices[2], &notices[4]] {
        store.outbox_spread(notice.id, readers(&["csm", "engineer"]), at(2)).await.unwrap();
    }
    let ids: Vec<i64> = listed(store, LetterState::Due).await.into_iter().rev().collect();
    let dead = Delivery::Dead { address: String::new(), error: "550".to_owned(), tell: None };
    store.letter_done(ids[0], dead, at(3)).await.unwrap();
    let mut cancel = hand.happens(9, EventKind::Cancelled { actor: actor(), reason: "no".to_owned() });
    let outcome = hand.snapshot.header.outcome.clone().unwrap();
    cancel.notices = vec![Notice::Ended { outcome }];
    one(store, group(vec![cancel])).await.unwrap();
    for id in &ids[..2] {
        let letter = store.letter(*id).await.unwrap().unwrap();
        assert_eq!((letter.state, letter.due_at, letter.ended_at), (LetterState::Withdrawn, None, Some(at(9))));
    }
    let left = store.letters_of(&["r1".to_owned()]).await.unwrap();
    assert!(left.len() == 2 && left.iter().all(|letter| letter.notice == tells()), "news is told: {left:?}");
    assert_eq!(store.letters_of(&["r2".to_owned()]).await.unwrap().len(), 2, "another run's are its own");
    drop(other);
    let later = at(3_600);
    let due: Vec<&str> = store
        .outbox(later, 9)
        .await
        .unwrap()
        .iter()
        .map(|row| match row.notice {
            Notice::Told { .. } => "told",
            Notice::Ended { .. } => "ended",
            Notice::FormOpened { .. } | Notice::Attention { .. } => "asked",
        })
        .collect();
    assert_eq!(due, ["told", "ended"], "the question that nobody had read is not asked, the end is told");
}

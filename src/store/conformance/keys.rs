//! The laws of idempotency keys: each is kept by the transaction of the change that it asked for, or not at all.

use serde_json::{Value, json};

use super::{Hand, at, commit, group, one};
use crate::{
    engine::{Actor, EventKind},
    store::{Enterprise, KeptKey, KeyUse, RecordPut, Store, StoreError, Transition, Write},
};

fn key_use(key: &str, request: &str, answer: Value) -> KeyUse {
    KeyUse { key: key.to_owned(), request: request.to_owned(), answer }
}

/// A turn that somebody asked for under a key.
fn asked(hand: &mut Hand, kind: fn(Actor, String) -> EventKind, key: &str, request: &str) -> Write {
    let actor = Actor { name: "eve".to_owned(), role: "engineer".to_owned() };
    let mut transition: Transition = hand.happens(1, kind(actor, "why".to_owned()));
    let revision = transition.header.revision;
    transition.keys = vec![key_use(key, request, json!({ "revision": revision }))];
    group(vec![transition])
}

fn pause(actor: Actor, reason: String) -> EventKind {
    EventKind::Paused { actor, reason }
}

pub async fn a_key_is_kept_with_the_turn_that_it_asked_for(store: &dyn Store) {
    let mut hands = Vec::new();
    for run in ["r1", "r2", "r3"] {
        let (hand, begin) = Hand::begin(run, false, (run == "r3").then_some(("starter", "s")));
        one(store, group(vec![begin])).await.unwrap();
        hands.push(hand);
    }
    let [first, second, third] = &mut hands[..] else { panic!("three runs") };
    // Two runs, one key, one batch: the first has it.
    let batch = vec![asked(first, pause, "k", "a"), asked(second, pause, "k", "b")];
    assert_eq!(commit(store, batch).await, [Ok(()), Err(StoreError::KeyReused { key: "k".to_owned() })]);
    let kept = KeptKey { request: "a".to_owned(), run: "r1".to_owned(), answer: json!({ "revision": 2 }) };
    assert_eq!(store.key("k").await.unwrap(), Some(kept.clone()));
    assert_eq!(store.load("r2").await.unwrap().snapshot.header.revision, 1, "what was refused has changed nothing");
    // Once more, in a batch of its own, by a run that this process has just moved.
    let again = asked(first, |actor, reason| EventKind::Resumed { actor, reason }, "k", "a");
    assert_eq!(one(store, again).await, Err(StoreError::AlreadyStarted { run: "r1".to_owned() }));
    assert_eq!(store.load("r1").await.unwrap().snapshot.header.revision, 2);
    // A key that started a run is used as well.
    let starter = asked(third, pause, "starter", "s");
    assert_eq!(one(store, starter).await, Err(StoreError::AlreadyStarted { run: "r3".to_owned() }));
    // A turn that is refused for another reason leaves no key.
    let mut late = first.happens(2, EventKind::Cancelled { actor: super::actor(), reason: "why".to_owned() });
    late.keys = vec![key_use("late", "a", Value::Null)];
    let refused = one(store, group(vec![late])).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(store.key("late").await.unwrap(), None);
    assert_eq!(store.key("k").await.unwrap(), Some(kept));
}

pub async fn a_key_is_kept_with_records_and_enterprises(store: &dyn Store) {
    let put = |key: &str, expected: u64| {
        vec![RecordPut {
            enterprise: "dave".to_owned(),
            collection: "notes".to_owned(),
            key: key.to_owned(),
            expected,
            body: json!(key),
            at: at(1),
        }]
    };
    let odd = "k\0\u{1f511}";
    let made = Some(key_use(odd, "a", json!({ "made": "n\0" })));
    store.put_records_once(put("a", 0), made.clone()).await.unwrap();
    let kept = KeptKey { request: "a".to_owned(), run: String::new(), answer: json!({ "made": "n\0" }) };
    assert_eq!(store.key(odd).await.unwrap(), Some(kept));
    // The key is looked at before the versions: the same request says so, however the records stand.
    for expected in [0, 1] {
        let again = store.put_records_once(put("a", expected), made.clone()).await;
        assert_eq!(again, Err(StoreError::AlreadyStarted { run: String::new() }));
    }
    let other = store.put_records_once(put("b", 0), Some(key_use(odd, "b", Value::Null))).await;
    assert_eq!(other, Err(StoreError::KeyReused { key: odd.to_owned() }));
    assert_eq!(store.record("dave", "notes", "b").await.unwrap(), None, "nothing of it was written");
    let stale = store.put_records_once(put("a", 7), Some(key_use("stale", "a", Value::Null))).await;
    assert!(matches!(stale, Err(StoreError::RecordChanged { .. })), "{stale:?}");
    assert_eq!(store.key("stale").await.unwrap(), None, "a change that was refused leaves no key");
    let enterprise = |id: &str| Enterprise {
        id: id.to_owned(),
        name: id.to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
        created_at: at(0),
        version: 1,
    };
    assert_eq!(store.add_enterprise_once(enterprise("zoe"), Some(key_use("z", "a", Value::Null))).await, Ok(true));
    assert_eq!(
        store.add_enterprise_once(enterprise("zed"), Some(key_use("z", "b", Value::Null))).await,
        Err(StoreError::KeyReused { key: "z".to_owned() })
    );
    assert_eq!(store.enterprise("zed").await.unwrap(), None);
    assert_eq!(store.add_enterprise_once(enterprise("zoe"), Some(key_use("y", "a", Value::Null))).await, Ok(false));
    assert_eq!(store.key("y").await.unwrap(), None);
}

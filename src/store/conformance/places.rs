//! The exclusive place of an enterprise: it goes from a run that ends to one that begins in the same group, and to no other.

use std::sync::Arc;

use super::{Hand, group};
use crate::{
    engine::EventKind,
    store::{Store, StoreError, Transition, Write},
};

async fn commit(store: &dyn Store, batch: Vec<Write>) -> Vec<Result<(), StoreError>> {
    store.commit(Arc::from(batch)).await.unwrap()
}

fn cancelled(hand: &mut Hand) -> Transition {
    let kind = EventKind::Cancelled { actor: super::actor(), reason: "wrong day".to_owned() };
    hand.happens(5, kind)
}

pub async fn a_run_that_ends_hands_its_place_to_one_that_begins_with_it(store: &dyn Store) {
    let (mut first, begun) = Hand::begin("r1", true, None);
    assert_eq!(commit(store, vec![group(vec![begun])]).await, [Ok(())]);
    let end = cancelled(&mut first);
    // Of a batch, only the run of the same group takes the place.
    let successor = group(vec![end, Hand::begin("r2", true, None).1]);
    let other = group(vec![Hand::begin("r3", true, None).1]);
    let taken = |run: &str| Err(StoreError::ExclusiveOpen { enterprise: "dave".to_owned(), run: run.to_owned() });
    assert_eq!(commit(store, vec![successor, other.clone()]).await, [Ok(()), taken("r2")]);
    assert!(store.load("r1").await.unwrap().snapshot.header.outcome.is_some());
    assert!(store.load("r2").await.unwrap().exclusive);
    assert_eq!(commit(store, vec![other]).await, [taken("r2")]);
    // A run that goes on hands nothing over.
    let (mut open, begun) = Hand::begin("r4", false, None);
    assert_eq!(commit(store, vec![group(vec![begun])]).await, [Ok(())]);
    let end = cancelled(&mut open);
    assert_eq!(commit(store, vec![group(vec![end, Hand::begin("r5", true, None).1])]).await, [taken("r2")]);
    assert!(store.load("r4").await.unwrap().snapshot.header.outcome.is_none(), "the whole group is left out");
}

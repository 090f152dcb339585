//! Guards of the product, taken out one at a time in an estate where nobody misbehaves: the judge sees each.

use super::{
    build::{Estate, Shape, WEST},
    judge::Invariant,
    life::Rogue,
    play::Play,
    torture::{lives, runtime},
};

/// Onboards a system of each kind of storage with `rogues` in the place of steps; answers what the judge saw.
fn judged(rogues: &[Rogue], keys_off_at_approval: bool) -> Vec<Invariant> {
    let folder = tempfile::tempdir().unwrap();
    let mut play = runtime().block_on(async {
        let estate = Estate::new(1).await;
        let key = estate.vendors_key(WEST).await;
        estate.system(WEST, "dave-one", &Shape { key: Some(key), ..Shape::default() }).await;
        estate.system(WEST, "dave-two", &Shape::default()).await;
        Play::in_peace(estate, folder.path().to_owned()).await
    });
    play.rogues = rogues.to_vec();
    play.keys_off_at_approval = keys_off_at_approval;
    lives(&mut play);
    let mut invariants: Vec<Invariant> = play.judge.violations.iter().map(|violation| violation.invariant).collect();
    invariants.sort_unstable();
    invariants.dedup();
    invariants
}

#[test]
fn with_every_guard_in_place_no_invariant_is_broken() {
    assert_eq!(judged(&[], false), []);
}

/// One guard behind the other: what a swap leaves undone is seen when it is confirmed, what nobody confirms is put back at the
/// cutoff, and only where all three are missing is a system out of service past its window.
#[test]
fn a_swap_that_gives_nothing_its_name_is_seen() {
    let mut out = vec![Rogue::SwapDoesNothing];
    assert_eq!(judged(&out, false), []);
    out.push(Rogue::NothingIsConfirmed);
    assert_eq!(judged(&out, false), []);
    out.push(Rogue::PutBackWaits);
    assert!(judged(&out, false).contains(&Invariant::Outage));
}

#[test]
fn a_system_that_is_not_put_back_is_seen() {
    let mut out = vec![Rogue::NothingMatches, Rogue::ThawDoesNothing];
    assert_eq!(judged(&out, false), []);
    out.push(Rogue::PutBackWaits);
    let invariants = judged(&out, false);
    // Or something else takes its name, without the writes.
    assert!(invariants.contains(&Invariant::Outage) || invariants.contains(&Invariant::Written), "{invariants:?}");
}

#[test]
fn a_purge_that_looks_at_nothing_is_seen() {
    let mut out = vec![Rogue::PurgeLooksAtNothing];
    assert_eq!(judged(&out, true), [], "the list is not proven");
    out.push(Rogue::NothingIsProven);
    assert!(judged(&out, true).contains(&Invariant::Kept));
}

//! Guards of the product, taken out one at a time in an estate where nobody misbehaves: the judge sees each.

use super::{
    build::{Estate, Shape, WEST},
    judge::Law,
    life::Rogue,
    play::Play,
    torture::{lives, runtime},
};

/// Onboards a system of each kind of storage with `rogues` in the place of steps; answers what the judge saw.
fn judged(rogues: &[Rogue], keys_off_at_approval: bool) -> Vec<Law> {
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
    let mut laws: Vec<Law> = play.judge.violations.iter().map(|violation| violation.law).collect();
    laws.sort_unstable();
    laws.dedup();
    laws
}

#[test]
fn with_every_guard_in_place_no_law_is_broken() {
    assert_eq!(judged(&[], false), []);
}

#[test]
fn a_swap_that_gives_nothing_its_name_is_seen() {
    assert!(judged(&[Rogue::SwapDoesNothing], false).contains(&Law::Outage));
}

#[test]
fn a_system_that_is_not_put_back_is_seen() {
    let laws = judged(&[Rogue::NothingMatches, Rogue::ThawDoesNothing], false);
    // Or something else takes its name, without the writes.
    assert!(laws.contains(&Law::Outage) || laws.contains(&Law::Written), "{laws:?}");
}

#[test]
fn a_purge_that_looks_at_nothing_is_seen() {
    assert!(judged(&[Rogue::PurgeLooksAtNothing], true).contains(&Law::Kept));
}

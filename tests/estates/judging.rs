//! That the judge can fail: each invariant, broken by hand, is reported, and what is right is not.

use keyferry::sandbox::{Holding, HoldingKind};

use super::{
    build::{EAST, Estate, Shape, WEST, policy_without_vendor},
    judge::{Invariant, Judge},
};

/// An estate with one system in it, under a key of the vendor's, and a judge who watches.
async fn set() -> (Estate, Judge, String) {
    let estate = Estate::new(1).await;
    let key = estate.vendors_key(WEST).await;
    estate.system(WEST, "dave-one", &Shape { key: Some(key.clone()), ..Shape::default() }).await;
    let mut judge = Judge::default();
    judge.watch(&holding(&estate, "dave-one").await);
    estate.sandbox.watch_deletions();
    (estate, judge, key)
}

async fn holding(estate: &Estate, id: &str) -> Holding {
    let stock = estate.sandbox.stock().await.unwrap();
    stock.into_iter().find(|holding| holding.kind == HoldingKind::Instance && holding.id == id).unwrap()
}

async fn delete(estate: &Estate, id: &str) {
    let rds = estate.rds(WEST).await;
    rds.delete_db_instance().db_instance_identifier(id).skip_final_snapshot(true).send().await.unwrap();
}

fn broken(judge: &Judge) -> Vec<Invariant> {
    judge.violations.iter().map(|violation| violation.invariant).collect()
}

#[tokio::test]
async fn a_deletion_is_right_only_beside_a_whole_and_as_new_copy_that_can_be_decrypted() {
    for (spoiled, wanted) in [
        ("nothing", None),
        ("older", Some(Invariant::Kept)),
        ("key", Some(Invariant::Kept)),
        ("unfinished", Some(Invariant::Kept)),
    ] {
        let (estate, mut judge, key) = set().await;
        let system = estate.found(WEST, "dave-one").await.unwrap();
        if spoiled == "unfinished" {
            let rds = estate.rds(WEST).await;
            rds.create_db_snapshot()
                .db_instance_identifier("dave-one")
                .db_snapshot_identifier("s")
                .send()
                .await
                .unwrap();
            let rds = estate.rds(WEST).await;
            // The instance is backing up: it takes no deletion by its state alone in AWS's model, so the snapshot is copied.
            estate.until(WEST, "dave-one", "available").await;
            let copy = rds.copy_db_snapshot().source_db_snapshot_identifier("s").target_db_snapshot_identifier("t");
            copy.kms_key_id(&key).send().await.unwrap();
            rds.delete_db_snapshot().db_snapshot_identifier("s").send().await.unwrap();
        } else {
            estate.snapshot(WEST, "dave-one", "s").await;
        }
        if spoiled == "older" {
            estate.write(&system).await;
        }
        if spoiled == "key" {
            let kms = estate.aws.kms(WEST).await.unwrap();
            kms.disable_key().key_id(&key).send().await.unwrap();
        }
        delete(&estate, "dave-one").await;
        judge.look(&estate.sandbox).await;
        let invariants: Vec<Invariant> =
            broken(&judge).into_iter().filter(|invariant| *invariant != Invariant::Outage).collect();
        assert_eq!(invariants, wanted.into_iter().collect::<Vec<_>>(), "{spoiled}: {:#?}", judge.violations);
    }
}

#[tokio::test]
async fn a_copy_in_another_region_alone_does_not_make_up_for_one_here() {
    let (estate, mut judge, key) = set().await;
    let there = estate.vendors_key(EAST).await;
    let snapshot = estate.snapshot(WEST, "dave-one", "s").await;
    estate.copy(EAST, &snapshot, "s-east", Some(there)).await;
    let rds = estate.rds(WEST).await;
    rds.delete_db_snapshot().db_snapshot_identifier("s").send().await.unwrap();
    judge.look(&estate.sandbox).await;
    assert_eq!(broken(&judge), [], "the system itself is still there");
    delete(&estate, "dave-one").await;
    judge.look(&estate.sandbox).await;
    assert!(broken(&judge).contains(&Invariant::KeptInRegion), "{:#?} {key}", judge.violations);
}

#[tokio::test]
async fn who_takes_the_vendor_out_of_the_keys_policy_takes_the_copy_away() {
    let estate = Estate::new(1).await;
    let key = estate.customers_key(WEST).await;
    estate.system(WEST, "dave-one", &Shape { key: Some(key.clone()), ..Shape::default() }).await;
    estate.snapshot(WEST, "dave-one", "s").await;
    estate.sandbox.watch_deletions();
    let kms = estate.customers_kms(WEST).await;
    let policy = policy_without_vendor(WEST);
    kms.put_key_policy().key_id(key).policy_name("default").policy(policy).send().await.unwrap();
    delete(&estate, "dave-one").await;
    let mut judge = Judge::default();
    judge.look(&estate.sandbox).await;
    assert_eq!(broken(&judge), [Invariant::Kept]);
}

#[tokio::test]
async fn a_system_is_out_of_service_within_a_window_only_and_serves_what_it_was_given() {
    let (estate, mut judge, _) = set().await;
    let now = estate.sandbox.now();
    judge.agreed(now, now + chrono::TimeDelta::hours(2));
    let system = estate.found(WEST, "dave-one").await.unwrap();
    let address = holding(&estate, "dave-one").await.address.unwrap();
    judge.promised(&address, estate.write(&system).await, false);
    estate.snapshot(WEST, "dave-one", "s").await;
    judge.promised(&address, estate.write(&system).await, false);
    let rds = estate.rds(WEST).await;
    let rename = rds.modify_db_instance().db_instance_identifier("dave-one").new_db_instance_identifier("aside");
    rename.apply_immediately(true).send().await.unwrap();
    judge.look(&estate.sandbox).await;
    assert_eq!(broken(&judge), [], "in the window");
    estate.clock.pass(3 * 3_600);
    judge.look(&estate.sandbox).await;
    judge.look(&estate.sandbox).await;
    assert_eq!(broken(&judge), [Invariant::Outage], "reported once");
    let restore = rds.restore_db_instance_from_db_snapshot().db_instance_identifier("dave-one");
    restore.db_snapshot_identifier("s").send().await.unwrap();
    estate.until(WEST, "dave-one", "available").await;
    judge.look(&estate.sandbox).await;
    assert_eq!(broken(&judge), [Invariant::Outage, Invariant::Written], "what serves lacks the second write");
}

#[tokio::test]
async fn compliant_is_a_word_about_every_copy() {
    let (estate, mut judge, key) = set().await;
    let keys = std::collections::BTreeSet::from([key.clone()]);
    judge.said_compliant(&estate.sandbox, &keys).await;
    assert_eq!(broken(&judge), []);
    estate.aws.kms(WEST).await.unwrap().disable_key().key_id(&key).send().await.unwrap();
    judge.said_compliant(&estate.sandbox, &keys).await;
    assert!(broken(&judge).iter().all(|invariant| *invariant == Invariant::Compliant) && !judge.violations.is_empty());
}

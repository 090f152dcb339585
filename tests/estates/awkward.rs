//! Onboards one estate for each kind of resource that is hard to migrate, without fault injection. The judge's invariants hold
//! whether the estate is migrated or refused, the audit concludes compliant only where that is true, and what inventory,
//! migration, purge and audit say in numbers is what is seen in the cloud (`counts.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};

use keyferry::engine::Standing;

use super::{
    build::{EAST, Estate, OTHER, Shape, WEST},
    play::Play,
    torture::{lives, runtime},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awkward {
    ReplicaHere,
    ReplicaElsewhere,
    Cascade,
    Aurora,
    MultiAz,
    Stopped,
    StorageFull,
    Modifying,
    Protected,
    PerformanceInsights,
    Iam,
    OptionGroup,
    ManagedSecret,
    Shared,
    Exported,
    AwsBackup,
    ReplicatedBackups,
    LongRetention,
    LongName,
    Archive,
    TwoEnterprises,
    ThirtyEight,
    Sixty,
}

const ALL: [Awkward; 21] = [
    Awkward::ReplicaHere,
    Awkward::ReplicaElsewhere,
    Awkward::Cascade,
    Awkward::Aurora,
    Awkward::MultiAz,
    Awkward::Stopped,
    Awkward::StorageFull,
    Awkward::Modifying,
    Awkward::Protected,
    Awkward::PerformanceInsights,
    Awkward::Iam,
    Awkward::OptionGroup,
    Awkward::ManagedSecret,
    Awkward::Shared,
    Awkward::Exported,
    Awkward::AwsBackup,
    Awkward::ReplicatedBackups,
    Awkward::LongRetention,
    Awkward::LongName,
    Awkward::Archive,
    Awkward::TwoEnterprises,
];

/// As many as a new account's quota of instances leaves room for, and more than that under raised ones.
const LARGE: [Awkward; 2] = [Awkward::ThirtyEight, Awkward::Sixty];

/// A plain encrypted system beside whatever is awkward.
async fn build(which: Awkward) -> Estate {
    let estate = Estate::new(if which == Awkward::Sixty { 4 } else { 1 }).await;
    let (key, there) = (estate.vendors_key(WEST).await, estate.vendors_key(EAST).await);
    let plain = Shape { key: Some(key.clone()), ..Shape::default() };
    let shape = shape_of(which, &estate, &plain).await;
    estate.system(WEST, MAIN, &shape).await;
    beside(which, &estate, (&plain, key, there)).await;
    estate
}

const MAIN: &str = "dave-main";

/// What the main system itself is like.
async fn shape_of(which: Awkward, estate: &Estate, plain: &Shape) -> Shape {
    match which {
        Awkward::MultiAz => Shape { multi_az: true, ..plain.clone() },
        Awkward::Protected => Shape { protected: true, ..plain.clone() },
        Awkward::PerformanceInsights => Shape { insights: true, ..plain.clone() },
        Awkward::Iam => Shape { iam: true, ..plain.clone() },
        Awkward::ManagedSecret => Shape { managed_password: true, ..plain.clone() },
        Awkward::LongRetention => Shape { retention_days: 35, ..plain.clone() },
        Awkward::OptionGroup => {
            let rds = estate.rds(WEST).await;
            let make = rds.create_option_group().option_group_name("ours").engine_name("mysql");
            make.major_engine_version("8.0").option_group_description("ours").send().await.unwrap();
            Shape { engine: "mysql", option_group: Some("ours"), ..plain.clone() }
        }
        _ => plain.clone(),
    }
}

/// What happens to the main system. `key` is the vendor's.
async fn happens(which: Awkward, estate: &Estate, key: &str) {
    let main = estate.found(WEST, MAIN).await.unwrap();
    let (id, arn) = (MAIN, main.db_instance_arn().unwrap_or_default());
    let rds = estate.rds(WEST).await;
    match which {
        Awkward::Stopped => {
            rds.stop_db_instance().db_instance_identifier(id).send().await.unwrap();
            estate.until(WEST, id, "stopped").await;
        }
        Awkward::StorageFull => {
            let arn = arn.to_owned();
            assert!(estate.sandbox.arrange(move |rds, _| rds.fill_storage(&arn)).await.unwrap());
        }
        Awkward::Modifying => {
            let call = rds.modify_db_instance().db_instance_identifier(id).allocated_storage(60);
            call.apply_immediately(true).send().await.unwrap();
        }
        Awkward::Shared => {
            estate.snapshot(WEST, id, "dave-shared").await;
            let call = rds.modify_db_snapshot_attribute().db_snapshot_identifier("dave-shared");
            call.attribute_name("restore").values_to_add(OTHER).send().await.unwrap();
        }
        Awkward::Exported => {
            let snapshot = estate.snapshot(WEST, id, "dave-exported").await;
            let call = rds.start_export_task().export_task_identifier("dave-export").source_arn(snapshot);
            let call = call.s3_bucket_name("dave-bucket").iam_role_arn("arn:aws:iam::127450652264:role/export");
            call.kms_key_id(key).send().await.unwrap();
        }
        Awkward::AwsBackup => {
            let arn = arn.to_owned();
            let made = estate.sandbox.arrange(move |rds, now| rds.back_up(&arn, now)).await.unwrap();
            assert!(made.is_some());
        }
        _ => {}
    }
}

/// What comes beside it. `key` and `there` are the vendor's in the two regions.
async fn beside(which: Awkward, estate: &Estate, (plain, key, there): (&Shape, String, String)) {
    let main = estate.found(WEST, MAIN).await.unwrap();
    let arn = main.db_instance_arn().unwrap_or_default();
    match which {
        Awkward::ReplicaHere => drop(estate.replica(WEST, "dave-copy", arn, None).await),
        Awkward::ReplicaElsewhere => drop(estate.replica(EAST, "dave-copy", arn, Some(there)).await),
        Awkward::Cascade => {
            let copy = estate.replica(WEST, "dave-copy", arn, None).await;
            let rds = estate.rds(WEST).await;
            let call = rds.modify_db_instance().db_instance_identifier("dave-copy").backup_retention_period(7);
            call.apply_immediately(true).send().await.unwrap();
            estate.until(WEST, "dave-copy", "available").await;
            estate.replica(EAST, "dave-far", copy.db_instance_arn().unwrap_or_default(), Some(there)).await;
        }
        Awkward::Aurora => estate.cluster(WEST, "dave-aurora", 2, Some(key)).await,
        Awkward::ReplicatedBackups => {
            let east = estate.rds(EAST).await;
            let call = east.start_db_instance_automated_backups_replication().source_db_instance_arn(arn);
            call.kms_key_id(there).send().await.unwrap();
        }
        Awkward::LongName => drop(estate.system(WEST, &format!("dave-{}", "x".repeat(58)), plain).await),
        Awkward::Archive => drop(estate.archive(WEST, "dave-gone", plain).await),
        Awkward::TwoEnterprises => {
            let shape = Shape { enterprise: "erin", ..plain.clone() };
            estate.system(WEST, "erin-main", &shape).await;
        }
        Awkward::ThirtyEight => many(estate, 38, plain).await,
        Awkward::Sixty => many(estate, 60, plain).await,
        _ => happens(which, estate, &key).await,
    }
}

/// So many systems in all.
async fn many(estate: &Estate, count: usize, shape: &Shape) {
    for number in 1..count {
        estate.system(WEST, &format!("dave-{number:02}"), shape).await;
    }
}

/// How an onboarding of it ends, in one line, after the invariants were looked at.
fn onboard(which: Awkward) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let mut play = runtime().block_on(async { Play::in_peace(build(which).await, folder.path().to_owned()).await });
    lives(&mut play);
    let ending = match (&play.halted, play.ending) {
        (Some(error), _) => error.clone(),
        (None, Some(Standing::Succeeded)) => {
            format!("succeeded: {}", play.conclusion.as_deref().unwrap_or("no report"))
        }
        (None, Some(other)) => format!("ended {other:?}"),
        (None, None) => "is not moved".to_owned(),
    };
    let mut broken: Vec<String> =
        play.judge.violations.iter().map(|violation| format!("{which:?}: {violation}")).collect();
    let now = runtime().block_on(play.estate.sandbox.stock()).unwrap();
    let keys = play.keys.values().map(String::as_str).collect();
    let wrong = play.noted.wrong(&keys, (which != Awkward::Aurora, moves(which)), &now);
    broken.extend(wrong.into_iter().map(|line| format!("{which:?}: {line}")));
    (ending, broken)
}

/// Whether what is in it can be moved.
fn moves(which: Awkward) -> bool {
    !matches!(which, Awkward::Aurora | Awkward::Stopped | Awkward::StorageFull)
}

/// How each has to end: what stands in the way of being moved is said, and what is left under another key keeps the audit from
/// saying compliant.
fn ends(which: Awkward) -> &'static str {
    match which {
        Awkward::Aurora => "Keyferry.Unsupported: dave-aurora is a cluster",
        Awkward::Stopped | Awkward::StorageFull => "is not moved",
        // What was exported lies in a bucket, which nobody looks into.
        Awkward::Exported => "succeeded: not-proven",
        // Backups of AWS Backup's and archives of systems that are gone are the enterprise's own, under the vendor's key.
        Awkward::AwsBackup | Awkward::Archive => "succeeded: deviations",
        _ => "succeeded: compliant",
    }
}

/// What broke an invariant, and what did not end as it has to, over all cores.
fn broken_in(estates: &[Awkward]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let share = || {
        let mut wrong = Vec::new();
        while let Some(which) = estates.get(next.fetch_add(1, Ordering::SeqCst)) {
            let (ending, broken) = onboard(*which);
            println!("{which:?}: {ending}\n    {}", broken.join("\n    "));
            if !ending.starts_with(ends(*which)) {
                wrong.push(format!("{which:?} ended so: {ending}; expected: {}", ends(*which)));
            }
            wrong.extend(broken);
        }
        wrong
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    })
}

#[test]
fn nothing_is_lost_in_an_awkward_estate() {
    assert_eq!(broken_in(&ALL), Vec::<String>::new());
}

#[test]
#[ignore = "minutes: scripts/test --long asks for it"]
fn nothing_is_lost_in_a_large_estate() {
    assert_eq!(broken_in(&LARGE), Vec::<String>::new());
}

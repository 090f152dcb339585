//! Two processes on one database, and connections that are cut.

use super::{
    proxy::{DELAY_COMMIT, HOLE, LOSE_ANSWER, LOSE_COMMIT, OPEN, Proxy},
    *,
};
use crate::patience::PATIENCE;
use crate::store::{Claim, Write, conformance::Hand};

async fn behind_a_proxy() -> Option<(Database, Proxy, PostgresStore)> {
    let database = Database::make().await?;
    let proxy = Proxy::start(database.address()).await;
    let store = PostgresStore::open(&database.url_at(proxy.port)).await.unwrap();
    conformance::prepare(&store).await;
    Some((database, proxy, store))
}

#[tokio::test]
async fn a_commit_that_was_done_and_not_answered_is_found_done() {
    let Some((_database, proxy, store)) = behind_a_proxy().await else { return };
    for number in 0..5 {
        proxy.fault.store(LOSE_ANSWER, Ordering::SeqCst);
        let run = format!("r{number}");
        assert_eq!(store.commit(Arc::from([conformance::start(&run)])).await, Ok(vec![Ok(())]));
        assert_eq!(store.load(&run).await.unwrap().snapshot.header.revision, 1);
    }
    assert_eq!(proxy.reached.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_commit_that_never_reached_the_server_is_an_error_and_leaves_nothing() {
    let Some((_database, proxy, store)) = behind_a_proxy().await else { return };
    for number in 0..5 {
        proxy.fault.store(LOSE_COMMIT, Ordering::SeqCst);
        let run = format!("r{number}");
        let outcome = store.commit(Arc::from([conformance::start(&run)])).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
        assert!(matches!(store.load(&run).await, Err(StoreError::NotFound { .. })));
        assert_eq!(store.commit(Arc::from([conformance::start(&run)])).await, Ok(vec![Ok(())]), "it can be done again");
    }
    assert_eq!(proxy.reached.load(Ordering::SeqCst), 5);
}

/// A run whose step is held, and the turn that the step's success makes.
async fn at_work(store: &PostgresStore, run: &str) -> Write {
    let (mut hand, begin) = Hand::begin(run, false, None);
    store.commit(Arc::from([conformance::group(vec![begin])])).await.unwrap();
    let now = chrono::DateTime::from_timestamp(1_700_000_100, 0).unwrap();
    let claim = Claim { owner: "one".to_owned(), now, lease_until: now + chrono::TimeDelta::seconds(60), limit: 1 };
    let claimed = store.claim(claim).await.unwrap();
    assert_eq!(claimed[0].run, run);
    conformance::group(vec![hand.end(claimed[0].fence)])
}

/// A turn of a run that this process has just moved is one statement, of which nobody knows what became of it.
#[tokio::test]
async fn a_turn_whose_statement_is_lost_done_or_late_is_written_once_and_acknowledged() {
    let Some((database, proxy, store)) = behind_a_proxy().await else { return };
    for (number, fault) in [LOSE_ANSWER, LOSE_COMMIT, DELAY_COMMIT].into_iter().cycle().take(6).enumerate() {
        let run = format!("r{number}");
        let write = at_work(&store, &run).await;
        proxy.fault.store(fault, Ordering::SeqCst);
        assert_eq!(store.commit(Arc::from([write])).await, Ok(vec![Ok(())]), "{fault}");
        pause(Duration::from_millis(if fault == DELAY_COMMIT { 800 } else { 0 })).await;
        assert_eq!(store.load(&run).await.unwrap().snapshot.header.revision, 2);
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        let rows = format!("SELECT count(*) FROM history JOIN runs ON runs.n = history.run WHERE runs.id = '{run}'");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(&mut connection).await.unwrap();
        assert_eq!(rows, 2, "{fault}");
    }
    // A late statement is reached when it is sent and when it is refused.
    assert_eq!(proxy.reached.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_turn_that_another_process_has_overtaken_is_refused_whatever_is_remembered() {
    let Some((database, store)) = fresh().await else { return };
    let other = PostgresStore::open(database.url()).await.unwrap();
    let write = at_work(&store, "r").await;
    assert_eq!(other.commit(Arc::from([write.clone()])).await, Ok(vec![Ok(())]));
    let late = store.commit(Arc::from([write])).await;
    assert!(matches!(late.as_deref(), Ok([Err(StoreError::Conflict { expected: 1, found: 2, .. })])), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_told_within_seconds_and_heard_as_soon_as_it_answers() {
    let Some((_database, proxy, store)) = behind_a_proxy().await else { return };
    assert!(store.key("nothing").await.unwrap().is_none());
    proxy.fault.store(HOLE, Ordering::SeqCst);
    // The first waits for an answer; those behind it need not.
    for _ in 0..3 {
        for asked in [store.key("nothing").await.map(|_| ()), store.probe().await] {
            let told = asked.unwrap_err();
            assert!(told.to_string().contains("has answered nothing for 3 seconds"), "{told}");
        }
        assert!(store.load("r").await.is_err());
    }
    store.silent().await;
    assert!(proxy.reached.load(Ordering::SeqCst) >= 1);
    proxy.fault.store(OPEN, Ordering::SeqCst);
    let healed = std::time::Instant::now();
    while store.probe().await.is_err() {
        assert!(healed.elapsed() < PATIENCE, "nothing is heard of it");
        pause(Duration::from_millis(5)).await;
    }
    assert!(store.key("nothing").await.unwrap().is_none());
    assert_eq!(store.commit(Arc::from([conformance::start("r")])).await, Ok(vec![Ok(())]));
    let calm = tokio::time::timeout(silence::LIMIT + Duration::from_millis(500), store.silent());
    assert!(calm.await.is_err(), "nobody asks, and nobody is silent");
}

#[tokio::test]
async fn connections_that_the_server_ends_are_replaced() {
    let Some((database, store)) = fresh().await else { return };
    for number in 0..3 {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
                   AND pid <> pg_backend_pid()";
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        assert!(count(&mut connection, end).await > 0);
        assert!(store.key("nothing").await.unwrap().is_none());
        assert_eq!(store.commit(Arc::from([conformance::start(&format!("r{number}"))])).await, Ok(vec![Ok(())]));
    }
}

#[tokio::test]
async fn two_processes_that_take_the_same_key_start_one_run() {
    let Some((database, store)) = fresh().await else { return };
    let other = PostgresStore::open(database.url()).await.unwrap();
    for number in 0..20 {
        let key = format!("k{number}");
        let begin = |run: String| conformance::group(vec![Hand::begin(&run, false, Some((&key, "a"))).1]);
        let (one, two) = tokio::join!(
            store.commit(Arc::from([begin(format!("a{number}"))])),
            other.commit(Arc::from([begin(format!("b{number}"))])),
        );
        let outcomes = [one.unwrap().remove(0), two.unwrap().remove(0)];
        let started = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let answered =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::AlreadyStarted { .. }))).count();
        assert_eq!((started, answered), (1, 1), "{outcomes:?}");
    }
}

#[tokio::test]
async fn two_processes_that_move_a_run_and_claim_its_work_exclude_each_other() {
    let Some((database, store)) = fresh().await else { return };
    let other = PostgresStore::open(database.url()).await.unwrap();
    let now = chrono::DateTime::from_timestamp(1_700_000_100, 0).unwrap();
    for number in 0..20 {
        let run = format!("r{number}");
        let (mut hand, begin) = Hand::begin(&run, false, None);
        store.commit(Arc::from([conformance::group(vec![begin])])).await.unwrap();
        let asked = |owner: &str| Claim {
            owner: owner.to_owned(),
            now,
            lease_until: now + chrono::TimeDelta::seconds(60),
            limit: 10,
        };
        let (one, two) = tokio::join!(store.claim(asked("one")), other.claim(asked("two")));
        let claimed: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).collect();
        assert_eq!(claimed.len(), 1, "a piece of work has one owner");
        let write = conformance::group(vec![hand.end(claimed[0].fence)]);
        let (one, two) = tokio::join!(store.commit(Arc::from([write.clone()])), other.commit(Arc::from([write])));
        let outcomes = [one.unwrap().remove(0), two.unwrap().remove(0)];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(StoreError::Conflict { .. }))), "{outcomes:?}");
    }
}

#[tokio::test]
async fn leases_of_the_living_stay_and_those_of_the_dead_end() {
    let Some((database, store)) = fresh().await else { return };
    let other = PostgresStore::open(database.url()).await.unwrap();
    store.attend("alive").await.unwrap();
    other.attend("dying").await.unwrap();
    let now = chrono::DateTime::from_timestamp(1_700_000_100, 0).unwrap();
    let lease_until = now + chrono::TimeDelta::seconds(60);
    for (store, owner, run) in [(&store, "alive", "r1"), (&other, "dying", "r2")] {
        store.commit(Arc::from([conformance::start(run)])).await.unwrap();
        let claim = Claim { owner: owner.to_owned(), now, lease_until, limit: 1 };
        assert_eq!(store.claim(claim).await.unwrap()[0].run, run);
    }
    assert_eq!(store.expire_leases().await.unwrap(), 0, "both are alive");
    // A connection that is cut comes back; its owner is not taken for dead.
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(count(&mut connection, cut).await, 2);
    assert_eq!(store.expire_leases().await.unwrap(), 0, "both are present again");
    let died = std::time::Instant::now();
    other.close().await;
    drop(other);
    while store.expire_leases().await.unwrap() == 0 {
        assert!(died.elapsed() < PATIENCE, "nobody missed the dead");
        pause(Duration::from_millis(100)).await;
    }
    let claim = Claim { owner: "alive".to_owned(), now, lease_until, limit: 10 };
    let claimed = store.claim(claim).await.unwrap();
    assert_eq!(claimed.iter().map(|work| work.run.as_str()).collect::<Vec<_>>(), ["r2"]);
    assert_eq!((claimed[0].attempt, claimed[0].crashes), (2, 1));
}

#[tokio::test]
async fn work_that_one_process_makes_due_is_heard_of_by_another_and_not_by_itself() {
    let Some((database, store)) = fresh().await else { return };
    let other = PostgresStore::open(database.url()).await.unwrap();
    store.attend("one").await.unwrap();
    other.attend("two").await.unwrap();
    for number in 0..3 {
        let heard = tokio::spawn({
            let other = other.clone();
            async move { other.hinted().await }
        });
        store.commit(Arc::from([conformance::start(&format!("r{number}"))])).await.unwrap();
        tokio::time::timeout(PATIENCE, heard).await.expect("heard").unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_millis(600), store.hinted()).await.is_err(), "it heard itself");
}

//! A store that does not answer, is full or damaged, and a clock that jumps: nothing is lost, nothing is done twice for it.

use tokio::sync::Notify;

use super::*;
use crate::store::Store;

/// Hangs until it is let go; counts its beginnings and those of its ends that were forced.
struct Gated {
    begun: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    gate: Arc<Notify>,
    bytes: usize,
}

struct Dropped(Arc<AtomicU64>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Step for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    async fn run(&self, context: &StepContext, _input: Value) -> Result<Progress, StepError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let dropped = Dropped(Arc::clone(&self.dropped));
        self.gate.notified().await;
        std::mem::forget(dropped);
        Ok(Progress::done(json!({ "attempt": context.attempt, "text": "x".repeat(self.bytes) })))
    }
}

struct Gate {
    begun: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    gate: Arc<Notify>,
}

fn gated(bytes: usize) -> (Registry, Gate) {
    let seen = Gate { begun: Arc::default(), dropped: Arc::default(), gate: Arc::default() };
    let step = Gated {
        begun: Arc::clone(&seen.begun),
        dropped: Arc::clone(&seen.dropped),
        gate: Arc::clone(&seen.gate),
        bytes,
    };
    (Registry::new().with(step), seen)
}

/// A process whose one run has come to its gate.
async fn at_the_gate() -> (TempDir, House, Gate, String) {
    let (folder, path) = place();
    let (steps, seen) = gated(1);
    let house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("one", one("gated"))]).await;
    let run = house.start("one", json!({})).await;
    house.until_counted(&seen.begun, 1).await;
    (folder, house, seen, run)
}

async fn pauses(count: usize) {
    for _ in 0..count {
        real_pause().await;
    }
}

impl House {
    /// Ends the loops that claim and renew, and nothing else: what runs goes on, as in a process that was halted and goes on
    /// with its steps before its loops.
    async fn halt_loops(&mut self) {
        self.worker.abort();
        let _ = (&mut self.worker).await;
    }

    fn start_loops(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let runner = self.service.clone();
        self.stop = stop;
        self.worker = tokio::spawn(async move { runner.run_worker(stopped, Duration::from_secs(5)).await });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_lease_cannot_be_renewed_stops_before_it_passes_and_has_not_crashed() {
    let (_folder, house, seen, run) = at_the_gate().await;
    let lease = Duration::from_secs(Config::default().worker.lease_s);
    let lease_until = house.store.work(&run).await.unwrap()[0].lease_until.unwrap();
    let claim = house.service.core.held.all().remove(0);
    let black_hole = house.store.hold_writer().await;
    // A third of it has passed: it is to be renewed, and it is not yet time to stop.
    house.clock.advance(lease / 3);
    for _ in looks() {
        if claim.is_asked() {
            break;
        }
        pauses(1).await;
    }
    assert!(claim.is_asked() && seen.dropped.load(Ordering::SeqCst) == 0, "a renewal has been asked for, no more");
    house.clock.advance(lease - lease / 3 - Duration::from_secs(1));
    for _ in looks() {
        if seen.dropped.load(Ordering::SeqCst) == 1 {
            break;
        }
        pauses(1).await;
    }
    assert_eq!(seen.dropped.load(Ordering::SeqCst), 1);
    assert!(house.clock.now() < lease_until, "it was stopped after its lease had passed");
    drop(black_hole);
    house.until_counted(&seen.begun, 2).await;
    let work = house.store.work(&run).await.unwrap().remove(0);
    assert_eq!((work.attempt, work.crashes), (2, 0));
    assert!((house.metered("keyferry_lease_renewals_total", "late").await - 1.0).abs() < 0.5);
    assert!((house.metered("keyferry_step_outcomes_total", "released").await - 1.0).abs() < 0.5);
    seen.gate.notify_one();
    assert_eq!(house.until_ended(&run).await.output.unwrap()["attempt"], 2);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_a_full_disk_refused_is_told_after_the_healing_and_not_done_again() {
    let (_folder, path) = place();
    let (steps, seen) = gated(300_000);
    let mut house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("one", one("gated"))]).await;
    let run = house.start("one", json!({})).await;
    house.until_counted(&seen.begun, 1).await;
    house.store.limit_pages(Some(0)).await;
    seen.gate.notify_one();
    for _ in looks() {
        if house.service.core.in_trouble() {
            break;
        }
        real_pause().await;
    }
    assert!(house.service.core.in_trouble(), "the full disk was not met");
    house.halt_loops().await;
    // As the renewal does when nothing is confirmed.
    house.service.core.held.all().iter().for_each(|claim| claim.stop());
    let lease = Duration::from_secs(Config::default().worker.lease_s);
    house.clock.advance(2 * lease);
    pauses(10).await;
    assert!(house.store.work(&run).await.unwrap()[0].lease_until.unwrap() < house.clock.now(), "the lease has passed");
    let view = house.service.run(&run).await.unwrap();
    assert_eq!((view.revision, view.ended_at), (1, None), "no false word of success");
    house.store.limit_pages(None).await;
    house.start_loops();
    assert_eq!(house.until_ended(&run).await.output.unwrap()["attempt"], 1);
    assert_eq!(seen.begun.load(Ordering::SeqCst), 1);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_the_clock_takes_no_live_step_away() {
    let (_folder, mut house, seen, run) = at_the_gate().await;
    house.halt_loops().await;
    house.clock.advance(Duration::from_secs(3_600));
    house.start_loops();
    for _ in looks() {
        let work = house.store.work(&run).await.unwrap().remove(0);
        if work.lease_until.is_some_and(|until| until > house.clock.now()) {
            break;
        }
        real_pause().await;
    }
    let work = house.store.work(&run).await.unwrap().remove(0);
    assert!(work.lease_until.is_some_and(|until| until > house.clock.now()), "the lease was not renewed: {work:?}");
    assert_eq!((work.attempt, work.crashes), (1, 0));
    seen.gate.notify_one();
    assert_eq!(house.until_ended(&run).await.output.unwrap()["attempt"], 1);
    assert_eq!(seen.begun.load(Ordering::SeqCst), 1);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_work_another_has_taken_is_dropped_and_counted() {
    let (_folder, mut house, seen, run) = at_the_gate().await;
    house.halt_loops().await;
    house.clock.advance(Duration::from_secs(3_600));
    let now = house.clock.now();
    let lease_until = now + Duration::from_secs(60);
    let claim = crate::store::Claim { owner: "another".to_owned(), now, lease_until, limit: 1 };
    assert_eq!(house.store.claim(claim).await.unwrap().len(), 1);
    seen.gate.notify_one();
    house.until_metered("keyferry_leases_lost_total", "taken").await;
    assert!(house.metered("keyferry_leases_lost_total", "gone").await < 0.5);
    assert_eq!(house.service.run(&run).await.unwrap().revision, 1, "the late result is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_worker_that_claims_its_own_work_again_ends_its_older_attempt() {
    let (_folder, mut house, seen, run) = at_the_gate().await;
    house.halt_loops().await;
    let older = house.service.core.held.all().remove(0);
    house.clock.advance(Duration::from_secs(3_600));
    let now = house.clock.now();
    let core = Arc::clone(&house.service.core);
    let lease_until = now + Duration::from_secs(60);
    let claim = crate::store::Claim { owner: core.owner.clone(), now, lease_until, limit: 1 };
    let again = house.store.claim(claim).await.unwrap().remove(0);
    assert_eq!((again.attempt, again.crashes), (2, 1));
    let refused = house.store.commit([older.word(crate::store::Say::Drop)].into()).await.unwrap().remove(0);
    assert!(
        matches!(refused, Err(crate::store::StoreError::LeaseLost { found: Some(found), .. }) if found == again.fence),
        "the owner's name says nothing: {refused:?}"
    );
    let permit = Arc::clone(&core.room).try_acquire_owned().unwrap();
    core.execute(again, permit, crate::worker::meters::By::Claim);
    house.until_counted(&seen.begun, 2).await;
    house.until_counted(&seen.dropped, 1).await;
    seen.gate.notify_one();
    assert_eq!(house.until_ended(&run).await.output.unwrap()["attempt"], 2);
    house.until_metered("keyferry_leases_lost_total", "taken").await;
    house.start_loops();
    house.drain().await;
}

/// Saves more than there is room for, the first time.
struct Saving(Arc<AtomicU64>);

#[async_trait]
impl Step for Saving {
    fn name(&self) -> &'static str {
        "saving"
    }

    async fn run(&self, context: &StepContext, _input: Value) -> Result<Progress, StepError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        context.save_checkpoint(json!("x".repeat(300_000))).await?;
        Ok(Progress::done(json!({ "attempt": context.attempt })))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_meets_a_store_that_is_down_is_done_again_and_its_definition_sees_no_failure() {
    let (_folder, path) = place();
    let tries = Arc::new(AtomicU64::new(0));
    let mut state = task("saving", None);
    state["Catch"] = json!([{ "ErrorEquals": ["States.ALL"], "Next": "Wrong" }]);
    let definition = json!({ "StartAt": "Nap", "States": {
        "Nap": { "Type": "Wait", "Seconds": 30, "Next": "Save" }, "Save": state, "Wrong": { "Type": "Fail", "Error": "Wrong" } } });
    let steps = Registry::new().with(Saving(Arc::clone(&tries)));
    let house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("save", definition)]).await;
    let run = house.start("save", json!({})).await;
    // Room for the claim and for a word about the work, and not for what the step saves.
    house.store.limit_pages(Some(8)).await;
    house.clock.advance(Duration::from_secs(30));
    house.until_counted(&tries, 1).await;
    house.until_metered("keyferry_step_outcomes_total", "released").await;
    let work = house.store.work(&run).await.unwrap().remove(0);
    assert_eq!((work.crashes, work.checkpoint), (0, None), "its work is given back, and nothing half saved");
    house.store.limit_pages(None).await;
    for _ in looks() {
        house.pass(Duration::from_secs(1)).await;
        if house.service.run(&run).await.unwrap().ended_at.is_some() {
            break;
        }
    }
    let view = house.until_ended(&run).await;
    assert_eq!(view.status, Standing::Succeeded, "{view:?}");
    assert!(view.output.unwrap()["attempt"].as_u64() >= Some(2));
    assert!(tries.load(Ordering::SeqCst) >= 2);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_takes_nothing_from_anybody_and_says_what_to_do() {
    let (_folder, house, seen, run) = at_the_gate().await;
    house.store.be_damaged();
    let new = NewEnterprise {
        id: "erin".to_owned(),
        name: "Erin".to_owned(),
        partition: "aws".to_owned(),
        customer_email: None,
        csm_email: None,
        engineer_email: None,
        audit_emails: Vec::new(),
    };
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: "one".to_owned(),
        input: json!({}),
        actor: actor(),
        idempotency_key: None,
    };
    for refused in [
        house.service.add_enterprise(new).await.unwrap_err(),
        house.service.start_run(asked).await.unwrap_err(),
        house.service.pause(&run, actor(), "a freeze").await.unwrap_err(),
        house.service.next_mail(1).await.unwrap_err(),
    ] {
        assert_eq!((refused.kind, refused.code), (ErrorKind::Unavailable, "store-unavailable"));
        assert!(refused.message.contains("row 7 missing from index"), "{refused}");
        assert!(refused.message.contains("restore a backup"), "{refused}");
    }
    let health = house.service.health().await;
    assert!(!health.writable && health.reason.unwrap().contains("restore a backup"));
    seen.gate.notify_one();
    pauses(30).await;
    let view = house.service.run(&run).await.unwrap();
    assert_eq!(
        (view.revision, view.status),
        (1, Standing::Working),
        "what can be read is read, and nothing was written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_run_does_not_hold_up_the_others() {
    use sqlx::Connection as _;
    let (_folder, path) = place();
    let nap = json!({ "StartAt": "Nap", "States": { "Nap": { "Type": "Wait", "Seconds": 30, "Next": "Then" }, "Then": task("echo", None) } });
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("nap", nap)]).await;
    let mut damaged = Vec::new();
    for number in 0..Config::default().worker.concurrency + 1 {
        let id = format!("e{number}");
        let new = NewEnterprise {
            id: id.clone(),
            name: id.clone(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
        };
        house.service.add_enterprise(new).await.unwrap();
        let asked = StartRun {
            enterprise: id,
            workflow: "nap".to_owned(),
            input: json!({ "number": number, "text": "z".repeat(9_000) }),
            actor: actor(),
            idempotency_key: None,
        };
        damaged.push(house.service.start_run(asked).await.unwrap().id);
    }
    let mut raw = sqlx::SqliteConnection::connect(&path.to_string_lossy()).await.unwrap();
    for statement in ["DROP TRIGGER payloads_are_never_changed", "UPDATE payloads SET body = replace(body, 'z', 'y')"] {
        sqlx::query(statement).execute(&mut raw).await.unwrap();
    }
    house.clock.advance(Duration::from_secs(1));
    let sound = house.start("nap", json!("sound")).await;
    house.clock.advance(Duration::from_secs(30));
    assert_eq!(house.until_ended(&sound).await.output, Some(json!("sound")));
    let refused = house.service.run(&damaged[0]).await.unwrap_err();
    assert_eq!(refused.code, "store-corrupt");
    let found = house.service.verify(&damaged[0]).await.unwrap();
    assert_eq!((found.ok, found.first_bad), (false, Some(1)), "{:?}", found.findings);
    house.drain().await;
}

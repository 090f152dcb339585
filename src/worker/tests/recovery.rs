use std::sync::atomic::AtomicBool;

use super::*;

/// Marks each execution and hangs until it has been executed a given number of times.
struct HangUntil {
    nth: u64,
    runs: Arc<AtomicU64>,
}

#[async_trait]
impl Step for HangUntil {
    fn name(&self) -> &'static str {
        "hang"
    }

    async fn run(&self, context: &StepContext, _input: Value) -> Result<Progress, StepError> {
        let nth = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        if nth < self.nth {
            context.save_checkpoint(json!({ "nth": nth })).await?;
            std::future::pending::<()>().await;
        }
        Ok(Progress::done(json!({ "attempt": context.attempt, "checkpoint": context.checkpoint })))
    }
}

fn hanging(nth: u64) -> (Registry, Arc<AtomicU64>) {
    let runs = Arc::new(AtomicU64::new(0));
    (Registry::new().with(HangUntil { nth, runs: Arc::clone(&runs) }), runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_step_is_claimed_again_at_once_with_its_checkpoint() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let (steps, runs) = hanging(2);
    let house = House::open(&path, clock.clone(), steps.clone(), &[("one", one("hang"))]).await;
    let run = house.start("one", json!({})).await;
    house.until_counted(&runs, 1).await;
    house.until_checkpoint(&run).await;
    house.die().await;
    let house = House::open(&path, clock, steps, &[("one", one("hang"))]).await;
    let view = house.until_ended(&run).await;
    assert_eq!(view.output, Some(json!({ "attempt": 2, "checkpoint": { "nth": 1 } })));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_kills_its_process_too_often_is_parked() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let (steps, runs) = hanging(1_000);
    let limit = u64::from(Config::default().worker.crash_limit);
    let mut run = String::new();
    for life in 1..=limit {
        let house = House::open(&path, clock.clone(), steps.clone(), &[("one", one("hang"))]).await;
        if life == 1 {
            run = house.start("one", json!({})).await;
        }
        house.until_counted(&runs, life).await;
        house.until_checkpoint(&run).await;
        house.die().await;
    }
    let house = House::open(&path, clock, steps, &[("one", one("hang"))]).await;
    let view = house.until(&run, |view| view.status == Standing::Attention).await;
    assert_eq!(view.attention[0].error, "Keyferry.StepCrashed");
    assert_eq!(runs.load(Ordering::SeqCst), limit);
    house.holds(&run).await;
    house.drain().await;
}

/// Hangs for as long as the step that is about to kill the process runs; then it ends.
struct Bystander {
    poisoned: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
}

#[async_trait]
impl Step for Bystander {
    fn name(&self) -> &'static str {
        "bystander"
    }

    async fn run(&self, _context: &StepContext, _input: Value) -> Result<Progress, StepError> {
        for _ in 0..10 {
            real_pause().await;
        }
        if self.poisoned.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(Progress::done(json!({})))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_beside_a_step_that_kills_its_process_is_not_parked_with_it() {
    struct Poison {
        poisoned: Arc<AtomicBool>,
        runs: Arc<AtomicU64>,
    }
    #[async_trait]
    impl Step for Poison {
        fn name(&self) -> &'static str {
            "poison"
        }
        async fn run(&self, _context: &StepContext, _input: Value) -> Result<Progress, StepError> {
            self.poisoned.store(true, Ordering::SeqCst);
            self.runs.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    }
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let poisoned = Arc::new(AtomicBool::new(false));
    let (runs, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let steps = Registry::new()
        .with(Poison { poisoned: Arc::clone(&poisoned), runs: Arc::clone(&runs) })
        .with(Bystander { poisoned: Arc::clone(&poisoned), ended: Arc::clone(&ended) });
    let branch = |state: &str, step: &str| json!({ "StartAt": state, "States": { state: task(step, None) } });
    let bystander = |state: &str| branch(state, "bystander");
    let branches = [bystander("First"), branch("Poison", "poison"), bystander("Second"), bystander("Third")];
    let definition =
        json!({ "StartAt": "All", "States": { "All": { "Type": "Parallel", "Branches": branches, "End": true } } });
    let definitions = [("all", definition)];
    let limit = u64::from(Config::default().worker.crash_limit);
    let house = House::open(&path, clock.clone(), steps.clone(), &definitions).await;
    let run = house.start("all", json!({})).await;
    house.until_counted(&runs, 1).await;
    house.die().await;
    for life in 2..=limit {
        poisoned.store(false, Ordering::SeqCst);
        let house = House::open(&path, clock.clone(), steps.clone(), &definitions).await;
        for _ in looks() {
            if runs.load(Ordering::SeqCst) == life {
                break;
            }
            // What waited for another suspect is due again after a while.
            house.pass(Duration::from_secs(1)).await;
        }
        house.die().await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), limit);
    poisoned.store(false, Ordering::SeqCst);
    let house = House::open(&path, clock, steps, &definitions).await;
    for _ in looks() {
        if ended.load(Ordering::SeqCst) == 3 {
            break;
        }
        house.pass(Duration::from_secs(1)).await;
    }
    let view = house.until(&run, |view| view.status == Standing::Attention).await;
    let parked: Vec<_> = view.attention.iter().map(|parked| (parked.state.as_str(), parked.error.as_str())).collect();
    assert_eq!(parked, [("Poison", "Keyferry.StepCrashed")]);
    assert_eq!(ended.load(Ordering::SeqCst), 3, "the others have ended");
    house.holds(&run).await;
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_not_a_crash() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let (steps, runs) = hanging(3);
    let mut house = House::open(&path, clock.clone(), steps.clone(), &[("one", one("hang"))]).await;
    let run = house.start("one", json!({})).await;
    for life in 1..3 {
        house.until_counted(&runs, life).await;
        house.until_checkpoint(&run).await;
        house.stop.send_replace(true);
        // The step never ends by itself: the time to drain passes and its work is given back.
        for _ in looks() {
            house.clock.advance(Duration::from_secs(1));
            if house.worker.is_finished() {
                break;
            }
            real_pause().await;
        }
        let work = crate::store::Store::work(&house.store, &run).await.unwrap();
        assert_eq!((work[0].owner.clone(), work[0].crashes), (None, 0));
        house.die().await;
        house = House::open(&path, clock.clone(), steps.clone(), &[("one", one("hang"))]).await;
    }
    assert_eq!(house.until_ended(&run).await.output.unwrap()["attempt"], 3);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_holds_over_a_restart() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let (steps, runs) = hanging(1_000);
    let mut state = task("hang", None);
    state["TimeoutSeconds"] = json!(100);
    let definition = json!({ "StartAt": "Only", "States": { "Only": state } });
    let house = House::open(&path, clock.clone(), steps.clone(), &[("one", definition.clone())]).await;
    let run = house.start("one", json!({})).await;
    house.until_counted(&runs, 1).await;
    house.until_checkpoint(&run).await;
    house.die().await;
    clock.advance(Duration::from_secs(100));
    let house = House::open(&path, clock, steps, &[("one", definition)]).await;
    let view = house.until(&run, |view| view.status == Standing::Attention).await;
    assert_eq!(view.attention[0].error, "States.Timeout");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_for_as_long_as_its_step_runs() {
    let (_folder, path) = place();
    let (steps, runs) = hanging(2);
    let house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("one", one("hang"))]).await;
    let run = house.start("one", json!({})).await;
    house.until_checkpoint(&run).await;
    let lease = Duration::from_secs(Config::default().worker.lease_s);
    let claim = house.service.core.held.all().remove(0);
    for _ in 0..12 {
        house.clock.advance(lease / 3);
        let renewed = house.clock.now() + lease;
        for _ in looks() {
            let work = crate::store::Store::work(&house.store, &run).await.unwrap();
            // The row shows it before the process has heard of it.
            if work[0].lease_until == Some(renewed) && !claim.is_asked() {
                break;
            }
            real_pause().await;
        }
    }
    let work = crate::store::Store::work(&house.store, &run).await.unwrap();
    assert_eq!((work[0].attempt, work[0].lease_until), (1, Some(house.clock.now() + lease)));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!((house.metered("keyferry_lease_renewals_total", "renewed").await - 12.0).abs() < 0.5);
    house.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_claims_loses_nothing_and_heals_by_itself() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let nap = json!({ "StartAt": "Nap", "States": { "Nap": { "Type": "Wait", "Seconds": 30, "Next": "Then" }, "Then": task("echo", None) } });
    let house = House::open(&path, clock, Registry::new().with(echo()), &[("nap", nap)]).await;
    let run = house.start("nap", json!("z".repeat(3_000))).await;
    house.store.limit_pages(Some(0)).await;
    assert!(!house.service.health().await.writable);
    let refused = house.service.pause(&run, actor(), &"because ".repeat(2_000)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused:?}");
    house.clock.advance(Duration::from_secs(30));
    for _ in 0..30 {
        real_pause().await;
    }
    let view = house.service.run(&run).await.unwrap();
    assert_eq!((view.revision, view.ended_at), (1, None), "reads are served, nothing moved");
    house.store.limit_pages(None).await;
    for _ in looks() {
        house.pass(Duration::from_secs(1)).await;
        if house.service.run(&run).await.unwrap().ended_at.is_some() {
            break;
        }
    }
    house.until_ended(&run).await;
    assert!(house.service.health().await.writable);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_stops_its_running_step() {
    struct Dropped(Arc<AtomicU64>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    struct Long(Arc<AtomicU64>);
    #[async_trait]
    impl Step for Long {
        fn name(&self) -> &'static str {
            "long"
        }
        async fn run(&self, _context: &StepContext, _input: Value) -> Result<Progress, StepError> {
            let _dropped = Dropped(Arc::clone(&self.0));
            std::future::pending().await
        }
    }
    let (_folder, path) = place();
    let dropped = Arc::new(AtomicU64::new(0));
    let steps = Registry::new().with(Long(Arc::clone(&dropped)));
    let house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("one", one("long"))]).await;
    let run = house.start("one", json!({})).await;
    house.until_held(&run).await;
    for _ in 0..20 {
        real_pause().await;
    }
    house.service.cancel(&run, actor(), "stop").await.unwrap();
    house.until_counted(&dropped, 1).await;
    house.until_metered("keyferry_leases_lost_total", "gone").await;
    assert!(house.metered("keyferry_leases_lost_total", "taken").await < 0.5, "nobody else has it");
    house.drain().await;
}

impl House {
    async fn until_checkpoint(&self, run: &str) {
        for _ in looks() {
            let work = crate::store::Store::work(&self.store, run).await.unwrap();
            if work.first().is_some_and(|work| work.owner.is_some() && work.checkpoint.is_some()) {
                return;
            }
            real_pause().await;
        }
        panic!("no checkpoint was saved");
    }

    pub(super) async fn until_held(&self, run: &str) {
        for _ in looks() {
            if self.service.core.held.all().iter().any(|claim| claim.run == run) {
                return;
            }
            real_pause().await;
        }
        panic!("no step of the run was claimed");
    }
}

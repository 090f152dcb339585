//! Two processes over one store: what one keeps in memory of a run may be older than what the other has made of it.

use super::*;
use crate::{
    engine::{EventKind, Phase, Snapshot},
    store::{Answered, Claim, Store, WorkKind, memory::MemoryStore},
    worker::{meters::By, runs::Happening},
};

async fn service(store: &MemoryStore, clock: &ManualClock, steps: Registry) -> Service {
    let mut definitions = Definitions::new();
    let definition = json!({ "StartAt": "Both", "States": { "Both": { "Type": "Parallel", "End": true, "Branches": [
        { "StartAt": "Hang", "States": { "Hang": task("hang", None) } },
        { "StartAt": "Nap", "States": { "Nap": { "Type": "Wait", "Seconds": 5, "Next": "Where" }, "Where": task("where", None) } },
        { "StartAt": "Doze", "States": { "Doze": { "Type": "Wait", "Seconds": 5, "Next": "Sleep" },
            "Sleep": { "Type": "Wait", "Seconds": 1, "Next": "There" }, "There": task("where", None) } } ] } } });
    definitions.add("both", &definition.to_string()).unwrap();
    Service::open(ServiceOptions {
        store: Arc::new(store.clone()),
        definitions,
        steps,
        forms: Arc::new(TestForms),
        clock: Arc::new(clock.clone()),
        config: Arc::new(Config::default()),
        poll: None,
    })
    .await
    .unwrap()
}

async fn start(service: &Service) -> String {
    add_dave(service).await;
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: "both".to_owned(),
        input: json!({}),
        actor: actor(),
        idempotency_key: None,
    };
    service.start_run(asked).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_another_process_has_outrun_neither_drops_work_nor_names_the_wrong_state() {
    let store = MemoryStore::default();
    let clock = ManualClock::new(start_of_time());
    let one = service(&store, &clock, Registry::new().with(Hang).with(echo_where())).await;
    let ahead = ManualClock::new(start_of_time());
    ahead.advance(Duration::from_secs(5));
    let other = service(&store, &ahead, Registry::new()).await;
    let (stop, stopped) = watch::channel(false);
    let runner = one.clone();
    let worker = tokio::spawn(async move { runner.run_worker(stopped, Duration::ZERO).await });
    let run = start(&one).await;
    // The first process executes `hang` and keeps the run in memory.
    for _ in looks() {
        if one.core.held.all().len() == 1 {
            break;
        }
        real_pause().await;
    }
    // The second one fires both timers: what is due then, a step and another timer, only the store knows of.
    let now = ahead.now();
    let claim = Claim { owner: "other".to_owned(), now, lease_until: now, limit: 10 };
    let timers: Vec<_> =
        store.claim(claim).await.unwrap().into_iter().filter(|it| it.kind == WorkKind::Timer).collect();
    assert_eq!(timers.len(), 2);
    for timer in &timers {
        let frame = u64::try_from(timer.frame).unwrap();
        let answers = Some(Answered { frame: timer.frame, visit: timer.visit, fence: timer.fence });
        let fired = Happening { answers, ..EventKind::TimerFired { frame, visit: timer.visit }.into() };
        other.core.happen(&run, fired).await.unwrap();
    }
    // The first one claims them.
    let done = |snapshot: &Snapshot| {
        let done = snapshot.frames.values().filter_map(|frame| match &frame.phase {
            Phase::Done { output } => Some(output.clone().into_value()),
            _ => None,
        });
        done.collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for _ in looks() {
        clock.advance(Duration::from_millis(50));
        found = done(&store.load(&run).await.unwrap().snapshot);
        if found.len() == 2 {
            break;
        }
        real_pause().await;
    }
    found.sort_by_key(ToString::to_string);
    assert_eq!(found, ["There", "Where"]);
    assert!(one.verify(&run).await.unwrap().ok);
    stop.send_replace(true);
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_is_not_lost_when_the_clock_is_set_back() {
    let store = MemoryStore::default();
    let clock = ManualClock::new(start_of_time());
    let one = service(&store, &clock, Registry::new().with(Hang).with(echo_where())).await;
    let run = start(&one).await;
    // Claimed when the clock showed five seconds more than it does now.
    let now = clock.now() + chrono::TimeDelta::seconds(5);
    let claim = Claim { owner: "one".to_owned(), now, lease_until: now, limit: 10 };
    let timer = store.claim(claim).await.unwrap().into_iter().find(|work| work.kind == WorkKind::Timer).unwrap();
    let frame = timer.frame;
    let permit = Arc::clone(&one.core.room).try_acquire_owned().unwrap();
    one.core.execute(timer, permit, By::Claim);
    one.core.executing.subscribe().wait_for(|count| *count == 0).await.unwrap();
    let work = store.work(&run).await.unwrap();
    let work = work.iter().find(|work| work.frame == frame).expect("the timer is still there");
    assert_eq!((work.owner.as_ref(), work.due_at.is_some_and(|due| due <= now)), (None, true));
}

fn echo_where() -> impl Step {
    code("where", |context: &StepContext, _: &Value, _| Ok(Progress::done(json!(context.state)))).0
}

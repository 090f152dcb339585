//! What steps wait for may never answer. Others go on meanwhile, and what nobody has begun is not said to be worked at.

use super::*;

/// Many steps that hear nothing, and after a second one that waits for nobody.
fn beside_silence() -> Value {
    let silent = json!({
        "StartAt": "Ask", "States": { "Ask": {
            "Type": "Map", "ItemsPath": "$.items", "End": true,
            "ItemProcessor": { "StartAt": "Hear", "States": { "Hear": task("hang", None) } },
        } }
    });
    let free = json!({
        "StartAt": "Later", "States": { "Later": { "Type": "Wait", "Seconds": 1, "Next": "Free" }, "Free": task("free", None) }
    });
    json!({ "StartAt": "Both", "States": { "Both": { "Type": "Parallel", "Branches": [silent, free], "End": true } } })
}

async fn until_executed(house: &House, wanted: usize) {
    for _ in looks() {
        if house.service.stats().await.executing >= wanted {
            return;
        }
        house.clock.advance(Duration::from_millis(50));
        real_pause().await;
    }
    panic!("{} are executed", house.service.stats().await.executing);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_hear_nothing_keep_no_slot_from_others() {
    let (_folder, path) = place();
    let (free, begun) = code("free", |_: &StepContext, _: &Value, _| Ok(Progress::done(json!(null))));
    let steps = Registry::new().with(Hang).with(free);
    let house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("one", beside_silence())]).await;
    let slots = house.service.stats().await.slots;
    let items: Vec<usize> = (0..5 * slots).collect();
    let run = house.start("one", json!({ "items": items })).await;
    until_executed(&house, items.len()).await;
    house.clock.advance(Duration::from_secs(1));
    house.until_counted(&begun, 1).await;
    assert_eq!(house.service.run(&run).await.unwrap().status, Standing::Working);
    house.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_executed_has_a_limit_and_what_is_beyond_it_is_queued_and_not_worked_at() {
    let (_folder, path) = place();
    let steps = Registry::new()
        .with(Hang)
        .with(code("free", |_: &StepContext, _: &Value, _| Ok(Progress::done(json!(null)))).0);
    let house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("one", beside_silence())]).await;
    let most = house.service.core.most_at_once();
    let items: Vec<usize> = (0..most + 3).collect();
    let run = house.start("one", json!({ "items": items })).await;
    until_executed(&house, most).await;
    let view = house.until(&run, |view| view.working_in.len() >= most).await;
    assert_eq!(house.service.stats().await.executing, most);
    let queued: Vec<_> = view.waiting_for.iter().filter(|wait| wait.on == "worker").collect();
    assert_eq!(queued.len(), 3, "{:#?}", view.waiting_for);
    assert!(
        queued.iter().all(|wait| wait.since == start_of_time() && wait.what == "a worker for the step hang"),
        "{queued:#?}"
    );
    house.die().await;
}

#[tokio::test]
async fn a_run_that_no_worker_has_begun_is_queued() {
    let (_folder, path) = place();
    let mut definitions = Definitions::new();
    definitions.add("one", &one("echo").to_string()).unwrap();
    let service = Service::open(ServiceOptions {
        store: Arc::new(SqliteStore::open(&path).await.unwrap()),
        definitions,
        steps: Registry::new().with(echo()),
        forms: Arc::new(TestForms),
        clock: Arc::new(ManualClock::new(start_of_time())),
        config: Arc::new(Config::default()),
        poll: None,
    })
    .await
    .unwrap();
    add_dave(&service).await;
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: "one".to_owned(),
        input: json!({}),
        actor: actor(),
        idempotency_key: None,
    };
    let view = service.start_run(asked).await.unwrap();
    assert_eq!((view.status, view.working_in.len()), (Standing::Waiting, 0), "{view:#?}");
    assert_eq!(view.summary, "is queued since 2023-11-14T22:13:20Z: Only has no worker yet");
}

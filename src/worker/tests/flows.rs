use super::*;

fn sequence(length: usize) -> Value {
    let mut states = serde_json::Map::new();
    for index in 0..length {
        let next = format!("S{}", index + 1);
        states.insert(format!("S{index}"), task("echo", (index + 1 < length).then_some(next.as_str())));
    }
    json!({ "StartAt": "S0", "States": states })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_runs_to_its_end_and_its_history_verifies() {
    let (_folder, path) = place();
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("long", sequence(20))])
            .await;
    let run = house.start("long", json!({ "n": 7 })).await;
    let view = house.until_ended(&run).await;
    assert_eq!(view.status, Standing::Succeeded);
    assert_eq!(view.output, Some(json!({ "n": 7 })));
    assert_eq!(view.revision, 21, "the start and one turn a step");
    let history = house.service.history(&run, 5, None).await.unwrap();
    assert_eq!(history.items.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(history.next.as_deref(), Some("5"));
    // Each step but the first was claimed by the commit of the one before it.
    assert!(house.service.stats().await.claimed <= 1);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_a_thousand_items_ends_with_its_results_in_order() {
    let (_folder, path) = place();
    let map = json!({ "StartAt": "Each", "States": { "Each": { "Type": "Map", "End": true, "MaxConcurrency": 50,
        "ItemProcessor": { "StartAt": "Item", "States": { "Item": task("echo", None) } } } } });
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("wide", map)]).await;
    let items: Vec<u64> = (0..1_000).collect();
    let run = house.start("wide", json!(items)).await;
    let view = house.until_ended(&run).await;
    assert_eq!(view.output, Some(json!(items)));
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_values_stand_apart_and_come_back_whole() {
    let (_folder, path) = place();
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("long", sequence(3))])
            .await;
    let big = json!({ "text": "x".repeat(50_000) });
    let run = house.start("long", big.clone()).await;
    assert_eq!(house.until_ended(&run).await.output, Some(big));
    let size = std::fs::metadata(&path).unwrap().len();
    house.drain().await;
    let after = std::fs::metadata(&path).unwrap().len().max(size);
    assert!(after < 400_000, "a value of 50 KB is stored once, the database has {after} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_branches_join() {
    let (_folder, path) = place();
    let both = json!({ "StartAt": "Both", "States": { "Both": { "Type": "Parallel", "End": true, "Branches": [
        { "StartAt": "A", "States": { "A": task("echo", None) } },
        { "StartAt": "B", "States": { "B": { "Type": "Wait", "Seconds": 60, "Next": "C" }, "C": task("echo", None) } } ] } } });
    let clock = ManualClock::new(start_of_time());
    let house = House::open(&path, clock, Registry::new().with(echo()), &[("both", both)]).await;
    let run = house.start("both", json!(1)).await;
    // Before a worker has claimed A, the run waits for one: that is a wait too, and not the one meant here.
    let view = house
        .until(&run, |view| view.status == Standing::Waiting && view.waiting_for.iter().all(|wait| wait.on == "time"))
        .await;
    assert_eq!(view.status, Standing::Waiting);
    assert!(
        view.summary.starts_with("waits for the end of B since 2023-11-14T22:13:20Z until 2023-11-14T22:14:20Z"),
        "{}",
        view.summary
    );
    house.clock.advance(Duration::from_millis(59_999));
    for _ in 0..30 {
        real_pause().await;
    }
    assert_eq!(house.service.run(&run).await.unwrap().status, Standing::Waiting, "a timer is never early");
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(house.until_ended(&run).await.output, Some(json!([1, 1])));
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_waits_refuses_and_takes_an_answer() {
    let (_folder, path) = place();
    let form = json!({ "StartAt": "Ask", "States": { "Ask": { "Type": "Task", "Resource": "urn:keyferry:form:ask-customer", "End": true } } });
    let house = House::open(&path, ManualClock::new(start_of_time()), Registry::new(), &[("form", form)]).await;
    let run = house.start("form", json!({})).await;
    let view = house.until(&run, |view| view.status == Standing::Waiting).await;
    assert_eq!(view.summary, "waits for the customer's answer to the form ask-customer since 2023-11-14T22:13:20Z");
    let visit = &view.waiting_for[0].visit;
    let wrong = house.service.answer(&run, "ask-csm", visit, json!({}), actor()).await.unwrap_err();
    assert_eq!((wrong.code, wrong.kind), ("form-not-open", ErrorKind::Conflict));
    assert!(wrong.message.contains("ask-customer"), "{}", wrong.message);
    let bad = house.service.answer(&run, "ask-customer", visit, json!({}), actor()).await.unwrap_err();
    assert_eq!(bad.code, "answer-invalid");
    assert_eq!(bad.details.unwrap()[0]["pointer"], "/yes");
    assert_eq!(house.service.form_input(&run, "ask-customer").await.unwrap(), json!({}));
    let mail = house.service.next_mail(10).await.unwrap();
    assert_eq!(mail.len(), 1, "the form's opening is told");
    house.service.mail_failed(mail[0].id, "no", start_of_time() + chrono::TimeDelta::hours(1)).await.unwrap();
    assert!(house.service.next_mail(10).await.unwrap().is_empty());
    let answered = house.service.answer(&run, "ask-customer", visit, json!({ "yes": 1 }), actor()).await.unwrap();
    assert_eq!(answered.status, Standing::Succeeded);
    let late = house.service.answer(&run, "ask-customer", visit, json!({ "yes": 1 }), actor()).await.unwrap_err();
    assert_eq!(late.code, "visit-over");
    assert_eq!(late.details.unwrap()["stands"]["status"], "succeeded");
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_with_the_same_key_starts_one_run() {
    let (_folder, path) = place();
    let form = json!({ "StartAt": "Ask", "States": { "Ask": { "Type": "Task", "Resource": "urn:keyferry:form:ask-csm", "End": true } } });
    let house = House::open(&path, ManualClock::new(start_of_time()), Registry::new(), &[("form", form)]).await;
    let asked = |n: u64, key: Option<&str>| StartRun {
        enterprise: "dave".to_owned(),
        workflow: "form".to_owned(),
        input: json!(n),
        actor: actor(),
        idempotency_key: key.map(str::to_owned),
    };
    let all = futures_util::future::join_all((0..50).map(|_| house.service.start_run(asked(1, Some("k"))))).await;
    let first = all[0].as_ref().unwrap().id.clone();
    assert!(all.iter().all(|view| view.as_ref().unwrap().id == first));
    let other = house.service.start_run(asked(2, Some("k"))).await.unwrap_err();
    assert_eq!(other.code, "idempotency-key-reused");
    let second = house.service.start_run(asked(1, None)).await.unwrap_err();
    assert_eq!(second.code, "enterprise-has-open-run");
    house.service.cancel(&first, actor(), "enough").await.unwrap();
    house.service.start_run(asked(1, None)).await.unwrap();
    let page = house.service.runs(RunFilter { limit: Some(1), ..RunFilter::default() }).await.unwrap();
    let next =
        house.service.runs(RunFilter { limit: Some(1), cursor: page.next, ..RunFilter::default() }).await.unwrap();
    assert_eq!(next.items[0].id, first, "newest first");
    assert_eq!(next.next, None);
    let cancelled = RunFilter { status: Some(Standing::Cancelled), ..RunFilter::default() };
    assert_eq!(house.service.runs(cancelled).await.unwrap().items.len(), 1);
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_registered_refuses_the_start() {
    let (_folder, path) = place();
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new(), &[("one", one("nowhere"))]).await;
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: "one".to_owned(),
        input: json!({}),
        actor: actor(),
        idempotency_key: None,
    };
    let refused = house.service.start_run(asked.clone()).await.unwrap_err();
    assert_eq!((refused.code, refused.kind), ("workflow-incomplete", ErrorKind::Refused));
    let unknown = house.service.start_run(StartRun { workflow: "none".to_owned(), ..asked }).await.unwrap_err();
    assert_eq!(unknown.code, "workflow-not-found");
    house.drain().await;
}

#[test]
fn a_folder_of_definitions_is_read_and_a_bad_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.asl.json"), sequence(2).to_string()).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a definition").unwrap();
    let mut definitions = Definitions::new();
    definitions.add_folder(folder.path()).unwrap();
    assert_eq!(definitions.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["good"]);
    std::fs::write(folder.path().join("bad.asl.json"), "{}").unwrap();
    let refused = definitions.add_folder(folder.path()).unwrap_err();
    assert!(refused.path.ends_with("bad.asl.json") && !refused.problems.is_empty(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_a_run_that_moves_is_of_one_moment() {
    let (_folder, path) = place();
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("long", sequence(300))])
            .await;
    let run = house.start("long", json!(1)).await;
    let mut revisions = std::collections::BTreeSet::new();
    loop {
        let view = house.service.run(&run).await.unwrap();
        if view.ended_at.is_some() {
            break;
        }
        // Every step of it is due or claimed from the moment at which its state is entered.
        assert_eq!((view.status, view.waiting_for.len()), (Standing::Working, 0), "{view:#?}");
        revisions.insert(view.revision);
    }
    assert!(revisions.len() > 10, "seen at {} revisions: the test does not test", revisions.len());
    house.drain().await;
}

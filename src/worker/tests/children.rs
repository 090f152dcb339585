use super::*;

fn parent() -> Value {
    json!({ "StartAt": "Child", "States": { "Child": { "Type": "Task", "Resource": "urn:keyferry:workflow:child", "Next": "After" },
        "After": task("echo", None) } })
}

fn asking() -> Value {
    json!({ "StartAt": "Ask", "States": { "Ask": { "Type": "Task", "Resource": "urn:keyferry:form:ask-csm", "End": true } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_started_seen_through_its_parent_and_its_end_moves_the_parent() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let house =
        House::open(&path, clock, Registry::new().with(echo()), &[("parent", parent()), ("child", asking())]).await;
    let run = house.start("parent", json!({})).await;
    let view = house.until(&run, |view| view.status == Standing::Waiting).await;
    assert_eq!(view.children.len(), 1);
    assert_eq!(view.waiting_for.len(), 1, "the child's wait stands for it: {:?}", view.waiting_for);
    assert_eq!(view.waiting_for[0].form.as_deref(), Some("ask-csm"));
    let visit = &view.waiting_for[0].visit;
    assert_eq!((&view.waiting_for[0].run, visit), (&view.children[0], &open(&house.service, &run, "ask-csm").await));
    house.service.answer(&run, "ask-csm", visit, json!({ "yes": 2 }), actor()).await.unwrap();
    assert_eq!(house.until_ended(&run).await.output, Some(json!({ "yes": 2 })));
    house.holds(&view.children[0]).await;
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_resume_and_cancel_reach_children() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let house =
        House::open(&path, clock, Registry::new().with(echo()), &[("parent", parent()), ("child", asking())]).await;
    let run = house.start("parent", json!({})).await;
    let child = house.service.run(&run).await.unwrap().children[0].clone();
    house.service.pause(&run, actor(), "freeze").await.unwrap();
    house.until(&child, |view| view.status == Standing::Paused).await;
    house.service.resume(&run, actor(), "thaw").await.unwrap();
    house.until(&child, |view| view.status == Standing::Waiting).await;
    house.service.cancel(&run, actor(), "enough").await.unwrap();
    let view = house.until_ended(&child).await;
    assert_eq!((view.status, view.cause.as_deref()), (Standing::Cancelled, Some("enough")));
    house.holds(&run).await;
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_childs_failure_is_the_states_error() {
    let (_folder, path) = place();
    let failing =
        json!({ "StartAt": "No", "States": { "No": { "Type": "Fail", "Error": "Nope", "Cause": "because" } } });
    let clock = ManualClock::new(start_of_time());
    let house =
        House::open(&path, clock, Registry::new().with(echo()), &[("parent", parent()), ("child", failing)]).await;
    let run = house.start("parent", json!({})).await;
    let view = house.until(&run, |view| view.status == Standing::Attention).await;
    assert_eq!((view.attention[0].error.as_str(), view.attention[0].cause.as_str()), ("Nope", "because"));
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_childs_frame_in_attention_is_found_by_its_visit_through_the_parent() {
    let (_folder, path) = place();
    let (moody, _) = code("moody", |_: &StepContext, input: &Value, nth| {
        if nth == 1 { Err(StepError::new("Mood", "not now")) } else { Ok(Progress::done(input.clone())) }
    });
    let steps = Registry::new().with(echo()).with(moody);
    let clock = ManualClock::new(start_of_time());
    let house = House::open(&path, clock, steps, &[("parent", parent()), ("child", one("moody"))]).await;
    let run = house.start("parent", json!(5)).await;
    let view = house.until(&run, |view| view.status == Standing::Attention).await;
    let (child, seen) = (&view.attention[0].run, &view.attention[0].visit);
    assert_eq!(child, &view.children[0]);
    // The same frame and visit of the parent are another place.
    let elsewhere = Visit::of(&run, seen.frame(), seen.number());
    for wrong in [elsewhere, Visit::of(child, seen.frame() + 1, seen.number()), Visit::of("another", 0, 1)] {
        let none = house.service.retry(&run, &wrong, None, actor(), "wrong place").await.unwrap_err();
        assert_eq!((none.kind, none.code), (ErrorKind::Conflict, "visit-over"), "{none:?}");
    }
    house.service.retry(&run, seen, None, actor(), "a better mood").await.unwrap();
    assert_eq!(house.until_ended(&run).await.output, Some(json!(5)));
    house.drain().await;
}

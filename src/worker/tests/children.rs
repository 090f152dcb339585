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
async fn a_changed_word_in_a_childs_history_is_found_by_verifying_its_parent() {
    use sqlx::Connection as _;
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let house =
        House::open(&path, clock, Registry::new().with(echo()), &[("parent", parent()), ("child", asking())]).await;
    let run = house.start("parent", json!({})).await;
    house.until(&run, |view| view.status == Standing::Waiting).await;
    let visit = house.service.open_form(&run, "ask-csm").await.unwrap().visit;
    house.service.answer(&run, "ask-csm", &visit, json!({ "yes": "honest" }), actor()).await.unwrap();
    let child = house.until_ended(&run).await.children[0].clone();
    let whole = house.service.verify(&run).await.unwrap();
    assert!(whole.ok && whole.children.len() == 1 && whole.children[0].ok, "{whole:?}");
    let mut raw = sqlx::SqliteConnection::connect(&path.to_string_lossy()).await.unwrap();
    for statement in [
        "DROP TRIGGER history_is_never_changed",
        "UPDATE history SET event = replace(event, 'honest', 'forged') WHERE event LIKE '%form-answered%'",
    ] {
        sqlx::query(statement).execute(&mut raw).await.unwrap();
    }
    let found = house.service.verify(&run).await.unwrap();
    assert!(!found.ok && found.first_bad.is_none(), "the parent's own rows hold: {found:?}");
    assert!(found.findings.iter().any(|finding| finding.contains(&child)), "{found:?}");
    assert!(!found.children[0].ok && found.children[0].first_bad.is_some(), "{found:?}");
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_kept_is_a_record_of_its_run_and_visit_and_no_other_form_makes_one() {
    let (_folder, path) = place();
    let clock = ManualClock::new(start_of_time());
    let ask = |form: &str, next: Option<&str>| {
        let mut state = json!({ "Type": "Task", "Resource": format!("urn:keyferry:form:{form}") });
        match next {
            Some(next) => state["Next"] = json!(next),
            None => state["End"] = json!(true),
        }
        state
    };
    let both = json!({ "StartAt": "A", "States": { "A": ask("ask-csm", Some("B")), "B": ask("ask-engineer", None) } });
    let house = House::open(&path, clock, Registry::new(), &[("both", both)]).await;
    let run = house.start("both", json!({})).await;
    let kept = async || {
        let enterprise = house.service.run(&run).await.unwrap().enterprise;
        house.service.records(&enterprise, crate::worker::ANSWERS, 10, None).await.unwrap().items
    };
    let visit = house.service.open_form(&run, "ask-csm").await.unwrap().visit;
    house.service.answer(&run, "ask-csm", &visit, json!({ "yes": 1, "form": "ask-engineer" }), actor()).await.unwrap();
    assert_eq!(kept().await, []);
    let visit = house.service.open_form(&run, "ask-engineer").await.unwrap().visit;
    house.service.answer(&run, "ask-engineer", &visit, json!({ "no": 1 }), actor()).await.unwrap_err();
    assert_eq!(kept().await, [], "a refused answer is none");
    house.service.answer(&run, "ask-engineer", &visit, json!({ "yes": 2 }), actor()).await.unwrap();
    house.service.answer(&run, "ask-engineer", &visit, json!({ "yes": 3 }), actor()).await.unwrap_err();
    let kept = kept().await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    let body = &kept[0].body;
    assert_eq!(
        (&body["form"], &body["run"], &body["answer"]),
        (&json!("ask-engineer"), &json!(run), &json!({ "yes": 2 }))
    );
    assert_eq!((&kept[0].run, &body["actor"]), (&run, &json!(actor())));
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

//! What people see of a state that fails and is tried again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_tried_again_says_which_attempt_why_and_when() {
    let (_folder, path) = place();
    let (gate, runs) = code("flaky", |_: &StepContext, input: &Value, nth| match nth {
        1 => Err(StepError::new("Some.Error", "the first cause")),
        2 => Err(StepError::new("Some.Error", "the second cause")),
        3 => Ok(Progress::Pending {
            poll_after: Duration::from_secs(60),
            checkpoint: json!(1),
            waiting_for: "AWS".to_owned(),
        }),
        _ => Ok(Progress::done(input.clone())),
    });
    let mut flaky = task("flaky", Some("Then"));
    flaky["Retry"] = json!([{ "ErrorEquals": ["Some.Error"], "IntervalSeconds": 100, "BackoffRate": 2.0 }]);
    let child = json!({ "StartAt": "Flaky", "States": { "Flaky": flaky,
        "Then": { "Type": "Task", "Resource": "urn:keyferry:form:ask-csm", "End": true } } });
    let parent = json!({ "StartAt": "Child", "States": { "Child":
        { "Type": "Task", "Resource": "urn:keyferry:workflow:child", "End": true } } });
    let clock = ManualClock::new(start_of_time());
    let steps = Registry::new().with(gate);
    let house = House::open(&path, clock.clone(), steps, &[("parent", parent), ("child", child)]).await;
    let run = house.start("parent", json!({})).await;
    let in_seconds = |seconds: i64| start_of_time() + chrono::TimeDelta::seconds(seconds);

    let view = house.until(&run, |view| view.retrying.len() == 1 && view.status == Standing::Waiting).await;
    let first = &view.retrying[0];
    assert_eq!((first.state.as_str(), first.attempt, first.next_at), ("Flaky", 2, Some(in_seconds(100))));
    assert_eq!((first.error.as_str(), first.cause.as_str()), ("Some.Error", "the first cause"));
    assert!(view.summary.ends_with("; attempt 2 of Flaky, after Some.Error: the first cause"), "{}", view.summary);
    let listed = house.service.runs(RunFilter::default()).await.unwrap().items;
    assert!(listed.iter().all(|view| view.retrying.len() == 1), "the child and its parent: {listed:?}");

    clock.advance(Duration::from_secs(100));
    let view = house.until(&run, |view| view.retrying.iter().any(|state| state.attempt == 3)).await;
    let second = &view.retrying[0];
    assert_eq!((second.cause.as_str(), second.next_at), ("the second cause", Some(in_seconds(300))));

    // The third attempt waits for AWS: it is under way, and what the second ended in is still said.
    clock.advance(Duration::from_secs(200));
    let view = house.until(&run, |view| view.waiting_for.iter().any(|wait| wait.on == "aws")).await;
    let third = &view.retrying[0];
    assert_eq!((third.attempt, third.cause.as_str(), third.next_at), (3, "the second cause", None));
    house.holds(&view.children[0]).await;

    clock.advance(Duration::from_secs(60));
    let view = house.until(&run, |view| view.waiting_for.iter().any(|wait| wait.form.is_some())).await;
    assert_eq!((view.retrying.len(), runs.load(Ordering::SeqCst)), (0, 4), "the next state has not failed");
    house.drain().await;
}

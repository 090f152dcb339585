use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_retried_and_then_stands_in_attention() {
    let (_folder, path) = place();
    let (flaky, runs) = code("flaky", |_: &StepContext, _: &Value, nth| {
        if nth == 4 {
            Ok(Progress::done(json!("at last")))
        } else {
            Err(StepError::new("Keyferry.Throttled", "too fast"))
        }
    });
    let mut state = task("flaky", None);
    state["Retry"] =
        json!([{ "ErrorEquals": ["Keyferry.Throttled"], "IntervalSeconds": 10, "MaxAttempts": 2, "BackoffRate": 1.0 }]);
    let definition = json!({ "StartAt": "Only", "States": { "Only": state } });
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(flaky), &[("one", definition)])
            .await;
    let run = house.start("one", json!({})).await;
    for wanted in 1..=3 {
        house.until_counted(&runs, wanted).await;
        house.until(&run, |view| view.revision == 2 * wanted).await;
        if wanted < 3 {
            let view = house.service.run(&run).await.unwrap();
            assert_eq!(view.status, Standing::Waiting, "nothing runs while a retry waits");
            house.clock.advance(Duration::from_secs(10));
        }
    }
    let view = house.until(&run, |view| view.status == Standing::Attention).await;
    assert_eq!(view.attention[0].error, "Keyferry.Throttled");
    assert!(view.summary.contains("needs an engineer in Only"), "{}", view.summary);
    house.service.retry(&run, &view.attention[0].visit, None, actor(), "try again").await.unwrap();
    assert_eq!(house.until_ended(&run).await.output, Some(json!("at last")));
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failure_with_a_name() {
    let (_folder, path) = place();
    let (broken, _) = code("broken", |_: &StepContext, _: &Value, _| panic!("two and two is five"));
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(broken), &[("one", one("broken"))])
            .await;
    let run = house.start("one", json!({})).await;
    let view = house.until(&run, |view| view.status == Standing::Attention).await;
    assert_eq!(view.attention[0].error, "Keyferry.Panicked");
    assert!(view.attention[0].cause.contains("two and two is five"));
    house.service.skip(&run, &view.attention[0].visit, Some(json!(4)), actor(), "I know better").await.unwrap();
    assert_eq!(house.until_ended(&run).await.output, Some(json!(4)));
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_step_gives_its_room_back_and_goes_on_from_its_checkpoint() {
    let (_folder, path) = place();
    let (copy, runs) = code("copy", |context: &StepContext, _: &Value, nth| {
        if nth < 3 {
            assert_eq!(context.checkpoint, (nth > 1).then(|| json!({ "seen": nth - 1 })));
            let waiting_for = format!("AWS copies ({nth})");
            return Ok(Progress::Pending {
                poll_after: Duration::from_secs(15),
                checkpoint: json!({ "seen": nth }),
                waiting_for,
            });
        }
        Ok(Progress::Done {
            output: context.checkpoint.clone().unwrap(),
            records: vec![Record { collection: "purge-ledger", key: "a".to_owned(), body: json!(nth) }],
            told: vec![Told { letter: "copied", about: json!({ "by": nth }) }],
        })
    });
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(copy), &[("one", one("copy"))])
            .await;
    let run = house.start("one", json!({})).await;
    for nth in 1..3 {
        house.until_counted(&runs, nth).await;
        let what = format!("AWS copies ({nth})");
        let view = house.until(&run, |view| view.waiting_for.first().is_some_and(|wait| wait.what == what)).await;
        assert_eq!((view.status, view.revision), (Standing::Waiting, 1), "a poll is no line of history");
        house.clock.advance(Duration::from_secs(15));
    }
    assert_eq!(house.until_ended(&run).await.output, Some(json!({ "seen": 2 })));
    let records = house.service.records("dave", "purge-ledger", 10, None).await.unwrap();
    assert_eq!((records.items[0].body.clone(), records.items[0].run.clone()), (json!(3), run));
    let notices: Vec<Notice> = house.service.next_mail(10).await.unwrap().into_iter().map(|row| row.notice).collect();
    let told = Notice::Told { frame: 0, visit: 1, letter: "copied".to_owned(), about: json!({ "by": 3 }).into() };
    assert!(matches!(&notices[..], [first, Notice::Ended { .. }] if *first == told), "{notices:?}");
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_limits_and_heartbeats_end_a_step_that_hangs() {
    for (limit, seconds, error) in
        [("TimeoutSeconds", 100, "States.Timeout"), ("HeartbeatSeconds", 20, "States.HeartbeatTimeout")]
    {
        let (_folder, path) = place();
        let mut state = task("hang", None);
        state["TimeoutSeconds"] = json!(100);
        state[limit] = json!(seconds);
        let definition = json!({ "StartAt": "Only", "States": { "Only": state } });
        let house =
            House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(Hang), &[("one", definition)])
                .await;
        let run = house.start("one", json!({})).await;
        let view = house.until(&run, |view| view.status == Standing::Working).await;
        assert_eq!(view.summary, "works in Only");
        house.until_held(&run).await;
        house.clock.advance(Duration::from_secs(seconds));
        let view = house.until(&run, |view| view.status == Standing::Attention).await;
        assert_eq!(view.attention[0].error, error);
        house.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_holds_resume_lets_go_and_cancel_ends() {
    let (_folder, path) = place();
    let definition = json!({ "StartAt": "Nap", "States": { "Nap": { "Type": "Wait", "Seconds": 30, "Next": "Then" }, "Then": task("echo", None) } });
    let house =
        House::open(&path, ManualClock::new(start_of_time()), Registry::new().with(echo()), &[("nap", definition)])
            .await;
    let run = house.start("nap", json!(1)).await;
    let view = house.service.pause(&run, actor(), "a freeze").await.unwrap();
    assert_eq!(view.status, Standing::Paused);
    assert_eq!(house.service.pause(&run, actor(), "again").await.unwrap_err().kind, ErrorKind::Conflict);
    house.clock.advance(Duration::from_secs(60));
    for _ in 0..30 {
        real_pause().await;
    }
    assert_eq!(house.service.run(&run).await.unwrap().revision, 2, "nothing moves while it is paused");
    house.service.resume(&run, actor(), "thaw").await.unwrap();
    assert_eq!(house.until_ended(&run).await.status, Standing::Succeeded);
    let run = house.start("nap", json!(1)).await;
    let view = house.service.cancel(&run, actor(), "not wanted").await.unwrap();
    assert_eq!((view.status, view.cause.as_deref()), (Standing::Cancelled, Some("not wanted")));
    assert!(house.service.cancel(&run, actor(), "again").await.is_err());
    assert!(crate::store::Store::work(&house.store, &run).await.unwrap().is_empty());
    house.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_steps_run_at_once_than_there_is_room_for() {
    struct Counting {
        now: AtomicU64,
        most: Arc<AtomicU64>,
    }
    #[async_trait]
    impl Step for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }
        async fn run(&self, _context: &StepContext, input: Value) -> Result<Progress, StepError> {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            real_pause().await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            Ok(Progress::done(input))
        }
    }
    let (_folder, path) = place();
    let most = Arc::new(AtomicU64::new(0));
    let room = u64::try_from(Config::default().worker.concurrency).unwrap();
    let map = json!({ "StartAt": "Each", "States": { "Each": { "Type": "Map", "End": true,
        "ItemProcessor": { "StartAt": "Item", "States": { "Item": task("counting", None) } } } } });
    let steps = Registry::new().with(Counting { now: AtomicU64::new(0), most: Arc::clone(&most) });
    let house = House::open(&path, ManualClock::new(start_of_time()), steps, &[("wide", map)]).await;
    let items: Vec<u64> = (0..room * 5).collect();
    let run = house.start("wide", json!(items)).await;
    house.until_ended(&run).await;
    let most = most.load(Ordering::SeqCst);
    assert!(most <= room && most > 1, "{most} at once, with room for {room}");
    house.drain().await;
}

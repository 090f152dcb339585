//! Real processes that die: this test binary runs itself as the process, kills it, and starts it again on the same file.

use std::process::{Child, Command, ExitStatus};

use super::*;

const FOLDER: &str = "KEYFERRY_TEST_LIFE";

fn definition() -> Value {
    json!({ "StartAt": "First", "States": {
        "First": task("effect", Some("Each")),
        "Each": { "Type": "Map", "Next": "Poll", "ItemProcessor": { "StartAt": "Item", "States": { "Item": task("effect", None) } } },
        "Poll": task("poll", Some("Sub")),
        "Sub": { "Type": "Task", "Resource": "urn:keyferry:workflow:child", "Next": "Last" },
        "Last": task("effect", None) } })
}

/// An effect on the world: a file named after the place it is for, made once and adopted afterwards.
struct Effect(std::path::PathBuf);

#[async_trait]
impl Step for Effect {
    fn name(&self) -> &'static str {
        "effect"
    }

    async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
        let name = self.0.join(format!("{}-{}-{}", context.run, context.state, context.frame));
        if !name.exists() {
            std::fs::write(&name, b"x").map_err(|error| StepError::new("Io", error.to_string()))?;
        }
        for _ in 0..4 {
            real_pause().await;
        }
        Ok(Progress::done(input))
    }
}

/// The process: starts the run, or finds it, and brings it to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is the process that the tests here start"]
async fn life() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    #[cfg(feature = "failpoints")]
    failpoints::arm_from_env().unwrap();
    let (poll, _) = code("poll", |context: &StepContext, input: &Value, _| {
        let seen = context.checkpoint.as_ref().and_then(Value::as_u64).unwrap_or(0);
        if seen == 5 {
            return Ok(Progress::done(input.clone()));
        }
        Ok(Progress::Pending {
            poll_after: Duration::from_millis(15),
            checkpoint: json!(seen + 1),
            waiting_for: "a file".to_owned(),
        })
    });
    struct Saves;
    #[async_trait]
    impl Step for Saves {
        fn name(&self) -> &'static str {
            "saves"
        }
        async fn run(&self, context: &StepContext, input: Value) -> Result<Progress, StepError> {
            context.save_checkpoint(json!("half")).await?;
            Ok(Progress::done(input))
        }
    }
    let store = SqliteStore::open(&folder.join("keyferry.db")).await.unwrap();
    let mut definitions = Definitions::new();
    definitions.add("all", &definition().to_string()).unwrap();
    definitions.add("child", &one("saves").to_string()).unwrap();
    let mut config = Config::default();
    config.worker.crash_limit = 1_000;
    let service = Service::open(ServiceOptions {
        store: Arc::new(store.clone()),
        definitions,
        steps: Registry::new().with(Effect(folder.join("effects"))).with(poll).with(Saves),
        forms: Arc::new(TestForms),
        clock: Arc::new(SystemClock),
        config: Arc::new(config),
        poll: None,
    })
    .await
    .unwrap();
    add_dave(&service).await;
    let (stop, stopped) = watch::channel(false);
    let runner = service.clone();
    let worker = tokio::spawn(async move { runner.run_worker(stopped, Duration::from_secs(5)).await });
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: "all".to_owned(),
        input: json!([1, 2, 3, 4, 5]),
        actor: actor(),
        idempotency_key: Some("the one".to_owned()),
    };
    let run = service.start_run(asked).await.unwrap().id;
    let mut ended = false;
    for _ in looks() {
        ended = service.run(&run).await.unwrap().ended_at.is_some();
        if ended {
            break;
        }
        real_pause().await;
    }
    assert!(ended, "{:#?}", service.run(&run).await.unwrap());
    for mail in service.next_mail(100).await.unwrap() {
        service.spread_mail(mail.id, vec!["engineer".to_owned()]).await.unwrap();
    }
    for (letter, _) in service.hold_letters(100).await.unwrap() {
        let address = "eve@replicon.example".to_owned();
        service.letter_done(letter.id, crate::worker::Delivery::Sent { address }).await.unwrap();
    }
    stop.send_replace(true);
    worker.await.unwrap().unwrap();
    let view = service.run(&run).await.unwrap();
    assert_eq!((view.status, view.output), (Standing::Succeeded, Some(json!([1, 2, 3, 4, 5]))));
    for member in view.children.iter().chain([&run]) {
        let verified = service.verify(member).await.unwrap();
        assert!(verified.ok && verified.rows > 0, "{verified:?}");
    }
    assert_eq!(view.children.len(), 1, "one child, however often the process died");
}

fn process(folder: &Path, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["worker::tests::kill::life", "--exact", "--ignored", "--test-threads=1", "--nocapture"])
        .env(FOLDER, folder);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    if let Some(failpoint) = failpoint {
        command.env("KEYFERRY_FAILPOINT", failpoint);
    }
    command.spawn().unwrap()
}

/// Lets the process live until it ends by itself.
fn finishes(folder: &Path) {
    let output = process(folder, None).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // First, five items, Last: one effect each, whatever was cut off.
    assert_eq!(std::fs::read_dir(folder.join("effects")).unwrap().count(), 7);
}

fn fresh() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("effects")).unwrap();
    folder
}

fn was_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status).is_some()
}

#[test]
fn a_process_that_is_killed_at_random_moments_finishes_its_run() {
    let mut killed = 0;
    for round in 0..6_u64 {
        let folder = fresh();
        for life in 0..4_u64 {
            let mut child = process(folder.path(), None);
            #[expect(clippy::disallowed_methods, reason = "the moment of the kill is the wall clock's")]
            let begun = std::time::SystemTime::now();
            let moment = Duration::from_millis(15 + (round * 37 + life * 53) % 90);
            while begun.elapsed().unwrap() < moment {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            killed += u64::from(was_killed(child.wait().unwrap()));
        }
        finishes(folder.path());
    }
    assert!(killed >= 8, "only {killed} processes were still there to be killed: the test does not test");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_process_that_dies_at_any_named_place_finishes_its_run() {
    for name in failpoints::NAMES {
        for nth in 1..=3 {
            let folder = fresh();
            let output = process(folder.path(), Some(&format!("{name}:{nth}"))).wait_with_output().unwrap();
            // The outbox has fewer rows than that.
            if nth == 1 {
                assert!(
                    was_killed(output.status),
                    "{name} was not reached: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            finishes(folder.path());
        }
    }
}

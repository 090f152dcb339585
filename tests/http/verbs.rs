//! Verbs of people: each is for what was seen, and is done once, on both stores.

use futures_util::future::join_all;
use serde_json::json;

use super::{disorder::Scene, *};

/// A run in attention, with another state behind it that will stand in attention too.
struct Broken<'a> {
    scene: &'a Scene,
    run: String,
    /// As it was seen first.
    seen: Value,
}

impl<'a> Broken<'a> {
    async fn start(scene: &'a Scene, key: &str) -> Self {
        let (status, seen) = Scene::said(scene.start(key, &json!({ "workflow": "broken" }))).await;
        assert_eq!((status, &seen["status"]), (201, &json!("attention")), "{}: {seen}", scene.name);
        Self { scene, run: seen["id"].as_str().expect("a run").to_owned(), seen }
    }

    fn visit(&self) -> &Value {
        &self.seen["attention"][0]["visit"]
    }

    fn post(&self, verb: &str, body: &Value) -> RequestBuilder {
        self.scene.server.ask(Method::POST, &format!("/api/v1/runs/{}/{verb}", self.run)).json(body)
    }

    async fn now(&self) -> Value {
        Scene::said(self.scene.server.ask(Method::GET, &format!("/api/v1/runs/{}", self.run))).await.1
    }

    /// How often a kind of event is in the history, which holds.
    async fn count(&self, event: &str) -> usize {
        let rows = self.scene.service.history(&self.run, 500, None).await.expect("read").items;
        assert!(self.scene.service.verify(&self.run).await.expect("read").ok, "{}", self.scene.name);
        rows.iter().filter(|row| row.event["event"] == event).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_skip_twice_skips_the_one_state_that_was_seen() {
    for scene in Scene::all().await {
        let broken = Broken::start(&scene, "twice").await;
        let skip = json!({ "visit": broken.visit(), "reason": "it is done by hand" });
        let (status, after) = Scene::said(broken.post("skip", &skip)).await;
        assert_eq!((status, &after["attention"][0]["state"]), (200, &json!("Second")), "{}: {after}", scene.name);
        for verb in ["skip", "retry"] {
            let (status, code, refused) = problem(broken.post(verb, &skip)).await;
            assert_eq!((status, code.as_str()), (409, "visit-over"), "{}: {refused}", scene.name);
            let stands = &refused["stands"];
            assert_eq!(stands["visit"], after["attention"][0]["visit"], "{refused}");
            assert_eq!((&stands["state"], &stands["phase"]), (&json!("Second"), &json!("attention")), "{refused}");
            assert_eq!(stands["run"], json!(broken.run), "{refused}");
        }
        assert_eq!(broken.now().await["attention"][0]["state"], "Second", "{}: nobody has seen it", scene.name);
        assert_eq!((broken.count("skipped").await, broken.count("retried").await), (1, 0), "{}", scene.name);
        // What the refusal says can be acted on.
        let (_, _, refused) = problem(broken.post("skip", &skip)).await;
        let skip = json!({ "visit": refused["stands"]["visit"], "reason": "this one too" });
        let (status, after) = Scene::said(broken.post("skip", &skip)).await;
        assert_eq!((status, &after["status"]), (200, &json!("succeeded")), "{}: {after}", scene.name);
        let (_, code, refused) = problem(broken.post("skip", &skip)).await;
        assert_eq!((code.as_str(), &refused["stands"]["status"]), ("visit-over", &json!("succeeded")), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_on_a_frame_without_a_visit_is_told_where_to_read_it() {
    for scene in Scene::all().await {
        let broken = Broken::start(&scene, "no-visit").await;
        for verb in ["skip", "retry", "forms/window"] {
            let (status, code, refused) = problem(broken.post(verb, &json!({ "reason": "why" }))).await;
            assert_eq!((status, code.as_str()), (422, "visit-missing"), "{verb}: {refused}");
            let detail = refused["detail"].as_str().expect("a detail");
            assert!(detail.contains(&format!("GET /api/v1/runs/{}", broken.run)), "{detail}");
        }
        let frame = broken.seen["attention"][0]["frame"].as_u64().expect("a frame");
        for wrong in [
            json!({ "visit": 1, "reason": "why" }),
            json!({ "visit": "1", "reason": "why" }),
            json!({ "visit": broken.visit(), "frame": frame + 1, "reason": "why" }),
        ] {
            assert_eq!(code(broken.post("skip", &wrong)).await, is(422, "visit-invalid"), "{wrong}");
        }
        let unknown = json!({ "visit": broken.visit(), "reason": "why", "ouptut": 1 });
        assert_eq!(code(broken.post("skip", &unknown)).await, is(422, "invalid-body"));
        assert_eq!(broken.count("skipped").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_verbs_that_race_for_one_visit_exactly_one_is_done() {
    for scene in Scene::all().await {
        for round in 0..25 {
            let broken = Broken::start(&scene, &format!("race-{round}")).await;
            let body = json!({ "visit": broken.visit(), "reason": "whoever is first" });
            let verbs = ["skip", "retry", "skip", "retry", "skip", "retry"];
            let answers = join_all(verbs.map(|verb| Scene::said(broken.post(verb, &body)))).await;
            let done = answers.iter().filter(|(status, _)| *status == 200).count();
            assert_eq!(done, 1, "{} round {round}: {answers:?}", scene.name);
            for (status, refused) in answers.iter().filter(|(status, _)| *status != 200) {
                assert_eq!((*status, &refused["code"]), (409, &json!("visit-over")), "{}: {refused}", scene.name);
            }
            assert_eq!(broken.count("skipped").await + broken.count("retried").await, 1, "{}", scene.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_under_an_idempotency_key_is_done_once_and_answered_again_by_any_process() {
    for scene in Scene::all().await {
        let broken = Broken::start(&scene, "first").await;
        let skip = json!({ "visit": broken.visit(), "reason": "it is done by hand" });
        let under = |verb: &str, body: &Value| broken.post(verb, body).header("idempotency-key", "k-1");
        let answers = join_all((0..20).map(|_| Scene::said(under("skip", &skip)))).await;
        for (status, run) in &answers {
            assert_eq!((*status, &run["id"]), (200, &json!(broken.run)), "{}: {run}", scene.name);
            assert_eq!(run["attention"][0]["state"], "Second", "{}: {run}", scene.name);
        }
        assert_eq!(broken.count("skipped").await, 1, "{}", scene.name);
        // Another body, another verb, another run: another request.
        let other = Broken::start(&scene, "other").await;
        let elsewhere = json!({ "visit": other.visit(), "reason": "it is done by hand" });
        for request in [
            under("skip", &json!({ "visit": broken.visit(), "reason": "another" })),
            under("retry", &skip),
            under("pause", &json!({ "reason": "it is done by hand" })),
            other.post("skip", &elsewhere).header("idempotency-key", "k-1"),
            scene.start("k-1", &json!({ "workflow": "noop" })),
        ] {
            assert_eq!(code(request).await, is(422, "idempotency-key-reused"), "{}", scene.name);
        }
        assert_eq!(other.count("skipped").await, 0, "{}", scene.name);
        // The key of a start is none for a verb.
        let reused = broken.post("pause", &json!({ "reason": "why" })).header("idempotency-key", "first");
        assert_eq!(code(reused).await, is(422, "idempotency-key-reused"), "{}", scene.name);
        let (run, seen) = (broken.run.clone(), broken.seen.clone());
        let scene = scene.again().await;
        let broken = Broken { scene: &scene, run, seen };
        let again = broken.post("skip", &skip).header("idempotency-key", "k-1").header("if-match", "\"1\"");
        assert_eq!(Scene::said(again).await.0, 200, "{}: another process answers the same", scene.name);
        assert_eq!(broken.count("skipped").await, 1, "{}", scene.name);
        // A key that was refused is not used up.
        let refused = broken.post("skip", &skip).header("idempotency-key", "k-2");
        assert_eq!(code(refused).await, is(409, "visit-over"), "{}", scene.name);
        let visit = broken.now().await["attention"][0]["visit"].clone();
        let skip = json!({ "visit": visit, "reason": "the second" });
        let (status, ended) = Scene::said(broken.post("skip", &skip).header("idempotency-key", "k-2")).await;
        assert_eq!((status, &ended["status"]), (200, &json!("succeeded")), "{}: {ended}", scene.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_on_a_run_is_for_the_revision_that_was_seen() {
    for scene in Scene::all().await {
        let broken = Broken::start(&scene, "revision").await;
        let seen = broken.scene.server.ask(Method::GET, &format!("/api/v1/runs/{}", broken.run));
        let etag = seen.send().await.expect("answered").headers()["etag"].to_str().expect("text").to_owned();
        assert_eq!(etag, format!("\"{}\"", broken.seen["revision"]));
        let skip = json!({ "visit": broken.visit(), "reason": "it is done by hand" });
        assert_eq!(Scene::said(broken.post("skip", &skip)).await.0, 200);
        let now = broken.now().await;
        let reason = json!({ "reason": "why" });
        for verb in ["pause", "cancel"] {
            let (status, code, refused) = problem(broken.post(verb, &reason).header("if-match", &etag)).await;
            assert_eq!((status, code.as_str()), (412, "revision-changed"), "{}: {refused}", scene.name);
            let (stands, summary) = (&refused["stands"], &now["summary"]);
            assert_eq!((&stands["revision"], &stands["summary"]), (&now["revision"], summary), "{refused}");
        }
        let etag = format!("\"{}\"", now["revision"]);
        let verbs = ["pause", "cancel", "pause", "cancel"];
        let answers =
            join_all(verbs.map(|verb| Scene::said(broken.post(verb, &reason).header("if-match", &etag)))).await;
        let done = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(done, 1, "{}: {answers:?}", scene.name);
        assert_eq!(broken.count("paused").await + broken.count("cancelled").await, 1, "{}", scene.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_and_csms_steer_no_run() {
    for scene in Scene::all().await {
        let broken = Broken::start(&scene, "roles").await;
        let skip = json!({ "visit": broken.visit(), "reason": "why" });
        let pause = json!({ "reason": "why" });
        for role in ["customer; Jane", "csm"] {
            for (verb, body) in [("skip", &skip), ("retry", &skip), ("pause", &pause), ("cancel", &pause)] {
                let asked = broken.post(verb, body).header("keyferry-actor", role);
                assert_eq!(code(asked).await, is(403, "wrong-role"), "{role}: {verb}");
            }
        }
        assert_eq!(broken.now().await, broken.seen, "nothing was done");
    }
}

/// What `run show` prints for a run in attention is run as it is printed, and what was seen before is over.
#[tokio::test(flavor = "multi_thread")]
async fn retry_and_skip_do_what_they_say_as_they_are_printed() {
    for scene in Scene::all().await {
        let broken = Broken::start(&scene, "printed").await;
        let url = format!("http://{}", scene.server.address);
        let command = |words: &[&str]| {
            let mut command = crate::cli::keyferry(words);
            command.env("KEYFERRY_URL", &url).env("KEYFERRY_TOKEN", TOKEN).output().expect("the program runs")
        };
        let shown = || {
            let printed = crate::cli::text(&command(&["run", "show", &broken.run]).stdout);
            let lines = printed.lines().filter_map(|line| line.trim().strip_prefix("keyferry "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let typed = |printed: &[String], verb: &str| {
            let line = printed.iter().find(|line| line.starts_with(&format!("run {verb} "))).expect("it is printed");
            command(&line.split(' ').collect::<Vec<_>>())
        };
        let first = shown();
        for (verb, state) in [("retry", "First"), ("skip", "Second")] {
            let done = typed(&shown(), verb);
            assert!(done.status.success(), "{}", crate::cli::text(&done.stderr));
            assert_eq!(broken.now().await["attention"][0]["state"], state, "{}", scene.name);
        }
        for verb in ["retry", "skip"] {
            let refused = typed(&first, verb);
            let said = crate::cli::text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{said}");
            assert!(said.contains("visit-over") && said.contains("in Second (attention: "), "{said}");
        }
        assert_eq!((broken.count("retried").await, broken.count("skipped").await), (1, 1), "{}", scene.name);
    }
}

/// The process dies when the answer is durable and before it is told: whoever asks again is told.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_verb_whose_answer_was_cut_off_by_a_kill_is_answered_again() {
    use crate::support::serving::serve;
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(folder.path(), None, &[]);
    let dave = json!({ "id": "dave", "name": "Dave", "partition": "aws" });
    server.operator(Method::POST, "/enterprises", "engineer", &dave).await;
    let start = json!({ "workflow": "vendor-managed" });
    let run = server.operator(Method::POST, "/enterprises/dave/runs", "engineer", &start).await;
    let path = format!("/runs/{}/pause", run["id"].as_str().expect("a run"));
    drop(server);
    let mut server = serve(folder.path(), Some("commit::after"), &[]);
    let pause = json!({ "reason": "a freeze" });
    let asked = server.under_key("k-1", &path, &pause).send().await;
    assert!(asked.is_err(), "it did not die: {asked:?}");
    server.died().await;
    let server = serve(folder.path(), None, &[]);
    for _ in 0..2 {
        let response = server.under_key("k-1", &path, &pause).send().await.expect("answered");
        assert_eq!(response.status(), 200);
        let view: Value = response.json().await.expect("JSON");
        assert_eq!(view["status"], "paused", "{view}");
    }
    let other = server.under_key("k-1", &path, &json!({ "reason": "another" })).send().await.expect("answered");
    assert_eq!(other.status(), 422);
    let without = server.refused(Method::POST, &path, &pause).await;
    assert_eq!(without["code"], "not-possible-now", "{without}");
    let history = server.operator(Method::GET, &path.replace("pause", "history"), "engineer", &Value::Null).await;
    let paused = history["items"].as_array().expect("rows").iter().filter(|row| row["event"]["event"] == "paused");
    assert_eq!(paused.count(), 1);
}

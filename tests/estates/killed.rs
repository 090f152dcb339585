//! A run is cancelled in its window, at each place where it makes a difference, and the process dies at each call that puts the
//! system back: before the call reaches the cloud, and after it took effect and its answer was lost.
//!
//! What led to the place is played once; each death goes on from there.

use std::collections::BTreeMap;

use keyferry::{
    engine::Standing,
    worker::{Clock as _, PUT_BACK, RunFilter, RunView, Service, ServiceError, StartRun},
};
use serde_json::json;

use super::{
    build::{Shape, WEST},
    fork::kept,
    life::{Life, Setting},
    people::actor,
    play::Play,
    rogue::{HELD, Rogue, SYSTEM},
    torture::runtime,
    wire::{Called, Cut},
};
use crate::support::effects;

/// How far the window's run has got when it is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// It is closed to its clients and has its name.
    Closed,
    /// It is being renamed.
    PutAside,
    /// Its successor is being restored.
    Restoring,
    /// The successor is being given its name.
    SwapBegun,
    /// The successor serves, which nobody has confirmed.
    Swapped,
}

const SCENES: [Scene; 5] = [Scene::Closed, Scene::PutAside, Scene::Restoring, Scene::SwapBegun, Scene::Swapped];

/// The states of `put-back` that speak to the cloud.
const PUTS_BACK: &[&str] = &["put-back-system", "list-left-overs"];

impl Scene {
    /// The step in which the run stands when it is cancelled.
    fn step(self) -> &'static str {
        match self {
            Self::Closed | Self::PutAside => "freeze-system",
            Self::Restoring => "restore-system",
            Self::SwapBegun => "swap-system",
            Self::Swapped => "confirm-cut-over",
        }
    }

    /// The call whose answer the run did not live to see; none where the step has not begun.
    fn last_call(self) -> Option<Cut> {
        let (steps, action, nth): (&'static [&'static str], _, _) = match self {
            Self::Closed => (&["freeze-system"], "ModifyDBInstance", 0),
            Self::PutAside => (&["freeze-system"], "ModifyDBInstance", 1),
            Self::Restoring => (&["restore-system"], "RestoreDBInstanceFromDBSnapshot", 0),
            Self::SwapBegun => (&["swap-system"], "ModifyDBInstance", 0),
            Self::Swapped => return None,
        };
        Some(Cut { steps, action: Some(action), nth, after: true })
    }

    fn served_by_successor(self) -> bool {
        match self {
            Self::Closed | Self::PutAside | Self::Restoring => false,
            Self::SwapBegun | Self::Swapped => true,
        }
    }

    /// The play just before the cancel.
    fn set(self, agreed: &Play, folder: &std::path::Path) -> Play {
        let mut play = runtime().block_on(agreed.fork(folder));
        play.cut = self.last_call();
        play.stops = Some(|view| view.waiting_for.iter().any(|wait| wait.what == HELD));
        play.rogues = if play.cut.is_none() { vec![Rogue::Waits(self.step())] } else { Vec::new() };
        let stood = runtime().block_on(play.live());
        assert_eq!(stood, self.last_call().is_none(), "{self:?} does not come about: {:#?}", play.lines);
        play.rogues = vec![Rogue::Waits(self.step())];
        play
    }
}

/// A system whose window is to be agreed on.
fn before_the_window(folder: &std::path::Path) -> Play {
    let mut play = runtime().block_on(async {
        let estate = kept(folder, chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap()).await;
        let key = estate.vendors_key(WEST).await;
        estate.system(WEST, SYSTEM, &Shape { key: Some(key), protected: true, ..Shape::default() }).await;
        Play::in_peace(estate, folder.to_owned()).await
    });
    // A system that was put back is looked at until every lease has passed, and what is left is looked for in every region.
    play.setting = Setting { lease_s: 300, two_regions: true };
    play.stops = Some(|view| view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some("window")));
    assert!(runtime().block_on(play.live()));
    play
}

async fn start(service: &Service) -> Result<RunView, ServiceError> {
    let asked = StartRun {
        enterprise: "dave".to_owned(),
        workflow: "customer-managed".to_owned(),
        input: json!({}),
        actor: actor("engineer"),
        idempotency_key: None,
    };
    service.start_run(asked).await
}

async fn newest(service: &Service) -> RunView {
    let filter = RunFilter { workflow: Some(PUT_BACK.to_owned()), ..RunFilter::default() };
    let found = service.runs(filter).await.unwrap().items;
    assert_eq!(found.len(), 1, "one run puts back what one cancel left");
    service.run(&found[0].id).await.unwrap()
}

/// Cancels the run if it is open, and lives until what puts back has ended; `None` when the process dies.
async fn live(play: &mut Play, run: &str, place: &str) -> Option<RunView> {
    play.wire.arm(play.cut.take(), &play.rogues);
    let cloud = (&play.estate.sandbox, &play.estate.clock);
    let life =
        Life::begin(&play.store, cloud, play.closing.clone(), (None, &play.rogues), (&play.wire, play.setting)).await;
    play.estate.aws = life.aws.clone();
    loop {
        life.quiet().await;
        if life.is_dead() {
            return None;
        }
        play.judge.look(&play.estate.sandbox).await;
        if life.service.run(run).await.unwrap().ended_at.is_none() {
            life.service.cancel(run, actor("engineer"), "wrong day").await.unwrap();
            continue;
        }
        let puts_back = newest(&life.service).await;
        if puts_back.ended_at.is_some() {
            assert!(life.service.verify(&puts_back.id).await.unwrap().ok, "{place}");
            start(&life.service).await.unwrap_or_else(|error| panic!("{place}: the place is not free: {error}"));
            return Some(puts_back);
        }
        let refused = start(&life.service).await.expect_err("the place of a run that puts back is taken");
        assert_eq!(refused.code, "enterprise-has-open-run", "{place}");
        let now = play.estate.clock.now();
        if now >= play.next_write {
            play.write().await;
            play.next_write = now + chrono::TimeDelta::minutes(5);
        }
        let moment = play.next_moment();
        play.estate.clock.go_to(moment);
    }
}

/// What came of it.
struct Ended {
    calls: Vec<Called>,
    effects: BTreeMap<String, usize>,
}

/// Cancels and, at `cut`, dies once; asserts that the right instance serves.
fn cancel(scene: Scene, stands: &Play, cut: Option<Cut>) -> Ended {
    let place = format!("{scene:?}, {cut:?}");
    let folder = tempfile::tempdir().unwrap();
    let mut play = runtime().block_on(stands.fork(folder.path()));
    play.cut = cut;
    let (run, before) = (play.run.clone().unwrap(), play.estate.sandbox.ledger().len());
    let mut ended = runtime().block_on(live(&mut play, &run, &place));
    assert_eq!(ended.is_none(), cut.is_some(), "{place}: the process has to die there");
    let calls = play.wire.calls();
    if ended.is_none() {
        ended = runtime().block_on(live(&mut play, &run, &place));
    }
    let ended = ended.unwrap();
    assert_eq!(ended.status, Standing::Succeeded, "{place}: {ended:#?}");
    let outcome = if scene.served_by_successor() { "migrated" } else { "kept" };
    assert_eq!(ended.output.as_ref().unwrap()["systems"][0]["outcome"], outcome, "{place}");
    runtime().block_on(serves(scene, &play, &place));
    let broken: Vec<String> = play.judge.violations.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{place}: {broken:#?}");
    Ended { calls, effects: effects::counts(&play.estate.sandbox.ledger()[before..]) }
}

/// The right instance bears the name, is open and unmarked; the other is there or gone as it has to be.
async fn serves(scene: Scene, play: &Play, place: &str) {
    let original = &play.originals[SYSTEM];
    let found = play.estate.rds(WEST).await.describe_db_instances().send().await.unwrap().db_instances.unwrap();
    let serving = found.iter().find(|one| one.db_instance_identifier() == Some(SYSTEM)).unwrap();
    assert_eq!(serving.db_instance_status(), Some("available"), "{place}");
    assert_eq!(serving.dbi_resource_id() != Some(original), scene.served_by_successor(), "{place}");
    let groups: Vec<_> = serving.vpc_security_groups().iter().filter_map(|one| one.vpc_security_group_id()).collect();
    assert_eq!(groups, ["sg-0123456789abcdef0"], "{place}");
    let marked = serving.tag_list().iter().any(|tag| tag.key() == Some("keyferry:role"));
    assert!(scene.served_by_successor() || !marked, "{place}: the original serves and is marked as replaced");
    let aside =
        found.iter().any(|one| one.dbi_resource_id() == Some(original) && one.db_instance_identifier() != Some(SYSTEM));
    assert_eq!(aside, scene.served_by_successor(), "{place}: an original that was replaced is kept");
    let canary = |id: &str| id.contains("canary");
    let others = found.iter().filter_map(|one| one.db_instance_identifier()).filter(|id| !canary(id)).count();
    assert_eq!(others, if scene.served_by_successor() { 2 } else { 1 }, "{place}: {found:#?}");
}

/// The deaths of a scene: at each call, before it and, where it changes something, after it. Of executions that look at the
/// same and change nothing in between only the first, and of the list of what is left only its first and last call.
fn deaths(calls: &[Called]) -> Vec<Cut> {
    let mut seen = Vec::new();
    let mut cuts = Vec::new();
    for (nth, called) in calls.iter().enumerate() {
        let changed = calls[..nth].iter().filter(|earlier| !earlier.reads()).count();
        let mates: Vec<&String> = calls
            .iter()
            .filter(|other| other.execution == called.execution && other.step == called.step)
            .map(|other| &other.action)
            .collect();
        let place = calls[..nth].iter().filter(|other| other.execution == called.execution).count();
        let look = (changed, called.step, mates, place);
        let left = called.step == "list-left-overs" && place > 0 && nth + 1 < calls.len();
        if called.reads() && (left || seen.contains(&look)) {
            continue;
        }
        seen.push(look);
        for after in [false, true] {
            if !after || !called.reads() {
                cuts.push(Cut { steps: PUTS_BACK, action: None, nth, after });
            }
        }
    }
    cuts
}

#[test]
fn a_put_back_that_is_killed_at_any_of_its_calls_goes_on_and_the_right_instance_serves() {
    let folder = tempfile::tempdir().unwrap();
    let agreed = before_the_window(folder.path());
    let mut changes = BTreeMap::new();
    for scene in SCENES {
        let folder = tempfile::tempdir().unwrap();
        let stands = scene.set(&agreed, folder.path());
        let whole = cancel(scene, &stands, None);
        for called in whole.calls.iter().filter(|called| called.step == "put-back-system" && !called.reads()) {
            *changes.entry(called.action.clone()).or_insert(0) += 1;
        }
        let calls: Vec<Called> =
            whole.calls.iter().filter(|called| PUTS_BACK.contains(&called.step)).cloned().collect();
        let cuts = deaths(&calls);
        println!("{scene:?}: {} deaths at {} calls", cuts.len(), calls.len());
        for cut in cuts {
            let ended = cancel(scene, &stands, Some(cut));
            let differing = effects::differing(&ended.effects, &whole.effects);
            assert!(differing.is_empty(), "{scene:?}, {cut:?}, {:?}: {differing:#?}", calls[cut.nth]);
        }
    }
    println!("calls that change something: {changes:?}");
    // Else nothing of all this was tested.
    for action in ["ModifyDBInstance", "RemoveTagsFromResource", "DeleteDBInstance"] {
        assert!(changes.contains_key(action), "{changes:?}");
    }
}

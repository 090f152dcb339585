//! Each guard of what destroys and of what takes out of service, taken out in turn: another one behind it stops what it would
//! have stopped, and where that one is out too the judge sees what is lost. docs/reliability.md has the same rows.
//!
//! What leads to the window and to the purge is played once; each stage of a row goes on from there.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use keyferry::{
    engine::Standing,
    worker::{Clock as _, RunView},
};

use super::{
    acts::Act,
    build::{EAST, Estate, Shape, WEST},
    fork::kept,
    guard_rows::{ASKS_AGAIN, Breaks, Comes, From, MOVED_AGAIN, PUT_BACK, REFUSED, ROWS, Row, To},
    play::Play,
    rogue::{HELD, Rogue, SYSTEM},
    torture::{lives, runtime},
};

/// What the rows are played from.
struct Bases {
    _folders: Vec<tempfile::TempDir>,
    window: Play,
    list: Play,
    beside: Play,
    audit: Play,
    /// One copy of the files at a time.
    copying: Mutex<()>,
}

fn opens(view: &RunView, form: &str) -> bool {
    view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some(form))
}

fn held(view: &RunView) -> bool {
    view.waiting_for.iter().any(|wait| wait.what == HELD)
}

async fn estate(folder: &std::path::Path) -> Estate {
    let estate = kept(folder, chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap()).await;
    let key = estate.vendors_key(WEST).await;
    estate.system(WEST, SYSTEM, &Shape { key: Some(key), ..Shape::default() }).await;
    estate
}

/// Snapshots of the system in both regions under the vendor's keys.
async fn snapshots(estate: &Estate) {
    let there = estate.vendors_key(EAST).await;
    let nightly = estate.snapshot(WEST, SYSTEM, "nightly").await;
    estate.copy(EAST, &nightly, "nightly-east", Some(there)).await;
}

/// What is not dave's to purge.
async fn others(estate: &Estate) {
    let key = estate.vendors_key(WEST).await;
    let plain = Shape { key: Some(key), ..Shape::default() };
    estate.archive(WEST, "dave-gone", &plain).await;
    estate.system(WEST, "erin-main", &Shape { enterprise: "erin", ..plain }).await;
}

/// Plays on from `play` in a folder of its own, until it stands there.
fn to(play: &Play, folders: &mut Vec<tempfile::TempDir>, rogues: &[Rogue], stops: fn(&RunView) -> bool) -> Play {
    let folder = tempfile::tempdir().unwrap();
    let mut play = runtime().block_on(play.fork(folder.path()));
    play.rogues = rogues.to_vec();
    play.stops = Some(stops);
    lives(&mut play);
    assert!(!play.is_over(), "it does not come to that: {:#?}", play.lines);
    folders.push(folder);
    play
}

/// Where more regions are configured, looking into them is most of what is done.
async fn in_two_regions(estate: Estate, folder: &std::path::Path) -> Play {
    let mut play = Play::in_peace(estate, folder.to_owned()).await;
    play.setting.two_regions = true;
    play
}

fn begin(folders: &mut Vec<tempfile::TempDir>, stock: impl AsyncFnOnce(&Estate)) -> Play {
    let folder = tempfile::tempdir().unwrap();
    let play = runtime().block_on(async {
        let estate = estate(folder.path()).await;
        stock(&estate).await;
        in_two_regions(estate, folder.path()).await
    });
    folders.push(folder);
    play
}

impl Bases {
    fn new() -> Self {
        let mut folders = Vec::new();
        let plain = begin(&mut folders, async |_| {});
        let window = to(&plain, &mut folders, &[], |view| opens(view, "window"));
        let with_snapshots = begin(&mut folders, async |estate| snapshots(estate).await);
        let list = to(&with_snapshots, &mut folders, &[Rogue::Waits("plan-purge")], held);
        let with_others = begin(&mut folders, async |estate| others(estate).await);
        let beside = to(&with_others, &mut folders, &[Rogue::Waits("plan-purge")], held);
        let audit = to(&list, &mut folders, &[Rogue::Waits("audit")], |view| {
            view.waiting_for.iter().any(|wait| wait.what == HELD && wait.state == "Audit")
        });
        Self { _folders: folders, window, list, beside, audit, copying: Mutex::new(()) }
    }

    fn of(&self, from: From, folder: &std::path::Path) -> Play {
        let base = match from {
            From::Start => {
                return runtime().block_on(async { in_two_regions(estate(folder).await, folder).await });
            }
            From::Window => &self.window,
            From::List => &self.list,
            From::Beside => &self.beside,
            From::Audit => &self.audit,
        };
        let _alone = self.copying.lock().unwrap();
        runtime().block_on(base.fork(folder))
    }
}

/// How a play ended, in one line.
fn ending(play: &Play) -> String {
    match (&play.halted, play.ending) {
        (Some(error), _) => error.clone(),
        (None, Some(Standing::Succeeded)) => {
            format!("succeeded: {}", play.conclusion.as_deref().unwrap_or("no report"))
        }
        (None, Some(other)) => format!("ended {other:?}"),
        (None, None) if !play.is_over() => PUT_BACK.to_owned(),
        (None, None) if play.counts.contains_key("approvals") => ASKS_AGAIN.to_owned(),
        (None, None) if play.counts.contains_key("answers refused") => REFUSED.to_owned(),
        (None, None) if play.counts.get("windows").is_some_and(|&windows| windows > 1) => MOVED_AGAIN.to_owned(),
        (None, None) => "goes on".to_owned(),
    }
}

/// What is wrong with a stage; nothing when it comes to what it has to.
fn stage(bases: &Bases, row: &Row, (rogues, comes): (&[Rogue], Comes)) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut play = bases.of(row.from, folder.path());
    play.rogues = rogues.to_vec();
    play.stops = None;
    let (approved, over) = match row.from {
        // A window begins within four hours and takes at most nine.
        From::Start | From::Window => (14, 18),
        From::List | From::Beside | From::Audit => (2, 6),
    };
    play.plan(approved * 3_600, Act::Approve);
    // A list that is drawn up wrongly again and again is asked about for ever.
    play.until = Some(play.estate.clock.now() + chrono::TimeDelta::hours(over));
    if matches!(comes, To(PUT_BACK)) {
        play.stops = Some(|view| opens(view, "migration-review"));
    }
    (row.happens)(&mut play);
    lives(&mut play);
    let broken: Vec<String> = play.judge.violations.iter().map(ToString::to_string).collect();
    let ended = ending(&play);
    let is_right = match comes {
        To(wanted) => broken.is_empty() && ended.starts_with(wanted),
        Breaks(invariant) => play.judge.violations.iter().any(|violation| violation.invariant == invariant),
    };
    println!("{}: {rogues:?}: {ended}; {broken:#?}", row.what);
    (!is_right).then(|| {
        let lines = play.lines.join("\n");
        format!("{}, without {rogues:?}: expected {comes:?}, ended: {ended}, broken: {broken:#?}\n{lines}", row.what)
    })
}

#[test]
fn each_guard_taken_out_is_made_up_for_by_another_or_seen() {
    let bases = Bases::new();
    let stages: Vec<(&Row, _)> =
        ROWS.iter().flat_map(|row| row.stages.iter().map(move |stage| (row, *stage))).collect();
    let next = AtomicUsize::new(0);
    let share = || {
        let mut wrong = Vec::new();
        while let Some((row, of)) = stages.get(next.fetch_add(1, Ordering::SeqCst)) {
            wrong.extend(stage(&bases, row, *of));
        }
        wrong
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

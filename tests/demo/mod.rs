//! The demo, killed: it always finishes, and what it did to the cloud is what an undisturbed one does.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use keyferry::{
    sandbox::{Options, Sandbox},
    worker::{Clock as _, SystemClock, failpoints},
};
use serde_json::Value;

use crate::support::effects::{counts, differing, plain};
use crate::support::patience::PATIENCE;

/// Random kills over all rounds of the random test.
const KILLS: u32 = 100;
/// A demo that takes longer hangs.
const LIMIT: Duration = PATIENCE;

fn demo(folder: &Path, failpoint: Option<&str>) -> Child {
    demo_of("customer-managed", folder, failpoint)
}

fn demo_of(mode: &str, folder: &Path, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    command
        .args(["demo", "--mode", mode])
        .arg("--data-dir")
        .arg(folder)
        .arg("--report")
        .arg(folder.join("report.json"));
    command.stdout(Stdio::null()).stderr(fs::File::create(folder.join("stderr.log")).unwrap());
    match failpoint {
        Some(failpoint) => command.env("KEYFERRY_FAILPOINT", failpoint),
        None => command.env_remove("KEYFERRY_FAILPOINT"),
    };
    command.spawn().unwrap()
}

fn end(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < within {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

fn finish(folder: &Path) {
    finish_of("customer-managed", folder);
}

fn finish_of(mode: &str, folder: &Path) {
    let mut child = demo_of(mode, folder, None);
    let status = end(&mut child, LIMIT);
    if status.is_none() {
        child.kill().unwrap();
    }
    let said = fs::read_to_string(folder.join("stderr.log")).unwrap();
    assert!(status.is_some_and(|status| status.success()), "the demo ended with {status:?} and said:\n{said}");
}

/// The report without times: every store that was not made by a clock, with what was found; and its conclusion.
fn report(folder: &Path) -> (Value, Vec<String>) {
    let report: Value = serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
    let mut rows: Vec<String> = report["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["automated"] == false && row["kind"] != "automated-backup")
        .map(|row| plain(&format!("{} {} {} {}", row["kind"], row["id"], row["finding"], row["region"])))
        .collect();
    rows.sort();
    assert!(rows.len() >= 4, "a report on four systems names them: {rows:?}");
    assert_eq!(report["deviations"], serde_json::json!([]));
    (report["summary"]["conclusion"].clone(), rows)
}

/// How often each change was made to each resource.
fn effects(folder: &Path) -> BTreeMap<String, usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ledger = runtime.block_on(async {
        let options = Options {
            data: Some(folder.join("sandbox.db")),
            speed: 1.0,
            wall: Arc::new(|| SystemClock.now()),
            default_account: "127450652264".to_owned(),
            quotas: 1,
        };
        Sandbox::open(options).await.unwrap().ledger()
    });
    let counts = counts(&ledger);
    assert!(counts.len() > 20, "an onboarding changes many things: {counts:?}");
    counts
}

struct Undisturbed {
    took: Duration,
    report: (Value, Vec<String>),
    effects: BTreeMap<String, usize>,
}

fn undisturbed() -> Undisturbed {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    finish(folder.path());
    Undisturbed { took: began.elapsed(), report: report(folder.path()), effects: effects(folder.path()) }
}

impl Undisturbed {
    fn equals(&self, folder: &Path, how: &str) {
        assert_eq!(report(folder), self.report, "{how}");
        let differing = differing(&effects(folder), &self.effects);
        assert!(differing.is_empty(), "{how}, other effects than undisturbed:\n{}", differing.join("\n"));
    }
}

#[test]
fn killed_at_a_hundred_random_moments_it_always_finishes_and_does_everything_once() {
    let wanted = undisturbed();
    // A life is as much longer as the machine is slower: otherwise one step would be cut off in each of them.
    let longest = u64::try_from(wanted.took.as_millis() / 4).unwrap().max(1_000);
    let mut kills = 0;
    while kills < KILLS {
        let folder = tempfile::tempdir().unwrap();
        let mut here = 0;
        loop {
            let wait = 50 + SystemClock.chance() % longest;
            let mut child = demo(folder.path(), None);
            if let Some(status) = end(&mut child, Duration::from_millis(wait)) {
                let said = fs::read_to_string(folder.path().join("stderr.log")).unwrap();
                assert!(status.success(), "after {here} kills it ended with {status}:\n{said}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            here += 1;
            assert!(here < 500, "it makes no progress between kills");
        }
        assert!(here > 0, "a round without a kill shows nothing");
        wanted.equals(folder.path(), &format!("after {here} kills"));
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn killed_at_every_failpoint_it_finishes_and_does_everything_once() {
    const ABORTED: i32 = 6;
    let wanted = undisturbed();
    for name in failpoints::NAMES {
        let folder = tempfile::tempdir().unwrap();
        let mut child = demo(folder.path(), Some(&format!("{name}:2")));
        let status = end(&mut child, LIMIT);
        assert_eq!(status.and_then(|status| status.signal()), Some(ABORTED), "{name} was not reached");
        finish(folder.path());
        wanted.equals(folder.path(), name);
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn the_vendor_managed_demo_killed_in_an_import_finishes_with_each_key_imported_once() {
    const ABORTED: i32 = 6;
    for name in failpoints::IMPORT {
        let folder = tempfile::tempdir().unwrap();
        let mut child = demo_of("vendor-managed", folder.path(), Some(name));
        let status = end(&mut child, LIMIT);
        assert_eq!(status.and_then(|status| status.signal()), Some(ABORTED), "{name} was not reached");
        finish_of("vendor-managed", folder.path());
        assert_eq!(report(folder.path()).0, "compliant", "{name}");
        let imports: Vec<usize> = effects(folder.path())
            .into_iter()
            .filter_map(|(change, times)| change.starts_with("ImportKeyMaterial ").then_some(times))
            .collect();
        assert_eq!(imports, [1, 1], "{name}");
    }
}

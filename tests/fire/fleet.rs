//! One `keyferry sandbox`, one `keyferry serve` and three `keyferry worker`, as they are started by hand.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use keyferry::worker::{Clock as _, SystemClock};
use tempfile::TempDir;

use crate::cli::{keyferry, listening};
use crate::support::patience::{PATIENCE, looks};

pub const WORKERS: usize = 3;
/// Seconds of the cloud between two looks at something that it is changing. Fifty times as many enterprises look less often:
/// else two cores would do nothing but look.
const POLL_S: u16 = 30;
const POLL_S_OF_MANY: u16 = 240;
/// Deaths of its process after which a step is parked. Beside hundreds of others a step that reads the whole account lasts as long as
/// a worker lives here; a step that goes on killing its process would still be found.
const CRASH_LIMIT: u16 = 10;
const CRASH_LIMIT_OF_MANY: u16 = 100;
/// A process that has been told to end may take its time to drain.
const LIMIT: Duration = PATIENCE;

/// A process that is killed with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended already cannot be killed, and needs not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "kill {signal}");
    }

    /// Whether the system has stopped it.
    pub fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it exists");
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_some()
    }

    /// The exit code, when it has ended within that time.
    pub async fn ends(&mut self, within: Duration) -> Option<i32> {
        let began = Instant::now();
        while !self.has_ended() {
            assert!(began.elapsed() < within, "it does not end");
            SystemClock.sleep(Duration::from_millis(5)).await;
        }
        self.0.wait().expect("it has ended").code()
    }

    /// Waits until it catches SIGTERM: a process that was started a moment ago would die of it.
    pub async fn until_it_catches_sigterm(&mut self) {
        const SIGTERM: u64 = 1 << 14;
        for _ in looks() {
            let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it exists");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask").trim();
            let caught = u64::from_str_radix(caught, 16).expect("a mask");
            if caught & SIGTERM != 0 || self.has_ended() {
                return;
            }
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not come to catch SIGTERM");
    }

    /// Sends SIGTERM and waits for the exit code, which must be that of an end in order.
    pub async fn terminate(&mut self) {
        self.until_it_catches_sigterm().await;
        self.signal("-TERM");
        assert_eq!(self.ends(LIMIT).await, Some(0), "it did not end in order");
    }
}

pub struct Fleet {
    folder: TempDir,
    pub sandbox_url: String,
    pub api: String,
    pub token: String,
    database: String,
    speed: f64,
    clocks: Option<PathBuf>,
    sandbox: Process,
    serve: Process,
    workers: Vec<Process>,
    pub kills: u32,
    /// Workers that ended by themselves, for example because they were started while the server was down.
    pub gave_up: u32,
}

impl Fleet {
    /// The cloud's quotas are raised `quotas` times, as a vendor's with as many customers are.
    pub fn start(database: String, speed: f64, quotas: u16) -> Self {
        Self::start_by(database, speed, quotas, None)
    }

    /// The same; where there is a library for it, workers go by clocks of their own.
    pub fn start_by(database: String, speed: f64, quotas: u16, clocks: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (poll_s, crash_limit) =
            if super::is_long() { (POLL_S_OF_MANY, CRASH_LIMIT_OF_MANY) } else { (POLL_S, CRASH_LIMIT) };
        // Leases pass soon, so that a test does not wait for long.
        let config = format!("[worker]\nlease_s = 6\ncrash_limit = {crash_limit}\n[aws]\npoll_s = {poll_s}\n");
        fs::write(folder.path().join("keyferry.toml"), config).expect("written");
        let data = folder.path().join("cloud.db");
        let mut command = keyferry(&["sandbox", "--listen", "127.0.0.1:0", "--output", "json"]);
        command.args(["--speed", &speed.to_string(), "--quotas", &quotas.to_string()]);
        command.arg("--data").arg(data).stdout(Stdio::piped()).stderr(log(folder.path(), "sandbox"));
        let mut sandbox = command.spawn().expect("the program runs");
        let sandbox_url = format!("http://{}", listening(&mut sandbox));
        let sandbox = Process(sandbox);
        let mut serve = member(folder.path(), "serve", &database, &sandbox_url, speed);
        serve.args(["--listen", "127.0.0.1:0", "--output", "json"]).stdout(Stdio::piped());
        let mut serve = serve.spawn().expect("the program runs");
        let api = format!("http://{}", listening(&mut serve));
        let token = fs::read_to_string(folder.path().join("serve/admin-token")).expect("a token").trim().to_owned();
        let mut fleet = Self {
            folder,
            sandbox_url,
            api,
            token,
            database,
            speed,
            clocks,
            sandbox,
            serve: Process(serve),
            workers: Vec::new(),
            kills: 0,
            gave_up: 0,
        };
        for number in 0..WORKERS {
            let worker = fleet.spawn(number);
            fleet.workers.push(worker);
        }
        fleet
    }

    fn spawn(&self, number: usize) -> Process {
        let mut command = member(self.folder.path(), "worker", &self.database, &self.sandbox_url, self.speed);
        command.arg("--data-dir").arg(self.folder.path().join(format!("worker-{number}"))).stdout(Stdio::null());
        if let Some(library) = &self.clocks {
            by_a_clock_of_its_own(&mut command, library, &self.clock(number));
            command
                .env("RUST_LOG", "keyferry=info,aws_smithy_runtime=debug")
                .stderr(log(self.folder.path(), &format!("worker-{number}")));
        }
        Process(command.spawn().expect("the program runs"))
    }

    /// The file that says how far a worker's clock is off; the worker reads it again each time it asks what time it is.
    fn clock(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("clock-{number}"))
    }

    /// Sets a worker's clock, from one moment to the next.
    pub fn set_clock(&self, number: usize, off: &str) {
        fs::write(self.clock(number), off).expect("written");
    }

    /// What a worker with a clock of its own has logged.
    pub fn log_of(&self, number: usize) -> String {
        fs::read_to_string(self.folder.path().join(format!("worker-{number}.log"))).expect("a log")
    }

    pub fn sandbox(&self) -> &Process {
        &self.sandbox
    }

    pub fn worker(&mut self, number: usize) -> &mut Process {
        &mut self.workers[number]
    }

    /// Ends a worker with SIGKILL and starts it again.
    pub fn kill(&mut self, number: usize) {
        if !self.workers[number].has_ended() {
            self.kills += 1;
        }
        self.replace(number);
    }

    /// Ends it, if it has not ended, and starts it again.
    pub fn replace(&mut self, number: usize) {
        self.workers[number] = self.spawn(number);
    }

    /// Starts those again that have ended by themselves, as whatever supervises them does.
    pub fn supervise(&mut self) {
        for number in 0..WORKERS {
            if self.workers[number].has_ended() {
                self.gave_up += 1;
                self.replace(number);
            }
        }
    }

    /// Ends all of it in order and gives where the cloud's file is.
    pub async fn end(&mut self) -> PathBuf {
        self.supervise();
        for worker in &mut self.workers {
            worker.terminate().await;
        }
        self.serve.terminate().await;
        self.sandbox.terminate().await;
        self.folder.path().join("cloud.db")
    }

    /// The last lines that each process has said.
    pub fn said(&self) -> String {
        let mut all = String::new();
        for name in ["sandbox", "serve", "worker"] {
            let text = fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(25)..].join("\n");
            all += &format!("--- {name}\n{last}\n");
        }
        all
    }
}

/// libfaketime stands between the process and the system's clock, and leaves the time that passes as it is.
fn by_a_clock_of_its_own(command: &mut Command, library: &Path, file: &Path) {
    if !file.exists() {
        fs::write(file, "+0").expect("written");
    }
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

fn log(folder: &Path, name: &str) -> File {
    let path = folder.join(format!("{name}.log"));
    File::options().create(true).append(true).open(path).expect("a log")
}

fn member(folder: &Path, noun: &str, database: &str, sandbox_url: &str, speed: f64) -> Command {
    let mut command = keyferry(&[noun, "--sandbox-url", sandbox_url, "--speed", &speed.to_string()]);
    command.arg("--config").arg(folder.join("keyferry.toml")).env("DATABASE_URL", database);
    if noun == "serve" {
        command.arg("--data-dir").arg(folder.join("serve"));
    }
    command.stderr(log(folder, noun));
    command
}

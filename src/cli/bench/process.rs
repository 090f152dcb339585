//! A part of a workload as a process of its own, and what the system says of it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use super::{super::output::Failure, failed};

/// `keyferry bench drive …`; it is killed when it is dropped.
pub struct Part {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Drop for Part {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and needs not be.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<_> = self.child.wait();
    }
}

impl Part {
    /// # Errors
    /// The system starts no process.
    pub fn start(url: &str, arguments: &[&str], step_log: Option<&Path>) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["bench", "drive"]).args(arguments).env("DBURL", url).env_remove("STEPLOG");
        if let Some(path) = step_log {
            command.env("STEPLOG", path);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let piped = || Failure::Failed("the part's output is not piped".to_owned());
        let output = BufReader::new(child.stdout.take().ok_or_else(piped)?);
        Ok(Self { input: child.stdin.take(), child, output })
    }

    /// The next line that it prints.
    ///
    /// # Errors
    /// It ended without one, and has said why on standard error.
    pub fn line(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line).map_err(failed)? == 0 {
            let status = self.child.wait().map_err(failed)?;
            return Err(Failure::Failed(format!("a part of the bench ended without a result: {status}")));
        }
        serde_json::from_str(&line).map_err(failed)
    }

    /// # Errors
    /// It does not read any more.
    pub fn say(&mut self, line: &str) -> Result<(), Failure> {
        self.input.as_mut().map_or(Ok(()), |input| writeln!(input, "{line}")).map_err(failed)
    }

    /// Ends it at once, as a crash does.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().map_err(failed)?;
        self.child.wait().map(|_| ()).map_err(failed)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It failed.
    pub fn end(mut self) -> Result<(), Failure> {
        drop(self.input.take());
        let status = self.child.wait().map_err(failed)?;
        if status.success() { Ok(()) } else { Err(Failure::Failed(format!("a part of the bench failed: {status}"))) }
    }

    /// Megabytes of memory that are resident.
    pub fn resident_mb(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes / 1024.0)
    }

    /// Bytes that it has sent to storage.
    pub fn written(&self) -> Option<f64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id())).ok()?;
        io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
    }
}

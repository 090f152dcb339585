//! Every cure that is printed is carried out as it is printed, and ends what it is a cure of.

mod audits;
mod errors;
mod installations;
mod shell;
mod steps;

use std::process::Command;

use keyferry::worker::StepHost as _;
use serde_json::{Value, json};

use super::{
    onboarding::{Answers, Runner, answers},
    world::World,
};
use shell::{Shell, Who};

/// The commands of a cure, by the ways that it leaves to choose from. A line is a command or words about those below it.
fn ways(cure: &str) -> Vec<Vec<String>> {
    let mut ways = vec![Vec::new()];
    for line in cure.lines() {
        match line.strip_prefix("  ") {
            Some(command) => ways.last_mut().unwrap().push(command.to_owned()),
            None if line.starts_with("or, ") => ways.push(Vec::new()),
            None => {}
        }
    }
    ways
}

/// The commands that stand in a cause, in backticks.
fn commands(cause: &str) -> Vec<String> {
    cause.split('`').skip(1).step_by(2).filter(|text| text.starts_with("aws ")).map(str::to_owned).collect()
}

/// The words of a command as a shell takes them, for the single quotes that cures use.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words
}

/// A person who reads what is printed and does it.
struct Person<'a> {
    world: &'a World,
    shell: Shell,
    /// What they answer to the forms of the runs that they start.
    answers: Answers,
    runs: usize,
}

impl<'a> Person<'a> {
    async fn before(world: &'a World, keys: &Value) -> Option<Self> {
        let shell = Shell::open(world).await?;
        let mut answers = answers(vec![json!({ "keys": keys })]);
        answers.insert("left-overs", [json!({ "approve": true, "reason": "seen" })].into());
        Some(Self { world, shell, answers, runs: 0 })
    }

    fn begin(&mut self) {
        self.runs += 1;
        self.world.begin(&format!("cure-{}", self.runs));
    }

    /// A run to its end; what it stood in attention for is an error here.
    async fn drive(&mut self, workflow: &str) -> Value {
        self.begin();
        let mut runner = Runner::new(self.world, self.answers.clone());
        let output = runner.drive(workflow, json!({})).await;
        assert!(runner.halts.is_empty(), "{workflow}: {:#?}", runner.halts);
        output
    }

    async fn carry_out(&mut self, who: Who, lines: &[String]) {
        let is_own = |line: &String| line.starts_with("keyferry ");
        for same in lines.chunk_by(|one, other| is_own(one) == is_own(other)) {
            if !is_own(&same[0]) {
                self.shell.give(who, same).await;
                continue;
            }
            for line in same {
                self.keyferry(line).await;
            }
        }
        self.world.pass(3600);
    }

    /// The command is one that keyferry understands, and is done with the same words by the service's own steps.
    async fn keyferry(&mut self, line: &str) {
        let words = words(line);
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.args(&words[1..]).env("KEYFERRY_URL", "http://127.0.0.1:1").env("KEYFERRY_TOKEN", "none");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("Usage") && output.status.code() != Some(2), "{line}: {said}");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[1..] {
            ["run", "start", "dave", "--workflow", workflow] => drop(self.drive(workflow).await),
            ["audit", "run", "dave"] => {}
            ["audit", "decide", "dave", doubt, "--reason", reason] => self.decide(doubt, reason),
            _ => panic!("nobody knows how to do this: {line}"),
        }
    }

    fn decide(&self, doubt: &str, reason: &str) {
        let body = json!({
            "doubt": doubt, "why": "", "reason": reason, "by": "eve", "at": self.world.memory.now(),
        });
        let key = ("audit-decision".to_owned(), doubt.to_owned());
        self.world.memory.records.lock().unwrap().insert(key, body);
    }

    /// The newest report, made now.
    async fn audit(&mut self) -> Value {
        self.begin();
        self.world.to_its_end("audit", &json!({})).await.unwrap();
        self.world.record("report", "latest").unwrap()
    }
}

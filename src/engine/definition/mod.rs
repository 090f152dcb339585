//! A workflow definition: an Amazon States Language document that was checked whole when it was loaded.
//!
//! States are kept flat under their names, which ASL makes unique within a definition, so that a frame can say where it
//! stands with a name alone. A definition is frozen by the hash of its text.

pub(in crate::engine) mod context;
mod fields;
mod io;
mod object;
mod states;
mod targets;
mod unique;
mod variables;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::language::{Expression, Path, Problem, ReferencePath, Rule, Template};

pub use fields::{Catcher, Jitter, Resource, Retrier};

/// A loaded definition.
#[derive(Debug, Clone)]
pub struct Definition {
    /// SHA-256 of the source text, in hex.
    pub hash: String,
    /// The text it was loaded from.
    pub source: String,
    pub comment: Option<String>,
    /// The run's own limit, in seconds.
    pub timeout_s: Option<u64>,
    /// Whether any expression reads the context object (`$$`): where none does, none is built.
    pub reads_context: bool,
    /// The first is the top level; the rest are branches and item processors.
    pub machines: Vec<Machine>,
    states: HashMap<String, State>,
}

/// States with a start: the top level, a Parallel branch or a Map's item processor.
#[derive(Debug, Clone)]
pub struct Machine {
    pub start_at: String,
    /// In the order of the text.
    pub states: Vec<String>,
}

/// A definition that loaded, with what its author should look at all the same.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub definition: Definition,
    pub warnings: Vec<Problem>,
}

/// One state.
#[derive(Debug, Clone)]
pub struct State {
    pub name: String,
    /// JSON pointer of the state in the source.
    pub pointer: String,
    /// Index of the machine that it belongs to.
    pub machine: usize,
    pub comment: Option<String>,
    /// Whether an expression of its own, not of the machines inside it, reads the context object.
    pub reads_context: bool,
    pub input_path: Selection,
    pub output_path: Selection,
    pub parameters: Option<Template>,
    pub result_selector: Option<Template>,
    pub result_path: Placement,
    pub assign: Option<Template>,
    pub retry: Vec<Retrier>,
    pub catch: Vec<Catcher>,
    pub kind: Kind,
}

/// InputPath and OutputPath.
#[derive(Debug, Clone)]
pub enum Selection {
    /// `$`.
    Whole,
    Path(Path),
    /// `null`: an empty object.
    Nothing,
}

/// ResultPath.
#[derive(Debug, Clone)]
pub enum Placement {
    /// `$`: the result takes the input's place.
    Replace,
    At(ReferencePath),
    /// `null`: the input goes on as it was.
    Discard,
}

/// Where a state leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    Next(String),
    End,
}

/// A number that may be given by a path.
#[derive(Debug, Clone)]
pub enum Amount {
    Fixed(u64),
    Path(ReferencePath),
}

/// A number from 0 to 100 that may be given by a path.
#[derive(Debug, Clone)]
pub enum Percentage {
    Fixed(f64),
    Path(ReferencePath),
}

/// A text that may be given by an expression.
#[derive(Debug, Clone)]
pub enum Text {
    Fixed(String),
    Computed(Expression),
}

/// When a Wait state ends.
#[derive(Debug, Clone)]
pub enum Until {
    Seconds(Amount),
    Timestamp(chrono::DateTime<chrono::FixedOffset>),
    TimestampPath(ReferencePath),
}

/// What a state does.
#[derive(Debug, Clone)]
pub enum Kind {
    Task { resource: Resource, timeout: Option<Amount>, heartbeat: Option<Amount>, transition: Transition },
    Pass { result: Option<serde_json::Value>, transition: Transition },
    Wait { until: Until, transition: Transition },
    Choice { choices: Vec<Choice>, default: Option<String> },
    Parallel { branches: Vec<usize>, transition: Transition },
    Map(Box<MapState>),
    Succeed,
    Fail { error: Option<Text>, cause: Option<Text> },
}

/// One entry of Choices.
#[derive(Debug, Clone)]
pub struct Choice {
    pub rule: Rule,
    pub next: String,
    pub assign: Option<Template>,
}

/// A Map state, inline.
#[derive(Debug, Clone)]
pub struct MapState {
    pub items_path: Option<ReferencePath>,
    pub item_selector: Option<Template>,
    pub processor: usize,
    /// 0 is no limit.
    pub max_concurrency: Amount,
    pub tolerated_count: Option<Amount>,
    pub tolerated_percentage: Option<Percentage>,
    pub transition: Transition,
}

impl Definition {
    /// Reads and checks a definition.
    ///
    /// # Errors
    /// Every problem found, each with the JSON pointer of its place.
    pub fn load(source: &str) -> Result<Loaded, Vec<Problem>> {
        let (definition, problems, warnings) = Self::read(source);
        match definition {
            Some(definition) if problems.is_empty() => Ok(Loaded { definition, warnings }),
            Some(_) | None => Err(problems),
        }
    }

    /// Reads a definition as far as it goes; answers it with its problems and its warnings. With a problem it lacks the
    /// states that could not be read, and is good for looking at alone.
    pub(super) fn read(source: &str) -> (Option<Self>, Vec<Problem>, Vec<Problem>) {
        let (value, mut problems) = match unique::parse(source) {
            Ok(parsed) => parsed,
            Err(problem) => return (None, vec![problem], Vec::new()),
        };
        let mut loader = states::Loader::default();
        let (comment, timeout_s) = loader.top_level(&value);
        problems.extend(loader.problems);
        let mut warnings = loader.warnings;
        targets::check(&value, &loader.machines, &loader.declared, &mut problems, &mut warnings);
        let definition = Self {
            hash: hex::encode(Sha256::digest(source.as_bytes())),
            source: source.to_owned(),
            comment,
            timeout_s,
            reads_context: value.to_string().contains("$$"),
            machines: loader.machines,
            states: loader.states,
        };
        variables::check(&value, &definition, &mut problems, &mut warnings);
        context::check(&value, "", &mut warnings);
        fields::unknown_errors(&value, "", &mut warnings);
        (Some(definition), problems, warnings)
    }

    pub fn state(&self, name: &str) -> Option<&State> {
        self.states.get(name)
    }

    /// Where a run starts.
    pub fn start_at(&self) -> &str {
        self.machines.first().map_or("", |machine| machine.start_at.as_str())
    }

    /// The states in the order of the text, nested ones behind the state that holds them.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.machines.iter().flat_map(|machine| &machine.states).filter_map(|name| self.states.get(name))
    }

    /// What the Task states name, with the state's JSON pointer.
    pub fn resources(&self) -> impl Iterator<Item = (&State, &Resource)> {
        self.states().filter_map(|state| match &state.kind {
            Kind::Task { resource, .. } => Some((state, resource)),
            Kind::Pass { .. }
            | Kind::Wait { .. }
            | Kind::Choice { .. }
            | Kind::Parallel { .. }
            | Kind::Map(_)
            | Kind::Succeed
            | Kind::Fail { .. } => None,
        })
    }
}

impl State {
    /// The states this one may lead to, each with the pointer of where it says so.
    pub fn targets(&self) -> Vec<(String, &str)> {
        let mut targets = Vec::new();
        match &self.kind {
            Kind::Task { transition, .. }
            | Kind::Pass { transition, .. }
            | Kind::Wait { transition, .. }
            | Kind::Parallel { transition, .. } => targets.extend(self.next(transition)),
            Kind::Map(map) => targets.extend(self.next(&map.transition)),
            Kind::Choice { choices, default } => {
                for (index, choice) in choices.iter().enumerate() {
                    targets.push((format!("{}/Choices/{index}/Next", self.pointer), choice.next.as_str()));
                }
                targets.extend(default.iter().map(|name| (format!("{}/Default", self.pointer), name.as_str())));
            }
            Kind::Succeed | Kind::Fail { .. } => {}
        }
        for (index, catcher) in self.catch.iter().enumerate() {
            targets.push((format!("{}/Catch/{index}/Next", self.pointer), catcher.next.as_str()));
        }
        targets
    }

    fn next<'a>(&self, transition: &'a Transition) -> Option<(String, &'a str)> {
        match transition {
            Transition::Next(name) => Some((format!("{}/Next", self.pointer), name)),
            Transition::End => None,
        }
    }

    /// The ASL name of the state's type.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Task { .. } => "Task",
            Kind::Pass { .. } => "Pass",
            Kind::Wait { .. } => "Wait",
            Kind::Choice { .. } => "Choice",
            Kind::Parallel { .. } => "Parallel",
            Kind::Map(_) => "Map",
            Kind::Succeed => "Succeed",
            Kind::Fail { .. } => "Fail",
        }
    }
}

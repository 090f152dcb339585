//! Reads states, type by type.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::engine::language::{Expression, MAX_DEPTH, Path, Problem, Rule, parse_timestamp, pointer_to};

use super::{
    Amount, Choice, Kind, Machine, MapState, Placement, Resource, Selection, State, Text, Transition, Until, fields,
    io, object::Object, targets::Declared,
};

/// About three years, in seconds: no timeout or wait given as a number may be longer, as in AWS.
const MAX_SECONDS: u64 = 99_999_999;

const TYPES: &[&str] = &["Task", "Pass", "Wait", "Choice", "Parallel", "Map", "Succeed", "Fail"];

/// Collects machines, states, problems and warnings while a definition is read.
#[derive(Default)]
pub(super) struct Loader {
    pub machines: Vec<Machine>,
    pub states: HashMap<String, State>,
    pub declared: Vec<Declared>,
    names: HashSet<String>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Loader {
    /// Reads the whole document; answers its comment and timeout.
    pub fn top_level(&mut self, value: &Value) -> (Option<String>, Option<u64>) {
        let Some(mut object) = Object::new(value, "", &mut self.problems) else { return (None, None) };
        if let Some(version) = object.text("Version", &mut self.problems)
            && version != "1.0"
        {
            self.problems.push(Problem::new("/Version", "the only version of the language is 1.0"));
        }
        let timeout_s = object.whole("TimeoutSeconds", 1, MAX_SECONDS, &mut self.problems);
        let comment = object.text("Comment", &mut self.problems).map(str::to_owned);
        self.query_language(&mut object);
        self.machine(object, "the state machine", 0);
        (comment, timeout_s)
    }

    fn query_language(&mut self, object: &mut Object) {
        match object.text("QueryLanguage", &mut self.problems) {
            None | Some("JSONPath") => {}
            Some("JSONata") => self.problems.push(Problem::new(
                object.at("QueryLanguage"),
                "JSONata is not supported: write the definition in the JSONPath dialect",
            )),
            Some(_) => self.problems.push(Problem::new(object.at("QueryLanguage"), "it must be JSONPath")),
        }
    }

    /// Reads StartAt and States of `object` and refuses the rest; answers the machine's index.
    fn machine(&mut self, mut object: Object, what: &str, depth: usize) -> usize {
        let index = self.machines.len();
        self.machines.push(Machine { start_at: String::new(), states: Vec::new() });
        let start_at = object.text("StartAt", &mut self.problems).map(str::to_owned);
        if !object.has("StartAt") {
            self.problems.push(Problem::new(&object.pointer, format!("{what} needs `StartAt`")));
        }
        let pointer = object.at("States");
        let members = object.take("States").map(Value::as_object);
        match members {
            Some(Some(members)) if !members.is_empty() => {
                if depth > MAX_DEPTH {
                    self.problems.push(Problem::new(&pointer, format!("states are nested more than {MAX_DEPTH} deep")));
                } else {
                    for (name, state) in members {
                        self.state(index, name, state, &pointer_to(&pointer, name), depth);
                    }
                }
                if let Some(start) = start_at.as_ref().filter(|start| !members.contains_key(*start)) {
                    self.problems.push(Problem::new(object.at("StartAt"), format!("there is no state `{start}` here")));
                }
            }
            Some(Some(_)) => self.problems.push(Problem::new(&pointer, "at least one state is needed")),
            Some(None) => self.problems.push(Problem::new(&pointer, "it must be an object of states")),
            None => self.problems.push(Problem::new(&object.pointer, format!("{what} needs `States`"))),
        }
        if let (Some(machine), Some(start_at)) = (self.machines.get_mut(index), start_at) {
            machine.start_at = start_at;
        }
        object.finish(what, &mut self.problems);
        index
    }

    fn state(&mut self, machine: usize, name: &str, value: &Value, pointer: &str, depth: usize) {
        if name.chars().count() > 80 || name.is_empty() {
            self.problems.push(Problem::new(pointer, "a state's name has 1 to 80 characters"));
        }
        if !self.names.insert(name.to_owned()) {
            self.problems.push(Problem::new(
                pointer,
                format!("the name `{name}` is taken: names are unique within the whole definition, branches included"),
            ));
        }
        self.declared.push(Declared { machine, name: name.to_owned(), pointer: pointer.to_owned() });
        let Some(mut object) = Object::new(value, pointer, &mut self.problems) else { return };
        let comment = object.text("Comment", &mut self.problems).map(str::to_owned);
        self.query_language(&mut object);
        let Some(type_name) = object.text("Type", &mut self.problems) else {
            if !object.has("Type") {
                self.problems.push(Problem::new(pointer, "a state needs `Type`"));
            }
            return;
        };
        let mut state = State {
            name: name.to_owned(),
            pointer: pointer.to_owned(),
            machine,
            comment,
            reads_context: reads_context(value),
            input_path: Selection::Whole,
            output_path: Selection::Whole,
            parameters: None,
            result_selector: None,
            result_path: Placement::Replace,
            assign: None,
            retry: Vec::new(),
            catch: Vec::new(),
            kind: Kind::Succeed,
        };
        let kind = self.kind(type_name, &mut object, &mut state, depth);
        if TYPES.contains(&type_name) {
            object.finish(&format!("a {type_name} state"), &mut self.problems);
        }
        let Some(kind) = kind else { return };
        if self.states.contains_key(name) {
            return;
        }
        state.kind = kind;
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.states.push(name.to_owned());
        }
        self.states.insert(name.to_owned(), state);
    }

    fn kind(&mut self, type_name: &str, object: &mut Object, state: &mut State, depth: usize) -> Option<Kind> {
        if type_name != "Fail" {
            state.input_path = io::selection(object, "InputPath", &mut self.problems);
            state.output_path = io::selection(object, "OutputPath", &mut self.problems);
        }
        if !matches!(type_name, "Fail" | "Succeed") {
            state.assign = io::assign(object, &mut self.problems);
        }
        if matches!(type_name, "Task" | "Parallel" | "Map" | "Pass") {
            state.result_path = io::placement(object, &mut self.problems);
        }
        if matches!(type_name, "Task" | "Parallel" | "Pass") {
            state.parameters = io::template(object, "Parameters", &mut self.problems);
        }
        if matches!(type_name, "Task" | "Parallel" | "Map") {
            state.result_selector = io::template(object, "ResultSelector", &mut self.problems);
            state.retry = fields::retriers(object, &mut self.problems);
            state.catch = fields::catchers(object, &mut self.problems);
        }
        match type_name {
            "Task" => self.task(object),
            "Pass" => {
                let result = object.take("Result").cloned();
                Some(Kind::Pass { result, transition: self.transition(object)? })
            }
            "Wait" => self.wait(object),
            "Choice" => self.choice(object),
            "Parallel" => self.parallel(object, depth),
            "Map" => self.map(object, depth),
            "Succeed" => Some(Kind::Succeed),
            "Fail" => Some(Kind::Fail {
                error: self.text_or_path(object, "Error", "ErrorPath"),
                cause: self.text_or_path(object, "Cause", "CausePath"),
            }),
            other => {
                let reason = format!("`{other}` is no state type, which is one of {}", TYPES.join(", "));
                self.problems.push(Problem::new(object.at("Type"), reason));
                None
            }
        }
    }

    /// Next or End, exactly one of them.
    fn transition(&mut self, object: &mut Object) -> Option<Transition> {
        let next = object.text("Next", &mut self.problems).map(str::to_owned);
        let end = match object.take("End") {
            None => None,
            Some(Value::Bool(end)) => Some(*end),
            Some(_) => {
                self.problems.push(Problem::new(object.at("End"), "it must be true or false"));
                return None;
            }
        };
        match (next, end) {
            (_, Some(true)) if object.has("Next") => {
                self.problems.push(Problem::new(object.at("End"), "`Next` and `End` cannot stand together"));
                None
            }
            (Some(next), _) => Some(Transition::Next(next)),
            (None, Some(true)) => Some(Transition::End),
            (None, end) => {
                if end.is_some() && !object.has("Next") {
                    let reason = "where `End` is false the state needs `Next`";
                    self.problems.push(Problem::new(object.at("End"), reason));
                } else if !object.has("Next") {
                    self.problems.push(Problem::new(&object.pointer, "the state needs `Next` or `End`"));
                }
                None
            }
        }
    }

    fn task(&mut self, object: &mut Object) -> Option<Kind> {
        let transition = self.transition(object);
        let problems = &mut self.problems;
        let timeout = object.amount("TimeoutSeconds", "TimeoutSecondsPath", (1, MAX_SECONDS), problems);
        let heartbeat = object.amount("HeartbeatSeconds", "HeartbeatSecondsPath", (1, MAX_SECONDS), problems);
        if let (Some(Amount::Fixed(heartbeat)), Some(Amount::Fixed(timeout))) = (&heartbeat, &timeout)
            && heartbeat >= timeout
        {
            problems.push(Problem::new(object.at("HeartbeatSeconds"), "it must be smaller than TimeoutSeconds"));
        }
        if io::template(object, "Credentials", problems).is_some() {
            self.warnings.push(Problem::new(object.at("Credentials"), "it is ignored: a step's role is configuration"));
        }
        if !object.has("Resource") {
            self.problems.push(Problem::new(&object.pointer, "a Task state needs `Resource`"));
        }
        let text = object.text("Resource", &mut self.problems)?;
        match Resource::parse(text) {
            Ok(resource) => Some(Kind::Task { resource, timeout, heartbeat, transition: transition? }),
            Err(reason) => {
                self.problems.push(Problem::new(object.at("Resource"), reason));
                None
            }
        }
    }

    fn wait(&mut self, object: &mut Object) -> Option<Kind> {
        let transition = self.transition(object);
        let given =
            ["Seconds", "SecondsPath", "Timestamp", "TimestampPath"].iter().filter(|name| object.has(name)).count();
        if given != 1 {
            let reason = "a Wait state takes exactly one of Seconds, SecondsPath, Timestamp and TimestampPath";
            self.problems.push(Problem::new(&object.pointer, reason));
        }
        let problems = &mut self.problems;
        let seconds = object.amount("Seconds", "SecondsPath", (0, MAX_SECONDS), problems).map(Until::Seconds);
        let by_path = object.reference("TimestampPath", problems).map(Until::TimestampPath);
        let fixed = object.text("Timestamp", problems).and_then(|text| {
            let parsed = parse_timestamp(text);
            if parsed.is_none() {
                problems
                    .push(Problem::new(object.at("Timestamp"), "it must be an RFC 3339 timestamp with `T` and `Z`"));
            }
            parsed.map(Until::Timestamp)
        });
        Some(Kind::Wait { until: seconds.or(by_path).or(fixed)?, transition: transition? })
    }

    fn choice(&mut self, object: &mut Object) -> Option<Kind> {
        let default = object.text("Default", &mut self.problems).map(str::to_owned);
        let pointer = object.at("Choices");
        for name in ["Next", "End"] {
            if object.has(name) {
                object.take(if name == "Next" { "Next" } else { "End" });
                let reason = format!("a Choice state has no `{name}`: its rules and `Default` say where it leads");
                self.problems.push(Problem::new(object.at(name), reason));
            }
        }
        let items = object.take("Choices").and_then(Value::as_array).filter(|items| !items.is_empty());
        let Some(items) = items else {
            self.problems.push(Problem::new(pointer, "a Choice state needs `Choices`, an array of at least one rule"));
            return None;
        };
        let mut choices = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let here = pointer_to(&pointer, &index.to_string());
            let rule = Rule::parse(item, &here).map_err(|found| self.problems.extend(found)).ok();
            let Some(mut members) = item.as_object().and_then(|_| Object::new(item, &here, &mut self.problems)) else {
                continue;
            };
            let assign = io::assign(&mut members, &mut self.problems);
            let next = members.text("Next", &mut self.problems).map(str::to_owned);
            if !members.has("Next") {
                self.problems.push(Problem::new(&here, "a top-level Choice rule needs `Next`"));
            }
            if let (Some(rule), Some(next)) = (rule, next) {
                choices.push(Choice { rule, next, assign });
            }
        }
        if default.is_none() && !object.has("Default") {
            self.warnings.push(Problem::new(
                &object.pointer,
                "without `Default` the state fails with States.NoChoiceMatched when no rule matches",
            ));
        }
        Some(Kind::Choice { choices, default })
    }

    fn parallel(&mut self, object: &mut Object, depth: usize) -> Option<Kind> {
        let transition = self.transition(object);
        let pointer = object.at("Branches");
        let Some(items) = object.take("Branches").and_then(Value::as_array).filter(|items| !items.is_empty()) else {
            self.problems.push(Problem::new(pointer, "a Parallel state needs `Branches`, an array of at least one"));
            return None;
        };
        let mut branches = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let here = pointer_to(&pointer, &index.to_string());
            if let Some(mut branch) = Object::new(item, &here, &mut self.problems) {
                branch.take("Comment");
                branches.push(self.machine(branch, "a branch", depth + 1));
            }
        }
        Some(Kind::Parallel { branches, transition: transition? })
    }

    fn map(&mut self, object: &mut Object, depth: usize) -> Option<Kind> {
        let transition = self.transition(object);
        let problems = &mut self.problems;
        let items_path = object.reference("ItemsPath", problems);
        if object.has("ItemSelector") && object.has("Parameters") {
            problems.push(Problem::new(object.at("Parameters"), "it is the old name of ItemSelector: keep one"));
        }
        let selector = io::template(object, "ItemSelector", problems);
        let item_selector = io::template(object, "Parameters", problems).or(selector);
        let most = u64::from(u32::MAX);
        let max_concurrency = object.amount("MaxConcurrency", "MaxConcurrencyPath", (0, most), problems);
        let tolerated_count = object.amount("ToleratedFailureCount", "ToleratedFailureCountPath", (0, most), problems);
        let tolerated_percentage =
            object.percentage("ToleratedFailurePercentage", "ToleratedFailurePercentagePath", problems);
        if object.has("ItemProcessor") == object.has("Iterator") {
            let reason = "a Map state needs `ItemProcessor` (or `Iterator`, its old name), one of them";
            problems.push(Problem::new(&object.pointer, reason));
        }
        let (processor, iterator) = (object.take("ItemProcessor"), object.take("Iterator"));
        let here = object.at(if processor.is_some() { "ItemProcessor" } else { "Iterator" });
        let processor = processor.or(iterator)?;
        let mut processor = Object::new(processor, &here, &mut self.problems)?;
        processor.take("Comment");
        if let Some(config) = processor.take("ProcessorConfig") {
            let here = processor.at("ProcessorConfig");
            if let Some(mut config) = Object::new(config, &here, &mut self.problems) {
                match config.text("Mode", &mut self.problems) {
                    None | Some("INLINE") => {}
                    Some("DISTRIBUTED") => self.problems.push(Problem::new(
                        config.at("Mode"),
                        "the distributed Map is not supported: use INLINE, whose width is not limited here",
                    )),
                    Some(_) => self.problems.push(Problem::new(config.at("Mode"), "it must be INLINE")),
                }
                config.take("ExecutionType");
                config.finish("ProcessorConfig", &mut self.problems);
            }
        }
        let processor = self.machine(processor, "an item processor", depth + 1);
        Some(Kind::Map(Box::new(MapState {
            items_path,
            item_selector,
            processor,
            max_concurrency: max_concurrency.unwrap_or(Amount::Fixed(0)),
            tolerated_count,
            tolerated_percentage,
            transition: transition?,
        })))
    }

    fn text_or_path(&mut self, object: &mut Object, name: &'static str, by_path: &'static str) -> Option<Text> {
        if object.has(name) && object.has(by_path) {
            let reason = format!("{name} and {by_path} cannot stand together");
            self.problems.push(Problem::new(object.at(by_path), reason));
        }
        let fixed = object.text(name, &mut self.problems).map(|text| Text::Fixed(text.to_owned()));
        let computed = object.text(by_path, &mut self.problems).and_then(|text| {
            let expression = match Expression::parse(text) {
                Ok(Expression::Path(path)) if !is_reference(&path) => Err("it must be a Reference Path".to_owned()),
                other => other,
            };
            expression.map_err(|reason| self.problems.push(Problem::new(object.at(by_path), reason))).ok()
        });
        fixed.or(computed.map(Text::Computed))
    }
}

/// Whether a string of the state's own members holds `$$`.
fn reads_context(state: &Value) -> bool {
    fn anywhere(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains("$$"),
            Value::Array(items) => items.iter().any(anywhere),
            Value::Object(members) => members.values().any(anywhere),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    let inner = ["Branches", "ItemProcessor", "Iterator"];
    state.as_object().is_some_and(|members| {
        members.iter().filter(|(name, _)| !inner.contains(&name.as_str())).any(|(_, value)| anywhere(value))
    })
}

fn is_reference(path: &Path) -> bool {
    crate::engine::language::ReferencePath::parse(path.text()).is_ok()
}

//! Random definitions that load, random data for them, and random damage to any JSON.

use serde_json::{Map, Value, json};

use crate::engine::language::Chance;

const PATHS: &[&str] = &["$", "$.a", "$.b", "$.items", "$.n", "$.a.b[0]", "$.items[*]", "$v0", "$.items[0]"];
const EXPRESSIONS: &[&str] = &[
    "$.a",
    "$.items",
    "$",
    "$v0",
    "$$.State.Name",
    "$$.Map.Item.Index",
    "$$.Map.Item.Value",
    "$$.Execution.Input",
    "$$.State.RetryCount",
    "States.UUID()",
    "States.Array($.a, $.n, 1.5)",
    "States.Format('{}-{}', $.n, $$.Execution.Id)",
    "States.MathAdd($.n, 1)",
    "States.JsonMerge($, $.b, false)",
    "States.StringToJson(States.JsonToString($))",
];
const PLACES: &[&str] = &["$", "$.r", "$.a", "$.b.c", "$.items[0]"];
const ERRORS: &[&str] = &["E", "F", "States.TaskFailed", "States.Timeout", "States.BranchFailed", "States.Runtime"];
const TYPES: &[&str] =
    &["Task", "Task", "Task", "Pass", "Pass", "Wait", "Choice", "Parallel", "Map", "Succeed", "Fail"];
const RESOURCES: &[&str] =
    &["urn:keyferry:step:a", "urn:keyferry:step:b", "urn:keyferry:form:f", "urn:keyferry:workflow:w", "urn:x:y"];

pub fn pick<'a, T>(chance: &Chance, of: &'a [T]) -> &'a T {
    &of[usize::try_from(chance.below(of.len() as u64)).unwrap()]
}

pub fn one_in(chance: &Chance, of: u64) -> bool {
    chance.below(of) == 0
}

/// Data with the members that the paths ask for, most of the time.
pub fn data(chance: &Chance, depth: usize) -> Value {
    match chance.below(if depth > 2 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => json!(chance.next_u64()),
        2 => json!(-(i64::try_from(chance.below(1 << 60)).unwrap())),
        3 => json!(f64::from_bits(chance.next_u64())),
        4 => json!(pick(chance, &["", "é\u{1F511}", "2020-01-01T00:00:00Z", "\u{0}\"\\", "text"])),
        5 => json!(one_in(chance, 2)),
        6 => (0..chance.below(4)).map(|_| data(chance, depth + 1)).collect(),
        _ => json!({"a": data(chance, depth + 1), "b": {"c": 1}, "n": chance.below(5),
            "items": (0..chance.below(5)).map(|_| data(chance, depth + 1)).collect::<Vec<_>>()}),
    }
}

/// Makes definitions.
pub struct Maker<'a> {
    pub chance: &'a Chance,
    named: usize,
}

impl<'a> Maker<'a> {
    pub fn definition(chance: &'a Chance) -> Value {
        let mut maker = Self { chance, named: 0 };
        let mut made = maker.machine(0);
        if one_in(chance, 6) {
            made["TimeoutSeconds"] = json!(1 + chance.below(500));
        }
        made
    }

    fn pick(&self, of: &[&'static str]) -> &'static str {
        let found: &&'static str = pick(self.chance, of);
        found
    }

    fn now_and_then(&self) -> bool {
        one_in(self.chance, 5)
    }

    fn machine(&mut self, depth: usize) -> Value {
        let count = 1 + usize::try_from(self.chance.below(4)).unwrap();
        let names: Vec<String> = (0..count).map(|at| format!("S{} ü", self.named + at)).collect();
        self.named += count;
        let mut states = Map::new();
        for at in 0..count {
            let state = self.state(&names, at, depth);
            states.insert(names[at].clone(), state);
        }
        json!({"StartAt": names[0], "States": states})
    }

    /// Mostly onwards, sometimes back.
    fn target(&self, names: &[String], at: usize) -> String {
        let later = &names[(at + 1).min(names.len() - 1)..];
        pick(self.chance, if one_in(self.chance, 8) { names } else { later }).clone()
    }

    fn state(&mut self, names: &[String], at: usize, depth: usize) -> Value {
        let chance = self.chance;
        let kind = loop {
            let kind = self.pick(TYPES);
            if depth < 2 || !matches!(kind, "Parallel" | "Map") {
                break kind;
            }
        };
        let mut state = json!({"Type": kind});
        if kind == "Fail" {
            match chance.below(3) {
                0 => state["Error"] = json!("E"),
                1 => state["ErrorPath"] = json!("$.a"),
                _ => state["CausePath"] = json!("States.Format('{}', $.n)"),
            }
            return state;
        }
        for field in ["InputPath", "OutputPath"] {
            if self.now_and_then() {
                state[field] = if one_in(chance, 4) { Value::Null } else { json!(self.pick(PATHS)) };
            }
        }
        if kind == "Succeed" {
            return state;
        }
        if self.now_and_then() {
            state["Assign"] = self.template("v0");
        }
        match kind {
            "Choice" => self.choice(&mut state, names, at),
            "Wait" => match chance.below(4) {
                0 => state["Seconds"] = json!(chance.below(3)),
                1 => state["SecondsPath"] = json!("$.n"),
                2 => state["Timestamp"] = json!("2026-01-01T00:00:20+01:00"),
                _ => state["TimestampPath"] = json!("$.a"),
            },
            _ => self.results(&mut state, kind, names, at),
        }
        match kind {
            "Task" => {
                state["Resource"] = json!(self.pick(RESOURCES));
                if one_in(chance, 3) {
                    state["TimeoutSeconds"] = json!(1 + chance.below(30));
                } else if one_in(chance, 5) {
                    state["TimeoutSecondsPath"] = json!("$.n");
                }
            }
            "Pass" if one_in(chance, 2) => state["Result"] = data(chance, 0),
            "Parallel" => state["Branches"] = (0..=chance.below(3)).map(|_| self.machine(depth + 1)).collect(),
            "Map" => self.map(&mut state, depth),
            _ => {}
        }
        if kind != "Choice" {
            if at + 1 == names.len() && !one_in(chance, 8) || one_in(chance, 6) {
                state["End"] = json!(true);
            } else {
                state["Next"] = json!(self.target(names, at));
            }
        }
        state
    }

    fn template(&self, name: &str) -> Value {
        match self.chance.below(3) {
            0 => json!({name: data(self.chance, 1)}),
            _ => json!({format!("{name}.$"): self.pick(EXPRESSIONS)}),
        }
    }

    fn choice(&self, state: &mut Value, names: &[String], at: usize) {
        let rule = match self.chance.below(4) {
            0 => json!({"Variable": "$.a", "IsPresent": true}),
            1 => json!({"Variable": "$.n", "NumericLessThanPath": "$.a"}),
            2 => json!({"Not": {"Variable": "$v0", "IsNull": true}}),
            _ => json!({"Or": [{"Variable": "$.n", "NumericEquals": 1}, {"Variable": "$.b", "IsString": true}]}),
        };
        let mut rule = rule;
        rule["Next"] = json!(self.target(names, at));
        if self.now_and_then() {
            rule["Assign"] = self.template("v1");
        }
        state["Choices"] = json!([rule]);
        if !one_in(self.chance, 3) {
            state["Default"] = json!(self.target(names, at));
        }
    }

    fn results(&self, state: &mut Value, kind: &str, names: &[String], at: usize) {
        let chance = self.chance;
        if self.now_and_then() {
            state["ResultPath"] = if one_in(chance, 4) { Value::Null } else { json!(self.pick(PLACES)) };
        }
        if self.now_and_then() && kind != "Map" {
            state["Parameters"] = self.template("a");
        }
        if kind == "Pass" {
            return;
        }
        if self.now_and_then() {
            state["ResultSelector"] = self.template("items");
        }
        let matching = || match chance.below(3) {
            0 => json!([self.pick(ERRORS), "G"]),
            _ => json!(["States.ALL"]),
        };
        if one_in(chance, 3) {
            let mut retrier = json!({"ErrorEquals": matching(), "MaxAttempts": chance.below(4)});
            if one_in(chance, 2) {
                retrier["JitterStrategy"] = json!("FULL");
                retrier["BackoffRate"] = json!(1.5);
            }
            state["Retry"] = match chance.below(2) {
                0 => json!([{"ErrorEquals": ["E"], "IntervalSeconds": 2, "MaxDelaySeconds": 3}, retrier]),
                _ => json!([retrier]),
            };
        }
        if one_in(chance, 3) {
            let mut catcher = json!({"ErrorEquals": matching(), "Next": self.target(names, at)});
            if one_in(chance, 2) {
                catcher["ResultPath"] = json!(self.pick(PLACES));
                catcher["Assign"] = json!({"v0.$": "$.Error"});
            }
            state["Catch"] = json!([catcher]);
        }
    }

    fn map(&mut self, state: &mut Value, depth: usize) {
        let chance = self.chance;
        state["ItemProcessor"] = self.machine(depth + 1);
        if !one_in(chance, 6) {
            state["ItemsPath"] = json!("$.items");
        }
        match chance.below(3) {
            0 => state["MaxConcurrency"] = json!(chance.below(3)),
            1 => state["MaxConcurrencyPath"] = json!("$.n"),
            _ => {}
        }
        if one_in(chance, 3) {
            state["ToleratedFailureCount"] = json!(chance.below(3));
        }
        if one_in(chance, 4) {
            state["ToleratedFailurePercentagePath"] = json!("$.n");
        }
        if one_in(chance, 3) {
            state["ItemSelector"] = self.template("a");
        }
    }
}

/// Replaces, removes or repeats one value somewhere in `value`.
pub fn damage(chance: &Chance, value: &mut Value) {
    let children = match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    if children == 0 || one_in(chance, 40) {
        *value = match chance.below(8) {
            0 => Value::Null,
            1 => json!(u64::MAX),
            2 => json!(chance.below(6)),
            3 => json!("+262142-12-31T23:59:59.999Z"),
            4 => json!(pick(chance, &["", "S0 ü", "S3 ü", "$", "$.a[?(@.b)]", "joining", "queued", "States.ALL"])),
            5 => {
                json!({"phase": "joining", "first": chance.below(9), "total": u64::MAX - chance.below(2), "started": 0,
                "succeeded": chance.below(3), "failed": u64::MAX})
            }
            6 => json!([]),
            _ => data(chance, 0),
        };
        return;
    }
    let at = usize::try_from(chance.below(children as u64)).unwrap();
    match value {
        Value::Array(items) => damage(chance, &mut items[at]),
        Value::Object(members) => {
            let name = members.keys().nth(at).unwrap().clone();
            if one_in(chance, 20) {
                members.remove(&name);
            } else {
                damage(chance, &mut members[&name]);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

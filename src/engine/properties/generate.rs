//! Random definitions, and random damage to any JSON.

use serde_json::{Value, json};

use crate::engine::language::Chance;

pub(crate) struct Dice {
    chance: Chance,
    names: std::cell::Cell<u64>,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed), names: std::cell::Cell::new(0) }
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    pub(crate) fn once_in(&self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    pub(crate) fn pick<T: Clone>(&self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }

    pub(crate) fn number(&self) -> u64 {
        self.chance.next_u64()
    }

    fn name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("S{}", self.names.get())
    }
}

pub(crate) fn definition(dice: &Dice) -> Value {
    let mut machine = machine(dice, 0);
    if dice.once_in(6) {
        machine["TimeoutSeconds"] = json!(500);
    }
    machine
}

fn machine(dice: &Dice, depth: u64) -> Value {
    let names: Vec<String> = (0..=dice.below(4)).map(|_| dice.name()).collect();
    let mut states = serde_json::Map::new();
    for name in &names {
        states.insert(name.clone(), state(dice, &names, depth));
    }
    json!({ "StartAt": names[0], "States": states })
}

fn state(dice: &Dice, names: &[String], depth: u64) -> Value {
    let mut state = match dice.below(if depth < 2 { 12 } else { 8 }) {
        0..=3 => task(dice),
        4 => json!({ "Type": "Pass", "Result": any_value(dice) }),
        5 => json!({ "Type": "Wait", "Seconds": dice.below(30) }),
        6 => choice(dice, names),
        7 if dice.once_in(2) => json!({ "Type": "Succeed" }),
        7 => json!({ "Type": "Fail", "Error": dice.pick(&["E", "F"]), "Cause": "c" }),
        8 | 9 => {
            let branches: Vec<Value> = (0..=dice.below(2)).map(|_| machine(dice, depth + 1)).collect();
            json!({ "Type": "Parallel", "Branches": branches })
        }
        _ => map(dice, depth),
    };
    let kind = state["Type"].as_str().unwrap().to_owned();
    if matches!(kind.as_str(), "Task" | "Parallel" | "Map") {
        handlers(dice, names, &mut state);
    }
    if matches!(kind.as_str(), "Task" | "Parallel" | "Map" | "Pass") {
        match dice.below(5) {
            0 => state["ResultPath"] = Value::Null,
            1 => state["ResultPath"] = json!("$.r"),
            _ => {}
        }
        if dice.once_in(6) {
            let name = format!("v{depth}");
            state["Assign"] = json!({ name: { "at.$": "$$.State.Name", "it.$": "$" } });
        }
    }
    if !matches!(kind.as_str(), "Choice" | "Succeed" | "Fail") {
        if dice.once_in(2) {
            state["Next"] = dice.pick(names).into();
        } else {
            state["End"] = true.into();
        }
    }
    state
}

fn task(dice: &Dice) -> Value {
    let resource = dice.pick(&["step:s", "step:t", "form:f", "workflow:w"]);
    let mut task = json!({ "Type": "Task", "Resource": format!("urn:keyferry:{resource}") });
    if dice.once_in(3) {
        task["TimeoutSeconds"] = 20.into();
        if resource.starts_with("step") {
            task["HeartbeatSeconds"] = 5.into();
        }
    }
    match dice.below(5) {
        0 => task["Parameters"] = json!({ "x.$": "$", "id.$": "$$.Execution.Id", "u.$": "States.UUID()" }),
        1 => task["Parameters"] = json!({ "x.$": "$.missing" }),
        _ => {}
    }
    task
}

fn choice(dice: &Dice, names: &[String]) -> Value {
    let mut choice = json!({
        "Type": "Choice",
        "Choices": [{ "Variable": "$.n", "IsPresent": dice.once_in(2), "Next": dice.pick(names) }],
    });
    if !dice.once_in(4) {
        choice["Default"] = dice.pick(names).into();
    }
    choice
}

fn map(dice: &Dice, depth: u64) -> Value {
    let mut map = json!({ "Type": "Map", "ItemProcessor": machine(dice, depth + 1) });
    if dice.once_in(4) {
        map["ItemsPath"] = json!("$.items");
    } else {
        map["ItemsPath"] = json!("$$.Execution.Input.items");
    }
    if dice.once_in(2) {
        map["MaxConcurrency"] = dice.below(3).into();
    }
    if dice.once_in(2) {
        map["ToleratedFailureCount"] = dice.below(3).into();
    }
    if dice.once_in(3) {
        map["ToleratedFailurePercentage"] = dice.pick(&[0, 34, 100]).into();
    }
    if dice.once_in(2) {
        map["ItemSelector"] = json!({ "v.$": "$$.Map.Item.Value", "n.$": "$$.Map.Item.Index" });
    }
    map
}

fn handlers(dice: &Dice, names: &[String], state: &mut Value) {
    let errors = ["E", "States.TaskFailed", "States.Timeout", "States.ALL", "States.BranchFailed"];
    if dice.once_in(2) {
        state["Retry"] = json!([{
            "ErrorEquals": [dice.pick(&errors)],
            "MaxAttempts": dice.below(3),
            "JitterStrategy": dice.pick(&["FULL", "NONE"]),
        }]);
    }
    if dice.once_in(2) {
        state["Catch"] = json!([{
            "ErrorEquals": [dice.pick(&errors)],
            "Next": dice.pick(names),
            "ResultPath": dice.pick(&[Value::Null, json!("$.e"), json!("$")]),
        }]);
    }
}

pub(crate) fn any_value(dice: &Dice) -> Value {
    dice.pick(&[
        json!(null),
        json!(true),
        json!(7),
        json!(-1.5),
        json!("text"),
        json!([1, [2]]),
        json!({ "n": 1, "items": [1, 2] }),
        json!({ "r": { "deep": [] } }),
    ])
}

/// Changes one place of a value: replaces, removes or doubles it.
pub(crate) fn damage(dice: &Dice, value: &mut Value) {
    let here = dice.once_in(6);
    match value {
        Value::Array(items) if !items.is_empty() && !here => {
            let index = usize::try_from(dice.below(items.len() as u64)).unwrap();
            damage(dice, &mut items[index]);
        }
        Value::Object(fields) if !fields.is_empty() && !here => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let key = dice.pick(&keys);
            match dice.below(8) {
                0 => drop(fields.remove(&key)),
                1 => {
                    let taken = fields.remove(&key).unwrap();
                    fields.insert(dice.pick(&keys), taken);
                }
                _ => damage(dice, &mut fields[&key]),
            }
        }
        Value::Number(number) => {
            let near = number.as_u64().unwrap_or(0);
            let odd = [0, 1, 2, near.wrapping_add(1), near.wrapping_sub(1), u64::MAX, u64::from(u32::MAX)];
            *value = dice.pick(&odd).into();
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            *value = any_value(dice);
        }
    }
}

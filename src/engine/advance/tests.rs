use serde_json::{Value, json};

use crate::engine::{
    Actor, Definition, Event, EventKind, Outcome, Payload, Rejected, Script, Simulation, Snapshot, Status, advance,
    definition::context::MEMBERS, simulate,
};

pub(super) fn run(definition: Value, input: Value, script: Value) -> Simulation {
    let definition = Definition::load(&definition.to_string()).unwrap().definition;
    let script: Script = serde_json::from_value(script).unwrap();
    simulate(&definition, input, &script, 1).unwrap()
}

pub(super) fn task(more: Value) -> Value {
    let mut task = json!({"Type": "Task", "Resource": "urn:x:y", "End": true});
    if let (Value::Object(task), Value::Object(more)) = (&mut task, more) {
        if more.contains_key("Next") {
            task.remove("End");
        }
        task.extend(more);
    }
    task
}

pub(super) fn machine(start: &str, states: Value) -> Value {
    json!({"StartAt": start, "States": states})
}

#[test]
fn data_flows_through_every_field_in_order() {
    let definition = machine(
        "T",
        json!({
            "T": task(json!({"InputPath": "$.in", "Parameters": {"x.$": "$.a", "id.$": "$$.State.Name"}, "ResultSelector": {"got.$": "$.x"},
                "ResultPath": "$.out", "OutputPath": "$", "Assign": {"seen.$": "$.id"}, "Next": "P"})),
            "P": {"Type": "Pass", "Parameters": {"seen.$": "$seen", "out.$": "$.out.got"}, "End": true}
        }),
    );
    let ended = run(definition, json!({"in": {"a": 7}, "keep": 1}), json!({}));
    assert_eq!((ended.status, ended.output), (Status::Succeeded, Some(json!({"seen": "T", "out": 7}))));
    assert_eq!(ended.trace, ["T", "P"]);
}

#[test]
fn retries_wait_longer_and_then_the_catcher_takes_over() {
    let definition = machine(
        "T",
        json!({
            "T": task(json!({"Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 2, "BackoffRate": 3.0, "MaxAttempts": 3, "MaxDelaySeconds": 10}],
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "C", "ResultPath": "$.error"}]})),
            "C": {"Type": "Pass", "End": true}
        }),
    );
    let fail = json!({"fail": {"error": "E", "cause": "c"}});
    let ended = run(definition.clone(), json!({"a": 1}), json!({"T": [fail, fail, fail, fail]}));
    assert_eq!(ended.elapsed_s, 18.into());
    assert_eq!(ended.trace, ["T", "C"]);
    assert_eq!(ended.output, Some(json!({"a": 1, "error": {"Error": "E", "Cause": "c"}})));
    let ended = run(definition, json!({}), json!({"T": [fail, {"succeed": 5}]}));
    assert_eq!((ended.status, ended.output, ended.elapsed_s), (Status::Succeeded, Some(json!(5)), 2.into()));
}

#[test]
fn what_nothing_catches_stands_in_attention_and_a_fail_state_fails() {
    let definition = machine("T", json!({"T": task(json!({}))}));
    let ended = run(definition, json!({}), json!({"T": [{"fail": {"error": "E", "cause": "c"}}]}));
    assert_eq!(
        (ended.status, ended.error.as_deref(), ended.cause.as_deref()),
        (Status::Attention, Some("E"), Some("c"))
    );
    let definition =
        machine("F", json!({"F": {"Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.Format('{}!', $.c)"}}));
    let ended = run(definition, json!({"e": "E", "c": "why"}), json!({}));
    assert_eq!(
        (ended.status, ended.error.as_deref(), ended.cause.as_deref()),
        (Status::Failed, Some("E"), Some("why!"))
    );
}

#[test]
fn error_names_match_as_documented() {
    for (error, wanted, caught) in [
        ("E", "States.TaskFailed", true),
        ("States.Timeout", "States.TaskFailed", false),
        ("States.HeartbeatTimeout", "States.Timeout", true),
        ("States.Timeout", "States.ALL", true),
        ("States.Runtime", "States.ALL", false),
        ("States.DataLimitExceeded", "States.ALL", false),
        ("States.DataLimitExceeded", "States.DataLimitExceeded", true),
        ("States.Permissions", "States.TaskFailed", true),
    ] {
        let definition = machine(
            "T",
            json!({
                "T": task(json!({"Catch": [{"ErrorEquals": [wanted], "Next": "C"}]})), "C": {"Type": "Succeed"}
            }),
        );
        let ended = run(definition, json!({}), json!({"T": [{"fail": {"error": error, "cause": ""}}]}));
        assert_eq!(ended.status == Status::Succeeded, caught, "{error} by {wanted}");
    }
}

#[test]
fn a_timeout_takes_its_time_and_is_caught_as_one() {
    let definition = machine(
        "T",
        json!({
            "T": task(json!({"TimeoutSeconds": 30, "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "C"}]})),
            "C": {"Type": "Succeed"}
        }),
    );
    let ended = run(definition, json!({}), json!({"T": [{"timeout": true}]}));
    assert_eq!((ended.status, ended.elapsed_s), (Status::Succeeded, 30.into()));
}

#[test]
fn parallel_branches_join_in_order_and_one_failure_stops_all() {
    let branch = |name: &str| machine(name, json!({name: task(json!({}))}));
    let definition = machine(
        "P",
        json!({
            "P": {"Type": "Parallel", "Branches": [branch("A"), branch("B")], "ResultPath": "$.both",
                  "Catch": [{"ErrorEquals": ["States.BranchFailed"], "Next": "C"}], "End": true},
            "C": {"Type": "Pass", "Result": "caught", "End": true}
        }),
    );
    let ended = run(definition.clone(), json!({"i": 1}), json!({"A": [{"succeed": 1}], "B": [{"succeed": 2}]}));
    assert_eq!(ended.output, Some(json!({"i": 1, "both": [1, 2]})));
    let ended = run(definition, json!({}), json!({"B": [{"fail": {"error": "E"}}], "A": [{"timeout": true}]}));
    assert_eq!(ended.output, Some(json!("caught")));
    assert_eq!(ended.trace, ["P", "A", "B", "C"]);
}

#[test]
fn a_map_keeps_order_limits_concurrency_and_tolerates_failures() {
    let definition = |more: Value| {
        let mut map = json!({"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2,
            "ItemSelector": {"v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index"},
            "ItemProcessor": machine("I", json!({"I": {"Type": "Wait", "Seconds": 10, "Next": "T"},
                "T": task(json!({"OutputPath": "$"}))})), "End": true});
        if let (Value::Object(map), Value::Object(more)) = (&mut map, more) {
            map.extend(more);
        }
        machine("M", json!({"M": map}))
    };
    let ended = run(definition(json!({})), json!({"items": ["a", "b", "c"]}), json!({}));
    assert_eq!(ended.output, Some(json!([{"v": "a", "i": 0}, {"v": "b", "i": 1}, {"v": "c", "i": 2}])));
    assert_eq!(ended.elapsed_s, 20.into());
    let one_fails = json!({"T": [{"fail": {"error": "E", "cause": "c"}}]});
    let ended = run(definition(json!({"ToleratedFailureCount": 1})), json!({"items": [1, 2]}), one_fails.clone());
    assert_eq!(ended.output, Some(json!([{"Error": "E", "Cause": "c"}, {"v": 2, "i": 1}])));
    for tolerance in [json!({"ToleratedFailurePercentage": 50.5}), json!({"ToleratedFailurePercentagePath": "$.p"})] {
        let ended = run(definition(tolerance), json!({"items": [1, 2], "p": 50}), one_fails.clone());
        assert_eq!(ended.status, Status::Succeeded);
    }
    let ended = run(definition(json!({"ToleratedFailurePercentage": 49.5})), json!({"items": [1, 2]}), one_fails);
    assert_eq!(
        (ended.status, ended.error.as_deref()),
        (Status::Attention, Some("States.ExceedToleratedFailureThreshold"))
    );
    assert_eq!(ended.cause.as_deref(), Some("1 of 2 items failed, the last with E: c"));
    let ended = run(definition(json!({})), json!({"items": []}), json!({}));
    assert_eq!(ended.output, Some(json!([])));
}

#[test]
fn variables_of_a_branch_end_with_it() {
    let inner = |assign: Value| {
        machine("I", json!({"I": {"Type": "Pass", "Parameters": {"o.$": "$outer"}, "Assign": assign, "End": true}}))
    };
    let definition = |assign: Value| {
        machine(
            "A",
            json!({
                "A": {"Type": "Pass", "Assign": {"outer": 5}, "Next": "P"},
                "P": {"Type": "Parallel", "Branches": [inner(assign)], "Next": "E"},
                "E": {"Type": "Choice", "Choices": [{"Variable": "$mine", "IsPresent": true, "Next": "Leak"}], "Default": "S"},
                "Leak": {"Type": "Fail"}, "S": {"Type": "Succeed"}
            }),
        )
    };
    let ended = run(definition(json!({"mine": 1})), json!({}), json!({}));
    assert_eq!((ended.status, ended.output), (Status::Succeeded, Some(json!([{"o": 5}]))));
}

#[test]
fn a_loop_that_waits_for_nothing_stops_in_attention() {
    let ended = run(
        machine("A", json!({"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}})),
        json!({}),
        json!({}),
    );
    assert_eq!((ended.status, ended.error.as_deref()), (Status::Attention, Some("States.Runtime")));
}

#[test]
fn a_form_without_an_answer_is_waited_for() {
    let definition = machine("F", json!({"F": {"Type": "Task", "Resource": "urn:keyferry:form:window", "End": true}}));
    assert_eq!(run(definition.clone(), json!({}), json!({})).status, Status::Waiting);
    assert_eq!(
        run(definition, json!({}), json!({"F": [{"succeed": {"start": "now"}}]})).output,
        Some(json!({"start": "now"}))
    );
}

#[test]
fn the_runs_own_timeout_ends_it() {
    let mut definition = machine("W", json!({"W": {"Type": "Wait", "Seconds": 100, "End": true}}));
    definition.as_object_mut().unwrap().insert("TimeoutSeconds".to_owned(), json!(40));
    let ended = run(definition.clone(), json!({}), json!({}));
    assert_eq!(
        (ended.status, ended.error.as_deref(), ended.elapsed_s),
        (Status::Failed, Some("States.Timeout"), 40.into())
    );
    definition["States"]["W"]["Seconds"] = json!(40);
    assert_eq!(run(definition, json!({}), json!({})).status, Status::Succeeded, "it did not run longer than that");
    let form = json!({"F": {"Type": "Task", "Resource": "urn:keyferry:form:window", "End": true}});
    let definition = json!({"TimeoutSeconds": 40, "StartAt": "F", "States": form});
    assert_eq!(run(definition, json!({}), json!({})).error.as_deref(), Some("States.Timeout"));
}

/// Only a payload template's path has an error of its own; the rest is what no `States.ALL` catches.
#[test]
fn a_path_that_matches_nothing_is_named_by_the_field_it_stands_in() {
    let caught = |mut state: Value| {
        state["Catch"] = json!([{"ErrorEquals": ["States.ALL"], "Next": "C"}]);
        run(machine("S", json!({"S": state, "C": {"Type": "Succeed"}})), json!({"h": 5}), json!({}))
    };
    let with = |more: Value| caught(task(more));
    for field in ["InputPath", "OutputPath", "TimeoutSecondsPath", "HeartbeatSecondsPath"] {
        let ended = with(json!({field: "$.gone"}));
        assert_eq!((ended.status, ended.error.as_deref()), (Status::Attention, Some("States.Runtime")), "{field}");
    }
    for field in ["Parameters", "ResultSelector", "Assign"] {
        let ended = with(json!({field: {"x.$": "$.gone"}}));
        assert_eq!(ended.output.unwrap()["Error"], "States.ParameterPathFailure", "{field}");
    }
    let processor = machine("I", json!({"I": {"Type": "Succeed"}}));
    let map = json!({"Type": "Map", "ItemsPath": "$.gone", "ItemProcessor": processor, "End": true});
    assert_eq!(caught(map).error.as_deref(), Some("States.Runtime"));
    let late = with(json!({"TimeoutSecondsPath": "$.h", "HeartbeatSecondsPath": "$.h"}));
    assert_eq!(late.error.as_deref(), Some("States.Runtime"));
}

#[test]
fn a_result_over_the_limit_is_refused() {
    let definition = machine("T", json!({"T": task(json!({}))}));
    let ended = run(definition, json!({}), json!({"T": [{"succeed": "x".repeat(1 << 20)}]}));
    assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"));
}

#[test]
fn a_loop_that_nests_or_doubles_its_data_stops_before_it_eats_the_process() {
    for state in [
        json!({"Type": "Pass", "ResultPath": "$.r", "Next": "A"}),
        json!({"Type": "Pass", "Parameters": {"a.$": "$", "b.$": "$"}, "Next": "A"}),
        json!({"Type": "Wait", "Seconds": 0, "InputPath": "$..*", "Next": "A"}),
    ] {
        let ended = run(machine("A", json!({ "A": state.clone() })), json!({"n": [1, [2, {"x": 3}]]}), json!({}));
        assert_eq!(ended.status, Status::Attention, "{state}");
    }
}

/// A run of one state whose step has failed with what its Retry does not take.
fn in_attention(state: Value) -> (Definition, Snapshot) {
    let states = json!({ "T": state, "C": { "Type": "Pass", "Parameters": { "caught.$": "$.Error" }, "End": true } });
    let definition = Definition::load(&machine("T", states).to_string()).unwrap().definition;
    let started = EventKind::Started {
        run: "r".to_owned(),
        enterprise: "dave".to_owned(),
        workflow: "w".to_owned(),
        definition: definition.hash.clone(),
        input: Payload::from(json!({})),
        actor: Actor { name: "eve".to_owned(), role: "engineer".to_owned() },
    };
    let mut snapshot = Snapshot::begin(&advance(&definition, None, &event(started)).unwrap());
    let failed =
        EventKind::StepFailed { frame: 0, visit: 1, error: "States.Runtime".to_owned(), cause: "c".to_owned() };
    snapshot.apply(&advance(&definition, Some(&snapshot), &event(failed)).unwrap());
    assert_eq!(snapshot.header.in_attention, 1);
    (definition, snapshot)
}

fn event(kind: EventKind) -> Event {
    Event { at: chrono::DateTime::UNIX_EPOCH, chance: 1, kind }
}

#[test]
fn what_is_overdue_goes_where_its_state_catches_it_also_from_attention() {
    let overdue = |visit| EventKind::Overdue { frame: 0, visit, error: "Late".to_owned(), cause: "c".to_owned() };
    let catches = json!({ "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "C" }] });
    let (definition, mut snapshot) = in_attention(task(catches));
    let visit = snapshot.frames[&0].visit;
    let stale = advance(&definition, Some(&snapshot), &event(overdue(visit - 1)));
    assert!(matches!(stale, Err(Rejected::Stale { .. })), "{stale:?}");
    snapshot.apply(&advance(&definition, Some(&snapshot), &event(overdue(visit))).unwrap());
    assert_eq!(snapshot.header.in_attention, 0);
    let output = Payload::from(json!({ "caught": "Late" }));
    assert_eq!(snapshot.header.outcome, Some(Outcome::Succeeded { output }));
    // What others lead to when they fail is not cut short itself.
    let (definition, snapshot) = in_attention(task(json!({})));
    let refused = advance(&definition, Some(&snapshot), &event(overdue(snapshot.frames[&0].visit)));
    assert!(matches!(refused, Err(Rejected::Illegal { .. })), "{refused:?}");
}

#[test]
fn the_context_object_has_what_paths_are_checked_by() {
    let item = machine(
        "T",
        json!({
            "T": task(json!({"Parameters": {"seen.$": "$$"}, "ResultPath": "$.task", "Next": "P"})),
            "P": {"Type": "Pass", "Parameters": {"task.$": "$.task.seen", "pass.$": "$$"}, "End": true},
        }),
    );
    let map = json!({"Type": "Map", "ItemsPath": "$.x", "ItemProcessor": item, "End": true});
    let ended = run(machine("M", json!({"M": map})), json!({"x": [{}]}), json!({}));
    let output = ended.output.unwrap();
    let (of_task, of_pass) = (&output[0]["task"], &output[0]["pass"]);
    let members = |value: &Value| -> Vec<String> {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let known: Vec<&str> = MEMBERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(members(of_task), known);
    assert_eq!(members(of_pass), known.iter().copied().filter(|name| *name != "Task").collect::<Vec<_>>());
    for (name, of) in MEMBERS {
        assert_eq!(members(&of_task[*name]), *of, "{name}");
    }
}

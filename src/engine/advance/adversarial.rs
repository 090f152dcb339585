//! What the specification says at its edges, each row a definition, its data and what comes of it.
//!
//! Sources: <https://states-language.net/spec.html>; for variables
//! <https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html>.

use serde_json::{Value, json};

use super::tests::{machine, run, task};
use crate::engine::Status;

fn pass(more: Value) -> Value {
    with(json!({"Type": "Pass", "End": true}), more)
}

fn with(mut state: Value, more: Value) -> Value {
    if let (Value::Object(state), Value::Object(more)) = (&mut state, more) {
        if more.contains_key("Next") {
            state.remove("End");
        }
        state.extend(more);
    }
    state
}

fn fail(error: &str) -> Value {
    json!({"fail": {"error": error, "cause": "c"}})
}

/// The output of one state `S` that succeeds.
fn output(state: Value, input: Value) -> Value {
    let ended = run(machine("S", json!({"S": state})), input, json!({}));
    assert_eq!(ended.status, Status::Succeeded, "{ended:?}");
    ended.output.unwrap()
}

#[test]
fn paths_that_are_null_give_empty_objects_and_keep_the_input() {
    let input = json!({"a": 1});
    for (fields, expected) in [
        (json!({"InputPath": null}), json!({})),
        (json!({"OutputPath": null}), json!({})),
        (json!({"ResultPath": null, "Result": 7}), json!({"a": 1})),
        (json!({"InputPath": null, "ResultPath": "$.r"}), json!({"a": 1, "r": {}})),
        (json!({"InputPath": null, "ResultPath": null}), json!({"a": 1})),
        (json!({"InputPath": "$.a", "ResultPath": "$.b.c"}), json!({"a": 1, "b": {"c": 1}})),
        (json!({"ResultPath": null, "OutputPath": null}), json!({})),
        (json!({"InputPath": "$.a", "Parameters": {"x.$": "$"}}), json!({"x": 1})),
        (json!({"InputPath": "$$.Execution.Input.a", "OutputPath": "$"}), json!(1)),
        (json!({"Parameters": {"s.$": "States.Format('{}/{}', $$.State.Name, $.a)"}}), json!({"s": "S/1"})),
        (json!({"Result": {"a.$": "$.a"}}), json!({"a.$": "$.a"})),
    ] {
        assert_eq!(output(pass(fields.clone()), input.clone()), expected, "{fields}");
    }
}

#[test]
fn numbers_and_names_go_through_unchanged() {
    let input =
        json!({"big": u64::MAX, "small": i64::MIN, "odd": 0.1, "whole": 2.0, "tiny": 5e-324, "ключ\u{1F511}": "é"});
    assert_eq!(output(pass(json!({})), input.clone()).to_string(), input.to_string());
    let copied = output(pass(json!({"Parameters": {"b.$": "$.big", "k.$": "$.ключ\u{1F511}"}})), input);
    assert_eq!(copied.to_string(), json!({"b": u64::MAX, "k": "é"}).to_string());
    let text = "0.30000000000000004e-7";
    let read: Value = serde_json::from_str(text).unwrap();
    assert_eq!(read.as_f64(), text.parse().ok(), "floats are read exactly");
}

/// In Assign `$` is a Task's raw result, a Choice's and a Wait's effective input, a Pass state's result, a Catcher's error.
#[test]
fn assign_sees_what_the_state_type_gives_it() {
    let reads = json!({"Type": "Pass", "Parameters": {"v.$": "$v", "in.$": "$"}, "End": true});
    let go_on = json!({"Assign": {"v.$": "$"}, "Next": "R"});
    let more = |fields: Value| with(fields, go_on.clone());
    for (state, expected) in [
        (more(json!({"Type": "Task", "Resource": "urn:x:y", "ResultSelector": {"got": 1}})), json!({"raw": 5})),
        (more(json!({"Type": "Pass", "InputPath": "$.a", "ResultPath": null})), json!(1)),
        (more(json!({"Type": "Pass", "Result": "r"})), json!("r")),
        (more(json!({"Type": "Wait", "Seconds": 0, "InputPath": "$.a"})), json!(1)),
        (
            json!({"Type": "Choice", "InputPath": "$.a", "Default": "R", "Assign": {"v": "default"},
                "Choices": [{"Variable": "$", "NumericEquals": 1, "Next": "R", "Assign": {"v.$": "$"}}]}),
            json!(1),
        ),
        (
            json!({"Type": "Choice", "Default": "R", "Assign": {"v": "default"},
                "Choices": [{"Variable": "$.a", "NumericEquals": 2, "Next": "R", "Assign": {"v": "rule"}}]}),
            json!("default"),
        ),
    ] {
        let script = if state["Type"] == "Task" { json!({"S": [{"succeed": {"raw": 5}}]}) } else { json!({}) };
        let ended = run(machine("S", json!({"S": state, "R": reads})), json!({"a": 1}), script);
        assert_eq!(ended.output.map(|output| output["v"].clone()), Some(expected), "{state}");
    }
    let caught =
        task(json!({"Assign": {"v": "not this"}, "Catch": [{"ErrorEquals": ["E"], "Next": "R", "ResultPath": null,
        "Assign": {"v.$": "$.Error"}}]}));
    let ended = run(machine("S", json!({"S": caught, "R": reads})), json!({"a": 1}), json!({"S": [fail("E")]}));
    assert_eq!(ended.output, Some(json!({"v": "E", "in": {"a": 1}})));
}

#[test]
fn variables_are_assigned_together_from_what_stood_before() {
    let definition = machine(
        "A",
        json!({
            "A": pass(json!({"Assign": {"x": 1, "y": 2}, "Next": "B"})),
            "B": pass(json!({"Assign": {"x.$": "$y", "y.$": "$x"}, "Next": "C"})),
            "C": pass(json!({"Parameters": {"x.$": "$x", "y.$": "$y"}}))
        }),
    );
    assert_eq!(run(definition, json!({}), json!({})).output, Some(json!({"x": 2, "y": 1})));
}

#[test]
fn each_retrier_counts_for_itself_and_anew_when_the_state_is_entered_again() {
    let retry = json!([{"ErrorEquals": ["E"], "MaxAttempts": 1, "IntervalSeconds": 1},
        {"ErrorEquals": ["F"], "MaxAttempts": 2, "IntervalSeconds": 10, "BackoffRate": 1.0},
        {"ErrorEquals": ["G"], "MaxAttempts": 0}, {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 100, "MaxAttempts": 1}]);
    let definition = machine("T", json!({"T": task(json!({"Retry": retry}))}));
    for (fails, status, elapsed) in [
        (vec!["E", "F", "F"], Status::Succeeded, 21),
        (vec!["F", "E", "F", "F"], Status::Attention, 21),
        (vec!["E", "E"], Status::Attention, 1),
        (vec!["G"], Status::Attention, 0),
        (vec!["H", "E"], Status::Succeeded, 101),
        (vec!["H", "H"], Status::Attention, 100),
        (vec!["States.Runtime"], Status::Attention, 0),
    ] {
        let script: Vec<Value> = fails.iter().map(|error| fail(error)).collect();
        let ended = run(definition.clone(), json!({}), json!({ "T": script }));
        assert_eq!((ended.status, ended.elapsed_s), (status, elapsed.into()), "{fails:?}");
    }
    let again = machine(
        "T",
        json!({"T": task(json!({"Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 1}], "Next": "C"})),
            "C": {"Type": "Choice", "Choices": [{"Variable": "$.again", "BooleanEquals": true, "Next": "T"}], "Default": "D"},
            "D": {"Type": "Succeed"}}),
    );
    let script = json!({"T": [fail("E"), {"succeed": {"again": true}}, fail("E"), {"succeed": {"again": false}}]});
    assert_eq!(run(again, json!({}), script).status, Status::Succeeded);
}

#[test]
fn a_delay_is_capped_and_jitter_only_shortens_it() {
    let definition = |jitter: &str| {
        machine(
            "T",
            json!({"T": task(json!({"Retry": [{"ErrorEquals": ["E"], "IntervalSeconds": 2, "BackoffRate": 1e300,
            "MaxAttempts": 3, "MaxDelaySeconds": 5, "JitterStrategy": jitter}]}))}),
        )
    };
    let script = json!({"T": [fail("E"), fail("E"), fail("E")]});
    assert_eq!(run(definition("NONE"), json!({}), script.clone()).elapsed_s, 12.into());
    let jittered = run(definition("FULL"), json!({}), script).elapsed_s.as_f64().unwrap();
    assert!((0.0..12.0).contains(&jittered), "{jittered}");
}

#[test]
fn an_error_leaves_a_branch_by_its_own_name_and_a_retry_starts_all_branches_anew() {
    let branches = json!([machine("A", json!({"A": task(json!({}))})), machine("B", json!({"B": task(json!({}))}))]);
    let parallel = |more: Value| with(json!({"Type": "Parallel", "Branches": branches, "End": true}), more);
    let retried = machine("P", json!({"P": parallel(json!({"Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 1}]}))}));
    let ended =
        run(retried, json!({}), json!({"A": [{"succeed": 1}, {"succeed": 2}], "B": [fail("E"), {"succeed": 3}]}));
    assert_eq!((ended.output, ended.trace.len()), (Some(json!([2, 3])), 5));
    let script = json!({"B": [fail("E")]});
    let caught = |names: Value| {
        let state = parallel(json!({"ResultPath": "$.never",
            "Catch": [{"ErrorEquals": names, "Next": "C", "ResultPath": "$.e"}]}));
        run(machine("P", json!({"P": state, "C": {"Type": "Succeed"}})), json!({"a": 1}), script.clone())
    };
    for names in [json!(["E"]), json!(["States.BranchFailed"]), json!(["States.TaskFailed"]), json!(["States.ALL"])] {
        assert_eq!(caught(names).output, Some(json!({"a": 1, "e": {"Error": "E", "Cause": "c"}})));
    }
    assert_eq!(caught(json!(["States.Timeout"])).error.as_deref(), Some("E"));
}

#[test]
fn inner_catchers_come_first_and_what_they_cannot_place_goes_outwards() {
    let inner = |result_path: &str| {
        machine(
            "T",
            json!({"T": task(json!({"Catch": [{"ErrorEquals": ["E"], "Next": "I", "ResultPath": result_path}]})),
                "I": pass(json!({"Result": "inner"}))}),
        )
    };
    let outer = |result_path: &str| {
        machine(
            "P",
            json!({"P": {"Type": "Parallel", "Branches": [inner(result_path)], "End": true,
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "O"}]}, "O": {"Type": "Succeed"}}),
        )
    };
    let script = json!({"T": [fail("E")]});
    assert_eq!(run(outer("$.e"), json!({}), script.clone()).output, Some(json!(["inner"])));
    let outside = run(outer("$.e"), json!([1]), script.clone()).output.unwrap();
    assert_eq!(outside["Error"], "States.ResultPathMatchFailure");
    assert_eq!(run(inner("$.e"), json!([1]), script).error.as_deref(), Some("States.ResultPathMatchFailure"));
}

#[test]
fn fail_and_succeed_inside_a_branch() {
    let branch = |name: &str, state: Value| machine(name, json!({name: state}));
    let parallel = |first: Value, catch: Value| {
        let branches = json!([first, branch("B", task(json!({})))]);
        machine(
            "P",
            json!({"P": {"Type": "Parallel", "Branches": branches, "End": true, "Catch": catch}, "C": {"Type": "Succeed"}}),
        )
    };
    let succeed = branch("S", json!({"Type": "Succeed", "OutputPath": "$.a"}));
    let ended = run(parallel(succeed, json!([])), json!({"a": 1}), json!({"B": [{"succeed": 2}]}));
    assert_eq!(ended.output, Some(json!([1, 2])));
    let failing = branch("F", json!({"Type": "Fail", "Error": "Mine", "Cause": "why"}));
    let catch = json!([{"ErrorEquals": ["Mine"], "Next": "C"}]);
    let ended = run(parallel(failing.clone(), catch), json!({}), json!({}));
    assert_eq!(ended.output, Some(json!({"Error": "Mine", "Cause": "why"})));
    let ended = run(parallel(failing, json!([])), json!({}), json!({}));
    assert_eq!((ended.status, ended.error.as_deref()), (Status::Failed, Some("Mine")));
}

#[test]
fn no_choice_matched_is_caught_around_the_choice_only() {
    let choice = json!({"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "X"}]});
    let inner = machine("Q", json!({"Q": choice, "X": {"Type": "Succeed"}}));
    let ended = run(inner.clone(), json!({"n": 2}), json!({}));
    assert_eq!((ended.status, ended.error.as_deref()), (Status::Attention, Some("States.NoChoiceMatched")));
    let around = machine(
        "P",
        json!({"P": {"Type": "Parallel", "Branches": [inner], "End": true,
            "Catch": [{"ErrorEquals": ["States.NoChoiceMatched"], "Next": "C"}]}, "C": {"Type": "Succeed"}}),
    );
    assert_eq!(run(around, json!({"n": 2}), json!({})).output.unwrap()["Error"], "States.NoChoiceMatched");
}

#[test]
fn waits_take_the_time_they_say() {
    for (fields, elapsed) in [
        (json!({"Seconds": 0}), 0),
        (json!({"Seconds": 7}), 7),
        (json!({"SecondsPath": "$.n"}), 3),
        (json!({"SecondsPath": "$.float"}), 4),
        (json!({"Timestamp": "1999-01-01T00:00:00Z"}), 0),
        (json!({"TimestampPath": "$.past"}), 0),
        (json!({"SecondsPath": "$$.Execution.Input.n"}), 3),
        (json!({"SecondsPath": "$.n", "InputPath": "$.inner"}), 9),
    ] {
        let state = with(json!({"Type": "Wait", "End": true}), fields.clone());
        let input = json!({"n": 3, "float": 4.0, "past": "2000-02-29T23:59:60Z", "inner": {"n": 9}});
        let ended = run(machine("S", json!({"S": state})), input, json!({}));
        assert_eq!((ended.status, ended.elapsed_s), (Status::Succeeded, elapsed.into()), "{fields}");
    }
    for bad in [json!({"n": -1}), json!({"n": 1.5}), json!({"n": "3"}), json!({}), json!({"n": 1e300})] {
        let state = json!({"Type": "Wait", "SecondsPath": "$.n", "End": true});
        assert_eq!(run(machine("S", json!({"S": state})), bad.clone(), json!({})).status, Status::Attention, "{bad}");
    }
}

#[test]
fn timeouts_and_limits_come_from_the_effective_input() {
    let state = task(json!({"InputPath": "$.in", "TimeoutSecondsPath": "$.t",
        "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "C"}]}));
    let definition = machine("T", json!({"T": state, "C": {"Type": "Succeed"}}));
    let ended = run(definition.clone(), json!({"in": {"t": 12}}), json!({"T": [{"timeout": true}]}));
    assert_eq!((ended.status, ended.elapsed_s), (Status::Succeeded, 12.into()));
    assert_eq!(run(definition, json!({"in": {"t": 0}}), json!({})).status, Status::Attention);
    let map = json!({"Type": "Map", "InputPath": "$.in", "ItemsPath": "$.items", "MaxConcurrencyPath": "$.most",
        "ToleratedFailureCountPath": "$.may", "End": true, "ItemProcessor": machine("T", json!({"T": task(json!({}))}))});
    let input = json!({"in": {"items": [1, 2, 3], "most": 1, "may": 1}});
    let ended = run(machine("M", json!({"M": map})), input, json!({"T": [fail("E")]}));
    assert_eq!(ended.output, Some(json!([{"Error": "E", "Cause": "c"}, 2, 3])));
}

/// Recorded on AWS.
#[test]
fn a_map_is_refused_for_its_numbers_when_it_is_entered_and_no_items_error_is_hidden() {
    let map = json!({"Type": "Map", "ItemsPath": "$.items", "End": true, "ItemProcessor": machine("T", json!({"T": task(json!({}))}))});
    let ended = |more: Value, input: Value, script: Value| {
        run(machine("M", json!({"M": with(map.clone(), more)})), input, script)
    };
    for (field, bad) in [
        ("ToleratedFailureCountPath", json!(-1)),
        ("ToleratedFailureCountPath", json!("NoNumber")),
        ("ToleratedFailurePercentagePath", json!(101)),
        ("MaxConcurrencyPath", json!("many")),
    ] {
        let more = with(json!({}), json!({ (field): "$.t" }));
        let ended = ended(more, json!({"items": [1], "t": bad}), json!({"T": [{"succeed": 1}]}));
        assert_eq!(
            (ended.status, ended.error.as_deref()),
            (Status::Attention, Some("States.Runtime")),
            "{field} {bad}"
        );
    }
    let text = ended(json!({"MaxConcurrencyPath": "$.c"}), json!({"items": [1, 2], "c": "1"}), json!({}));
    assert_eq!(text.status, Status::Succeeded);
}

#[test]
fn a_fail_state_that_names_no_error_has_none() {
    let ended = run(machine("F", json!({"F": {"Type": "Fail"}})), json!({}), json!({}));
    assert_eq!((ended.status, ended.error, ended.cause), (Status::Failed, None, None));
}

#[test]
fn nothing_takes_the_error_states_runtime() {
    let state = task(json!({"InputPath": "$.missing", "Catch": [{"ErrorEquals": ["States.Runtime"], "Next": "C"}],
        "Retry": [{"ErrorEquals": ["States.Runtime"]}]}));
    let ended = run(machine("T", json!({"T": state, "C": pass(json!({}))})), json!({}), json!({}));
    assert_eq!((ended.status, ended.error.as_deref()), (Status::Attention, Some("States.Runtime")));
}

#[test]
fn maps_take_their_items_from_anywhere_and_nested_ones_count_for_themselves() {
    let map =
        |more: Value, processor: Value| with(json!({"Type": "Map", "End": true, "ItemProcessor": processor}), more);
    let plain = machine("I", json!({"I": pass(json!({}))}));
    assert_eq!(
        output(map(json!({"ItemsPath": "$.a.b[1]"}), plain.clone()), json!({"a": {"b": [0, [5, 6]]}})),
        json!([5, 6])
    );
    assert_eq!(
        output(map(json!({"ItemsPath": "$$.Execution.Input.x"}), plain.clone()), json!({"x": [null]})),
        json!([null])
    );
    let definition = machine(
        "A",
        json!({"A": pass(json!({"Assign": {"list.$": "$.x"}, "Next": "M"})),
            "M": map(json!({"ItemsPath": "$list", "ResultPath": "$.out"}), plain)}),
    );
    assert_eq!(run(definition, json!({"x": [1, 2]}), json!({})).output, Some(json!({"x": [1, 2], "out": [1, 2]})));
    let at = json!({"Parameters": {"at.$": "$$.Map.Item.Index", "is.$": "$$.Map.Item.Value"}});
    let inner = map(json!({"ItemsPath": "$.rows"}), machine("I", json!({"I": pass(at)})));
    let nested = map(json!({}), machine("N", json!({"N": inner})));
    let rows = json!([{"rows": ["a"]}, {"rows": ["b", null]}]);
    assert_eq!(output(nested, rows), json!([[{"at": 0, "is": "a"}], [{"at": 0, "is": "b"}, {"at": 1, "is": null}]]));
    let selected = map(
        json!({"ItemsPath": "$.x", "ItemSelector": {"i.$": "$$.Map.Item.Index", "all.$": "$.x"}}),
        machine("I", json!({"I": pass(json!({"OutputPath": "$.i"}))})),
    );
    assert_eq!(output(selected, json!({"x": [7, 8]})), json!([0, 1]));
}

#[test]
fn a_map_is_retried_whole_and_fails_by_name_when_too_many_items_fail() {
    let map = |more: Value| {
        let processor = machine("T", json!({"T": task(json!({}))}));
        with(json!({"Type": "Map", "MaxConcurrency": 1, "End": true, "ItemProcessor": processor}), more)
    };
    let retried = machine("M", json!({"M": map(json!({"Retry": [{"ErrorEquals": ["E"]}]}))}));
    let ended = run(retried, json!([1, 2]), json!({"T": [{"succeed": 1}, fail("E"), {"succeed": 3}]}));
    assert_eq!(ended.output, Some(json!([3, 2])));
    let threshold = map(json!({"ToleratedFailurePercentage": 50,
        "Catch": [{"ErrorEquals": ["States.ExceedToleratedFailureThreshold"], "Next": "C"}]}));
    let definition = machine("M", json!({"M": threshold, "C": {"Type": "Succeed"}}));
    let two_fail = json!({"T": [fail("E"), fail("E")]});
    let kept = run(definition.clone(), json!([1, 2, 3, 4]), two_fail.clone()).output.unwrap();
    assert_eq!(kept[2], 3);
    let over = run(definition, json!([1, 2, 3]), two_fail).output.unwrap();
    assert_eq!(over["Error"], "States.ExceedToleratedFailureThreshold");
}

#[test]
fn data_that_doubles_or_nests_without_end_stops_before_the_process_does() {
    let turn = |parameters: Value| machine("A", json!({"A": {"Type": "Pass", "Parameters": parameters, "Next": "A"}}));
    for parameters in [json!({"a.$": "$", "b.$": "$"}), json!({"a.$": "$"}), json!({"a.$": "States.Array($, $)"})] {
        let ended = run(turn(parameters.clone()), json!("x"), json!({}));
        assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"), "{parameters}");
    }
    let assigned = machine(
        "A",
        json!({"A": {"Type": "Pass", "Assign": {"v": "long enough to grow"}, "Next": "B"},
            "B": {"Type": "Pass", "Assign": {"v.$": "States.Format('{}{}', $v, $v)"}, "Next": "B"}}),
    );
    assert_eq!(run(assigned, json!({}), json!({})).error.as_deref(), Some("States.DataLimitExceeded"));
    let escaped =
        r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "InputPath": "\u0024\u0024.State.Name", "End": true}}}"#;
    assert_eq!(run(serde_json::from_str(escaped).unwrap(), json!({}), json!({})).output, Some(json!("A")));
    let loaded = crate::engine::Definition::load(escaped).unwrap();
    assert!(loaded.definition.reads_context, "a `$` may be written as an escape");
}

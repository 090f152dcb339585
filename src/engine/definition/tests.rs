use serde_json::{Value, json};

use super::*;

fn load(value: &Value) -> Result<Loaded, Vec<Problem>> {
    Definition::load(&value.to_string())
}

/// A definition of one state `S` with the given members.
fn one(state: Value) -> Value {
    json!({"StartAt": "S", "States": {"S": state}})
}

fn problems(value: &Value) -> Vec<(String, String)> {
    load(value).err().unwrap_or_default().into_iter().map(|problem| (problem.pointer, problem.reason)).collect()
}

#[test]
fn every_state_type_loads_with_all_its_fields() {
    let value = json!({
        "Comment": "all", "Version": "1.0", "QueryLanguage": "JSONPath", "TimeoutSeconds": 3600, "StartAt": "T",
        "States": {
            "T": {"Type": "Task", "Resource": "urn:keyferry:step:probe", "InputPath": "$.a", "OutputPath": null,
                  "Parameters": {"x.$": "$.y", "id.$": "$$.Execution.Id"}, "ResultSelector": {"r.$": "$.r"}, "ResultPath": "$.out",
                  "TimeoutSecondsPath": "$.t", "HeartbeatSeconds": 5, "Assign": {"v.$": "$.r"},
                  "Retry": [{"ErrorEquals": ["E", "States.Timeout"], "IntervalSeconds": 2, "MaxAttempts": 0, "BackoffRate": 1.5,
                             "MaxDelaySeconds": 10, "JitterStrategy": "FULL"}, {"ErrorEquals": ["States.ALL"]}],
                  "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "F", "ResultPath": "$.error", "Assign": {"e.$": "$.Error"}}],
                  "Next": "C"},
            "C": {"Type": "Choice", "Choices": [{"Variable": "$.a", "IsPresent": true, "Next": "P", "Assign": {"w": 1}}], "Default": "W"},
            "P": {"Type": "Parallel", "Branches": [{"StartAt": "B1", "States": {"B1": {"Type": "Succeed"}}}], "Next": "M"},
            "M": {"Type": "Map", "ItemsPath": "$.items", "ItemSelector": {"i.$": "$$.Map.Item.Index"}, "MaxConcurrency": 2,
                  "ToleratedFailurePercentage": 10, "ToleratedFailureCountPath": "$.n",
                  "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "I", "States": {"I": {"Type": "Pass", "End": true}}}, "Next": "W"},
            "W": {"Type": "Wait", "TimestampPath": "$.when", "Next": "X"},
            "X": {"Type": "Pass", "Result": {"a": 1}, "Next": "S"},
            "S": {"Type": "Succeed"},
            "F": {"Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.Format('{}', $.c)"}
        }
    });
    let loaded = load(&value).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.definition.states().count(), 10);
    assert!(loaded.definition.reads_context);
    assert_eq!(loaded.definition.hash.len(), 64);
}

#[test]
fn what_is_refused_is_refused_at_its_place() {
    let task = |more: Value| {
        let mut task = json!({"Type": "Task", "Resource": "urn:x:y", "End": true});
        if let (Value::Object(task), Value::Object(more)) = (&mut task, more) {
            task.extend(more);
        }
        one(task)
    };
    let map = |more: Value| {
        let mut map = json!({"Type": "Map", "End": true, "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Succeed"}}}});
        if let (Value::Object(map), Value::Object(more)) = (&mut map, more) {
            map.extend(more);
        }
        one(map)
    };
    for (value, pointer) in [
        (json!([]), ""),
        (json!({"States": {"S": {"Type": "Succeed"}}}), ""),
        (json!({"StartAt": "X", "States": {"S": {"Type": "Succeed"}}}), "/StartAt"),
        (json!({"StartAt": "S", "States": {}}), "/States"),
        (one(json!({"Type": "Nope"})), "/States/S/Type"),
        (one(json!({"Type": "Pass"})), "/States/S"),
        (one(json!({"Type": "Pass", "Next": "S", "End": true})), "/States/S/End"),
        (one(json!({"Type": "Pass", "Next": "Gone"})), "/States/S/Next"),
        (one(json!({"Type": "Pass", "End": false})), "/States/S/End"),
        (one(json!({"Type": "Succeed", "Next": "S"})), "/States/S/Next"),
        (one(json!({"Type": "Succeed", "ResultPath": "$.a"})), "/States/S/ResultPath"),
        (task(json!({"QueryLanguage": "JSONata"})), "/States/S/QueryLanguage"),
        (task(json!({"Resource": "no uri"})), "/States/S/Resource"),
        (task(json!({"Resource": "urn:keyferry:step:Bad_Name"})), "/States/S/Resource"),
        (task(json!({"TimeoutSeconds": 0})), "/States/S/TimeoutSeconds"),
        (task(json!({"TimeoutSeconds": 5, "TimeoutSecondsPath": "$.a"})), "/States/S/TimeoutSecondsPath"),
        (task(json!({"TimeoutSeconds": 5, "HeartbeatSeconds": 5})), "/States/S/HeartbeatSeconds"),
        (task(json!({"ResultPath": "$$.a"})), "/States/S/ResultPath"),
        (task(json!({"ResultPath": "$.a[*]"})), "/States/S/ResultPath"),
        (task(json!({"InputPath": "a"})), "/States/S/InputPath"),
        (task(json!({"Parameters": {"a.$": 1}})), "/States/S/Parameters/a.$"),
        (task(json!({"Retry": [{"ErrorEquals": []}]})), "/States/S/Retry/0/ErrorEquals"),
        (task(json!({"Retry": [{"ErrorEquals": ["States.ALL", "E"]}]})), "/States/S/Retry/0/ErrorEquals"),
        (
            task(json!({"Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}]})),
            "/States/S/Retry/0/ErrorEquals",
        ),
        (task(json!({"Retry": [{"ErrorEquals": ["E"], "BackoffRate": 0.5}]})), "/States/S/Retry/0/BackoffRate"),
        (
            task(json!({"Retry": [{"ErrorEquals": ["E"], "JitterStrategy": "SOME"}]})),
            "/States/S/Retry/0/JitterStrategy",
        ),
        (task(json!({"Retry": [{"ErrorEquals": ["E"], "Delay": 1}]})), "/States/S/Retry/0/Delay"),
        (task(json!({"Catch": [{"ErrorEquals": ["E"]}]})), "/States/S/Catch/0"),
        (task(json!({"Catch": [{"ErrorEquals": ["E"], "Next": "Gone"}]})), "/States/S/Catch/0/Next"),
        (task(json!({"Assign": {"1a": 1}})), "/States/S/Assign/1a"),
        (task(json!({"Surprise": 1})), "/States/S/Surprise"),
        (task(json!({"Parameters": "text"})), "/States/S/Parameters"),
        (task(json!({"ResultSelector": null})), "/States/S/ResultSelector"),
        (task(json!({"Credentials": "role"})), "/States/S/Credentials"),
        (task(json!({"Credentials": {"RoleArn.$": "role"}})), "/States/S/Credentials/RoleArn.$"),
        (one(json!({"Type": "Pass", "End": "yes"})), "/States/S/End"),
        (map(json!({"ItemSelector": [1]})), "/States/S/ItemSelector"),
        (map(json!({"ToleratedFailurePercentage": 100.5})), "/States/S/ToleratedFailurePercentage"),
        (
            map(json!({"ToleratedFailurePercentage": 1, "ToleratedFailurePercentagePath": "$.p"})),
            "/States/S/ToleratedFailurePercentagePath",
        ),
        (
            one(json!({"Type": "Choice", "Choices": [{"Condition": "{% true %}", "Next": "S"}], "Default": "S"})),
            "/States/S/Choices/0/Condition",
        ),
        (
            one(json!({"Type": "Choice", "Choices": [{"Variable": "$", "IsNull": true, "Output": 1, "Next": "S"}]})),
            "/States/S/Choices/0/Output",
        ),
        (one(json!({"Type": "Wait", "Seconds": 1, "Timestamp": "2026-01-01T00:00:00Z", "End": true})), "/States/S"),
        (one(json!({"Type": "Wait", "Timestamp": "2026-01-01 00:00:00", "End": true})), "/States/S/Timestamp"),
        (one(json!({"Type": "Choice"})), "/States/S/Choices"),
        (one(json!({"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": true}]})), "/States/S/Choices/0"),
        (
            one(json!({"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": true, "Next": "S"}], "End": true})),
            "/States/S/End",
        ),
        (one(json!({"Type": "Parallel", "Branches": [], "End": true})), "/States/S/Branches"),
        (one(json!({"Type": "Map", "End": true})), "/States/S"),
        (
            one(
                json!({"Type": "Map", "End": true, "ItemReader": {}, "ItemProcessor": {"StartAt": "I", "States": {"I": {"Type": "Succeed"}}}}),
            ),
            "/States/S/ItemReader",
        ),
        (
            one(
                json!({"Type": "Map", "End": true, "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "I", "States": {"I": {"Type": "Succeed"}}}}),
            ),
            "/States/S/ItemProcessor/ProcessorConfig/Mode",
        ),
        (
            one(
                json!({"Type": "Parallel", "End": true, "Branches": [{"StartAt": "S", "States": {"S": {"Type": "Succeed"}}}]}),
            ),
            "/States/S/Branches/0/States/S",
        ),
        (
            one(
                json!({"Type": "Parallel", "End": true, "Branches": [{"StartAt": "B", "States": {"B": {"Type": "Pass", "Next": "S"}}}]}),
            ),
            "/States/S/Branches/0/States/B/Next",
        ),
        (one(json!({"Type": "Fail", "Error": "E", "ErrorPath": "$.e"})), "/States/S/ErrorPath"),
        (one(json!({"Type": "Fail", "Retry": []})), "/States/S/Retry"),
        (json!({"StartAt": "S", "States": {"S": {"Type": "Succeed"}}, "Version": "2.0"}), "/Version"),
        (json!({"StartAt": "S", "States": {"S": {"Type": "Succeed"}}, "TimeoutSeconds": "1"}), "/TimeoutSeconds"),
    ] {
        let found = problems(&value);
        assert!(found.iter().any(|problem| problem.0 == pointer), "{value}\nwanted {pointer}, found {found:?}");
    }
}

#[test]
fn a_name_given_twice_is_seen() {
    let text = r#"{"StartAt": "S", "States": {"S": {"Type": "Succeed"}, "S": {"Type": "Succeed"}}}"#;
    assert_eq!(Definition::load(text).unwrap_err().first().unwrap().pointer, "/States/S");
    assert!(Definition::load("{").unwrap_err().first().unwrap().reason.contains("line 1"));
}

#[test]
fn warnings_do_not_refuse() {
    let value = json!({"StartAt": "S", "States": {"S": {"Type": "Succeed"}, "Lonely": {"Type": "Succeed"}}});
    assert_eq!(load(&value).unwrap().warnings.first().unwrap().pointer, "/States/Lonely");
}

#[test]
fn what_leads_nowhere_is_warned_of() {
    let warned = |value: Value| -> Vec<String> {
        let warnings = load(&value).unwrap().warnings;
        warnings.into_iter().map(|problem| format!("{}: {}", problem.pointer, problem.reason)).collect()
    };
    let reads = |path: &str| {
        let parameters = json!({"a": [{"x.$": path}]});
        warned(json!({"StartAt": "S", "States": {"S": {"Type": "Pass", "Parameters": parameters, "End": true}}}))
    };
    let here = "/States/S/Parameters/a/0/x.$";
    for (path, said) in [
        ("$$.Exection.Id", "no `Exection`: it has Execution"),
        ("$$.Execution.RoleArn", "`$$.Execution` has no `RoleArn`: it has Enterprise, Id, Input"),
        ("States.Format('{}', $$.State.Nmae)", "`$$.State` has no `Nmae`"),
    ] {
        let found = reads(path);
        assert!(found.len() == 1 && found[0].starts_with(here) && found[0].contains(said), "{path}: {found:?}");
    }
    for path in [
        "$$",
        "$$.Execution",
        "$$.Execution.Input.a.b",
        "$$.Map.Item.Value.x",
        "$$.Task.Token",
        "$$.Execution.Enterprise",
        "$$.Execution.RedriveCount",
        "$$['Execution']",
    ] {
        assert_eq!(reads(path), Vec::<String>::new(), "{path}");
    }
    // AWS takes it; here nothing raises it.
    let names = json!({"ErrorEquals": ["States.Http.Socket", "E"], "Next": "S"});
    let state = json!({"Type": "Task", "Resource": "urn:keyferry:step:a", "Catch": [names], "End": true});
    let names = warned(json!({"StartAt": "S", "States": {"S": state}}));
    assert_eq!(
        names,
        ["/States/S/Catch/0/ErrorEquals/0: `States.Http.Socket` is none of the predefined errors: nothing raises it"]
    );
    let round = warned(json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}, "C": {"Type": "Succeed"}}}));
    assert!(round[0].starts_with(": no state that can be reached ends it"), "{round:?}");
    let inner = json!({"StartAt": "I", "States": {"I": {"Type": "Pass", "Next": "I"}}});
    let inner = warned(json!({"StartAt": "M", "States": {"M": {"Type": "Map", "ItemProcessor": inner, "End": true}}}));
    assert_eq!(inner.len(), 1, "{inner:?}");
    assert!(inner[0].starts_with("/States/M/ItemProcessor: no state"), "{inner:?}");
}

#[test]
fn what_other_tools_leave_in_a_text_is_called_by_its_name() {
    let resource = one(json!({"Type": "Task", "Resource": "${FunctionArn}", "End": true}));
    let found = problems(&resource);
    assert!(found[0].1.contains("`${FunctionArn}` is a template's parameter"), "{found:?}");
    let length = one(json!({"Type": "Pass", "Parameters": {"r.$": "$.arr.length()"}, "End": true}));
    let found = problems(&length);
    assert!(found[0].1.contains("States.ArrayLength"), "{found:?}");
}

/// A state with a mistake in it is neither missing to the others nor excused from anything else.
#[test]
fn one_mistake_hides_no_other_and_makes_none() {
    let text = r#"{"Version": "1.0", "Version": "1.0", "StartAt": "A", "States": {
        "A": {"Type": "Task", "Resource": "no uri", "Extra": 1, "Next": "Gone"},
        "B": {"Next": "A"},
        "C": {"Type": "Choice", "End": true, "Extra": 1},
        "D": {"Type": "Map", "Iterator": {"StartAt": "I", "States": {"I": {"Type": "Succeed"}}},
              "ItemProcessor": {"StartAt": "J", "States": {"J": {"Type": "Pass", "Next": "A"}}}, "Extra": 1, "Next": "C"}}}"#;
    let found: Vec<String> = Definition::load(text).unwrap_err().into_iter().map(|problem| problem.pointer).collect();
    for pointer in [
        "/Version",
        "/States/A/Resource",
        "/States/A/Extra",
        "/States/A/Next",
        "/States/B",
        "/States/C/Choices",
        "/States/C/End",
        "/States/C/Extra",
        "/States/D",
        "/States/D/Extra",
        "/States/D/ItemProcessor/States/J/Next",
    ] {
        assert_eq!(found.iter().filter(|at| *at == pointer).count(), 1, "{pointer} in {found:?}");
    }
    assert_eq!(found.len(), 11, "{found:?}");
    let report = crate::engine::check(text, |_| false);
    assert!(report.warnings.iter().any(|warning| warning.pointer == "/States/D"), "{:?}", report.warnings);
    let no_start = r#"{"StartAt": "X", "States": {"A": {"Type": "Pass", "InputPath": "$x", "End": true}}}"#;
    let report = crate::engine::check(no_start, |_| false);
    assert_eq!((report.problems.len(), report.warnings.len()), (1, 0), "{report:?}");
}

#[test]
fn a_longest_wait_below_the_first_is_legal() {
    let retry = json!([{"ErrorEquals": ["E"], "IntervalSeconds": 10, "MaxDelaySeconds": 4}]);
    let loaded = load(&one(json!({"Type": "Task", "Resource": "urn:x:y", "End": true, "Retry": retry}))).unwrap();
    assert_eq!(loaded.definition.state("S").unwrap().retry[0].max_delay_s, Some(4));
}

#[test]
fn an_end_that_is_false_is_no_end() {
    let ends = |state: Value| json!({"StartAt": "A", "States": {"A": state, "B": {"Type": "Succeed"}}});
    assert!(load(&ends(json!({"Type": "Pass", "End": false, "Next": "B"}))).is_ok());
    assert_eq!(problems(&ends(json!({"Type": "Pass", "End": false})))[0].0, "/States/A/End");
}

#[test]
fn scopes_do_not_share_a_variables_name() {
    let around = |outer: &str, inner: Value| {
        json!({"StartAt": "P", "States": {
            "P": {"Type": "Parallel", "Branches": [{"StartAt": "I", "States": {"I": inner}}], "Next": "Z"},
            "Z": {"Type": "Pass", "Assign": {outer: 1}, "End": true}}})
    };
    let pass = |assign: Value| json!({"Type": "Pass", "Assign": assign, "End": true});
    assert!(load(&around("x", pass(json!({"y": 1})))).is_ok());
    assert_eq!(
        problems(&around("x", pass(json!({"x.$": "$"})))).first().unwrap().0,
        "/States/P/Branches/0/States/I/Assign/x.$"
    );
    let rule = json!({"Variable": "$", "IsNull": true, "Next": "I", "Assign": {"x": 1}});
    assert_eq!(
        problems(&around("x", json!({"Type": "Choice", "Choices": [rule], "Default": "I"}))).first().unwrap().0,
        "/States/P/Branches/0/States/I/Choices/0/Assign/x"
    );
    let reads = |name: &str| around("x", json!({"Type": "Pass", "Parameters": {"a.$": name}, "End": true}));
    assert!(load(&reads("$x")).unwrap().warnings.is_empty());
    assert_eq!(load(&reads("$y.b")).unwrap().warnings.first().unwrap().pointer, "/States/P/Branches/0/States/I");
}

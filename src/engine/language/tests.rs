use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn with_scope<T>(input: &Value, look: impl FnOnce(&Scope) -> T) -> T {
    let own = json!({"Execution": {"Id": "run-1"}, "State": {"Name": "Here"}});
    let lent = json!({"deep": [1, 2]});
    let context = Context { own, lent: vec![(&["Execution", "Input"], &lent), (&["Map", "Item", "Value"], &lent)] };
    let mut variables = Map::new();
    variables.insert("order".to_owned(), json!({"items": [10, 20, 30]}));
    let chance = Chance::new(7);
    look(&Scope { input, context: &context, variables: &[&variables], chance: &chance })
}

fn path(text: &str, input: &Value) -> Result<Value, String> {
    let path = Path::parse(text)?;
    with_scope(input, |scope| path.evaluate(scope)).map_err(|failure| failure.error)
}

fn call(text: &str, input: &Value) -> Result<Value, String> {
    let expression = Expression::parse(text)?;
    with_scope(input, |scope| expression.evaluate(scope)).map_err(|failure| failure.error)
}

fn rule(rule: Value, input: &Value) -> Result<bool, String> {
    let rule = Rule::parse(&rule, "").map_err(|problems| format!("{problems:?}"))?;
    with_scope(input, |scope| rule.evaluate(scope)).map_err(|failure| failure.error)
}

#[test]
fn definite_paths_stand_for_the_node_itself() {
    let input = json!({"a": {"b-c": [1, {"d.e": "x"}]}, "ü": 1, "store": {"book": [{"price": 8}, {"price": 12}]}});
    for (text, expected) in [
        ("$", input.clone()),
        ("$.a.b-c[0]", json!(1)),
        ("$.a['b-c'][1]['d.e']", json!("x")),
        ("$.a.b-c[1].d\\.e", json!("x")),
        ("$.ü", json!(1)),
        ("$.a.b-c[-2]", json!(1)),
        ("$$.Execution.Id", json!("run-1")),
        ("$$.Execution.Input.deep[1]", json!(2)),
        ("$$.Execution.Input", json!({"deep": [1, 2]})),
        ("$$.Execution", json!({"Id": "run-1", "Input": {"deep": [1, 2]}})),
        ("$$.Map", json!({"Item": {"Value": {"deep": [1, 2]}}})),
        ("$$..deep[0]", json!([1, 1])),
        ("$order.items[1]", json!(20)),
        ("$order", json!({"items": [10, 20, 30]})),
    ] {
        assert_eq!(path(text, &input), Ok(expected), "{text}");
    }
    assert_eq!(path("$.missing", &input), Err("States.ParameterPathFailure".to_owned()));
    assert_eq!(path("$nobody", &input), Err("States.ParameterPathFailure".to_owned()));
}

#[test]
fn indefinite_paths_stand_for_all_they_match() {
    let input = json!({"store": {"book": [{"price": 8, "in-stock": true}, {"price": 12}], "bike": {"price": 20}}});
    for (text, expected) in [
        ("$.store.book[*].price", json!([8, 12])),
        ("$..price", json!([8, 12, 20])),
        ("$.store.book[?(@.price < 10)].price", json!([8])),
        ("$.store.book[?(@.price == 12 || @.price == 8)].price", json!([8, 12])),
        ("$.store.book[0:1].price", json!([8])),
        ("$.store.book[0,1].price", json!([8, 12])),
        ("$.store.book[*].in-stock", json!([true])),
        ("$.nothing[*]", json!([])),
        ("$.store.['bike'].price", json!(20)),
    ] {
        assert_eq!(path(text, &input), Ok(expected), "{text}");
    }
}

#[test]
fn malformed_paths_are_refused_with_a_reason() {
    for text in ["", "a", "$.", "$.a[", "$a b", "$.a..", "$[?(", "$.a b", "$x.y.(z)"] {
        assert!(Path::parse(text).is_err(), "{text}");
    }
    for text in ["$.a[*]", "$..a", "$.a[0:1]", "$.a[-1]", "$.a[?(@.b)]"] {
        assert!(ReferencePath::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_result_path_makes_what_is_missing_on_its_way() {
    let put = |text: &str, target: Value| {
        ReferencePath::parse(text).unwrap().put(target, json!(1)).map_err(|failure| failure.error)
    };
    assert_eq!(put("$", json!({"a": 2})), Ok(json!(1)));
    assert_eq!(put("$.b.c", json!({"a": 2})), Ok(json!({"a": 2, "b": {"c": 1}})));
    assert_eq!(put("$.a[1]", json!({"a": [0, 0]})), Ok(json!({"a": [0, 1]})));
    assert_eq!(put("$.a[2]", json!({"a": [0, 0]})), Err("States.ResultPathMatchFailure".to_owned()));
    assert_eq!(put("$.a.b", json!({"a": "text"})), Err("States.ResultPathMatchFailure".to_owned()));
}

#[test]
fn templates_compute_what_ends_in_dollar() {
    let template = json!({"plain": 1, "name.$": "$.n", "deep": {"id.$": "$$.Execution.Id"}, "list": [{"x.$": "$order.items[0]"}, 2]});
    let parsed = Template::parse(&template, "").unwrap();
    let made = with_scope(&json!({"n": [1]}), |scope| parsed.evaluate(scope)).unwrap();
    assert_eq!(made, json!({"plain": 1, "name": [1], "deep": {"id": "run-1"}, "list": [{"x": 10}, 2]}));
    let problems =
        Template::parse(&json!({"a": {"b.$": 3, "c.$": "x", "d.$": "$.q", "d": 1}}), "/Parameters").unwrap_err();
    let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(pointers, ["/Parameters/a/b.$", "/Parameters/a/c.$", "/Parameters/a/d.$"]);
}

#[test]
fn intrinsic_functions_answer_as_documented() {
    let input = json!({"name": "Foo", "n": [1, 2, 2, 3], "o": {"a": 1}, "p": {"a": 2, "b": 3}, "half": 2.5, "j": "{\"x\": [1]}",
        "q": {"b": 3.0, "a": 2}, "lines": "RGVjb2Rl\r\nZCBkYXRh\r\n"});
    for (text, expected) in [
        ("States.Format('Hello, my name is {}.', $.name)", json!("Hello, my name is Foo.")),
        ("States.Format('{} \\{\\} it\\'s {}', $.half, null)", json!("2.5 {} it's null")),
        ("States.StringToJson($.j)", json!({"x": [1]})),
        ("States.JsonToString($.o)", json!("{\"a\":1}")),
        ("States.Array('a', $.name, 3, true, null)", json!(["a", "Foo", 3, true, null])),
        ("States.Array()", json!([])),
        ("States.ArrayPartition($.n, 3)", json!([[1, 2, 2], [3]])),
        ("States.ArrayContains($.n, 3)", json!(true)),
        ("States.ArrayContains($.n, '3')", json!(false)),
        ("States.ArrayContains($.n, 3.0)", json!(true)),
        ("States.ArrayContains(States.Array($.p), $.q)", json!(true)),
        ("States.ArrayUnique(States.Array(1, 1.0, 1.5, '1'))", json!([1, 1.5, "1"])),
        ("States.Base64Decode($.lines)", json!("Decoded data")),
        ("States.ArrayRange(1, 9, 2)", json!([1, 3, 5, 7, 9])),
        ("States.ArrayRange(5, 1, -2)", json!([5, 3, 1])),
        ("States.ArrayGetItem($.n, 3)", json!(3)),
        ("States.ArrayLength($.n)", json!(4)),
        ("States.ArrayUnique($.n)", json!([1, 2, 3])),
        ("States.Base64Encode('Data to encode')", json!("RGF0YSB0byBlbmNvZGU=")),
        ("States.Base64Decode('RGVjb2RlZCBkYXRh')", json!("Decoded data")),
        ("States.Hash('input data', 'SHA-1')", json!("aaff4a450a104cd177d28d18d74485e8cae074b7")),
        ("States.Hash('', 'MD5')", json!("d41d8cd98f00b204e9800998ecf8427e")),
        ("States.JsonMerge($.o, $.p, false)", json!({"a": 2, "b": 3})),
        ("States.MathAdd(111, -1)", json!(110)),
        ("States.MathAdd($.half, 1)", json!(4)),
        ("States.MathAdd(-1.5, 0)", json!(-1)),
        ("States.MathAdd(-0.5, 0.5)", json!(1)),
        ("States.MathAdd(-1.49, -1.5)", json!(-2)),
        ("States.MathAdd(0.49999999999999994, -0.5)", json!(0)),
        ("States.StringToJson(' ')", json!(null)),
        ("States.StringToJson('')", json!(null)),
        ("States.Format('{}', $.n)", json!("[1, 2, 2, 3]")),
        ("States.Format('is {}', $.q)", json!("is {b=3.0, a=2}")),
        ("States.Format('{}', States.Array(1, null, $.o))", json!("[1, null, {a=1}]")),
        ("States.StringSplit('This.is+a,test=string', '.+,=')", json!(["This", "is", "a", "test", "string"])),
        ("States.StringSplit('1,,2', ',')", json!(["1", "2"])),
        ("States.Format('{}', States.JsonToString(States.Array(1, States.Array(2))))", json!("[1,[2]]")),
        ("States.ArrayLength($.n[?(@ > 1)])", json!(3)),
    ] {
        assert_eq!(call(text, &input), Ok(expected), "{text}");
    }
    for text in [
        "States.ArrayRange(1, 2000, 1)",
        "States.ArrayRange(1, 2, 0)",
        "States.ArrayGetItem($.n, 4)",
        "States.ArrayPartition($.n, 0)",
        "States.StringToJson('{')",
        "States.Hash('a', 'CRC')",
        "States.JsonMerge($.o, $.p, true)",
        "States.MathRandom(5, 5)",
        "States.MathAdd(2147483647, 1)",
        "States.Format('{}{}', 1)",
        "States.Base64Decode('*')",
        "States.ArrayLength($.name)",
    ] {
        assert_eq!(call(text, &input), Err("States.IntrinsicFailure".to_owned()), "{text}");
    }
    for text in [
        "States.Nothing()",
        "States.Format()",
        "States.Array(1",
        "States.Array('a)",
        "States.UUID(1)",
        "States.Array(a)",
        "States.Format('a\\nb')",
        "States.Array('open \\ ')",
    ] {
        assert!(Expression::parse(text).is_err(), "{text}");
    }
}

#[test]
fn chance_is_drawn_from_the_seed_alone() {
    let first = call("States.UUID()", &Value::Null).unwrap();
    assert_eq!(call("States.UUID()", &Value::Null).unwrap(), first);
    assert_eq!(first.as_str().unwrap().len(), 36);
    assert_eq!(first.as_str().unwrap().as_bytes()[14], b'4');
    for seed in 0..200 {
        let drawn = call(&format!("States.MathRandom(-3, 4, {seed})"), &Value::Null).unwrap().as_i64().unwrap();
        assert!((-3..4).contains(&drawn), "{drawn}");
    }
}

#[test]
fn nesting_of_calls_ends_at_ten() {
    let nested = |depth: usize| format!("{}1{}", "States.Array(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(10)).is_ok());
    assert!(Expression::parse(&nested(11)).is_err());
    assert!(Expression::parse(&nested(100_000)).is_err());
}

#[test]
fn every_comparison_holds_for_its_own_type_only() {
    let input = json!({"s": "b", "n": 2, "big": 9_007_199_254_740_993_u64, "t": "2026-01-02T03:04:05Z", "b": true, "x": null, "c": "c", "three": 3, "none": [], "some": [null]});
    for (variable, operator, operand, expected) in [
        ("$.s", "StringEquals", json!("b"), true),
        ("$.n", "StringEquals", json!("2"), false),
        ("$.s", "StringLessThan", json!("c"), true),
        ("$.s", "StringGreaterThanEquals", json!("b"), true),
        ("$.s", "StringLessThanPath", json!("$.c"), true),
        ("$.n", "NumericEquals", json!(2.0), true),
        ("$.n", "NumericLessThan", json!(2), false),
        ("$.n", "NumericLessThanEquals", json!(2), true),
        ("$.n", "NumericGreaterThanPath", json!("$.three"), false),
        ("$.big", "NumericEquals", json!(9_007_199_254_740_992_u64), false),
        ("$.s", "NumericEquals", json!(2), false),
        ("$.b", "BooleanEquals", json!(true), true),
        ("$.b", "BooleanEqualsPath", json!("$.b"), true),
        ("$.t", "TimestampEquals", json!("2026-01-02T05:04:05+02:00"), true),
        ("$.t", "TimestampLessThan", json!("2026-01-02T03:04:06Z"), true),
        ("$.s", "TimestampEquals", json!("2026-01-02T03:04:06Z"), false),
        ("$.s", "IsString", json!(true), true),
        ("$.n", "IsNumeric", json!(true), true),
        ("$.x", "IsNull", json!(true), true),
        ("$.t", "IsTimestamp", json!(true), true),
        ("$.s", "IsTimestamp", json!(false), true),
        ("$.b", "IsBoolean", json!(true), true),
        ("$.gone", "IsPresent", json!(false), true),
        ("$.x", "IsPresent", json!(true), true),
        ("$nobody", "IsPresent", json!(false), true),
        ("$.none[*]", "IsPresent", json!(true), false),
        ("$.some[*]", "IsPresent", json!(true), true),
        ("$.none", "IsPresent", json!(true), true),
    ] {
        let written = json!({"Variable": variable, operator: operand, "Next": "N"});
        assert_eq!(rule(written.clone(), &input), Ok(expected), "{written}");
    }
    assert_eq!(rule(json!({"Variable": "$.gone", "IsNull": true}), &input), Err("States.Runtime".to_owned()));
    assert_eq!(
        rule(json!({"Variable": "$.s", "StringEqualsPath": "$.gone"}), &input),
        Err("States.Runtime".to_owned())
    );
}

#[test]
fn string_matches_takes_stars_and_escapes() {
    let matches = |pattern: &str, text: &str| rule(json!({"Variable": "$", "StringMatches": pattern}), &json!(text));
    for (pattern, text, expected) in [
        ("log-*.txt", "log-2020.txt", true),
        ("log-*.txt", "log-.txt", true),
        ("log-*.txt", "log-2020.txt.gz", false),
        ("*.log", "zebra.log", true),
        ("foo*.*", "foobar.zebra", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a\\\\b", "a\\b", true),
        ("*a*b*", "xxaxxbxx", true),
        ("", "", true),
        ("*", "", true),
    ] {
        assert_eq!(matches(pattern, text), Ok(expected), "{pattern} {text}");
    }
    assert!(rule(json!({"Variable": "$", "StringMatches": "a\\b"}), &json!("")).is_err());
    let slow = "*a".repeat(500);
    assert_eq!(matches(&slow, &"b".repeat(5_000)), Ok(false));
}

#[test]
fn and_or_not_nest() {
    let input = json!({"n": 5});
    let above = |limit: i64| json!({"Variable": "$.n", "NumericGreaterThan": limit});
    assert_eq!(rule(json!({"And": [above(1), {"Not": above(9)}], "Next": "N"}), &input), Ok(true));
    assert_eq!(rule(json!({"Or": [above(9), above(7)]}), &input), Ok(false));
    for (written, pointer) in [
        (json!({"And": []}), "/And"),
        (json!({"And": [{"Variable": "$.n", "IsNull": true, "Next": "N"}]}), "/And/0/Next"),
        (json!({"Variable": "$.n", "IsNull": true, "IsString": true}), ""),
        (json!({"Variable": "$.n", "BooleanLessThan": true}), "/BooleanLessThan"),
        (json!({"Variable": "$.n", "NumericEquals": "1"}), "/NumericEquals"),
        (json!({"IsNull": true}), ""),
        (json!({"Not": {"Variable": "n", "IsNull": true}}), "/Not/Variable"),
    ] {
        let problems = Rule::parse(&written, "").unwrap_err();
        assert_eq!(problems.first().unwrap().pointer, pointer, "{written}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        "\\$[.a-c\\[\\]0-9*'?@()]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("(a|b|c|Variable|And|Not|x\\.\\$|IsNull)", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC{0,40}", input in any_json()) {
        for text in [text.clone(), format!("${text}"), format!("States.{text}"), format!("States.Format({text})")] {
            if let Ok(expression) = Expression::parse(&text) {
                let _ = with_scope(&input, |scope| expression.evaluate(scope));
            }
            if let Ok(path) = ReferencePath::parse(&text) {
                let _ = path.put(input.clone(), Value::Null);
            }
        }
    }

    #[test]
    fn no_json_makes_the_parsers_panic(value in any_json(), input in any_json()) {
        if let Ok(template) = Template::parse(&value, "") {
            let _ = with_scope(&input, |scope| template.evaluate(scope));
        }
        if let Ok(rule) = Rule::parse(&value, "") {
            let _ = with_scope(&input, |scope| rule.evaluate(scope));
        }
    }
}

/// A parser that calls itself for each parenthesis must be stopped before the stack ends, or time does.
#[test]
fn filters_nest_a_little_and_not_without_end() {
    let nested = |depth: usize| format!("$.a[?{}@.b == 1{}]", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(path(&nested(5), &json!({"a": [{"b": 1}, {"b": 2}]})), Ok(json!([{"b": 1}])));
    assert!(Path::parse(&nested(35)).is_ok());
    for depth in [50, 1_000, 100_000] {
        assert!(Path::parse(&nested(depth)).is_err(), "{depth}");
        assert!(Path::parse(&format!("$.a[?{}@.b]", "!(".repeat(depth))).is_err(), "{depth}");
        assert!(Path::parse(&format!("$.a{}", "[?@".repeat(depth))).is_err(), "{depth}");
        assert!(Path::parse(&format!("$.a[?{}@.b]", "!".repeat(depth))).is_err(), "{depth}");
    }
}

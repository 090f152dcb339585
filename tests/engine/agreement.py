"""The same definitions, with the same input, to `keyferry workflow simulate` (KEYFERRY is the binary) and to moto's interpreter
at MOTO_URL: where moto follows the specification of the Amazon States Language, both must end alike, with the same output,
or with an error of the same name. Prints how many comparisons there were.

Not asked, because moto 5.2.5 does not follow the specification there:
- variables: it does not read `$name` at all;
- timestamps with a numeric offset (RFC 3339), which it takes for no timestamps;
- `$.a[2].c` and `$[0].k`, which name one node: it answers an array of it; `$.a.*`: it takes the array apart;
- a Choice that no rule matches: it says States.Runtime, not States.NoChoiceMatched;
- intrinsic functions: it refuses a fraction as an argument, drops a null, keeps or loses text behind an escape, and ends
  States.ArrayRange with a negative step in States.Runtime;
- an output that is a text: it gives it without quotes, which is no JSON.
"""

import json
import os
import subprocess
import tempfile
import time
import urllib.request
import uuid

import boto3
from botocore.exceptions import ClientError

MOTO = os.environ["MOTO_URL"]
ENDED = {"succeeded": "SUCCEEDED", "failed": "FAILED", "attention": "FAILED"}
comparisons = 0
wrong = []


def machine(**states):
    return {"StartAt": next(iter(states)), "States": states}


def a_pass(**more):
    return {"Type": "Pass", **({} if "Next" in more else {"End": True}), **more}


def compute(**template):
    """A Pass state whose output is a template's."""
    return machine(S=a_pass(Parameters=template))


def intrinsic(call):
    return compute(**{"it.$": call})


def choose(*rules, **more):
    """Ends with the index of the first rule that matches, or -1."""
    ends = {f"R{index}": a_pass(Result=index) for index in range(-1, len(rules))}
    choices = [{**rule, "Next": f"R{index}"} for index, rule in enumerate(rules)]
    return machine(C={"Type": "Choice", "Choices": choices, "Default": "R-1", **more}, **ends)


def test(operator, operand, variable="$.v"):
    return {"Variable": variable, operator: operand}


def a_map(processor, **more):
    return {"Type": "Map", "ItemProcessor": processor, "End": True, **more}


def a_parallel(*branches, **more):
    return {"Type": "Parallel", "Branches": list(branches), "End": True, **more}


def by_keyferry(definition, given):
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("definition.json", "input.json")]
        for file, value in zip(files, (definition, given)):
            with open(file, "w") as written:
                json.dump(value, written)
        command = [os.environ["KEYFERRY"], "workflow", "simulate", files[0], "--input", files[1], "--output", "json"]
        run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    return (ENDED[told["status"]], told["output"] if told["status"] == "succeeded" else told["error"])


def by_moto(client, definition, given):
    name = f"machine-{uuid.uuid4()}"
    role = "arn:aws:iam::123456789012:role/any"
    try:
        arn = client.create_state_machine(name=name, definition=json.dumps(definition), roleArn=role)
    except ClientError as error:
        return ("refused", str(error))
    execution = client.start_execution(stateMachineArn=arn["stateMachineArn"], name=name, input=json.dumps(given))
    ends = time.time() + 30
    while time.time() < ends:
        told = client.describe_execution(executionArn=execution["executionArn"])
        if told["status"] == "SUCCEEDED":
            try:
                return ("SUCCEEDED", json.loads(told["output"]))
            except ValueError:
                return ("unreadable", told["output"])
        if told["status"] != "RUNNING":
            return (told["status"], told.get("error", ""))
        time.sleep(0.02)
    raise AssertionError(f"moto did not end {definition}")


def agree(client, definition, given):
    global comparisons
    comparisons += 1
    found = {"keyferry": by_keyferry(definition, given), "moto": by_moto(client, definition, given)}
    if found["keyferry"] != found["moto"]:
        wrong.append(f"{json.dumps(definition)} with {json.dumps(given)}: {found}")


DATA = {"a": {"b": [10, 20, {"c": "x"}]}, "n": 3, "s": "text", "t": True, "z": None, "two words": 1}

FIELDS = [
    (machine(S=a_pass()), DATA),
    (machine(S=a_pass(Result={"x.$": "$.a"})), DATA),
    (machine(S=a_pass(InputPath="$.a.b")), DATA),
    (machine(S=a_pass(InputPath="$['two words']")), DATA),
    (machine(S=a_pass(InputPath=None)), DATA),
    (machine(S=a_pass(OutputPath=None)), DATA),
    (machine(S=a_pass(OutputPath="$.a")), DATA),
    (machine(S=a_pass(Result=6, ResultPath="$.a.b")), DATA),
    (machine(S=a_pass(Result=6, ResultPath="$.new.deep.er")), DATA),
    (machine(S=a_pass(Result=6, ResultPath=None)), DATA),
    (machine(S=a_pass(Result=6, ResultPath="$")), DATA),
    (machine(S=a_pass(InputPath="$.a", ResultPath="$.copy", OutputPath="$.copy.b")), DATA),
    (machine(S=a_pass(Parameters={"k": 1, "v.$": "$.n", "deep": {"w.$": "$.a.b[0]"}}, ResultPath="$.r")), DATA),
    (compute(list=[{"x.$": "$.n"}, 2, "$.n"], plain="$.n"), DATA),
    (compute(**{"x.$": "$$.State.Name", "i.$": "$$.Execution.Input.n"}), DATA),
    (machine(S=a_pass(Next="T"), T={"Type": "Succeed", "InputPath": "$.a", "OutputPath": "$.b"}), DATA),
    (machine(W={"Type": "Wait", "Seconds": 0, "InputPath": "$.a", "End": True}), DATA),
    (machine(W={"Type": "Wait", "Timestamp": "2016-03-14T01:59:00Z", "End": True}), DATA),
    (machine(F={"Type": "Fail", "Error": "E", "Cause": "c"}), DATA),
    (machine(F={"Type": "Fail", "ErrorPath": "$.s", "CausePath": "$.s"}), DATA),
    (machine(F={"Type": "Fail", "ErrorPath": "States.Format('E-{}', $.n)"}), DATA),
]

PATHS = [
    (compute(**{"x.$": path}), DATA)
    for path in ["$", "$.a.b[0]", "$.a.b[1:]", "$.a.b[*]", "$.a.b[0,1]", "$..c", "$.z", "$.a['b'][1]", "$.a.b[-1:]"]
]

VALUES = [None, True, False, 0, 3, 3.5, -1, "", "3", "abc", "abd", "2016-03-14T01:59:00Z", "2016-03-14T03:59:00Z", [], {}]
OPERANDS = {
    "StringEquals": "abc",
    "StringLessThan": "abd",
    "StringGreaterThan": "abc",
    "StringLessThanEquals": "abc",
    "StringGreaterThanEquals": "abd",
    "StringMatches": "a*c",
    "NumericEquals": 3,
    "NumericLessThan": 3.5,
    "NumericGreaterThan": 0,
    "NumericLessThanEquals": 3,
    "NumericGreaterThanEquals": 3.5,
    "BooleanEquals": True,
    "TimestampEquals": "2016-03-14T01:59:00Z",
    "TimestampLessThan": "2016-03-14T02:00:00Z",
    "TimestampGreaterThan": "2016-03-14T01:00:00Z",
    "TimestampLessThanEquals": "2016-03-14T01:59:00Z",
    "TimestampGreaterThanEquals": "2016-03-14T01:59:00Z",
}


def over_all_values(rule):
    """One Map over all values: its output says which of them the rule matched."""
    return machine(M=a_map(choose(rule), ItemSelector={"v.$": "$$.Map.Item.Value", "w.$": "$.operand"}, ItemsPath="$.values"))


CHOICES = (
    [(over_all_values(test(operator, operand)), {"values": VALUES, "operand": None}) for operator, operand in OPERANDS.items()]
    + [
        (over_all_values(test(f"{operator}Path", "$.w")), {"values": VALUES, "operand": operand})
        for operator, operand in OPERANDS.items()
        if operator != "StringMatches"
    ]
    + [
        (over_all_values(test(operator, wanted)), {"values": VALUES, "operand": None})
        for operator in ["IsNull", "IsPresent", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp"]
        for wanted in [True, False]
    ]
    + [
        (choose(test("StringMatches", pattern)), {"v": text})
        for pattern, text in [("foo*.log", "foo23.log"), ("*.log", "zebra.log"), ("foo*.*", "foobar.zebra"), ("a*b", "ab"), ("a*b", "abc")]
    ]
    + [
        (choose(test("IsPresent", False), test("IsNull", True)), {}),
        (choose({"And": [test("IsNumeric", True), {"Not": test("NumericLessThan", 3)}]}), {"v": 3}),
        (choose({"Or": [test("IsString", True), test("NumericLessThan", 3)]}, {"Not": test("IsNull", True)}), {"v": 3}),
        (choose({"And": [test("IsPresent", True), test("NumericEquals", 1)]}), {}),
    ]
)

CALLS = {
    "n": 3, "s": "text", "l": [1, 2, 2, 3], "o": {"a": 1, "b": {"c": 1}}, "p": {"b": {"d": 2}}, "j": '{"x": [1, null]}', "t": True, "z": None,
}
INTRINSICS = [
    (intrinsic(call), CALLS)
    for call in [
        "States.Format('{} and {}', $.s, $.n)",
        "States.Format('{}{}{}', $.t, $.z, 15)",
        "States.Format('no place')",
        "States.StringToJson($.j)",
        "States.JsonToString($.o)",
        "States.Array()",
        "States.Array('a', 1, $.z, $.s, $.l)",
        "States.Array(States.Array(1), States.Format('{}', 2))",
        "States.ArrayPartition($.l, 3)",
        "States.ArrayContains($.l, 2)",
        "States.ArrayContains($.l, '2')",
        "States.ArrayRange(1, 9, 2)",
        "States.ArrayGetItem($.l, 3)",
        "States.ArrayLength($.l)",
        "States.ArrayUnique($.l)",
        "States.Base64Encode('Data to encode')",
        "States.Base64Decode('RGVjb2RlZCBkYXRh')",
        "States.Hash('input data', 'MD5')",
        "States.Hash('input data', 'SHA-1')",
        "States.Hash('input data', 'SHA-256')",
        "States.Hash('input data', 'SHA-384')",
        "States.Hash('input data', 'SHA-512')",
        "States.JsonMerge($.o, $.p, false)",
        "States.MathAdd(111, -1)",
        "States.MathAdd($.n, 1)",
        "States.StringSplit('1,2,3', ',')",
        "States.StringSplit('This.is+a,test=string', '.+,=')",
        "States.StringSplit($.s, 'x')",
        "States.ArrayLength(States.StringSplit('a b c', ' '))",
    ]
]

ITEMS = {"items": [{"v": 1}, {"v": 2}, {"v": 3}], "k": "same"}
FAILING = machine(C={"Type": "Choice", "Choices": [{**test("NumericEquals", 2), "Next": "F"}], "Default": "P"}, F={"Type": "Fail", "Error": "E", "Cause": "c"}, P=a_pass())
CAUGHT = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Z"}]
NESTED = [
    (machine(M=a_map(machine(I=a_pass()))), [1, "a", None, []]),
    (machine(M=a_map(machine(I=a_pass()))), []),
    (machine(M=a_map(machine(I=a_pass()), ItemsPath="$.items", MaxConcurrency=1)), ITEMS),
    (machine(M=a_map(machine(I=a_pass(InputPath="$.v")), ItemsPath="$.items", ResultPath="$.out")), ITEMS),
    (
        machine(
            M=a_map(
                machine(I=a_pass()),
                ItemsPath="$.items",
                ItemSelector={"i.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value.v", "k.$": "$.k"},
                ResultSelector={"first.$": "$[0]", "all.$": "$[*].i"},
            )
        ),
        ITEMS,
    ),
    (machine(M={"Type": "Map", "Iterator": machine(I=a_pass()), "Parameters": {"v.$": "$$.Map.Item.Value"}, "End": True}), [1, 2]),
    (machine(M=a_map(FAILING, ItemsPath="$.items")), ITEMS),
    (machine(M=a_map(FAILING, ItemsPath="$.items", Catch=CAUGHT), Z=a_pass(Parameters={"error.$": "$.error.Error"})), ITEMS),
    (machine(M=a_map(FAILING, ItemsPath="$.items", Retry=[{"ErrorEquals": ["E"], "MaxAttempts": 1, "IntervalSeconds": 1}])), ITEMS),
    (machine(M=a_map(machine(N=a_map(machine(I=a_pass()))))), [[1, 2], [], [3]]),
    (machine(P=a_parallel(machine(A=a_pass(Result=1)), machine(B=a_pass(InputPath="$.k")))), ITEMS),
    (machine(P=a_parallel(machine(A={"Type": "Wait", "Seconds": 1, "End": True}), machine(B=a_pass(Result=2)), ResultPath="$.r")), ITEMS),
    (machine(P=a_parallel(machine(A=a_pass()), Parameters={"k.$": "$.k"}, ResultSelector={"got.$": "$[0]"})), ITEMS),
    (machine(P=a_parallel(machine(A={"Type": "Fail", "Error": "E"}), machine(B=a_pass()))), ITEMS),
    (machine(P=a_parallel(machine(A={"Type": "Fail", "Error": "E"}), Catch=CAUGHT), Z=a_pass(Parameters={"error.$": "$.error.Error"})), ITEMS),
    (machine(P=a_parallel(machine(A={"Type": "Succeed"}), machine(B=a_pass(Next="C"), C={"Type": "Succeed"}))), ITEMS),
    (machine(P=a_parallel(machine(M=a_map(machine(I=a_pass()), ItemsPath="$.items")), machine(B=a_pass(InputPath="$.k")))), ITEMS),
]


def main():
    ask = urllib.request.Request(f"{MOTO}/moto-api/config", data=b'{"stepfunctions": {"execute_state_machine": true}}', method="POST")
    urllib.request.urlopen(ask).read()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("stepfunctions", region_name="us-west-2", endpoint_url=MOTO, **keys)
    for definition, given in FIELDS + PATHS + CHOICES + INTRINSICS + NESTED:
        agree(client, definition, given)
    assert not wrong, "\n".join(wrong)
    print(f"{comparisons} comparisons agree")


main()

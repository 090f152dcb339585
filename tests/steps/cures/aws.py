"""The AWS CLI in one process, for shells that run printed commands against the sandbox.

A link to this file named `aws` or `sleep` is what the shell finds; it hands its words to the process that listens. Whoever waits
waits by the test's clock: the listener asks for it on its standard output.
"""

import json
import os
import socket
import sys

SOCKET = os.environ["KEYFERRY_AWS_SOCKET"]


def ask() -> int:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(SOCKET)
        asked = [os.path.basename(sys.argv[0]), os.environ.get("KEYFERRY_ROLE", ""), os.getcwd(), *sys.argv[1:]]
        line.sendall(json.dumps(asked).encode() + b"\n")
        told = json.loads(b"".join(iter(lambda: line.recv(65536), b"")))
    sys.stdout.write(told["out"])
    sys.stderr.write(told["err"])
    return told["code"]


def listen() -> None:
    import contextlib
    import io
    import time

    import awscli.clidriver
    import botocore.loaders

    said, url = sys.stdout, os.environ["AWS_ENDPOINT_URL"]

    def sleep(seconds: float) -> None:
        print(f"sleep {seconds}", file=said, flush=True)
        sys.stdin.readline()

    time.sleep = sleep
    # A driver reads the models of its services: they are read once for all commands.
    loaded = {}
    load = botocore.loaders.Loader.load_service_model

    def once(self, *named, **more):
        key = (named, tuple(more.items()))
        if key not in loaded:
            loaded[key] = load(self, *named, **more)
        return loaded[key]

    botocore.loaders.Loader.load_service_model = once

    def run(words: list) -> tuple:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                # By itself the CLI knows a place of its own for RDS in us-east-1, whatever the environment says.
                code = awscli.clidriver.create_clidriver().main([*words, "--endpoint-url", url])
            except SystemExit as end:
                code = end.code
        return code or 0, out.getvalue(), err.getvalue()

    def act_as(role: str) -> None:
        os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-west-2")
        os.environ.pop("AWS_SESSION_TOKEN", None)
        asked = ["sts", "assume-role", "--role-arn", role, "--role-session-name", "a-person", "--output", "json"]
        code, out, err = run(asked)
        if code != 0:
            raise RuntimeError(err)
        got = json.loads(out)["Credentials"]
        os.environ.update(
            AWS_ACCESS_KEY_ID=got["AccessKeyId"],
            AWS_SECRET_ACCESS_KEY=got["SecretAccessKey"],
            AWS_SESSION_TOKEN=got["SessionToken"],
        )

    acting = {}

    def answer(name: str, role: str, folder: str, *words: str) -> dict:
        if name == "sleep":
            sleep(float(words[0]))
            return {"code": 0, "out": "", "err": ""}
        os.chdir(folder)
        if acting.get("role") != role:
            act_as(role)
            acting["role"] = role
        code, out, err = run(list(words))
        if "ExpiredToken" in err:
            act_as(role)
            code, out, err = run(list(words))
        return {"code": code, "out": out, "err": err}

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(SOCKET)
        door.listen()
        print("ready", file=said, flush=True)
        while True:
            line, _ = door.accept()
            with line, line.makefile("rb") as asked:
                line.sendall(json.dumps(answer(*json.loads(asked.readline()))).encode())


if __name__ == "__main__":
    if sys.argv[1:] == ["--listen"]:
        listen()
    else:
        sys.exit(ask())

"""What all checks share: clients, how a check is stated, and the count.

A check is one statement: `says(name, expectation, ask)`. `ask` is a function without arguments; what it returns has to
equal the expectation, or satisfy it when that is a function, or raise the ClientError that `refused(...)` describes.
A check that fails does not end the run, and preparations that several checks share (`once`) fail only those.
"""

import functools
import os
import sys
import time
import uuid
import xml.etree.ElementTree as ElementTree

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = os.environ["SANDBOX_URL"]
WEST, EAST = "us-west-2", "us-east-1"
VENDOR = os.environ.get("DEFAULT_ACCOUNT", "127450652264")
CUSTOMER = "123456789012" if VENDOR != "123456789012" else "111122223333"
# Where another emulator is asked, what it does not finish in this many seconds it does not do.
PATIENCE = float(os.environ.get("PATIENCE", "30"))

answered, failed = [], []


class refused:
    """Expects an error by its code, its HTTP status and a part of its message."""

    def __init__(self, code, status=400, message=""):
        self.code, self.status, self.message = code, status, message

    def fits(self, error):
        found = error.response
        status = found["ResponseMetadata"]["HTTPStatusCode"]
        return found["Error"]["Code"] == self.code and status == self.status and self.message in str(error)

    def __repr__(self):
        return f"refused({self.code}, {self.status}, {self.message!r})"


def says(name, expectation, ask):
    """States and asks one check."""
    try:
        found = ask()
        if callable(expectation) and not isinstance(expectation, refused):
            good = bool(expectation(found))
        else:
            good = not isinstance(expectation, refused) and found == expectation
    except ClientError as error:
        found, good = error, isinstance(expectation, refused) and expectation.fits(error)
    except Exception as error:  # A check that cannot be asked is one that is not answered.
        found, good = f"{type(error).__name__}: {error}", False
    if good:
        answered.append(name)
    else:
        failed.append(name)
        print(f"FAILED {name}: expected {expectation}, found {str(found)[:400]}", file=sys.stderr)


def once(prepare):
    """A preparation that runs when first asked for, and fails in the same way whenever it is asked for again."""
    kept = []

    @functools.wraps(prepare)
    def prepared():
        if not kept:
            try:
                kept.append((prepare(), None))
            except Exception as error:
                kept.append((None, error))
        value, error = kept[0]
        if error:
            raise error
        return value

    return prepared


def after(*steps):
    """The result of the last of several steps."""
    result = None
    for step in steps:
        result = step()
    return result


def until(look, wanted, seconds=PATIENCE):
    """Asks until the answer is the wanted one, and returns it."""
    ends = time.monotonic() + seconds
    while True:
        found = look()
        if found == wanted:
            return found
        if time.monotonic() > ends:
            raise AssertionError(f"still {found} instead of {wanted}")
        time.sleep(0.03)


def client(service, region=WEST, credentials=None):
    given = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test", "SessionToken": None}
    made = boto3.client(
        service,
        region_name=region,
        endpoint_url=URL,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
        # What AWS refuses the client must not refuse before it.
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False, read_timeout=PATIENCE),
    )
    if service == "rds" and "STRICT" in os.environ:
        made.meta.events.register("before-parse.rds", check_answer)
    return made


@once
def customer_credentials():
    role = f"arn:aws:iam::{CUSTOMER}:role/admin"
    return client("sts").assume_role(RoleArn=role, RoleSessionName="checks")["Credentials"]


def customer(service="kms", region=WEST):
    """A client of another account."""
    return client(service, region, customer_credentials())


@functools.cache
def subnets(region):
    """Two subnets of an emulator that has an EC2 with them, in different zones; else names, which is all the sandbox asks for."""
    try:
        found = client("ec2", region).describe_subnets()["Subnets"]
        return [subnet["SubnetId"] for subnet in {subnet["AvailabilityZone"]: subnet for subnet in found}.values()][:2] or ["subnet-1", "subnet-2"]
    except Exception:
        return ["subnet-1", "subnet-2"]


def unique(prefix="c"):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def check_members(element, shape, path):
    """Every element of an answer is a member of AWS's own shape: a misspelt one would be dropped in silence."""
    name = lambda child: child.tag.split("}")[-1]
    if shape.type_name == "structure":
        known = {member.serialization.get("name", key): member for key, member in shape.members.items()}
        for child in element:
            assert name(child) in known, f"{path} has the unknown member {name(child)}"
            check_members(child, known[name(child)], f"{path}/{name(child)}")
    elif shape.type_name == "list" and not shape.serialization.get("flattened"):
        expected = shape.member.serialization.get("name", "member")
        for child in element:
            assert name(child) == expected, f"{path} has an item {name(child)} instead of {expected}"
            check_members(child, shape.member, f"{path}/{expected}")


def check_answer(operation_model, response_dict, **_):
    if response_dict["status_code"] != 200 or operation_model.output_shape is None:
        return
    root = ElementTree.fromstring(response_dict["body"])
    result = operation_model.output_shape.serialization["resultWrapper"]
    check_members([child for child in root if child.tag.endswith("}" + result)][0], operation_model.output_shape, result)


def conclude():
    """Prints the count in the last line; the status says whether every check was answered."""
    total = len(answered) + len(failed)
    names = answered + failed
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
    print(f"{len(answered)} of {total} checks are answered as AWS documents")
    sys.exit(1 if failed else 0)

"""The same calls, by boto3, to the sandbox at SANDBOX_URL and to moto at MOTO_URL: where moto answers as AWS does, both
must agree on the error's code, or on the fields that are compared. Prints how many comparisons there were.
"""

import os
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

WHERE = {"sandbox": os.environ["SANDBOX_URL"], "moto": os.environ["MOTO_URL"]}
comparisons = 0


def clients(service, region="us-west-2"):
    config = Config(retries={"max_attempts": 0})
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return {name: boto3.client(service, region_name=region, endpoint_url=url, config=config, **keys) for name, url in WHERE.items()}


def ask(client, operation, arguments):
    try:
        return "ok", getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], None


def agree(on, operation, look=lambda answer: None, **arguments):
    """Both answer with the same code and, where they succeed, with what `look` takes from the answer."""
    global comparisons
    comparisons += 1
    found = {}
    for name, client in on.items():
        own = {key: value[name] if isinstance(value, dict) and set(value) == set(WHERE) else value for key, value in arguments.items()}
        code, answer = ask(client, operation, own)
        found[name] = (code, look(answer) if answer is not None else None)
    assert found["sandbox"] == found["moto"], f"{operation} {arguments}: {found}"
    return found["sandbox"]


def settle(client, describe, name, deadline=60):
    """Waits until a resource of the sandbox, whose states take time, is available; moto's are at once."""
    ends = time.time() + deadline
    while time.time() < ends:
        found = list(describe(client).values())[0]
        if found and found[0].get("DBInstanceStatus", found[0].get("Status")) == "available":
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} never became available")


def an_instance(client, name):
    settle(client, lambda client: {"found": client.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]}, name)


def a_snapshot(client, name):
    settle(client, lambda client: {"found": client.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"]}, name)


def rds():
    west = clients("rds")
    fields = ("DBInstanceIdentifier", "Engine", "DBInstanceClass", "AllocatedStorage", "MultiAZ", "StorageEncrypted", "DeletionProtection")
    pick = lambda answer: {field: answer["DBInstance"].get(field) for field in fields}
    base = {"DBInstanceClass": "db.m6g.large", "AllocatedStorage": 20, "MasterUsername": "keeper", "MasterUserPassword": "long-enough-1"}
    assert agree(west, "create_db_instance", pick, DBInstanceIdentifier="one", Engine="postgres", **base)[0] == "ok"
    assert agree(west, "create_db_instance", pick, DBInstanceIdentifier="two", Engine="mysql", DeletionProtection=True, **base)[0] == "ok"
    assert agree(west, "create_db_instance", DBInstanceIdentifier="one", Engine="postgres", **base)[0] == "DBInstanceAlreadyExists"
    assert agree(west, "describe_db_instances", DBInstanceIdentifier="gone")[0] == "DBInstanceNotFound"
    for client in west.values():
        an_instance(client, "one")
        an_instance(client, "two")
    agree(west, "describe_db_instances", lambda answer: sorted(found["DBInstanceIdentifier"] for found in answer["DBInstances"]))
    agree(west, "modify_db_instance", DBInstanceIdentifier="gone", AllocatedStorage=30)
    agree(west, "delete_db_instance", DBInstanceIdentifier="two", SkipFinalSnapshot=True)
    snapshot = lambda answer: {field: answer["DBSnapshot"].get(field) for field in ("DBSnapshotIdentifier", "DBInstanceIdentifier", "Engine", "AllocatedStorage", "Encrypted", "SnapshotType")}
    assert agree(west, "create_db_snapshot", snapshot, DBInstanceIdentifier="one", DBSnapshotIdentifier="one-snap")[0] == "ok"
    agree(west, "create_db_snapshot", DBInstanceIdentifier="gone", DBSnapshotIdentifier="gone-snap")
    for client in west.values():
        a_snapshot(client, "one-snap")
        an_instance(client, "one")
    agree(west, "create_db_snapshot", DBInstanceIdentifier="one", DBSnapshotIdentifier="one-snap")
    keys = {name: client.create_key()["KeyMetadata"]["Arn"] for name, client in clients("kms").items()}
    copied = lambda answer: {field: answer["DBSnapshot"].get(field) for field in ("DBSnapshotIdentifier", "Encrypted", "SnapshotType")}
    assert agree(west, "copy_db_snapshot", copied, SourceDBSnapshotIdentifier="one-snap", TargetDBSnapshotIdentifier="one-copy", KmsKeyId=keys)[0] == "ok"
    agree(west, "copy_db_snapshot", SourceDBSnapshotIdentifier="gone", TargetDBSnapshotIdentifier="x")
    for client in west.values():
        a_snapshot(client, "one-copy")
    agree(west, "describe_db_snapshots", lambda answer: answer["DBSnapshots"][0]["KmsKeyId"] in keys.values(), DBSnapshotIdentifier="one-copy")
    agree(west, "describe_db_snapshots", DBSnapshotIdentifier="gone")
    restored = lambda answer: {field: answer["DBInstance"].get(field) for field in ("DBInstanceIdentifier", "Engine", "AllocatedStorage", "StorageEncrypted")}
    assert agree(west, "restore_db_instance_from_db_snapshot", restored, DBInstanceIdentifier="three", DBSnapshotIdentifier="one-copy", DBInstanceClass="db.m6g.large")[0] == "ok"
    agree(west, "restore_db_instance_from_db_snapshot", DBInstanceIdentifier="four", DBSnapshotIdentifier="gone")
    for client in west.values():
        an_instance(client, "three")
    tags = [{"Key": "team", "Value": "payroll"}]
    for name, client in west.items():
        arn = client.describe_db_instances(DBInstanceIdentifier="three")["DBInstances"][0]["DBInstanceArn"]
        client.add_tags_to_resource(ResourceName=arn, Tags=tags)
        assert client.list_tags_for_resource(ResourceName=arn)["TagList"] == tags, name
    agree(west, "stop_db_instance", DBInstanceIdentifier="gone")
    agree(west, "start_db_instance", DBInstanceIdentifier="gone")
    agree(west, "delete_db_snapshot", copied, DBSnapshotIdentifier="one-copy")
    agree(west, "delete_db_snapshot", DBSnapshotIdentifier="gone")
    agree(west, "delete_db_instance", DBInstanceIdentifier="gone", SkipFinalSnapshot=True)
    agree(west, "describe_db_clusters", DBClusterIdentifier="gone")
    agree(west, "delete_db_subnet_group", DBSubnetGroupName="gone")


def kms():
    west = clients("kms")
    keys = {name: client.create_key(Description="mine", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]["KeyId"] for name, client in west.items()}
    fields = ("Description", "Enabled", "KeyState", "KeyManager", "Origin", "KeySpec", "EncryptionAlgorithms")  # moto leaves KeyUsage and MultiRegion out
    agree(west, "describe_key", lambda answer: {field: answer["KeyMetadata"].get(field) for field in fields}, KeyId=keys)
    agree(west, "describe_key", KeyId="00000000-0000-4000-8000-000000000000")
    agree(west, "list_resource_tags", lambda answer: answer["Tags"], KeyId=keys)
    agree(west, "create_alias", AliasName="alias/mine", TargetKeyId=keys)
    agree(west, "create_alias", AliasName="alias/mine", TargetKeyId=keys)
    agree(west, "describe_key", lambda answer: answer["KeyMetadata"]["KeyState"], KeyId="alias/mine")
    agree(west, "describe_key", KeyId="alias/gone")
    for name, client in west.items():
        sealed = client.encrypt(KeyId=keys[name], Plaintext=b"secret", EncryptionContext={"for": "dave"})["CiphertextBlob"]
        opened = client.decrypt(CiphertextBlob=sealed, EncryptionContext={"for": "dave"})
        assert opened["Plaintext"] == b"secret", name
        other = ask(client, "decrypt", {"CiphertextBlob": sealed, "EncryptionContext": {"for": "eve"}})[0]
        assert other == "InvalidCiphertextException", (name, other)
    agree(west, "generate_data_key", lambda answer: len(answer["Plaintext"]), KeyId=keys, KeySpec="AES_256")
    agree(west, "get_key_rotation_status", lambda answer: answer["KeyRotationEnabled"], KeyId=keys)
    agree(west, "enable_key_rotation", KeyId=keys)
    agree(west, "get_key_rotation_status", lambda answer: answer["KeyRotationEnabled"], KeyId=keys)
    agree(west, "disable_key", KeyId=keys)
    agree(west, "describe_key", lambda answer: (answer["KeyMetadata"]["Enabled"], answer["KeyMetadata"]["KeyState"]), KeyId=keys)
    # moto leaves KeyState out of this answer.
    agree(west, "schedule_key_deletion", KeyId=keys, PendingWindowInDays=7)
    agree(west, "describe_key", lambda answer: answer["KeyMetadata"]["KeyState"], KeyId=keys)
    agree(west, "cancel_key_deletion", KeyId=keys)
    agree(west, "describe_key", lambda answer: answer["KeyMetadata"]["KeyState"], KeyId=keys)
    agree(west, "delete_alias", AliasName="alias/mine")
    agree(west, "delete_alias", AliasName="alias/mine")


rds()
kms()
print(f"{comparisons} comparisons agree")

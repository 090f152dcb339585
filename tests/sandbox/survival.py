"""`make` changes the sandbox at SANDBOX_URL by every kind of call; both `make` and `look` print what is there and how many
calls the ledger lists. What `make` printed before the sandbox was killed, `look` has to print after it was started again.
"""

import json
import os
import sys
import urllib.request

import boto3
from botocore.config import Config

URL = os.environ["SANDBOX_URL"]
keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
kms, rds = (boto3.client(service, region_name="us-west-2", endpoint_url=URL, config=Config(retries={"total_max_attempts": 1}), **keys) for service in ("kms", "rds"))


def make():
    """Each of these calls has an effect of its own: none may be missing in the ledger."""
    arn = kms.create_key(Description="kept", MultiRegion=True)["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/kept", TargetKeyId=arn)
    kms.tag_resource(KeyId=arn, Tags=[{"TagKey": "a", "TagValue": "1"}])
    kms.create_grant(KeyId=arn, GranteePrincipal="arn:aws:iam::123456789012:root", Operations=["Encrypt"])
    kms.put_key_policy(KeyId=arn, Policy=kms.get_key_policy(KeyId=arn)["Policy"])
    kms.enable_key_rotation(KeyId=arn)
    kms.rotate_key_on_demand(KeyId=arn)
    kms.update_key_description(KeyId=arn, Description="changed")
    kms.replicate_key(KeyId=arn, ReplicaRegion="us-east-1")
    kms.create_key(Origin="EXTERNAL")
    gone = kms.create_key()["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=gone)
    kms.schedule_key_deletion(KeyId=gone)
    kms.encrypt(KeyId=arn, Plaintext=b"x")  # No effect on any resource: not in the ledger.
    rds.create_db_subnet_group(DBSubnetGroupName="kept", DBSubnetGroupDescription="d", SubnetIds=["subnet-1", "subnet-2"])
    rds.create_db_parameter_group(DBParameterGroupName="kept", DBParameterGroupFamily="postgres17", Description="d")
    rds.create_option_group(OptionGroupName="kept", EngineName="mysql", MajorEngineVersion="8.0", OptionGroupDescription="d")
    base = {"DBInstanceClass": "db.m6g.large", "Engine": "postgres", "AllocatedStorage": 20, "MasterUsername": "dave", "MasterUserPassword": "correct-horse"}
    rds.create_db_instance(DBInstanceIdentifier="kept", StorageEncrypted=True, KmsKeyId=arn, **base)
    rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier="kept", WaiterConfig={"Delay": 1})
    rds.create_db_snapshot(DBInstanceIdentifier="kept", DBSnapshotIdentifier="kept")
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier="kept", WaiterConfig={"Delay": 1})
    rds.copy_db_snapshot(SourceDBSnapshotIdentifier="kept", TargetDBSnapshotIdentifier="copy")
    rds.add_tags_to_resource(ResourceName=rds.describe_db_instances()["DBInstances"][0]["DBInstanceArn"], Tags=[{"Key": "k", "Value": "v"}])
    rds.create_event_subscription(SubscriptionName="kept", SnsTopicArn="arn:aws:sns:us-west-2:127450652264:topic")
    rds.start_export_task(ExportTaskIdentifier="kept", SourceArn=rds.describe_db_snapshots(DBSnapshotIdentifier="kept")["DBSnapshots"][0]["DBSnapshotArn"],
                          S3BucketName="bucket", IamRoleArn="arn:aws:iam::127450652264:role/export", KmsKeyId=arn)


def look():
    """What does not change with time alone."""
    for key in kms.list_keys()["Keys"]:
        data = kms.describe_key(KeyId=key["KeyArn"])["KeyMetadata"]
        print(data["Arn"], data["Description"], data.get("CurrentKeyMaterialId"), data.get("MultiRegionConfiguration"), kms.list_grants(KeyId=data["Arn"])["Grants"])
    print(kms.list_aliases()["Aliases"], kms.get_key_last_usage(KeyId=kms.describe_key(KeyId="alias/kept")["KeyMetadata"]["Arn"])["KeyLastUsage"])
    for found in rds.describe_db_instances()["DBInstances"]:
        print(found["DBInstanceArn"], found["DbiResourceId"], found["KmsKeyId"], found["TagList"])
    print([found["DBSnapshotArn"] for found in rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]])
    print([found["ExportTaskIdentifier"] for found in rds.describe_export_tasks()["ExportTasks"]], rds.describe_event_subscriptions()["EventSubscriptionsList"])
    with urllib.request.urlopen(f"{URL}/_sandbox/ledger") as answer:
        entries = json.load(answer)["entries"]
    for entry in entries:
        print(entry["seq"], entry["service"], entry["action"], entry["resource"], entry["what"])
    assert "Encrypt" not in [entry["action"] for entry in entries]
    print(f"{len(entries)} calls are in the ledger")


if sys.argv[1] == "make":
    make()
look()

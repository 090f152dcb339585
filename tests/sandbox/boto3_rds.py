"""boto3 against the sandbox's RDS: what AWS documents, asked through AWS's own client.

Run with SANDBOX_URL=http://127.0.0.1:PORT against a sandbox whose clock runs fast (--speed 2000 or so) and that holds
nothing yet. Exits 0 when every statement holds; the first that does not ends it.
"""

import json
import os
import time
import urllib.request
import xml.etree.ElementTree as ElementTree

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = os.environ["SANDBOX_URL"]
WEST, EAST = "us-west-2", "us-east-1"
VENDOR = "127450652264"


def client(service, region):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=URL,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 1}),
    )


west, east = client("rds", WEST), client("rds", EAST)
kms_west, kms_east = client("kms", WEST), client("kms", EAST)


def check_members(element, shape, path):
    """Every element of an answer is a member of AWS's own shape: a misspelt one would be dropped in silence."""
    name = lambda child: child.tag.split("}")[-1]
    if shape.type_name == "structure":
        known = {member.serialization.get("name", key): member for key, member in shape.members.items()}
        for child in element:
            assert name(child) in known, f"{path} has the unknown member {name(child)}"
            check_members(child, known[name(child)], f"{path}/{name(child)}")
    elif shape.type_name == "list":
        expected = shape.member.serialization.get("name", "member")
        for child in element:
            assert name(child) == expected, f"{path} has an item {name(child)} instead of {expected}"
            check_members(child, shape.member, f"{path}/{expected}")


def before_parse(operation_model, response_dict, **_):
    if response_dict["status_code"] != 200 or operation_model.output_shape is None:
        return
    root = ElementTree.fromstring(response_dict["body"])
    result = operation_model.output_shape.serialization["resultWrapper"]
    check_members([child for child in root if child.tag.endswith("}" + result)][0], operation_model.output_shape, result)


for rds in (west, east):
    rds.meta.events.register("before-parse.rds", before_parse)


def refused(code, call, **params):
    try:
        answer = call(**params)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{call.__name__}: {found} instead of {code}: {error}"
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status == (404 if "NotFound" in code else 400), f"{code} came with HTTP {status}"
        return error
    raise AssertionError(f"{call.__name__} was let through: {answer}")


def wait(look, wanted):
    deadline = time.monotonic() + 60
    while True:
        found = look()
        if found == wanted:
            return
        assert time.monotonic() < deadline, f"still {found} instead of {wanted}"
        time.sleep(0.05)


def status(rds, name):
    return rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]["DBInstanceStatus"]


def snapshot_status(rds, name):
    return rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0]["Status"]


def instance(rds, name, **extra):
    params = dict(
        DBInstanceIdentifier=name,
        DBInstanceClass="db.m6g.large",
        Engine="postgres",
        AllocatedStorage=50,
        MasterUsername="dave",
        MasterUserPassword="correct-horse",
        Tags=[{"Key": "keyferry:enterprise", "Value": "dave"}],
    )
    row = rds.create_db_instance(**{**params, **extra})["DBInstance"]
    assert row["DBInstanceStatus"] == "creating", row
    wait(lambda: status(rds, name), "available")
    return row


def an_instance_lives_and_dies():
    row = instance(west, "life", MultiAZ=True, BackupRetentionPeriod=7)
    assert row["DBInstanceArn"] == f"arn:aws:rds:{WEST}:{VENDOR}:db:life"
    assert row["StorageEncrypted"] is False
    row = west.describe_db_instances(DBInstanceIdentifier=row["DBInstanceArn"])["DBInstances"][0]
    assert row["Endpoint"]["Port"] == 5432 and row["Endpoint"]["Address"].startswith("life.")
    assert row["TagList"] == [{"Key": "keyferry:enterprise", "Value": "dave"}]
    assert row["MultiAZ"] is True and row["SecondaryAvailabilityZone"] != row["AvailabilityZone"]
    assert row["PendingModifiedValues"] == {}
    assert row["DBParameterGroups"][0]["ParameterApplyStatus"] == "in-sync"
    assert row["VpcSecurityGroups"][0]["Status"] == "active"
    assert len(row["DBSubnetGroup"]["Subnets"]) == 3
    refused("DBInstanceAlreadyExists", west.create_db_instance, DBInstanceIdentifier="life", DBInstanceClass="db.m6g.large",
            Engine="postgres", AllocatedStorage=50, MasterUsername="dave", MasterUserPassword="correct-horse")
    west.modify_db_instance(DBInstanceIdentifier="life", NewDBInstanceIdentifier="afterlife", ApplyImmediately=True)
    wait(lambda: west.describe_db_instances()["DBInstances"][0]["DBInstanceIdentifier"], "afterlife")
    wait(lambda: status(west, "afterlife"), "available")
    refused("DBInstanceNotFound", west.describe_db_instances, DBInstanceIdentifier="life")
    again = west.describe_db_instances(DBInstanceIdentifier="afterlife")["DBInstances"][0]
    assert again["DbiResourceId"] == row["DbiResourceId"]
    west.delete_db_instance(DBInstanceIdentifier="afterlife", SkipFinalSnapshot=True)
    wait(lambda: west.describe_db_instances()["DBInstances"], [])


def snapshots_are_copied_restored_and_shared():
    instance(west, "source", BackupRetentionPeriod=1)
    row = west.create_db_snapshot(DBInstanceIdentifier="source", DBSnapshotIdentifier="s",
                                  Tags=[{"Key": "a", "Value": "1"}])["DBSnapshot"]
    assert row["Status"] == "creating" and row["Encrypted"] is False and row["SnapshotType"] == "manual"
    refused("InvalidDBSnapshotState", west.delete_db_snapshot, DBSnapshotIdentifier="s")
    west.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier="s", WaiterConfig={"Delay": 1})
    refused("DBSnapshotAlreadyExists", west.create_db_snapshot, DBInstanceIdentifier="source", DBSnapshotIdentifier="s")
    copy = east.copy_db_snapshot(SourceDBSnapshotIdentifier=row["DBSnapshotArn"], TargetDBSnapshotIdentifier="far",
                                 CopyTags=True, SourceRegion=WEST)["DBSnapshot"]
    assert copy["SourceRegion"] == WEST and copy["SourceDBSnapshotIdentifier"] == row["DBSnapshotArn"]
    assert copy["TagList"] == [{"Key": "a", "Value": "1"}]
    wait(lambda: snapshot_status(east, "far"), "available")
    restored = east.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="back", DBSnapshotIdentifier="far")
    assert restored["DBInstance"]["AllocatedStorage"] == 50
    wait(lambda: status(east, "back"), "available")
    west.modify_db_snapshot_attribute(DBSnapshotIdentifier="s", AttributeName="restore", ValuesToAdd=["123456789012"])
    found = west.describe_db_snapshot_attributes(DBSnapshotIdentifier="s")["DBSnapshotAttributesResult"]
    assert found["DBSnapshotAttributes"] == [{"AttributeName": "restore", "AttributeValues": ["123456789012"]}]
    west.delete_db_snapshot(DBSnapshotIdentifier="s")
    refused("DBSnapshotNotFound", west.describe_db_snapshots, DBSnapshotIdentifier="s")


def everything_that_an_audit_asks_is_answered():
    quotas = {q["AccountQuotaName"]: q for q in west.describe_account_attributes()["AccountQuotas"]}
    assert quotas["ManualSnapshots"]["Max"] == 100 and quotas["DBInstances"]["Max"] == 40
    for call, member in [
        (west.describe_export_tasks, "ExportTasks"), (west.describe_global_clusters, "GlobalClusters"),
        (west.describe_integrations, "Integrations"), (west.describe_events, "Events"),
        (west.describe_blue_green_deployments, "BlueGreenDeployments"),
        (west.describe_pending_maintenance_actions, "PendingMaintenanceActions"),
        (west.describe_db_clusters, "DBClusters"), (west.describe_db_cluster_snapshots, "DBClusterSnapshots"),
        (west.describe_db_cluster_automated_backups, "DBClusterAutomatedBackups"),
    ]:
        assert call()[member] == [], member
    backups = west.describe_db_instance_automated_backups()["DBInstanceAutomatedBackups"]
    assert [b["DBInstanceIdentifier"] for b in backups] == ["source"] and backups[0]["Encrypted"] is False
    assert west.describe_db_engine_versions(Engine="postgres", DefaultOnly=True)["DBEngineVersions"]
    assert west.describe_orderable_db_instance_options(Engine="mysql")["OrderableDBInstanceOptions"]
    pages = west.get_paginator("describe_db_parameter_groups").paginate(PaginationConfig={"PageSize": 20})
    names = [g["DBParameterGroupName"] for page in pages for g in page["DBParameterGroups"]]
    assert len(names) == len(set(names)) > 20 and "default.postgres17" in names
    refused("InvalidParameterValue", west.describe_db_instances, MaxRecords=101)


def clusters_come_with_their_members():
    west.create_db_cluster(DBClusterIdentifier="c", Engine="aurora-mysql", MasterUsername="dave",
                           MasterUserPassword="correct-horse")
    west.create_db_instance(DBInstanceIdentifier="c-1", DBInstanceClass="db.r6g.large", Engine="aurora-mysql",
                            DBClusterIdentifier="c")
    wait(lambda: status(west, "c-1"), "available")
    row = west.describe_db_clusters(DBClusterIdentifier="c")["DBClusters"][0]
    assert row["Status"] == "available" and row["DBClusterMembers"][0]["IsClusterWriter"] is True
    refused("InvalidDBClusterStateFault", west.delete_db_cluster, DBClusterIdentifier="c", SkipFinalSnapshot=True)
    west.create_db_cluster_snapshot(DBClusterIdentifier="c", DBClusterSnapshotIdentifier="cs")
    look = lambda: west.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier="cs")["DBClusterSnapshots"][0]["Status"]
    wait(look, "available")
    key = kms_west.create_key()["KeyMetadata"]["Arn"]
    refused("InvalidParameterCombination", west.copy_db_cluster_snapshot, SourceDBClusterSnapshotIdentifier="cs",
            TargetDBClusterSnapshotIdentifier="ct", KmsKeyId=key)
    row = west.restore_db_cluster_from_snapshot(DBClusterIdentifier="r", SnapshotIdentifier="cs", Engine="aurora-mysql",
                                                KmsKeyId=key)["DBCluster"]
    assert row["StorageEncrypted"] is True and row["KmsKeyId"] == key


def data_moves_under_another_key():
    first = kms_west.create_key()["KeyMetadata"]["Arn"]
    second = kms_west.create_key()["KeyMetadata"]["Arn"]
    far = kms_east.create_key()["KeyMetadata"]["Arn"]
    row = instance(west, "secret", StorageEncrypted=True, KmsKeyId=first)
    assert row["StorageEncrypted"] is True and row["KmsKeyId"] == first and row["StorageEncryptionType"] == "sse-kms"
    default = instance(west, "plain-key", StorageEncrypted=True)
    assert default["KmsKeyId"].startswith(f"arn:aws:kms:{WEST}:{VENDOR}:key/")
    arn = west.create_db_snapshot(DBInstanceIdentifier="secret", DBSnapshotIdentifier="k1")["DBSnapshot"]["DBSnapshotArn"]
    wait(lambda: snapshot_status(west, "k1"), "available")
    copy = lambda rds, target, **extra: rds.copy_db_snapshot(
        SourceDBSnapshotIdentifier=arn, TargetDBSnapshotIdentifier=target, **extra)["DBSnapshot"]
    assert copy(west, "k2", KmsKeyId=second)["KmsKeyId"] == second
    assert copy(west, "same")["KmsKeyId"] == first
    refused("InvalidParameterValue", east.copy_db_snapshot, SourceDBSnapshotIdentifier=arn, TargetDBSnapshotIdentifier="x")
    refused("KMSKeyNotAccessibleFault", east.copy_db_snapshot, SourceDBSnapshotIdentifier=arn,
            TargetDBSnapshotIdentifier="x", KmsKeyId=second)
    assert copy(east, "far-key", KmsKeyId=far)["KmsKeyId"] == far
    wait(lambda: snapshot_status(west, "k2"), "available")
    restored = west.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="moved", DBSnapshotIdentifier="k2")
    assert restored["DBInstance"]["KmsKeyId"] == second
    wait(lambda: status(west, "moved"), "available")
    kms_west.disable_key(KeyId=second)
    lost = "inaccessible-encryption-credentials-recoverable"
    wait(lambda: status(west, "moved"), lost)
    refused("KMSKeyNotAccessibleFault", west.start_db_instance, DBInstanceIdentifier="moved")
    refused("KMSKeyNotAccessibleFault", west.restore_db_instance_from_db_snapshot, DBInstanceIdentifier="no",
            DBSnapshotIdentifier="k2")
    kms_west.enable_key(KeyId=second)
    west.start_db_instance(DBInstanceIdentifier="moved")
    wait(lambda: status(west, "moved"), "available")
    west.create_db_snapshot(DBInstanceIdentifier="plain-key", DBSnapshotIdentifier="default")
    wait(lambda: snapshot_status(west, "default"), "available")
    refused("InvalidParameterValue", west.modify_db_snapshot_attribute, DBSnapshotIdentifier="default",
            AttributeName="restore", ValuesToAdd=["123456789012"])
    refused("InvalidParameterValue", west.modify_db_snapshot_attribute, DBSnapshotIdentifier="k1",
            AttributeName="restore", ValuesToAdd=["all"])


def a_blue_green_deployment_changes_the_key():
    blue = instance(west, "blue")
    key = kms_west.create_key()["KeyMetadata"]["Arn"]
    made = west.create_blue_green_deployment(
        BlueGreenDeploymentName="rekey", Source=blue["DBInstanceArn"],
        TargetResourceConfigurations=[{"SourceArn": blue["DBInstanceArn"], "TargetKmsKeyId": key}],
    )["BlueGreenDeployment"]
    name = made["BlueGreenDeploymentIdentifier"]
    look = lambda: west.describe_blue_green_deployments(BlueGreenDeploymentIdentifier=name)["BlueGreenDeployments"][0]
    wait(lambda: look()["Status"], "AVAILABLE")
    wait(lambda: status(west, "blue"), "available")
    west.switchover_blue_green_deployment(BlueGreenDeploymentIdentifier=name)
    wait(lambda: look()["Status"], "SWITCHOVER_COMPLETED")
    row = west.describe_db_instances(DBInstanceIdentifier="blue")["DBInstances"][0]
    assert row["KmsKeyId"] == key and look()["Target"] == row["DBInstanceArn"]


def everything_else_answers_in_awss_shapes():
    row = instance(west, "wide", EnableCloudwatchLogsExports=["postgresql"])
    arn = row["DBInstanceArn"]
    assert row["EnabledCloudwatchLogsExports"] == ["postgresql"]
    east.start_db_instance_automated_backups_replication(SourceDBInstanceArn=arn, BackupRetentionPeriod=3)
    found = west.describe_db_instances(DBInstanceIdentifier="wide")["DBInstances"][0]
    assert len(found["DBInstanceAutomatedBackupsReplications"]) == 1
    kept = east.stop_db_instance_automated_backups_replication(SourceDBInstanceArn=arn)["DBInstanceAutomatedBackup"]
    assert kept["Status"] == "retained" and kept["BackupRetentionPeriod"] == 3
    east.delete_db_instance_automated_backup(DBInstanceAutomatedBackupsArn=kept["DBInstanceAutomatedBackupsArn"])
    replica = east.create_db_instance_read_replica(DBInstanceIdentifier="wide-r", SourceDBInstanceIdentifier=arn,
                                                   SourceRegion=WEST)["DBInstance"]
    assert replica["ReadReplicaSourceDBInstanceIdentifier"] == arn
    wait(lambda: status(east, "wide-r"), "available")
    east.promote_read_replica(DBInstanceIdentifier="wide-r")
    west.restore_db_instance_to_point_in_time(SourceDBInstanceIdentifier="wide", TargetDBInstanceIdentifier="wide-p",
                                              UseLatestRestorableTime=True)
    west.create_db_cluster(DBClusterIdentifier="m", Engine="mysql", DBClusterInstanceClass="db.m6g.large", StorageType="io1",
                           Iops=3000, AllocatedStorage=100, MasterUsername="dave", MasterUserPassword="correct-horse")
    wait(lambda: west.describe_db_clusters(DBClusterIdentifier="m")["DBClusters"][0]["Status"], "available")
    assert len(west.describe_db_clusters(DBClusterIdentifier="m")["DBClusters"][0]["DBClusterMembers"]) == 3
    west.describe_db_cluster_automated_backups(DBClusterIdentifier="m")
    west.delete_db_cluster(DBClusterIdentifier="m", SkipFinalSnapshot=True)
    west.create_db_subnet_group(DBSubnetGroupName="mine", DBSubnetGroupDescription="d", SubnetIds=["subnet-1", "subnet-2"])
    west.create_db_parameter_group(DBParameterGroupName="pg", DBParameterGroupFamily="postgres17", Description="d")
    west.modify_db_parameter_group(DBParameterGroupName="pg", Parameters=[
        {"ParameterName": "work_mem", "ParameterValue": "64", "ApplyMethod": "immediate"}])
    assert west.describe_db_parameters(DBParameterGroupName="pg")["Parameters"][0]["ParameterName"] == "work_mem"
    west.create_db_cluster_parameter_group(DBClusterParameterGroupName="cpg", DBParameterGroupFamily="aurora-mysql8.0",
                                           Description="d")
    west.create_option_group(OptionGroupName="og", EngineName="mysql", MajorEngineVersion="8.0", OptionGroupDescription="d")
    west.describe_option_groups(EngineName="mysql")
    west.describe_db_cluster_parameter_groups()
    west.describe_db_subnet_groups()
    west.describe_certificates()
    west.describe_db_cluster_snapshot_attributes(DBClusterSnapshotIdentifier="cs")
    wait(lambda: status(west, "wide"), "available")
    west.modify_db_instance(DBInstanceIdentifier="wide", DBInstanceClass="db.m6g.xlarge", AllocatedStorage=60)
    found = west.describe_db_instances(DBInstanceIdentifier="wide")["DBInstances"][0]
    assert found["PendingModifiedValues"] == {"DBInstanceClass": "db.m6g.xlarge", "AllocatedStorage": 60}
    west.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "a", "Value": "1"}])
    west.remove_tags_from_resource(ResourceName=arn, TagKeys=["keyferry:enterprise"])
    assert west.list_tags_for_resource(ResourceName=arn)["TagList"] == [{"Key": "a", "Value": "1"}]
    west.stop_db_instance(DBInstanceIdentifier="wide")
    wait(lambda: status(west, "wide"), "stopped")


def the_ledger_names_every_effect_once():
    with urllib.request.urlopen(f"{URL}/_sandbox/ledger") as answer:
        entries = [e for e in json.load(answer)["entries"] if e["service"] == "rds"]
    created = [e["resource"] for e in entries if e["action"] == "CreateDBInstance"]
    assert len(created) == len(set(created)) and f"arn:aws:rds:{WEST}:{VENDOR}:db:life" in created
    assert not any(e["action"].startswith("Describe") for e in entries)


for check in [
    an_instance_lives_and_dies,
    snapshots_are_copied_restored_and_shared,
    everything_that_an_audit_asks_is_answered,
    clusters_come_with_their_members,
    data_moves_under_another_key,
    a_blue_green_deployment_changes_the_key,
    everything_else_answers_in_awss_shapes,
    the_ledger_names_every_effect_once,
]:
    check()
    print(f"ok {check.__name__}")

"""Snapshots of RDS: take, describe, copy, share, delete, restore, point in time."""

import datetime

from frame import CUSTOMER, VENDOR, after, client, customer, once, refused, says, subnets, unique, until

HERE, THERE = "eu-west-1", "eu-central-1"
rds, kms, far, far_kms = client("rds", HERE), client("kms", HERE), client("rds", THERE), client("kms", THERE)
BASE = {"DBInstanceClass": "db.m6g.large", "Engine": "postgres", "AllocatedStorage": 50, "MasterUsername": "dave", "MasterUserPassword": "correct-horse"}


def named(code):
    return refused(code, 404 if code.endswith(("NotFound", "NotFoundFault")) else 400)


def row(name, by=rds):
    return by.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


def shot(name, by=rds):
    return by.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0]


def settle(name, by=rds):
    until(lambda: row(name, by)["DBInstanceStatus"], "available")
    return name


def taken(name, by=rds):
    until(lambda: shot(name, by)["Status"], "available")
    return name


def instance(**arguments):
    name = unique("i")
    rds.create_db_instance(**{**BASE, "DBInstanceIdentifier": name, **arguments})
    return settle(name)


def snapshot(source, **arguments):
    name = unique("s")
    rds.create_db_snapshot(DBInstanceIdentifier=source, DBSnapshotIdentifier=name, **arguments)
    return taken(name)


def copy(source, by=rds, **arguments):
    return by.copy_db_snapshot(**{"SourceDBSnapshotIdentifier": source, "TargetDBSnapshotIdentifier": unique("t"), **arguments})["DBSnapshot"]


def key(by=kms):
    return by.create_key()["KeyMetadata"]["Arn"]


def share(name, **arguments):
    return rds.modify_db_snapshot_attribute(DBSnapshotIdentifier=name, AttributeName="restore", **arguments)["DBSnapshotAttributesResult"]["DBSnapshotAttributes"][0]["AttributeValues"]


# Take and describe
bare = once(lambda: instance(BackupRetentionPeriod=1, Tags=[{"Key": "of", "Value": "instance"}]))
answer = once(lambda: rds.create_db_snapshot(DBInstanceIdentifier=bare(), DBSnapshotIdentifier="first", Tags=[{"Key": "a", "Value": "1"}])["DBSnapshot"])
busy = once(lambda: after(answer, lambda: row(bare())["DBInstanceStatus"]))
first = once(lambda: after(busy, lambda: taken("first")))
for member, value in {"Status": "creating", "PercentProgress": 0, "SnapshotType": "manual", "Encrypted": False, "Engine": "postgres", "AllocatedStorage": 50, "TagList": [{"Key": "a", "Value": "1"}]}.items():
    says(f"CreateDBSnapshot: {member}", value, lambda: answer().get(member))
says("CreateDBSnapshot: the ARN", f"arn:aws:rds:{HERE}:{VENDOR}:snapshot:first", lambda: answer()["DBSnapshotArn"])
says("CreateDBSnapshot: the instance is backing up", "backing-up", busy)
says("DescribeDBSnapshots: done", ("available", 100), lambda: (lambda found: (found["Status"], found["PercentProgress"]))(shot(first())))
says("DescribeDBSnapshots: the instance's resource id", True, lambda: shot(first())["DbiResourceId"] == row(bare())["DbiResourceId"])
says("CreateDBSnapshot: a name that is taken", refused("DBSnapshotAlreadyExists"), lambda: rds.create_db_snapshot(DBInstanceIdentifier=settle(bare()), DBSnapshotIdentifier=first()))
says("CreateDBSnapshot: of an instance that is not there", named("DBInstanceNotFound"), lambda: rds.create_db_snapshot(DBInstanceIdentifier="none", DBSnapshotIdentifier=unique()))
says("CreateDBSnapshot: while another is taken", refused("InvalidDBInstanceState"), lambda: after(lambda: rds.create_db_snapshot(DBInstanceIdentifier=settle(bare()), DBSnapshotIdentifier=unique()), lambda: rds.create_db_snapshot(DBInstanceIdentifier=bare(), DBSnapshotIdentifier=unique())))
says("CreateDBSnapshot: a bad name", refused("InvalidParameterValue"), lambda: rds.create_db_snapshot(DBInstanceIdentifier=settle(bare()), DBSnapshotIdentifier="1"))
says("CreateDBSnapshot: the instance's tags come with CopyTagsToSnapshot", [{"Key": "k", "Value": "v"}], lambda: shot(snapshot(instance(CopyTagsToSnapshot=True, Tags=[{"Key": "k", "Value": "v"}])))["TagList"])
says("DescribeDBSnapshots: a snapshot that is not there", named("DBSnapshotNotFound"), lambda: shot("none"))
says("DescribeDBSnapshots: of one instance", True, lambda: {found["DBInstanceIdentifier"] for found in after(first, lambda: rds.describe_db_snapshots(DBInstanceIdentifier=bare())["DBSnapshots"])} == {bare()})
says("DescribeDBSnapshots: type automated", True, lambda: (lambda found: len(found) > 0 and all(entry["SnapshotType"] == "automated" and entry["DBSnapshotIdentifier"].startswith("rds:") for entry in found))(after(first, lambda: rds.describe_db_snapshots(SnapshotType="automated")["DBSnapshots"])))
says("DescribeDBSnapshots: type manual", True, lambda: (lambda found: "first" in [entry["DBSnapshotIdentifier"] for entry in found] and all(entry["SnapshotType"] == "manual" for entry in found))(after(first, lambda: rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"])))
says("DescribeDBSnapshots: an unknown type", refused("InvalidParameterValue"), lambda: rds.describe_db_snapshots(SnapshotType="strange"))
says("DescribeDBSnapshots: filter db-snapshot-id", ["first"], lambda: after(first, lambda: [found["DBSnapshotIdentifier"] for found in rds.describe_db_snapshots(Filters=[{"Name": "db-snapshot-id", "Values": ["first"]}])["DBSnapshots"]]))
# Copy
copied = once(lambda: copy(first(), CopyTags=True))
says("CopyDBSnapshot: it is creating first", "creating", lambda: copied()["Status"])
says("CopyDBSnapshot: CopyTags", [{"Key": "a", "Value": "1"}], lambda: copied()["TagList"])
says("CopyDBSnapshot: without CopyTags there are none", [], lambda: copy(first()).get("TagList", []))
says("CopyDBSnapshot: names its source", True, lambda: copied()["SourceDBSnapshotIdentifier"] == answer()["DBSnapshotArn"])
says("CopyDBSnapshot: the time of the data stays", True, lambda: copied()["OriginalSnapshotCreateTime"] == shot(first())["OriginalSnapshotCreateTime"])
says("CopyDBSnapshot: a name that is taken", refused("DBSnapshotAlreadyExists"), lambda: copy(first(), TargetDBSnapshotIdentifier=copied()["DBSnapshotIdentifier"]))
says("CopyDBSnapshot: of a snapshot that is not there", named("DBSnapshotNotFound"), lambda: copy("none"))
says("CopyDBSnapshot: of one that is being created", refused("InvalidDBSnapshotState"), lambda: copy(copy(first())["DBSnapshotIdentifier"]))
says("CopyDBSnapshot: an automated one becomes a manual one", "manual", lambda: copy(after(first, lambda: rds.describe_db_snapshots(SnapshotType="automated", DBInstanceIdentifier=bare())["DBSnapshots"])[0]["DBSnapshotIdentifier"])["SnapshotType"])
one, two, there = once(key), once(key), once(lambda: key(far_kms))
rekeyed = once(lambda: copy(first(), KmsKeyId=one()))
says("CopyDBSnapshot: a key encrypts what was not", (True, True, "sse-kms"), lambda: (rekeyed()["Encrypted"], rekeyed()["KmsKeyId"] == one(), rekeyed()["StorageEncryptionType"]))
says("CopyDBSnapshot: into another region", (HERE, True), lambda: (lambda found: (found["SourceRegion"], f":{THERE}:" in found["DBSnapshotArn"]))(copy(shot(first())["DBSnapshotArn"], far)))
says("CopyDBSnapshot: from another region by name alone", named("DBSnapshotNotFound"), lambda: copy(first(), far))
secret = once(lambda: snapshot(instance(StorageEncrypted=True, KmsKeyId=one())))
says("CreateDBSnapshot: an encrypted instance's snapshot is under its key", True, lambda: shot(secret())["KmsKeyId"] == one())
says("CopyDBSnapshot: another key", True, lambda: copy(secret(), KmsKeyId=two())["KmsKeyId"] == two())
says("CopyDBSnapshot: no key keeps the source's", True, lambda: copy(secret())["KmsKeyId"] == one())
says("CopyDBSnapshot: encrypted into another region needs a key", refused("InvalidParameterValue"), lambda: copy(shot(secret())["DBSnapshotArn"], far))
says("CopyDBSnapshot: of that region", True, lambda: copy(shot(secret())["DBSnapshotArn"], far, KmsKeyId=there())["KmsKeyId"] == there())
says("CopyDBSnapshot: not of this one", refused("KMSKeyNotAccessibleFault"), lambda: copy(shot(secret())["DBSnapshotArn"], far, KmsKeyId=one()))
says("CopyDBSnapshot: under a disabled key", refused("KMSKeyNotAccessibleFault"), lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: copy(first(), KmsKeyId=arn)))(key()))
says("CopyDBSnapshot: a key that was refused can be used once it is good", "creating", lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: kms.enable_key(KeyId=arn), lambda: copy(first(), KmsKeyId=arn)["Status"]))(key()))
says("CopyDBSnapshot: between the regions of the US government, without PreSignedUrl", refused("InvalidParameterValue"), lambda: (lambda west, east: after(
    lambda: west.create_db_instance(**BASE, DBInstanceIdentifier="gov"), lambda: settle("gov", west), lambda: west.create_db_snapshot(DBInstanceIdentifier="gov", DBSnapshotIdentifier="gov"),
    lambda: taken("gov", west), lambda: copy(shot("gov", west)["DBSnapshotArn"], east)))(client("rds", "us-gov-west-1"), client("rds", "us-gov-east-1")))
# Share
says("DescribeDBSnapshotAttributes: shared with nobody", [{"AttributeName": "restore", "AttributeValues": []}], lambda: rds.describe_db_snapshot_attributes(DBSnapshotIdentifier=first())["DBSnapshotAttributesResult"]["DBSnapshotAttributes"])
says("Sharing: another account does not see a snapshot", named("DBSnapshotNotFound"), lambda: copy(shot(first())["DBSnapshotArn"], customer("rds", HERE)))
says("ModifyDBSnapshotAttribute: with another account", [CUSTOMER], lambda: share(first(), ValuesToAdd=[CUSTOMER]))
says("Sharing: the other account finds it among its shared ones", True, lambda: "first" in str([found["DBSnapshotArn"] for found in customer("rds", HERE).describe_db_snapshots(SnapshotType="shared")["DBSnapshots"]]))
seen = lambda **how: customer("rds", HERE).describe_db_snapshots(**how)["DBSnapshots"]
says("Sharing: there it is of the type shared, under its ARN", ("shared", True), lambda: (lambda found: (found["SnapshotType"], found["DBSnapshotIdentifier"] == shot(first())["DBSnapshotArn"]))(seen(DBSnapshotIdentifier=shot(first())["DBSnapshotArn"], IncludeShared=True)[0]))
says("Sharing: a filter knows it by that type", (1, 0), lambda: tuple(len(seen(IncludeShared=True, Filters=[{"Name": "snapshot-type", "Values": [kind]}, {"Name": "db-snapshot-id", "Values": [shot(first())["DBSnapshotArn"]]}])) for kind in ("shared", "manual")))
says("Sharing: the other account can copy it", f"arn:aws:rds:{HERE}:{CUSTOMER}:snapshot:mine", lambda: copy(shot(first())["DBSnapshotArn"], customer("rds", HERE), TargetDBSnapshotIdentifier="mine")["DBSnapshotArn"])
says("Sharing: and restore it", "creating", lambda: customer("rds", HERE).restore_db_instance_from_db_snapshot(DBInstanceIdentifier=unique(), DBSnapshotIdentifier=shot(first())["DBSnapshotArn"])["DBInstance"]["DBInstanceStatus"])
says("ModifyDBSnapshotAttribute: and taken back", [], lambda: share(first(), ValuesToRemove=[CUSTOMER]))
says("ModifyDBSnapshotAttribute: an attribute that there is not", refused("InvalidParameterValue"), lambda: rds.modify_db_snapshot_attribute(DBSnapshotIdentifier=first(), AttributeName="colour", ValuesToAdd=[CUSTOMER]))
says("ModifyDBSnapshotAttribute: an encrypted one is not for all", refused("InvalidParameterValue"), lambda: share(secret(), ValuesToAdd=["all"]))
says("ModifyDBSnapshotAttribute: under aws/rds it is for nobody else", refused("InvalidParameterValue"), lambda: share(snapshot(instance(StorageEncrypted=True)), ValuesToAdd=[CUSTOMER]))
says("ModifyDBSnapshotAttribute: an encrypted one with an account", [CUSTOMER], lambda: share(secret(), ValuesToAdd=[CUSTOMER]))
says("Sharing: a copy of an encrypted one needs a key of its own", refused("KMSKeyNotAccessibleFault"), lambda: copy(shot(secret())["DBSnapshotArn"], customer("rds", HERE)))
says("Sharing: an encrypted one needs its key too", refused("KMSKeyNotAccessibleFault"), lambda: copy(shot(secret())["DBSnapshotArn"], customer("rds", HERE), KmsKeyId=key(customer("kms", HERE))))
# Delete
says("DeleteDBSnapshot: deleted", "deleted", lambda: rds.delete_db_snapshot(DBSnapshotIdentifier=taken(copy(first())["DBSnapshotIdentifier"]))["DBSnapshot"]["Status"])
says("DeleteDBSnapshot: one that is being created", refused("InvalidDBSnapshotState"), lambda: rds.delete_db_snapshot(DBSnapshotIdentifier=copy(first())["DBSnapshotIdentifier"]))
says("DeleteDBSnapshot: one that is not there", named("DBSnapshotNotFound"), lambda: rds.delete_db_snapshot(DBSnapshotIdentifier="none"))
says("DeleteDBSnapshot: an automated one", refused("InvalidDBSnapshotState"), lambda: rds.delete_db_snapshot(DBSnapshotIdentifier=rds.describe_db_snapshots(SnapshotType="automated")["DBSnapshots"][0]["DBSnapshotIdentifier"]))
says("DeleteDBInstance: its manual snapshots stay, its automated ones go", ["manual"], lambda: (lambda name: after(
    lambda: snapshot(name), lambda: rds.delete_db_instance(DBInstanceIdentifier=settle(name), SkipFinalSnapshot=True), lambda: until(lambda: name in str(rds.describe_db_instances()["DBInstances"]), False),
    lambda: [found["SnapshotType"] for found in rds.describe_db_snapshots(DBInstanceIdentifier=name)["DBSnapshots"]]))(instance(BackupRetentionPeriod=1)))
# Restore
restore = lambda source, by=rds, **arguments: by.restore_db_instance_from_db_snapshot(**{"DBInstanceIdentifier": unique("r"), "DBSnapshotIdentifier": source, **arguments})["DBInstance"]
original = once(lambda: after(
    lambda: rds.create_db_subnet_group(DBSubnetGroupName="mine", DBSubnetGroupDescription="d", SubnetIds=subnets(HERE)), lambda: rds.create_db_parameter_group(DBParameterGroupName="mine", DBParameterGroupFamily="postgres17", Description="d"),
    lambda: instance(EngineVersion="17", MultiAZ=True, DBParameterGroupName="mine", DBSubnetGroupName="mine", VpcSecurityGroupIds=["sg-12345678"], DeletionProtection=True, Tags=[{"Key": "a", "Value": "1"}], CopyTagsToSnapshot=True, Port=5555)))
restored = once(lambda: restore(snapshot(original())))
for member, value in {"DBInstanceStatus": "creating", "Engine": "postgres", "AllocatedStorage": 50, "MasterUsername": "dave", "MultiAZ": False, "DeletionProtection": False, "CopyTagsToSnapshot": False}.items():
    says(f"RestoreDBInstanceFromDBSnapshot: {member} unless told", value, lambda: restored().get(member))
says("RestoreDBInstanceFromDBSnapshot: the default parameter group", "default.postgres17", lambda: restored()["DBParameterGroups"][0]["DBParameterGroupName"])
says("RestoreDBInstanceFromDBSnapshot: the default security group", True, lambda: restored()["VpcSecurityGroups"][0]["VpcSecurityGroupId"] not in ("sg-12345678", ""))
says("RestoreDBInstanceFromDBSnapshot: as told", (True, "mine", "mine", ["sg-12345678"], True), lambda: (lambda found: (
    found["MultiAZ"], found["DBSubnetGroup"]["DBSubnetGroupName"], found["DBParameterGroups"][0]["DBParameterGroupName"], [group["VpcSecurityGroupId"] for group in found["VpcSecurityGroups"]], found["DeletionProtection"]))(
    restore(snapshot(settle(original())), MultiAZ=True, DBSubnetGroupName="mine", DBParameterGroupName="mine", VpcSecurityGroupIds=["sg-12345678"], DeletionProtection=True)))
says("RestoreDBInstanceFromDBSnapshot: another DbiResourceId", True, lambda: restored()["DbiResourceId"] != row(original())["DbiResourceId"])
says("RestoreDBInstanceFromDBSnapshot: the key is the snapshot's", True, lambda: restore(secret())["KmsKeyId"] == one())
says("RestoreDBInstanceFromDBSnapshot: a copy's key is the restore's", True, lambda: restore(taken(copy(secret(), KmsKeyId=two())["DBSnapshotIdentifier"]))["KmsKeyId"] == two())
says("RestoreDBInstanceFromDBSnapshot: a disabled key", refused("KMSKeyNotAccessibleFault"), lambda: (lambda arn: (lambda name: after(lambda: taken(name), lambda: kms.disable_key(KeyId=arn), lambda: restore(name)))(copy(first(), KmsKeyId=arn)["DBSnapshotIdentifier"]))(key()))
says("RestoreDBInstanceFromDBSnapshot: a name that is taken", refused("DBInstanceAlreadyExists"), lambda: restore(first(), DBInstanceIdentifier=bare()))
says("RestoreDBInstanceFromDBSnapshot: a snapshot that is not there", named("DBSnapshotNotFound"), lambda: restore("none"))
says("RestoreDBInstanceFromDBSnapshot: one that is being created", refused("InvalidDBSnapshotState"), lambda: restore(copy(first())["DBSnapshotIdentifier"]))
says("RestoreDBInstanceFromDBSnapshot: a parameter group that is not there", named("DBParameterGroupNotFound"), lambda: restore(first(), DBParameterGroupName="none"))
says("RestoreDBInstanceFromDBSnapshot: of MySQL takes no DBName", refused("InvalidParameterCombination"), lambda: restore(snapshot(instance(Engine="mysql")), DBName="app"))
# Point in time
recover = lambda **arguments: rds.restore_db_instance_to_point_in_time(**{"SourceDBInstanceIdentifier": bare(), "TargetDBInstanceIdentifier": unique("p"), **arguments})["DBInstance"]
says("RestoreDBInstanceToPointInTime: the latest", ("creating", 50), lambda: (lambda found: (found["DBInstanceStatus"], found["AllocatedStorage"]))(recover(UseLatestRestorableTime=True)))
says("RestoreDBInstanceToPointInTime: neither a time nor the latest", refused("InvalidParameterCombination"), lambda: recover())
says("RestoreDBInstanceToPointInTime: both", refused("InvalidParameterCombination"), lambda: recover(UseLatestRestorableTime=True, RestoreTime=datetime.datetime.now(datetime.timezone.utc)))
says("RestoreDBInstanceToPointInTime: before there was anything", refused("InvalidRestoreFault"), lambda: recover(RestoreTime=datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)))
says("RestoreDBInstanceToPointInTime: without backups", refused("PointInTimeRestoreNotEnabled"), lambda: recover(SourceDBInstanceIdentifier=instance(BackupRetentionPeriod=0), UseLatestRestorableTime=True))
says("RestoreDBInstanceToPointInTime: a source that is not there", named("DBInstanceNotFound"), lambda: recover(SourceDBInstanceIdentifier="none", UseLatestRestorableTime=True))
# The quota, in a region of its own
crowded = client("rds", "eu-north-1")


@once
def hundred():
    crowded.create_db_instance(**BASE, DBInstanceIdentifier="crowd")
    settle("crowd", crowded)
    crowded.create_db_snapshot(DBInstanceIdentifier="crowd", DBSnapshotIdentifier="s-000")
    taken("s-000", crowded)
    for n in range(1, 100):
        if n % 20 == 0:
            taken(f"s-{n - 1:03}", crowded)
        copy("s-000", crowded, TargetDBSnapshotIdentifier=f"s-{n:03}")
    return taken("s-099", crowded)


says("CopyDBSnapshot: the 101st manual snapshot of a region", refused("SnapshotQuotaExceeded"), lambda: after(hundred, lambda: copy("s-000", crowded)))
says("CreateDBSnapshot: nor that", refused("SnapshotQuotaExceeded"), lambda: after(hundred, lambda: crowded.create_db_snapshot(DBInstanceIdentifier=settle("crowd", crowded), DBSnapshotIdentifier="more")))
says("DescribeAccountAttributes: ManualSnapshots used and at most", (100, 100), lambda: after(hundred, lambda: {found["AccountQuotaName"]: (found["Used"], found["Max"]) for found in crowded.describe_account_attributes()["AccountQuotas"]}["ManualSnapshots"]))
says("DescribeDBSnapshots: pages of 100", True, lambda: after(hundred, lambda: "Marker" in crowded.describe_db_snapshots(MaxRecords=20)))

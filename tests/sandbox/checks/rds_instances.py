"""DB instances of RDS: create, describe, change, rename, stop, delete."""

from frame import CUSTOMER, EAST, VENDOR, WEST, after, client, customer, once, refused, says, unique, until

rds, kms = client("rds"), client("kms")
BASE = {"DBInstanceClass": "db.m6g.large", "Engine": "postgres", "AllocatedStorage": 20, "MasterUsername": "dave", "MasterUserPassword": "correct-horse"}


def row(name):
    return rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


def status(name):
    return row(name)["DBInstanceStatus"]


def settle(name, wanted="available"):
    until(lambda: status(name), wanted)
    return name


def create(**arguments):
    arguments = {**BASE, **arguments}
    return rds.create_db_instance(**{name: value for name, value in arguments.items() if value is not None})["DBInstance"]


def made(**arguments):
    """A new instance that is available."""
    name = unique()
    create(DBInstanceIdentifier=name, **arguments)
    return settle(name)


def named(code):
    return refused(code, 404 if code.endswith(("NotFound", "NotFoundFault")) else 400)


# Create and describe
answer = once(lambda: create(DBInstanceIdentifier="Main", MultiAZ=True, BackupRetentionPeriod=7, Tags=[{"Key": "a", "Value": "1"}], DBName="app"))
main = once(lambda: after(answer, lambda: settle("main")))
says("CreateDBInstance: it is being created first", "creating", lambda: answer()["DBInstanceStatus"])
says("CreateDBInstance: no endpoint before it is there", False, lambda: "Address" in answer().get("Endpoint", {}))
says("CreateDBInstance: the identifier in lower case", "main", lambda: answer()["DBInstanceIdentifier"])
says("CreateDBInstance: the ARN", f"arn:aws:rds:{WEST}:{VENDOR}:db:main", lambda: answer()["DBInstanceArn"])
says("CreateDBInstance: DbiResourceId is db- and 26 characters", True, lambda: answer()["DbiResourceId"].startswith("db-") and len(answer()["DbiResourceId"]) == 29)
says("CreateDBInstance: two instances have two DbiResourceIds", True, lambda: row(made())["DbiResourceId"] != row(main())["DbiResourceId"])
for member, value in {
    "Engine": "postgres", "DBInstanceClass": "db.m6g.large", "AllocatedStorage": 20, "MasterUsername": "dave", "DBName": "app", "MultiAZ": True,
    "BackupRetentionPeriod": 7, "StorageEncrypted": False, "DeletionProtection": False, "PendingModifiedValues": {}, "PubliclyAccessible": False,
    "AutoMinorVersionUpgrade": True, "CopyTagsToSnapshot": False, "ReadReplicaDBInstanceIdentifiers": [], "TagList": [{"Key": "a", "Value": "1"}],
    "IAMDatabaseAuthenticationEnabled": False, "LicenseModel": "postgresql-license", "StorageEncryptionType": "none",
}.items():
    says(f"DescribeDBInstances: {member}", value, lambda: row(main()).get(member))
says("DescribeDBInstances: the endpoint", (True, 5432), lambda: (lambda found: (found["Address"].startswith("main."), found["Port"]))(row(main())["Endpoint"]))
says("DescribeDBInstances: no password anywhere", False, lambda: "correct-horse" in str(row(main())))
says("DescribeDBInstances: no key without encryption", False, lambda: "KmsKeyId" in row(main()))
says("DescribeDBInstances: parameter group in-sync", "in-sync", lambda: row(main())["DBParameterGroups"][0]["ParameterApplyStatus"])
says("DescribeDBInstances: option group in-sync", "in-sync", lambda: row(main())["OptionGroupMemberships"][0]["Status"])
says("DescribeDBInstances: the security group is active", "active", lambda: row(main())["VpcSecurityGroups"][0]["Status"])
says("DescribeDBInstances: Multi-AZ has two zones", True, lambda: row(main())["SecondaryAvailabilityZone"] != row(main())["AvailabilityZone"])
says("DescribeDBInstances: by ARN", "main", lambda: after(main, lambda: rds.describe_db_instances(DBInstanceIdentifier=answer()["DBInstanceArn"])["DBInstances"][0]["DBInstanceIdentifier"]))
says("DescribeDBInstances: in another case", "main", lambda: after(main, lambda: row("MAIN")["DBInstanceIdentifier"]))
says("DescribeDBInstances: an instance that is not there", named("DBInstanceNotFound"), lambda: row("none"))
for name, value in (("db-instance-id", "main"), ("dbi-resource-id", None)):
    says(f"DescribeDBInstances: filter {name}", ["main"], lambda: [found["DBInstanceIdentifier"] for found in rds.describe_db_instances(Filters=[{"Name": name, "Values": [value or row(main())["DbiResourceId"]]}])["DBInstances"]])
says("DescribeDBInstances: filter engine", [], lambda: after(main, lambda: rds.describe_db_instances(Filters=[{"Name": "engine", "Values": ["oracle-ee"]}])["DBInstances"]))
says("DescribeDBInstances: an unknown filter", refused("InvalidParameterValue"), lambda: rds.describe_db_instances(Filters=[{"Name": "colour", "Values": ["red"]}]))
for most in (19, 101):
    says(f"DescribeDBInstances: MaxRecords {most}", refused("InvalidParameterValue"), lambda: rds.describe_db_instances(MaxRecords=most))
says("DescribeDBInstances: a marker that is none", refused("InvalidParameterValue"), lambda: rds.describe_db_instances(Marker="nonsense"))
far = client("rds", "ap-south-1")
crowd = once(lambda: [far.create_db_instance(**BASE, DBInstanceIdentifier=f"crowd-{n:02}")["DBInstance"]["DBInstanceIdentifier"] for n in range(40)])
says("DescribeDBInstances: the pages hold every instance once", ([20, 20], True), lambda: (lambda pages: ([len(page) for page in pages], sorted(sum(pages, [])) == crowd()))(
    after(crowd, lambda: [[found["DBInstanceIdentifier"] for found in page["DBInstances"]] for page in far.get_paginator("describe_db_instances").paginate(PaginationConfig={"PageSize": 20})])))
says("CreateDBInstance: the 41st of a region", refused("InstanceQuotaExceeded"), lambda: after(crowd, lambda: far.create_db_instance(**BASE, DBInstanceIdentifier="crowd-40")))
says("CreateDBInstance: a name that is taken", refused("DBInstanceAlreadyExists"), lambda: create(DBInstanceIdentifier=main()))
says("CreateDBInstance: the same name in another region", "creating", lambda: client("rds", EAST).create_db_instance(DBInstanceIdentifier=main(), **BASE)["DBInstance"]["DBInstanceStatus"])
says("CreateDBInstance: the same name in another account", f"arn:aws:rds:{WEST}:{CUSTOMER}:db:main", lambda: customer("rds").create_db_instance(DBInstanceIdentifier=main(), **BASE)["DBInstance"]["DBInstanceArn"])
BAD = {
    "a name that begins with a digit": ({"DBInstanceIdentifier": "1a"}, "InvalidParameterValue"), "a name with two hyphens": ({"DBInstanceIdentifier": "a--b"}, "InvalidParameterValue"),
    "a name that ends with a hyphen": ({"DBInstanceIdentifier": "a-"}, "InvalidParameterValue"), "a name of 64 characters": ({"DBInstanceIdentifier": "a" * 64}, "InvalidParameterValue"),
    "an unknown engine": ({"Engine": "dbase"}, "InvalidParameterValue"), "an unknown version": ({"EngineVersion": "99.9"}, "InvalidParameterCombination"),
    "a class of no form": ({"DBInstanceClass": "large"}, "InvalidParameterValue"), "a password of 7 characters": ({"MasterUserPassword": "1234567"}, "InvalidParameterValue"),
    "a password with a slash": ({"MasterUserPassword": "12345678/"}, "InvalidParameterValue"), "a reserved user": ({"MasterUsername": "rdsadmin"}, "InvalidParameterValue"),
    "36 days of backups": ({"BackupRetentionPeriod": 36}, "InvalidParameterValue"), "a port below 1150": ({"Port": 80}, "InvalidParameterValue"),
    "5 GB": ({"AllocatedStorage": 5}, "InvalidParameterValue"), "a parameter group that is not there": ({"DBParameterGroupName": "none"}, "DBParameterGroupNotFound"),
    "a subnet group that is not there": ({"DBSubnetGroupName": "none"}, "DBSubnetGroupNotFoundFault"), "an option group that is not there": ({"OptionGroupName": "none"}, "OptionGroupNotFoundFault"),
    "a key without encryption": ({"KmsKeyId": "alias/none", "StorageEncrypted": False}, "InvalidParameterCombination"), "a zone of Multi-AZ": ({"MultiAZ": True, "AvailabilityZone": WEST + "a"}, "InvalidParameterCombination"),
    "io1 without Iops": ({"StorageType": "io1", "AllocatedStorage": 100}, "InvalidParameterCombination"), "no user": ({"MasterUsername": None}, "InvalidParameterValue"),
    "a cluster that is not there": ({"Engine": "aurora-mysql", "DBClusterIdentifier": "none", "MasterUsername": None, "MasterUserPassword": None}, "DBClusterNotFoundFault"),
}
for name, (arguments, code) in BAD.items():
    says(f"CreateDBInstance: {name}", named(code), lambda: create(**{"DBInstanceIdentifier": unique(), **arguments}))
# Encryption
key = once(lambda: kms.create_key()["KeyMetadata"]["Arn"])
broken = once(lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: arn))(kms.create_key()["KeyMetadata"]["Arn"]))
secret = once(lambda: made(StorageEncrypted=True, KmsKeyId=key()))
says("CreateDBInstance: under a key", (True, True, "sse-kms"), lambda: (lambda found: (found["StorageEncrypted"], found["KmsKeyId"] == key(), found["StorageEncryptionType"]))(row(secret())))
says("CreateDBInstance: encrypted without a key is under aws/rds", True, lambda: (lambda found: found["StorageEncrypted"] and kms.describe_key(KeyId=found["KmsKeyId"])["KeyMetadata"]["KeyManager"] == "AWS")(create(DBInstanceIdentifier=unique(), StorageEncrypted=True)))
says("CreateDBInstance: a key id is described as its ARN", True, lambda: create(DBInstanceIdentifier=unique(), StorageEncrypted=True, KmsKeyId=key().split("/")[1])["KmsKeyId"] == key())
says("CreateDBInstance: an alias is described as its key's ARN", True, lambda: (lambda name: after(lambda: kms.create_alias(AliasName=name, TargetKeyId=key()), lambda: create(DBInstanceIdentifier=unique(), StorageEncrypted=True, KmsKeyId=name)["KmsKeyId"] == key()))("alias/" + unique()))
KEYS = {
    "a disabled key": broken, "a key that is not there": lambda: f"arn:aws:kms:{WEST}:{VENDOR}:key/12345678-1234-1234-1234-123456789012",
    "a key of another region": lambda: client("kms", EAST).create_key()["KeyMetadata"]["Arn"], "a key pending import": lambda: kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["Arn"],
    "a key pending deletion": lambda: kms.schedule_key_deletion(KeyId=kms.create_key()["KeyMetadata"]["Arn"])["KeyId"],
    "an asymmetric key": lambda: kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"],
    "another account's key whose policy says nothing": lambda: customer().create_key()["KeyMetadata"]["Arn"],
}
for name, arn in KEYS.items():
    says(f"CreateDBInstance: {name}", refused("KMSKeyNotAccessibleFault"), lambda: create(DBInstanceIdentifier=unique(), StorageEncrypted=True, KmsKeyId=arn()))
says("CreateDBInstance: RDS holds a grant on the key", True, lambda: after(secret, lambda: row(secret())["DbiResourceId"] in str(kms.list_grants(KeyId=key())["Grants"])))
doomed = once(lambda: kms.create_key()["KeyMetadata"]["Arn"])
lost = once(lambda: (lambda name: after(lambda: kms.disable_key(KeyId=doomed()), lambda: settle(name, "inaccessible-encryption-credentials-recoverable")))(made(StorageEncrypted=True, KmsKeyId=doomed())))
says("A disabled key makes its instance inaccessible", "inaccessible-encryption-credentials-recoverable", lambda: status(lost()))
says("StartDBInstance: not while the key is disabled", refused("KMSKeyNotAccessibleFault"), lambda: rds.start_db_instance(DBInstanceIdentifier=lost()))
says("StartDBInstance: with the key back it recovers", "available", lambda: after(lost, lambda: kms.enable_key(KeyId=doomed()), lambda: rds.start_db_instance(DBInstanceIdentifier=lost()), lambda: status(settle(lost()))))
# Change
modify = lambda name, **arguments: rds.modify_db_instance(DBInstanceIdentifier=name, **arguments)["DBInstance"]
waiting = once(lambda: (lambda name: (name, modify(name, DBInstanceClass="db.m6g.xlarge")))(made()))
says("ModifyDBInstance: the class waits for the window", {"DBInstanceClass": "db.m6g.xlarge"}, lambda: waiting()[1]["PendingModifiedValues"])
says("ModifyDBInstance: until then the old one is described", "db.m6g.large", lambda: row(waiting()[0])["DBInstanceClass"])
says("ModifyDBInstance: ApplyImmediately", ("db.m6g.xlarge", {}), lambda: after(lambda: modify(waiting()[0], DBInstanceClass="db.m6g.xlarge", ApplyImmediately=True), lambda: until(lambda: row(waiting()[0])["DBInstanceClass"], "db.m6g.xlarge"), lambda: (row(waiting()[0])["DBInstanceClass"], row(waiting()[0])["PendingModifiedValues"])))
says("ModifyDBInstance: it is modifying meanwhile", "modifying", lambda: (lambda name: after(lambda: modify(name, MultiAZ=True, ApplyImmediately=True), lambda: status(name)))(made()))
says("ModifyDBInstance: another change meanwhile", refused("InvalidDBInstanceState"), lambda: (lambda name: after(lambda: modify(name, MultiAZ=True, ApplyImmediately=True), lambda: modify(name, MultiAZ=False)))(made()))
says("ModifyDBInstance: deletion protection at once", True, lambda: modify(settle(waiting()[0]), DeletionProtection=True)["DeletionProtection"])
says("ModifyDBInstance: storage does not shrink", refused("InvalidParameterCombination"), lambda: modify(main(), AllocatedStorage=19, ApplyImmediately=True))
says("ModifyDBInstance: an instance that is not there", named("DBInstanceNotFound"), lambda: modify("none", AllocatedStorage=30))
says("ModifyDBInstance: a parameter group that is not there", named("DBParameterGroupNotFound"), lambda: modify(main(), DBParameterGroupName="none"))
says("ModifyDBInstance: backup days out of range", refused("InvalidParameterValue"), lambda: modify(main(), BackupRetentionPeriod=36))
says("ModifyDBInstance: a new major version needs its flag", refused("InvalidParameterCombination"), lambda: (lambda name: modify(name, EngineVersion="17", ApplyImmediately=True))(made(EngineVersion="16")))
says("ModifyDBInstance: logs to CloudWatch", ["postgresql"], lambda: modify(settle(waiting()[0]), CloudwatchLogsExportConfiguration={"EnableLogTypes": ["postgresql"]})["EnabledCloudwatchLogsExports"])
nothing = refused("InvalidParameterCombination", 400, "No modifications were requested")
says("ModifyDBInstance: nothing at all", nothing, lambda: modify(main(), ApplyImmediately=True))
says("ModifyDBInstance: a flag that changes nothing by itself", nothing, lambda: modify(main(), AllowMajorVersionUpgrade=True))
windows = once(lambda: made(PreferredBackupWindow="03:00-03:30", PreferredMaintenanceWindow="Tue:05:00-Tue:06:00"))
says("CreateDBInstance: windows, their days in lower case", ("03:00-03:30", "tue:05:00-tue:06:00"), lambda: (lambda found: (found["PreferredBackupWindow"], found["PreferredMaintenanceWindow"]))(row(windows())))
OVERLAP = "The backup window and maintenance window must not overlap."
for name, asked, message in (
    ("a backup window of 29 minutes", {"PreferredBackupWindow": "10:00-10:29"}, "at least 30 minutes"),
    ("a maintenance window of 29 minutes", {"PreferredMaintenanceWindow": "mon:10:00-mon:10:29"}, "at least 30 minutes"),
    ("a maintenance window of more than a day", {"PreferredMaintenanceWindow": "mon:10:00-tue:10:01"}, "24 hours"),
    ("a backup window with a day", {"PreferredBackupWindow": "mon:10:00-mon:10:30"}, "Invalid backup window format"),
    ("a maintenance window without days", {"PreferredMaintenanceWindow": "10:00-10:30"}, "Invalid maintenance window format"),
    ("a backup window in the maintenance window", {"PreferredBackupWindow": "05:30-06:30"}, OVERLAP),
    ("a maintenance window over the backup window of another day", {"PreferredMaintenanceWindow": "fri:23:00-sat:03:10"}, OVERLAP),
):
    says(f"ModifyDBInstance: {name}", refused("InvalidParameterValue", 400, message), lambda: modify(windows(), **asked))
says("CreateDBInstance: two windows that overlap", refused("InvalidParameterValue", 400, OVERLAP), lambda: create(DBInstanceIdentifier=unique(), PreferredBackupWindow="03:00-04:00", PreferredMaintenanceWindow="sun:03:30-sun:04:30"))
managed = once(lambda: made(MasterUserPassword=None, ManageMasterUserPassword=True))
says("MasterUserSecret: under the account's key for Secrets Manager", True, lambda: row(managed())["MasterUserSecret"]["KmsKeyId"] == kms.describe_key(KeyId="alias/aws/secretsmanager")["KeyMetadata"]["Arn"])
says("MasterUserSecret: under the key that was named, by its ARN", True, lambda: create(DBInstanceIdentifier=unique(), MasterUserPassword=None, ManageMasterUserPassword=True, MasterUserSecretKmsKeyId=key().split("/")[1])["MasterUserSecret"]["KmsKeyId"] == key())
says("MasterUserSecret: under a key that is not there", refused("KMSKeyNotAccessibleFault"), lambda: create(DBInstanceIdentifier=unique(), MasterUserPassword=None, ManageMasterUserPassword=True, MasterUserSecretKmsKeyId="12345678-1234-1234-1234-123456789012"))
for member, kind in {"DomainMemberships": list, "UpgradeRolloutOrder": str, "IsStorageConfigUpgradeAvailable": bool, "CertificateDetails": dict, "PreferredMaintenanceWindow": str}.items():
    says(f"DescribeDBInstances: has {member}", True, lambda: isinstance(row(main())[member], kind))
renamed = once(lambda: (lambda name: (row(name), name, after(lambda: modify(name, NewDBInstanceIdentifier=name + "-new", ApplyImmediately=True), lambda: until(lambda: name + "-new" in [found["DBInstanceIdentifier"] for found in rds.describe_db_instances()["DBInstances"]], True), lambda: row(settle(name + "-new")))))(made()))
says("Rename: the same resource id", True, lambda: renamed()[2]["DbiResourceId"] == renamed()[0]["DbiResourceId"])
says("Rename: another ARN and endpoint", (True, True), lambda: (renamed()[2]["DBInstanceArn"].endswith("-new"), renamed()[2]["Endpoint"]["Address"].startswith(renamed()[1] + "-new.")))
says("Rename: the old name is gone", named("DBInstanceNotFound"), lambda: row(renamed()[1]))
says("Rename: onto a name that is taken", refused("DBInstanceAlreadyExists"), lambda: modify(renamed()[1] + "-new", NewDBInstanceIdentifier=main(), ApplyImmediately=True))
# Reboot, stop, start
says("RebootDBInstance", "rebooting", lambda: rds.reboot_db_instance(DBInstanceIdentifier=made())["DBInstance"]["DBInstanceStatus"])
says("RebootDBInstance: ForceFailover of a single zone", refused("InvalidParameterCombination"), lambda: rds.reboot_db_instance(DBInstanceIdentifier=made(), ForceFailover=True))
resting = once(lambda: (lambda name: after(lambda: rds.stop_db_instance(DBInstanceIdentifier=name), lambda: (name, status(name), settle(name, "stopped"))))(made()))
says("StopDBInstance: it is stopping first", "stopping", lambda: resting()[1])
says("StopDBInstance: twice", refused("InvalidDBInstanceState"), lambda: rds.stop_db_instance(DBInstanceIdentifier=resting()[0]))
says("StopDBInstance: it will start again in seven days", True, lambda: "AutomaticRestartTime" in row(resting()[0]))
says("RebootDBInstance: of a stopped one", refused("InvalidDBInstanceState"), lambda: rds.reboot_db_instance(DBInstanceIdentifier=resting()[0]))
says("StartDBInstance", ("starting", "available"), lambda: (rds.start_db_instance(DBInstanceIdentifier=resting()[0])["DBInstance"]["DBInstanceStatus"], status(settle(resting()[0]))))
says("StartDBInstance: of a running one", refused("InvalidDBInstanceState"), lambda: rds.start_db_instance(DBInstanceIdentifier=main()))
# Delete
delete = lambda name, **arguments: rds.delete_db_instance(DBInstanceIdentifier=name, **arguments)["DBInstance"]
says("DeleteDBInstance: deletion protection", refused("InvalidParameterCombination"), lambda: delete(waiting()[0], SkipFinalSnapshot=True))
says("DeleteDBInstance: neither a final snapshot nor without", refused("InvalidParameterCombination"), lambda: delete(main()))
says("DeleteDBInstance: both", refused("InvalidParameterCombination"), lambda: delete(main(), SkipFinalSnapshot=True, FinalDBSnapshotIdentifier="x"))
says("DeleteDBInstance: an instance that is not there", named("DBInstanceNotFound"), lambda: delete("none", SkipFinalSnapshot=True))
says("DeleteDBInstance: it is deleting first", "deleting", lambda: delete(made(), SkipFinalSnapshot=True)["DBInstanceStatus"])
says("DeleteDBInstance: twice", refused("InvalidDBInstanceState"), lambda: (lambda name: after(lambda: delete(name, SkipFinalSnapshot=True), lambda: delete(name, SkipFinalSnapshot=True)))(made()))
says("DeleteDBInstance: then it is gone", True, lambda: (lambda name: after(lambda: delete(name, SkipFinalSnapshot=True), lambda: until(lambda: name in [found["DBInstanceIdentifier"] for found in rds.describe_db_instances()["DBInstances"]], False) is False))(made()))
says("DeleteDBInstance: with a final snapshot", "manual", lambda: (lambda name: after(lambda: delete(name, FinalDBSnapshotIdentifier=name + "-last"), lambda: rds.describe_db_snapshots(DBSnapshotIdentifier=name + "-last")["DBSnapshots"][0]["SnapshotType"]))(made()))
says("DeleteDBInstance: an instance that is being created", "deleting", lambda: delete(create(DBInstanceIdentifier=unique())["DBInstanceIdentifier"], SkipFinalSnapshot=True)["DBInstanceStatus"])

"""Clusters, read replicas, blue/green deployments and automated backups of RDS."""

from frame import after, client, once, refused, says, unique, until

HERE, THERE = "ap-southeast-2", "ap-southeast-1"
rds, kms, far, far_kms = client("rds", HERE), client("kms", HERE), client("rds", THERE), client("kms", THERE)
BASE = {"DBInstanceClass": "db.m6g.large", "Engine": "postgres", "AllocatedStorage": 20, "MasterUsername": "dave", "MasterUserPassword": "correct-horse"}
AURORA = {"Engine": "aurora-mysql", "MasterUsername": "dave", "MasterUserPassword": "correct-horse"}


def named(code):
    return refused(code, 404 if code.endswith(("NotFound", "NotFoundFault")) else 400)


def key(by=kms):
    return by.create_key()["KeyMetadata"]["Arn"]


def row(name, by=rds):
    return by.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


def group(name):
    return rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]


def shot(name):
    return rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)["DBClusterSnapshots"][0]


def settle(name, by=rds, wanted="available"):
    until(lambda: row(name, by)["DBInstanceStatus"], wanted)
    return name


def instance(**arguments):
    name = unique("i")
    rds.create_db_instance(**{**BASE, "DBInstanceIdentifier": name, **arguments})
    return settle(name)


def whole(name, wanted="available"):
    until(lambda: group(name)["Status"], wanted)
    return name


def cluster(members=0, **arguments):
    name = unique("c")
    rds.create_db_cluster(**{**AURORA, "DBClusterIdentifier": name, **arguments})
    for n in range(members):
        rds.create_db_instance(DBInstanceIdentifier=f"{name}-{n}", DBInstanceClass="db.r6g.large", Engine="aurora-mysql", DBClusterIdentifier=name)
    for n in range(members):
        settle(f"{name}-{n}")
    return whole(name)


def snapshot(name, **arguments):
    taken = unique("cs")
    rds.create_db_cluster_snapshot(DBClusterIdentifier=whole(name), DBClusterSnapshotIdentifier=taken, **arguments)
    until(lambda: shot(taken)["Status"], "available")
    return taken


# Clusters
one, two = once(key), once(key)
main = once(lambda: cluster(2, Tags=[{"Key": "a", "Value": "1"}]))
for member, value in {"Status": "available", "Engine": "aurora-mysql", "EngineMode": "provisioned", "StorageEncrypted": False, "DeletionProtection": False, "BackupRetentionPeriod": 1, "Port": 3306, "TagList": [{"Key": "a", "Value": "1"}]}.items():
    says(f"DescribeDBClusters: {member}", value, lambda: group(main()).get(member))
says("CreateDBCluster: it is being created first", "creating", lambda: rds.create_db_cluster(DBClusterIdentifier=unique("c"), **AURORA)["DBCluster"]["Status"])
says("CreateDBCluster: endpoints for writers and readers", (True, True), lambda: (".cluster-" in group(main())["Endpoint"], ".cluster-ro-" in group(main())["ReaderEndpoint"]))
says("CreateDBCluster: a name that is taken", refused("DBClusterAlreadyExistsFault"), lambda: rds.create_db_cluster(DBClusterIdentifier=main(), **AURORA))
says("CreateDBCluster: under a key", True, lambda: group(cluster(StorageEncrypted=True, KmsKeyId=one()))["KmsKeyId"] == one())
says("CreateDBCluster: under a disabled key", refused("KMSKeyNotAccessibleFault"), lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: cluster(StorageEncrypted=True, KmsKeyId=arn)))(key()))
says("CreateDBCluster: a parameter group that is not there", named("DBClusterParameterGroupNotFound"), lambda: cluster(DBClusterParameterGroupName="none"))
says("DescribeDBClusters: a cluster that is not there", named("DBClusterNotFoundFault"), lambda: group("none"))
says("DescribeDBClusters: one member writes", [True, False], lambda: sorted((member["IsClusterWriter"] for member in group(main())["DBClusterMembers"]), reverse=True))
says("DescribeDBInstances: a member names its cluster", True, lambda: row(main() + "-0")["DBClusterIdentifier"] == main())
says("CreateDBInstance: a member of another engine", refused("InvalidParameterCombination"), lambda: rds.create_db_instance(DBInstanceIdentifier=unique(), DBInstanceClass="db.r6g.large", Engine="aurora-postgresql", DBClusterIdentifier=main()))
says("CreateDBSnapshot: of a member", refused("InvalidParameterValue"), lambda: rds.create_db_snapshot(DBInstanceIdentifier=main() + "-0", DBSnapshotIdentifier=unique()))
says("StopDBInstance: of a member", refused("InvalidParameterCombination"), lambda: rds.stop_db_instance(DBInstanceIdentifier=main() + "-0"))
says("FailoverDBCluster: the other member writes", True, lambda: (lambda writer: (lambda before: after(lambda: rds.failover_db_cluster(DBClusterIdentifier=main()), lambda: until(lambda: writer() != before, True)))(writer()))(
    lambda: [member["DBInstanceIdentifier"] for member in group(main())["DBClusterMembers"] if member["IsClusterWriter"]]))
says("FailoverDBCluster: without another member", named("InvalidDBClusterStateFault"), lambda: rds.failover_db_cluster(DBClusterIdentifier=cluster(1)))
says("DeleteDBCluster: while it has members", refused("InvalidDBClusterStateFault"), lambda: rds.delete_db_cluster(DBClusterIdentifier=whole(main()), SkipFinalSnapshot=True))
says("DeleteDBCluster: neither a final snapshot nor without", refused("InvalidParameterCombination"), lambda: rds.delete_db_cluster(DBClusterIdentifier=cluster()))
says("DeleteDBCluster: deletion protection", refused("InvalidParameterCombination"), lambda: rds.delete_db_cluster(DBClusterIdentifier=cluster(DeletionProtection=True), SkipFinalSnapshot=True))
says("DeleteDBCluster: empty", "deleting", lambda: rds.delete_db_cluster(DBClusterIdentifier=cluster(), SkipFinalSnapshot=True)["DBCluster"]["Status"])
says("ModifyDBCluster: a new name", True, lambda: (lambda name: after(lambda: rds.modify_db_cluster(DBClusterIdentifier=name, NewDBClusterIdentifier=name + "-new", ApplyImmediately=True), lambda: until(lambda: name + "-new" in str(rds.describe_db_clusters()["DBClusters"]), True)))(cluster()))
says("StopDBCluster answers the cluster as it was, StartDBCluster as it will be", ("available", "starting"), lambda: (lambda name: (rds.stop_db_cluster(DBClusterIdentifier=name)["DBCluster"]["Status"], after(lambda: whole(name, "stopped"), lambda: rds.start_db_cluster(DBClusterIdentifier=name)["DBCluster"]["Status"])))(cluster(1)))
says("RebootDBCluster: of a cluster that is not there", named("DBClusterNotFoundFault"), lambda: rds.reboot_db_cluster(DBClusterIdentifier="none"))
says("ModifyDBCluster: nothing at all", refused("InvalidParameterCombination", 400, "No modifications were requested"), lambda: rds.modify_db_cluster(DBClusterIdentifier=cluster(), ApplyImmediately=True))
says("ModifyDBCluster: windows that overlap", refused("InvalidParameterValue"), lambda: rds.modify_db_cluster(DBClusterIdentifier=cluster(), PreferredBackupWindow="03:00-04:00", PreferredMaintenanceWindow="sun:03:30-sun:04:30"))
says("CreateDBInstance: deletion protection is the cluster's", refused("InvalidParameterCombination"), lambda: rds.create_db_instance(DBInstanceIdentifier=unique("m"), DBClusterIdentifier=cluster(), DBInstanceClass="db.r6g.large", Engine="aurora-mysql", DeletionProtection=True))
says("ModifyDBInstance: deletion protection is the cluster's", refused("InvalidParameterCombination"), lambda: rds.modify_db_instance(DBInstanceIdentifier=group(cluster(1))["DBClusterMembers"][0]["DBInstanceIdentifier"], DeletionProtection=True))
says("CreateDBCluster: MasterUserSecret has its key", True, lambda: (lambda found: found["MasterUserSecret"]["KmsKeyId"] == kms.describe_key(KeyId="alias/aws/secretsmanager")["KeyMetadata"]["Arn"])(
    rds.create_db_cluster(DBClusterIdentifier=unique("k"), Engine="aurora-mysql", MasterUsername="dave", ManageMasterUserPassword=True)["DBCluster"]))
for member, kind in {"HostedZoneId": str, "CrossAccountClone": bool, "HttpEndpointEnabled": bool, "DomainMemberships": list, "UpgradeRolloutOrder": str}.items():
    says(f"DescribeDBClusters: has {member}", True, lambda: isinstance(group(main())[member], kind))
multi = once(lambda: after(lambda: rds.create_db_cluster(DBClusterIdentifier="multi", Engine="mysql", DBClusterInstanceClass="db.m6gd.large", StorageType="io1", Iops=1000, AllocatedStorage=100, MasterUsername="dave", MasterUserPassword="correct-horse"), lambda: whole("multi")))
says("CreateDBCluster: a Multi-AZ DB cluster brings three instances", 3, lambda: len(group(multi())["DBClusterMembers"]))
says("RebootDBCluster: a Multi-AZ DB cluster", "rebooting", lambda: rds.reboot_db_cluster(DBClusterIdentifier=multi())["DBCluster"]["Status"])
# Their snapshots
taken = once(lambda: snapshot(main()))
says("CreateDBClusterSnapshot", ("available", 100, "manual", False), lambda: (lambda found: (found["Status"], found["PercentProgress"], found["SnapshotType"], found["StorageEncrypted"]))(shot(taken())))
says("CreateDBClusterSnapshot: a name that is taken", refused("DBClusterSnapshotAlreadyExistsFault"), lambda: rds.create_db_cluster_snapshot(DBClusterIdentifier=whole(main()), DBClusterSnapshotIdentifier=taken()))
says("DescribeDBClusterSnapshots: one that is not there", named("DBClusterSnapshotNotFoundFault"), lambda: shot("none"))
clone = lambda source, **arguments: rds.copy_db_cluster_snapshot(SourceDBClusterSnapshotIdentifier=source, TargetDBClusterSnapshotIdentifier=unique("cc"), **arguments)["DBClusterSnapshot"]
says("CopyDBClusterSnapshot: a key on an unencrypted one is an error", refused("InvalidParameterCombination"), lambda: clone(taken(), KmsKeyId=one()))
says("CopyDBClusterSnapshot: unencrypted it stays", False, lambda: clone(taken())["StorageEncrypted"])
sealed = once(lambda: snapshot(cluster(StorageEncrypted=True, KmsKeyId=one())))
says("CopyDBClusterSnapshot: another key for an encrypted one", True, lambda: clone(sealed(), KmsKeyId=two())["KmsKeyId"] == two())
says("CopyDBClusterSnapshot: of one that is not there", named("DBClusterSnapshotNotFoundFault"), lambda: clone("none"))
restore = lambda source, **arguments: rds.restore_db_cluster_from_snapshot(DBClusterIdentifier=unique("rc"), SnapshotIdentifier=source, Engine="aurora-mysql", **arguments)["DBCluster"]
says("RestoreDBClusterFromSnapshot: a key encrypts what was not", (True, True), lambda: (lambda found: (found["StorageEncrypted"], found["KmsKeyId"] == one()))(restore(taken(), KmsKeyId=one())))
says("RestoreDBClusterFromSnapshot: without a key the snapshot's", True, lambda: restore(sealed())["KmsKeyId"] == one())
says("RestoreDBClusterFromSnapshot: another key", True, lambda: restore(sealed(), KmsKeyId=two())["KmsKeyId"] == two())
says("RestoreDBClusterFromSnapshot: it has no members yet", [], lambda: restore(taken())["DBClusterMembers"])
says("RestoreDBClusterFromSnapshot: a snapshot that is not there", named("DBClusterSnapshotNotFoundFault"), lambda: restore("none"))
says("RestoreDBClusterFromSnapshot: a name that is taken", refused("DBClusterAlreadyExistsFault"), lambda: rds.restore_db_cluster_from_snapshot(DBClusterIdentifier=main(), SnapshotIdentifier=taken(), Engine="aurora-mysql"))
recover = lambda source, **arguments: rds.restore_db_cluster_to_point_in_time(DBClusterIdentifier=unique("pc"), SourceDBClusterIdentifier=source, UseLatestRestorableTime=True, **arguments)["DBCluster"]
says("RestoreDBClusterToPointInTime: a clone", "creating", lambda: recover(whole(main()), RestoreType="copy-on-write")["Status"])
says("RestoreDBClusterToPointInTime: another key of an encrypted one", True, lambda: recover(cluster(StorageEncrypted=True, KmsKeyId=one()), KmsKeyId=two())["KmsKeyId"] == two())
says("RestoreDBClusterToPointInTime: a key on an unencrypted one", refused("InvalidParameterCombination"), lambda: recover(whole(main()), KmsKeyId=one()))
for member, kind in {"LicenseModel": str, "BackupRetentionPeriod": int, "PreferredBackupWindow": str}.items():
    says(f"DescribeDBClusterSnapshots: has {member}", True, lambda: isinstance(shot(taken())[member], kind))
says("ModifyDBClusterSnapshotAttribute", ["123456789012"], lambda: rds.modify_db_cluster_snapshot_attribute(DBClusterSnapshotIdentifier=taken(), AttributeName="restore", ValuesToAdd=["123456789012"])["DBClusterSnapshotAttributesResult"]["DBClusterSnapshotAttributes"][0]["AttributeValues"])
says("DeleteDBClusterSnapshot", "deleted", lambda: rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=sealed())["DBClusterSnapshot"]["Status"])
# Read replicas
source = once(lambda: instance(BackupRetentionPeriod=1))
replicate = lambda of, by=rds, **arguments: by.create_db_instance_read_replica(**{"DBInstanceIdentifier": unique("rr"), "SourceDBInstanceIdentifier": of, **arguments})["DBInstance"]
replica = once(lambda: settle(replicate(source())["DBInstanceIdentifier"]))
says("CreateDBInstanceReadReplica: it names its source", True, lambda: row(replica())["ReadReplicaSourceDBInstanceIdentifier"] == source())
says("CreateDBInstanceReadReplica: the source names it", True, lambda: replica() in row(source())["ReadReplicaDBInstanceIdentifiers"])
says("CreateDBInstanceReadReplica: it has no backups", 0, lambda: row(replica())["BackupRetentionPeriod"])
says("CreateDBInstanceReadReplica: it replicates", "replicating", lambda: row(replica())["StatusInfos"][0]["Status"])
says("CreateDBInstanceReadReplica: of a source without backups", refused("InvalidDBInstanceState"), lambda: replicate(instance(BackupRetentionPeriod=0)))
says("CreateDBInstanceReadReplica: of a source that is not there", named("DBInstanceNotFound"), lambda: replicate("none"))
says("CreateDBInstanceReadReplica: an encrypted one of an unencrypted source", refused("InvalidParameterCombination"), lambda: replicate(source(), KmsKeyId=one()))
secret = once(lambda: instance(BackupRetentionPeriod=1, StorageEncrypted=True, KmsKeyId=one()))
says("CreateDBInstanceReadReplica: the source's key", True, lambda: replicate(secret())["KmsKeyId"] == one())
says("CreateDBInstanceReadReplica: another key in the same region", True, lambda: replicate(secret(), KmsKeyId=two())["KmsKeyId"] == two())
says("CreateDBInstanceReadReplica: in another region, by ARN", True, lambda: replicate(row(source())["DBInstanceArn"], far)["ReadReplicaSourceDBInstanceIdentifier"] == row(source())["DBInstanceArn"])
says("CreateDBInstanceReadReplica: encrypted, in another region, needs a key", refused("InvalidParameterCombination"), lambda: replicate(row(secret())["DBInstanceArn"], far))
says("CreateDBInstanceReadReplica: of that region", True, lambda: (lambda arn: replicate(row(secret())["DBInstanceArn"], far, KmsKeyId=arn)["KmsKeyId"] == arn)(key(far_kms)))
says("StopDBInstance: a source of replicas", refused("InvalidDBInstanceState"), lambda: after(replica, lambda: rds.stop_db_instance(DBInstanceIdentifier=source())))
says("ModifyDBInstance: a source of replicas keeps its backups", refused("InvalidDBInstanceState"), lambda: after(replica, lambda: rds.modify_db_instance(DBInstanceIdentifier=source(), BackupRetentionPeriod=0, ApplyImmediately=True)))
says("DeleteDBInstance: a replica takes no final snapshot", refused("InvalidParameterCombination"), lambda: rds.delete_db_instance(DBInstanceIdentifier=replica(), FinalDBSnapshotIdentifier="x"))
says("PromoteReadReplica: an instance of its own", True, lambda: after(lambda: rds.promote_read_replica(DBInstanceIdentifier=replica(), BackupRetentionPeriod=1), lambda: "ReadReplicaSourceDBInstanceIdentifier" not in row(settle(replica()))))
says("PromoteReadReplica: of what is none", refused("InvalidDBInstanceState"), lambda: rds.promote_read_replica(DBInstanceIdentifier=source()))
says("DeleteDBInstance: the replicas of a source become instances of their own", False, lambda: (lambda of: (lambda name: after(
    lambda: rds.delete_db_instance(DBInstanceIdentifier=settle(of), SkipFinalSnapshot=True), lambda: until(lambda: of in [found["DBInstanceIdentifier"] for found in rds.describe_db_instances()["DBInstances"]], False),
    lambda: "ReadReplicaSourceDBInstanceIdentifier" in row(name)))(settle(replicate(of)["DBInstanceIdentifier"])))(instance(BackupRetentionPeriod=1)))
# Blue/green
blue = once(lambda: instance(BackupRetentionPeriod=1))
look = lambda name: rds.describe_blue_green_deployments(BlueGreenDeploymentIdentifier=name)["BlueGreenDeployments"][0]
plan = lambda of, name=None, **arguments: rds.create_blue_green_deployment(BlueGreenDeploymentName=name or unique("bg"), Source=of, **arguments)["BlueGreenDeployment"]
arn = lambda: row(blue())["DBInstanceArn"]
made = once(lambda: plan(arn(), "rekey", TargetResourceConfigurations=[{"SourceArn": arn(), "TargetKmsKeyId": one()}]))
ready = once(lambda: (lambda name: after(lambda: until(lambda: look(name)["Status"], "AVAILABLE"), lambda: name))(made()["BlueGreenDeploymentIdentifier"]))
says("CreateBlueGreenDeployment: it is being made first", "PROVISIONING", lambda: made()["Status"])
says("CreateBlueGreenDeployment: identifier", True, lambda: made()["BlueGreenDeploymentIdentifier"].startswith("bgd-"))
says("CreateBlueGreenDeployment: a name that is taken", refused("BlueGreenDeploymentAlreadyExistsFault"), lambda: after(made, lambda: plan(arn(), "rekey")))
says("CreateBlueGreenDeployment: of a source that is not there", named("DBInstanceNotFound"), lambda: plan(arn().rsplit(":", 1)[0] + ":none"))
says("CreateBlueGreenDeployment: an entry of another source", refused("InvalidParameterValue"), lambda: plan(row(instance(BackupRetentionPeriod=1))["DBInstanceArn"], TargetResourceConfigurations=[{"SourceArn": arn(), "TargetKmsKeyId": one()}]))
says("CreateBlueGreenDeployment: green is under the new key", True, lambda: row(look(ready())["Target"].rsplit(":", 1)[1])["KmsKeyId"] == one())
says("SwitchoverBlueGreenDeployment: green has blue's name and key", ("SWITCHOVER_COMPLETED", True, "available"), lambda: after(lambda: settle(blue()), lambda: until(lambda: row(look(ready())["Target"].rsplit(":", 1)[1])["DBInstanceStatus"], "available"),
    lambda: rds.switchover_blue_green_deployment(BlueGreenDeploymentIdentifier=ready()), lambda: until(lambda: look(ready())["Status"], "SWITCHOVER_COMPLETED"), lambda: (look(ready())["Status"], row(blue())["KmsKeyId"] == one(), row(blue())["DBInstanceStatus"])))
says("SwitchoverBlueGreenDeployment: blue is called -old1", False, lambda: after(ready, lambda: row(blue() + "-old1")["StorageEncrypted"]))
says("SwitchoverBlueGreenDeployment: twice", refused("InvalidBlueGreenDeploymentStateFault"), lambda: rds.switchover_blue_green_deployment(BlueGreenDeploymentIdentifier=ready()))
says("SwitchoverBlueGreenDeployment: of what is not there", named("BlueGreenDeploymentNotFoundFault"), lambda: rds.switchover_blue_green_deployment(BlueGreenDeploymentIdentifier="bgd-0000000000000000"))
says("DeleteBlueGreenDeployment", "DELETING", lambda: rds.delete_blue_green_deployment(BlueGreenDeploymentIdentifier=ready())["BlueGreenDeployment"]["Status"])
# Automated backups
backups = lambda by=rds, **arguments: by.describe_db_instance_automated_backups(**arguments)["DBInstanceAutomatedBackups"]
says("DescribeDBInstanceAutomatedBackups: of a living instance", ("active", False), lambda: (lambda found: (found["Status"], found["Encrypted"]))(backups(DBInstanceIdentifier=source())[0]))
kept = once(lambda: (lambda name: (lambda resource: after(lambda: rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True, DeleteAutomatedBackups=False), lambda: until(lambda: name in str(rds.describe_db_instances()["DBInstances"]), False), lambda: (name, resource)))(row(name)["DbiResourceId"]))(instance(BackupRetentionPeriod=2)))
says("DeleteDBInstance: its automated backups can be kept", "retained", lambda: backups(DbiResourceId=kept()[1])[0]["Status"])
says("RestoreDBInstanceToPointInTime: from kept backups", "creating", lambda: rds.restore_db_instance_to_point_in_time(SourceDbiResourceId=kept()[1], TargetDBInstanceIdentifier=unique(), UseLatestRestorableTime=True)["DBInstance"]["DBInstanceStatus"])
says("DeleteDBInstanceAutomatedBackup: kept ones go", [], lambda: after(lambda: rds.delete_db_instance_automated_backup(DbiResourceId=kept()[1]), lambda: backups(DBInstanceIdentifier=kept()[0])))
says("DeleteDBInstanceAutomatedBackup: of a living instance", refused("InvalidDBInstanceAutomatedBackupState"), lambda: rds.delete_db_instance_automated_backup(DbiResourceId=row(source())["DbiResourceId"]))
says("DeleteDBInstanceAutomatedBackup: what is not there", named("DBInstanceAutomatedBackupNotFound"), lambda: rds.delete_db_instance_automated_backup(DbiResourceId="db-NONE"))
start = lambda of, **arguments: far.start_db_instance_automated_backups_replication(SourceDBInstanceArn=of, **arguments)["DBInstanceAutomatedBackup"]
sent = once(lambda: (lambda arn: (arn, start(arn)))(row(source())["DBInstanceArn"]))
says("StartDBInstanceAutomatedBackupsReplication", True, lambda: sent()[1]["Status"] in ("pending", "replicating"))
says("StartDBInstanceAutomatedBackupsReplication: the source names it", 1, lambda: after(sent, lambda: len(row(source())["DBInstanceAutomatedBackupsReplications"])))
says("StartDBInstanceAutomatedBackupsReplication: encrypted needs a key there", refused("InvalidParameterCombination"), lambda: start(row(secret())["DBInstanceArn"]))
says("StartDBInstanceAutomatedBackupsReplication: under that key", True, lambda: (lambda arn: start(row(secret())["DBInstanceArn"], KmsKeyId=arn)["KmsKeyId"] == arn)(key(far_kms)))
says("StopDBInstanceAutomatedBackupsReplication: they are kept", "retained", lambda: far.stop_db_instance_automated_backups_replication(SourceDBInstanceArn=sent()[0])["DBInstanceAutomatedBackup"]["Status"])
says("StartDBInstanceAutomatedBackupsReplication: of an instance that is not there", named("DBInstanceNotFound"), lambda: start(sent()[0].rsplit(":", 1)[0] + ":none"))

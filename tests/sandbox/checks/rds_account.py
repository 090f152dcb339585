"""Groups, tags, exports, events and the account of RDS."""


from frame import VENDOR, after, client, once, refused, says, unique, until
from frame import subnets as two_subnets

HERE = "ca-central-1"
rds, kms = client("rds", HERE), client("kms", HERE)
BASE = {"DBInstanceClass": "db.m6g.large", "Engine": "postgres", "AllocatedStorage": 20, "MasterUsername": "dave", "MasterUserPassword": "correct-horse"}


def named(code):
    return refused(code, 404 if code.endswith(("NotFound", "NotFoundFault")) else 400)


def settle(name):
    until(lambda: rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]["DBInstanceStatus"], "available")
    return name


subnets = lambda name, **more: rds.create_db_subnet_group(**{"DBSubnetGroupName": name, "DBSubnetGroupDescription": "d", "SubnetIds": two_subnets(HERE), **more})["DBSubnetGroup"]
parameters = lambda name, **more: rds.create_db_parameter_group(**{"DBParameterGroupName": name, "DBParameterGroupFamily": "postgres17", "Description": "d", **more})["DBParameterGroup"]
options = lambda name, **more: rds.create_option_group(**{"OptionGroupName": name, "EngineName": "mysql", "MajorEngineVersion": "8.0", "OptionGroupDescription": "d", **more})["OptionGroup"]
mine = once(lambda: (subnets("mine"), parameters("mine"), options("mine")))
user = once(lambda: after(mine, lambda: rds.create_db_instance(**BASE, EngineVersion="17", DBInstanceIdentifier="user", DBSubnetGroupName="mine", DBParameterGroupName="mine", Tags=[{"Key": "a", "Value": "1"}]), lambda: settle("user")))
ARN = f"arn:aws:rds:{HERE}:{VENDOR}"
# Groups
says("CreateDBSubnetGroup", ("mine", "Complete", f"{ARN}:subgrp:mine"), lambda: (lambda found: (found["DBSubnetGroupName"], found["SubnetGroupStatus"], found["DBSubnetGroupArn"]))(mine()[0]))
says("CreateDBSubnetGroup: a name that is taken", refused("DBSubnetGroupAlreadyExists"), lambda: after(mine, lambda: subnets("mine")))
says("CreateDBSubnetGroup: the name default", refused("InvalidParameterValue"), lambda: subnets("default"))
says("CreateDBSubnetGroup: a single subnet", refused("DBSubnetGroupDoesNotCoverEnoughAZs"), lambda: subnets(unique(), SubnetIds=two_subnets(HERE)[:1]))
says("DescribeDBSubnetGroups: one that is not there", named("DBSubnetGroupNotFoundFault"), lambda: rds.describe_db_subnet_groups(DBSubnetGroupName="none"))
says("DeleteDBSubnetGroup: in use", refused("InvalidDBSubnetGroupStateFault"), lambda: after(user, lambda: rds.delete_db_subnet_group(DBSubnetGroupName="mine")))
says("DeleteDBSubnetGroup: then it is gone", named("DBSubnetGroupNotFoundFault"), lambda: (lambda name: after(lambda: subnets(name), lambda: rds.delete_db_subnet_group(DBSubnetGroupName=name), lambda: rds.describe_db_subnet_groups(DBSubnetGroupName=name)))(unique()))
says("CreateDBParameterGroup", ("mine", "postgres17", f"{ARN}:pg:mine"), lambda: (lambda found: (found["DBParameterGroupName"], found["DBParameterGroupFamily"], found["DBParameterGroupArn"]))(mine()[1]))
says("CreateDBParameterGroup: a name that is taken", refused("DBParameterGroupAlreadyExists"), lambda: after(mine, lambda: parameters("mine")))
says("CreateDBParameterGroup: an unknown family", refused("InvalidParameterValue"), lambda: parameters(unique(), DBParameterGroupFamily="dbase4"))
says("DescribeDBParameterGroups: one that is not there", named("DBParameterGroupNotFound"), lambda: rds.describe_db_parameter_groups(DBParameterGroupName="none"))
says("DeleteDBParameterGroup: in use", refused("InvalidDBParameterGroupState"), lambda: after(user, lambda: rds.delete_db_parameter_group(DBParameterGroupName="mine")))
says("DeleteDBParameterGroup: a default one", refused("InvalidDBParameterGroupState"), lambda: rds.delete_db_parameter_group(DBParameterGroupName="default.postgres17"))
says("ModifyDBParameterGroup: DescribeDBParameters has it", ["64"], lambda: after(user, lambda: rds.modify_db_parameter_group(DBParameterGroupName="mine", Parameters=[{"ParameterName": "work_mem", "ParameterValue": "64", "ApplyMethod": "immediate"}]),
    lambda: [found["ParameterValue"] for found in rds.describe_db_parameters(DBParameterGroupName="mine", Source="user")["Parameters"]]))
says("CopyDBParameterGroup", "postgres17", lambda: after(mine, lambda: rds.copy_db_parameter_group(SourceDBParameterGroupIdentifier="mine", TargetDBParameterGroupIdentifier=unique(), TargetDBParameterGroupDescription="d")["DBParameterGroup"]["DBParameterGroupFamily"]))
says("CreateDBClusterParameterGroup and its copy", "aurora-mysql8.0", lambda: (lambda name: after(lambda: rds.create_db_cluster_parameter_group(DBClusterParameterGroupName=name, DBParameterGroupFamily="aurora-mysql8.0", Description="d"),
    lambda: rds.copy_db_cluster_parameter_group(SourceDBClusterParameterGroupIdentifier=name, TargetDBClusterParameterGroupIdentifier=name + "-2", TargetDBClusterParameterGroupDescription="d")["DBClusterParameterGroup"]["DBParameterGroupFamily"]))(unique()))
says("CreateOptionGroup", ("mine", "mysql", "8.0"), lambda: (lambda found: (found["OptionGroupName"], found["EngineName"], found["MajorEngineVersion"]))(mine()[2]))
says("CreateOptionGroup: a name that is taken", refused("OptionGroupAlreadyExistsFault"), lambda: after(mine, lambda: options("mine")))
says("DescribeOptionGroups: one that is not there", named("OptionGroupNotFoundFault"), lambda: rds.describe_option_groups(OptionGroupName="none"))
says("CopyOptionGroup", "8.0", lambda: after(mine, lambda: rds.copy_option_group(SourceOptionGroupIdentifier="mine", TargetOptionGroupIdentifier=unique(), TargetOptionGroupDescription="d")["OptionGroup"]["MajorEngineVersion"]))
crowded = client("rds", "ca-west-1")
fifty = once(lambda: [crowded.create_db_parameter_group(DBParameterGroupName=f"g-{n}", DBParameterGroupFamily="postgres17", Description="d") for n in range(50)])
says("CreateDBParameterGroup: the 51st of a region", refused("DBParameterGroupQuotaExceeded"), lambda: after(fifty, lambda: crowded.create_db_parameter_group(DBParameterGroupName="more", DBParameterGroupFamily="postgres17", Description="d")))
# Tags, on everything
tags = lambda arn: rds.list_tags_for_resource(ResourceName=arn)["TagList"]


def resources():
    rds.create_db_snapshot(DBInstanceIdentifier=user(), DBSnapshotIdentifier="tagged")
    rds.create_db_cluster(DBClusterIdentifier="tagged", Engine="aurora-mysql", MasterUsername="dave", MasterUserPassword="correct-horse")
    return {"an instance": f"{ARN}:db:user", "a snapshot": f"{ARN}:snapshot:tagged", "a cluster": f"{ARN}:cluster:tagged", "a subnet group": f"{ARN}:subgrp:mine", "a parameter group": f"{ARN}:pg:mine", "an option group": f"{ARN}:og:mine"}


there = once(resources)
for name in ("an instance", "a snapshot", "a cluster", "a subnet group", "a parameter group", "an option group"):
    says(f"AddTagsToResource: {name}", True, lambda: after(there, lambda: rds.add_tags_to_resource(ResourceName=there()[name], Tags=[{"Key": "k", "Value": "v"}]), lambda: {"Key": "k", "Value": "v"} in tags(there()[name])))
    says(f"RemoveTagsFromResource: {name}", False, lambda: after(there, lambda: rds.remove_tags_from_resource(ResourceName=there()[name], TagKeys=["k"]), lambda: {"Key": "k", "Value": "v"} in tags(there()[name])))
says("ListTagsForResource: an instance that is not there", named("DBInstanceNotFound"), lambda: tags(f"{ARN}:db:none"))
says("ListTagsForResource: a snapshot that is not there", named("DBSnapshotNotFound"), lambda: tags(f"{ARN}:snapshot:none"))
says("ListTagsForResource: what is no ARN", refused("InvalidParameterValue"), lambda: tags("none"))
says("AddTagsToResource: a key that AWS keeps for itself", refused("InvalidParameterValue"), lambda: rds.add_tags_to_resource(ResourceName=after(user, lambda: f"{ARN}:db:user"), Tags=[{"Key": "aws:a", "Value": "1"}]))
says("AddTagsToResource: the 51st", refused("InvalidParameterValue"), lambda: rds.add_tags_to_resource(ResourceName=after(user, lambda: f"{ARN}:db:user"), Tags=[{"Key": f"t{n}", "Value": "1"} for n in range(51)]))
# Exports
key = once(lambda: kms.create_key()["KeyMetadata"]["Arn"])
saved = once(lambda: after(there, lambda: until(lambda: rds.describe_db_snapshots(DBSnapshotIdentifier="tagged")["DBSnapshots"][0]["Status"], "available"), lambda: f"{ARN}:snapshot:tagged"))
export = lambda **more: rds.start_export_task(**{"ExportTaskIdentifier": unique("e"), "SourceArn": saved(), "S3BucketName": "bucket", "IamRoleArn": f"arn:aws:iam::{VENDOR}:role/export", "KmsKeyId": key(), **more})
task = once(lambda: export(ExportTaskIdentifier="main", S3Prefix="p", ExportOnly=["db.schema"]))
says("StartExportTask: it is starting first", ("STARTING", "bucket", "p", ["db.schema"], 0), lambda: (task()["Status"], task()["S3Bucket"], task()["S3Prefix"], task()["ExportOnly"], task()["PercentProgress"]))
says("StartExportTask: the key is its ARN", True, lambda: task()["KmsKeyId"] == key())
says("StartExportTask: a name that is taken", refused("ExportTaskAlreadyExists"), lambda: after(task, lambda: export(ExportTaskIdentifier="main")))
says("StartExportTask: a snapshot that is not there", named("DBSnapshotNotFound"), lambda: export(SourceArn=f"{ARN}:snapshot:none"))
says("StartExportTask: a disabled key", refused("KMSKeyNotAccessibleFault"), lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: export(KmsKeyId=arn)))(kms.create_key()["KeyMetadata"]["Arn"]))
says("DescribeExportTasks: it is complete in the end", "COMPLETE", lambda: after(task, lambda: until(lambda: rds.describe_export_tasks(ExportTaskIdentifier="main")["ExportTasks"][0]["Status"], "COMPLETE")))
says("DescribeExportTasks: one that is not there", refused("ExportTaskNotFound", 404), lambda: rds.describe_export_tasks(ExportTaskIdentifier="none"))
says("CancelExportTask: a new one", "CANCELING", lambda: rds.cancel_export_task(ExportTaskIdentifier=export()["ExportTaskIdentifier"])["Status"])
says("CancelExportTask: one that is not there", refused("ExportTaskNotFound", 404), lambda: rds.cancel_export_task(ExportTaskIdentifier="none"))
# Events
subscribe = lambda name, **more: rds.create_event_subscription(**{"SubscriptionName": name, "SnsTopicArn": f"arn:aws:sns:{HERE}:{VENDOR}:topic", **more})["EventSubscription"]
subscribed = once(lambda: subscribe("main", SourceType="db-instance", EventCategories=["deletion"]))
says("CreateEventSubscription", ("main", ["deletion"], True), lambda: (subscribed()["CustSubscriptionId"], subscribed()["EventCategoriesList"], subscribed()["Enabled"]))
says("CreateEventSubscription: a name that is taken", refused("SubscriptionAlreadyExist"), lambda: after(subscribed, lambda: subscribe("main")))
says("DescribeEventSubscriptions: one that is not there", refused("SubscriptionNotFound", 404), lambda: rds.describe_event_subscriptions(SubscriptionName="none"))
says("ModifyEventSubscription", False, lambda: after(subscribed, lambda: rds.modify_event_subscription(SubscriptionName="main", Enabled=False)["EventSubscription"]["Enabled"]))
says("DeleteEventSubscription", [], lambda: after(subscribed, lambda: rds.delete_event_subscription(SubscriptionName="main"), lambda: rds.describe_event_subscriptions()["EventSubscriptionsList"]))
says("DescribeEventCategories: of instances", True, lambda: "deletion" in rds.describe_event_categories(SourceType="db-instance")["EventCategoriesMapList"][0]["EventCategories"])
# The account
says("DescribeAccountAttributes: quotas", (40, 100, 50), lambda: (lambda most: (most["DBInstances"], most["ManualSnapshots"], most["DBSubnetGroups"]))({found["AccountQuotaName"]: found["Max"] for found in rds.describe_account_attributes()["AccountQuotas"]}))
says("DescribeAccountAttributes: what is used", True, lambda: after(user, lambda: {found["AccountQuotaName"]: found["Used"] for found in rds.describe_account_attributes()["AccountQuotas"]}["DBInstances"] >= 1))
says("DescribeDBEngineVersions: the default only", 1, lambda: len(rds.describe_db_engine_versions(Engine="postgres", DefaultOnly=True)["DBEngineVersions"]))
says("DescribeDBEngineVersions: families", True, lambda: "mysql8.0" in {found["DBParameterGroupFamily"] for found in rds.describe_db_engine_versions(Engine="mysql")["DBEngineVersions"]})
says("DescribeOrderableDBInstanceOptions", True, lambda: all(found["Engine"] == "mysql" for found in rds.describe_orderable_db_instance_options(Engine="mysql")["OrderableDBInstanceOptions"]))
says("DescribeOrderableDBInstanceOptions: an unknown engine", refused("InvalidParameterValue"), lambda: rds.describe_orderable_db_instance_options(Engine="dbase"))
says("DescribeCertificates", True, lambda: "rds-ca-rsa2048-g1" in [found["CertificateIdentifier"] for found in rds.describe_certificates()["Certificates"]])
says("DescribeCertificates: one that is not there", refused("CertificateNotFound", 404), lambda: rds.describe_certificates(CertificateIdentifier="none"))
says("DescribeSourceRegions", True, lambda: "us-east-1" in [found["RegionName"] for found in rds.describe_source_regions()["SourceRegions"]])
says("DescribePendingMaintenanceActions", [], lambda: rds.describe_pending_maintenance_actions()["PendingMaintenanceActions"])
says("DescribeReservedDBInstances", [], lambda: rds.describe_reserved_db_instances()["ReservedDBInstances"])
says("DescribeGlobalClusters", [], lambda: rds.describe_global_clusters()["GlobalClusters"])
says("DescribeIntegrations", [], lambda: rds.describe_integrations()["Integrations"])
says("DescribeDBProxies", [], lambda: rds.describe_db_proxies()["DBProxies"])

use super::*;

#[test]
fn each_mistake_in_a_creation_has_awss_own_code() {
    let mut cloud = Cloud::new();
    cloud.instance("taken", json!({}));
    let cases = [
        (json!({ "DBInstanceIdentifier": "taken" }), "DBInstanceAlreadyExists", 400),
        (json!({ "DBInstanceIdentifier": "TAKEN" }), "DBInstanceAlreadyExists", 400),
        (json!({ "DBInstanceIdentifier": "1st" }), "InvalidParameterValue", 400),
        (json!({ "DBInstanceIdentifier": "a--b" }), "InvalidParameterValue", 400),
        (json!({ "DBInstanceIdentifier": "ends-" }), "InvalidParameterValue", 400),
        (json!({ "DBInstanceIdentifier": "x".repeat(64) }), "InvalidParameterValue", 400),
        (json!({ "DBInstanceIdentifier": "" }), "MissingParameter", 400),
        (json!({ "Engine": "access97" }), "InvalidParameterValue", 400),
        (json!({ "EngineVersion": "99.1" }), "InvalidParameterCombination", 400),
        (json!({ "EngineVersion": "16.99" }), "InvalidParameterCombination", 400),
        (json!({ "DBInstanceClass": "large" }), "InvalidParameterValue", 400),
        (json!({ "AllocatedStorage": "4" }), "InvalidParameterValue", 400),
        (json!({ "AllocatedStorage": "many" }), "InvalidParameterValue", 400),
        (json!({ "MasterUsername": "rdsadmin" }), "InvalidParameterValue", 400),
        (json!({ "MasterUsername": "" }), "InvalidParameterValue", 400),
        (json!({ "MasterUserPassword": "short" }), "InvalidParameterValue", 400),
        (json!({ "MasterUserPassword": "with/a/slash" }), "InvalidParameterValue", 400),
        (json!({ "BackupRetentionPeriod": "36" }), "InvalidParameterValue", 400),
        (json!({ "DBSubnetGroupName": "nowhere" }), "DBSubnetGroupNotFoundFault", 404),
        (json!({ "DBParameterGroupName": "none" }), "DBParameterGroupNotFound", 404),
        (json!({ "DBParameterGroupName": "default.mysql8.0" }), "InvalidParameterCombination", 400),
        (json!({ "OptionGroupName": "none" }), "OptionGroupNotFoundFault", 404),
        (json!({ "VpcSecurityGroupIds": ["group"] }), "InvalidParameterValue", 400),
        (json!({ "AvailabilityZone": "mars-1a" }), "InvalidVPCNetworkStateFault", 400),
        (json!({ "AvailabilityZone": "us-west-2a", "MultiAZ": "true" }), "InvalidParameterCombination", 400),
        (json!({ "Iops": "3000", "StorageType": "gp3" }), "InvalidParameterCombination", 400),
        (json!({ "KmsKeyId": "alias/mine" }), "InvalidParameterCombination", 400),
        (json!({ "StorageEncrypted": "perhaps" }), "InvalidParameterValue", 400),
        (json!({ "StorageEncrypted": "true", "KmsKeyId": "alias/none" }), "KMSKeyNotAccessibleFault", 400),
        (json!({ "DBClusterIdentifier": "none" }), "DBClusterNotFoundFault", 404),
        (json!({ "Engine": "aurora-postgresql" }), "InvalidParameterCombination", 400),
        (json!({ "Tags": [{ "Key": "aws:mine", "Value": "1" }] }), "InvalidParameterValue", 400),
    ];
    for (extra, code, status) in cases {
        let refused = cloud.refused("CreateDBInstance", create("fresh", extra.clone()));
        assert_eq!(refused, (code.to_owned(), status), "{extra}");
    }
    assert_eq!(cloud.ledger.len(), 1, "a refused call has no effect");
    let body = cloud.ok("DescribeDBInstances", json!({}));
    assert_eq!(items(&body["DBInstances"]).len(), 1);
}

#[test]
fn what_is_not_there_is_said_so() {
    let mut cloud = Cloud::new();
    let cases = [
        ("DescribeDBInstances", json!({ "DBInstanceIdentifier": "no" }), "DBInstanceNotFound"),
        ("ModifyDBInstance", json!({ "DBInstanceIdentifier": "no" }), "DBInstanceNotFound"),
        ("DeleteDBInstance", json!({ "DBInstanceIdentifier": "no" }), "DBInstanceNotFound"),
        (
            "CreateDBSnapshot",
            json!({ "DBInstanceIdentifier": "no", "DBSnapshotIdentifier": "s" }),
            "DBInstanceNotFound",
        ),
        ("DescribeDBSnapshots", json!({ "DBSnapshotIdentifier": "no" }), "DBSnapshotNotFound"),
        ("DeleteDBSnapshot", json!({ "DBSnapshotIdentifier": "no" }), "DBSnapshotNotFound"),
        ("DescribeDBSnapshotAttributes", json!({ "DBSnapshotIdentifier": "no" }), "DBSnapshotNotFound"),
        ("DescribeDBClusters", json!({ "DBClusterIdentifier": "no" }), "DBClusterNotFoundFault"),
        ("DeleteDBClusterSnapshot", json!({ "DBClusterSnapshotIdentifier": "no" }), "DBClusterSnapshotNotFoundFault"),
        ("DescribeDBSubnetGroups", json!({ "DBSubnetGroupName": "no" }), "DBSubnetGroupNotFoundFault"),
        ("DescribeOptionGroups", json!({ "OptionGroupName": "no" }), "OptionGroupNotFoundFault"),
        ("DescribeExportTasks", json!({ "ExportTaskIdentifier": "no" }), "ExportTaskNotFound"),
        ("DescribeGlobalClusters", json!({ "GlobalClusterIdentifier": "no" }), "GlobalClusterNotFoundFault"),
        ("DeleteDBInstanceAutomatedBackup", json!({ "DbiResourceId": "no" }), "DBInstanceAutomatedBackupNotFound"),
    ];
    for (action, params, code) in cases {
        assert_eq!(cloud.refused(action, params), (code.to_owned(), 404), "{action}");
    }
    assert_eq!(cloud.refused("MakeCoffee", json!({})).0, "InvalidAction");
}

#[test]
fn an_account_has_forty_instances_a_region() {
    let mut cloud = Cloud::new();
    for n in 0..40 {
        cloud.ok("CreateDBInstance", create(&format!("db-{n}"), json!({ "AllocatedStorage": "20" })));
    }
    assert_eq!(cloud.refused("CreateDBInstance", create("more", json!({}))).0, "InstanceQuotaExceeded");
    cloud.call_as(VENDOR, THERE, "CreateDBInstance", create("more", json!({}))).unwrap();
}

#[test]
fn a_group_in_use_and_a_default_group_stay() {
    let mut cloud = Cloud::new();
    let subnets =
        |ids: Value| json!({ "DBSubnetGroupName": "mine", "DBSubnetGroupDescription": "of mine", "SubnetIds": ids });
    assert_eq!(
        cloud.refused("CreateDBSubnetGroup", subnets(json!(["subnet-1"]))).0,
        "DBSubnetGroupDoesNotCoverEnoughAZs"
    );
    cloud.ok("CreateDBSubnetGroup", subnets(json!(["subnet-1", "subnet-2"])));
    assert_eq!(
        cloud.refused("CreateDBSubnetGroup", subnets(json!(["subnet-1", "subnet-2"]))).0,
        "DBSubnetGroupAlreadyExists"
    );
    let family = json!({ "DBParameterGroupName": "pg", "DBParameterGroupFamily": "postgres17", "Description": "d" });
    cloud.ok("CreateDBParameterGroup", family);
    let row = cloud.instance("one", json!({ "DBSubnetGroupName": "mine", "DBParameterGroupName": "pg" }));
    assert_eq!(row["DBSubnetGroup"]["DBSubnetGroupName"], "mine");
    assert_eq!(items(&row["DBSubnetGroup"]["Subnets"]).len(), 2);
    let delete_subnets = json!({ "DBSubnetGroupName": "mine" });
    assert_eq!(cloud.refused("DeleteDBSubnetGroup", delete_subnets.clone()).0, "InvalidDBSubnetGroupStateFault");
    let delete_parameters = json!({ "DBParameterGroupName": "pg" });
    assert_eq!(cloud.refused("DeleteDBParameterGroup", delete_parameters).0, "InvalidDBParameterGroupState");
    let default = json!({ "DBParameterGroupName": "default.postgres17" });
    assert_eq!(cloud.refused("DeleteDBParameterGroup", default).0, "InvalidDBParameterGroupState");
    cloud.ok("DeleteDBInstance", json!({ "DBInstanceIdentifier": "one", "SkipFinalSnapshot": "true" }));
    cloud.pass(200);
    cloud.ok("DeleteDBSubnetGroup", delete_subnets);
}

#[test]
fn tags_are_added_listed_and_removed_on_everything() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({}))["DBInstanceArn"].clone();
    let option = json!({
        "OptionGroupName": "og", "EngineName": "mysql", "MajorEngineVersion": "8.0", "OptionGroupDescription": "d",
    });
    let option = cloud.ok("CreateOptionGroup", option)["OptionGroup"]["OptionGroupArn"].clone();
    for arn in [one, option] {
        cloud.ok(
            "AddTagsToResource",
            json!({ "ResourceName": arn, "Tags": [{ "Key": "a", "Value": "1" }, { "Key": "b" }] }),
        );
        cloud.ok("RemoveTagsFromResource", json!({ "ResourceName": arn, "TagKeys": ["a"] }));
        let body = cloud.ok("ListTagsForResource", json!({ "ResourceName": arn }));
        assert_eq!(items(&body["TagList"]), &vec![json!({ "Key": "b", "Value": "" })]);
    }
    let absent = json!({ "ResourceName": "arn:aws:rds:us-west-2:127450652264:db:no" });
    assert_eq!(cloud.refused("ListTagsForResource", absent), ("DBInstanceNotFound".to_owned(), 404));
    assert_eq!(cloud.refused("ListTagsForResource", json!({ "ResourceName": "one" })).0, "InvalidParameterValue");
}

#[test]
fn the_advanced_mode_of_database_insights_stands_on_performance_insights_kept_long() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    let advanced =
        |more: Value| merged(json!({ "DBInstanceIdentifier": "one", "DatabaseInsightsMode": "advanced" }), more);
    let short = json!({ "EnablePerformanceInsights": "true", "PerformanceInsightsRetentionPeriod": "7" });
    for lacking in [json!({}), short.clone()] {
        assert_eq!(cloud.refused("ModifyDBInstance", advanced(lacking)).0, "InvalidParameterCombination");
    }
    let long = json!({ "EnablePerformanceInsights": "true", "PerformanceInsightsRetentionPeriod": "465" });
    cloud.ok("ModifyDBInstance", advanced(long));
    assert_eq!(cloud.describe("one")["DatabaseInsightsMode"], "advanced");
    cloud.pass(200);
    let less = merged(json!({ "DBInstanceIdentifier": "one" }), short);
    assert_eq!(cloud.refused("ModifyDBInstance", less).0, "InvalidParameterCombination");
}

#[test]
fn a_restore_opts_into_paid_support_unless_it_is_told() {
    let mut cloud = Cloud::new();
    let (paid, free) = ("open-source-rds-extended-support", "open-source-rds-extended-support-disabled");
    cloud.instance("one", json!({ "EngineLifecycleSupport": free }));
    assert_eq!(cloud.describe("one")["EngineLifecycleSupport"], free);
    cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
    cloud.pass(300);
    for (id, asked, given) in [("two", Value::Null, paid), ("three", json!(free), free)] {
        let restore =
            json!({ "DBInstanceIdentifier": id, "DBSnapshotIdentifier": "s", "EngineLifecycleSupport": asked });
        cloud.ok("RestoreDBInstanceFromDBSnapshot", restore);
        assert_eq!(cloud.describe(id)["EngineLifecycleSupport"], given);
    }
}

#[test]
fn a_class_that_a_region_withholds_is_not_listed_and_not_given() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    let offered = |cloud: &mut Cloud, region: &str| {
        let asked = json!({ "Engine": "postgres", "DBInstanceClass": "db.m6g.large" });
        let body = cloud.call_as(VENDOR, region, "DescribeOrderableDBInstanceOptions", asked).unwrap();
        items(&body["OrderableDBInstanceOptions"]).len()
    };
    assert!(offered(&mut cloud, HERE) > 0);
    cloud.state.withhold_class(HERE, "db.m6g.large");
    assert_eq!(offered(&mut cloud, HERE), 0);
    assert!(offered(&mut cloud, THERE) > 0);
    let refused = cloud.refused("CreateDBInstance", create("two", json!({})));
    assert_eq!(refused.0, "InvalidParameterCombination");
    let mut cloud = cloud.reopened();
    cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
    cloud.pass(300);
    let restore = json!({ "DBInstanceIdentifier": "two", "DBSnapshotIdentifier": "s" });
    assert_eq!(cloud.refused("RestoreDBInstanceFromDBSnapshot", restore).0, "InvalidParameterCombination");
}

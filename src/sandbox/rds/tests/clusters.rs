use super::*;

fn create_cluster(id: &str, extra: Value) -> Value {
    merged(
        json!({
            "DBClusterIdentifier": id, "Engine": "aurora-postgresql", "MasterUsername": "dave",
            "MasterUserPassword": "correct-horse",
        }),
        extra,
    )
}

fn cluster(cloud: &mut Cloud, id: &str) -> Value {
    let body = cloud.ok("DescribeDBClusters", json!({ "DBClusterIdentifier": id }));
    items(&body["DBClusters"])[0].clone()
}

#[test]
fn an_aurora_cluster_has_the_members_it_was_given() {
    let mut cloud = Cloud::new();
    cloud.ok("CreateDBCluster", create_cluster("c", json!({})));
    let member = |id: &str| {
        json!({
            "DBInstanceIdentifier": id, "DBInstanceClass": "db.r6g.large", "Engine": "aurora-postgresql",
            "DBClusterIdentifier": "c",
        })
    };
    cloud.ok("CreateDBInstance", member("c-1"));
    cloud.ok("CreateDBInstance", member("c-2"));
    cloud.pass(900);
    let row = cluster(&mut cloud, "c");
    assert_eq!(row["Status"], "available");
    let writers: Vec<(&Value, &Value)> = items(&row["DBClusterMembers"])
        .iter()
        .map(|member| (&member["DBInstanceIdentifier"], &member["IsClusterWriter"]))
        .collect();
    assert_eq!(writers, [(&json!("c-1"), &json!(true)), (&json!("c-2"), &json!(false))]);
    cloud.ok("FailoverDBCluster", json!({ "DBClusterIdentifier": "c" }));
    cloud.pass(61);
    let row = cluster(&mut cloud, "c");
    assert_eq!(
        (&row["Status"], &items(&row["DBClusterMembers"])[1]["IsClusterWriter"]),
        (&json!("available"), &json!(true))
    );
    let direct = json!({ "DBInstanceIdentifier": "c-1", "DBSnapshotIdentifier": "s" });
    assert_eq!(cloud.refused("CreateDBSnapshot", direct).0, "InvalidParameterValue");
    let delete = json!({ "DBClusterIdentifier": "c", "SkipFinalSnapshot": "true" });
    assert_eq!(cloud.refused("DeleteDBCluster", delete.clone()).0, "InvalidDBClusterStateFault");
    for id in ["c-1", "c-2"] {
        cloud.ok("DeleteDBInstance", json!({ "DBInstanceIdentifier": id }));
    }
    cloud.ok("DeleteDBCluster", delete);
    cloud.pass(300);
    let gone = json!({ "DBClusterIdentifier": "c" });
    assert_eq!(cloud.refused("DescribeDBClusters", gone), ("DBClusterNotFoundFault".to_owned(), 404));
}

#[test]
fn a_multi_az_cluster_brings_three_instances_and_takes_them_along() {
    let mut cloud = Cloud::new();
    let extra = json!({ "Engine": "postgres", "DBClusterInstanceClass": "db.m6g.large", "AllocatedStorage": "100" });
    cloud.ok("CreateDBInstance", create("n-instance-2", json!({})));
    assert_eq!(cloud.refused("CreateDBCluster", create_cluster("n", extra.clone())).0, "DBInstanceAlreadyExists");
    cloud.ok("CreateDBCluster", create_cluster("m", extra));
    cloud.pass(500);
    assert_eq!(items(&cluster(&mut cloud, "m")["DBClusterMembers"]).len(), 3);
    cloud.ok("DeleteDBCluster", json!({ "DBClusterIdentifier": "m", "SkipFinalSnapshot": "true" }));
    cloud.pass(300);
    assert_eq!(items(&cloud.ok("DescribeDBInstances", json!({}))["DBInstances"]).len(), 1, "the one that is no member");
}

#[test]
fn a_restored_and_renamed_cluster_has_the_data() {
    let mut cloud = Cloud::new();
    let body = cloud.ok("CreateDBCluster", create_cluster("c", json!({})));
    let data = cloud.content(&body["DBCluster"]["DBClusterArn"]);
    cloud.pass(500);
    let snapshot = json!({ "DBClusterIdentifier": "c", "DBClusterSnapshotIdentifier": "s" });
    cloud.ok("CreateDBClusterSnapshot", snapshot.clone());
    assert_eq!(cloud.refused("CreateDBClusterSnapshot", snapshot).0, "InvalidDBClusterStateFault");
    cloud.pass(500);
    let keyed = json!({
        "SourceDBClusterSnapshotIdentifier": "s", "TargetDBClusterSnapshotIdentifier": "t", "KmsKeyId": "alias/any",
    });
    assert_eq!(cloud.refused("CopyDBClusterSnapshot", keyed).0, "InvalidParameterCombination");
    let restore = json!({ "DBClusterIdentifier": "r", "SnapshotIdentifier": "s", "Engine": "aurora-postgresql" });
    cloud.ok("RestoreDBClusterFromSnapshot", restore);
    cloud.pass(700);
    let rename = json!({ "DBClusterIdentifier": "r", "NewDBClusterIdentifier": "r2", "ApplyImmediately": "true" });
    cloud.ok("ModifyDBCluster", rename);
    cloud.pass(600);
    let row = cluster(&mut cloud, "r2");
    assert_eq!(row["Status"], "available");
    assert_eq!(cloud.content(&row["DBClusterArn"]), data);
}

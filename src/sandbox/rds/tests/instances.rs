use super::super::{NotWritten, Writer};
use super::*;

#[test]
fn a_new_instance_takes_its_time_and_then_serves() {
    let mut cloud = Cloud::new();
    let body =
        cloud.ok("CreateDBInstance", create("Dave-Prod", json!({ "Tags": [{ "Key": "env", "Value": "prod" }] })));
    let row = &body["DBInstance"];
    assert_eq!(row["DBInstanceIdentifier"], "dave-prod");
    assert_eq!(row["DBInstanceStatus"], "creating");
    assert_eq!(row["Endpoint"], Value::Null);
    assert_eq!(row["DBInstanceArn"], "arn:aws:rds:us-west-2:127450652264:db:dave-prod");
    assert_eq!(row["StorageEncrypted"], false);
    assert_eq!(row["StorageEncryptionType"], "none");
    cloud.pass(301);
    assert_eq!(cloud.status("dave-prod"), "backing-up");
    cloud.pass(60);
    let row = cloud.describe("dave-prod");
    assert_eq!(row["DBInstanceStatus"], "available");
    assert_eq!(row["Endpoint"]["Port"], 5432);
    let address = row["Endpoint"]["Address"].as_str().unwrap();
    assert!(address.starts_with("dave-prod.c") && address.ends_with(".us-west-2.rds.amazonaws.com"), "{address}");
    assert!(row["DbiResourceId"].as_str().unwrap().len() == 29);
    assert_eq!(items(&row["TagList"])[0], json!({ "Key": "env", "Value": "prod" }));
    assert_eq!(items(&row["DBParameterGroups"])[0]["DBParameterGroupName"], "default.postgres17");
    let automated = cloud.ok("DescribeDBSnapshots", json!({ "SnapshotType": "automated" }));
    assert_eq!(items(&automated["DBSnapshots"])[0]["DBSnapshotIdentifier"], "rds:dave-prod-2026-11-02-10-05");
    assert_eq!(cloud.ledger, ["arn:aws:rds:us-west-2:127450652264:db:dave-prod created"]);
}

#[test]
fn resource_ids_are_never_given_twice() {
    let mut cloud = Cloud::new();
    let first = cloud.instance("one", json!({}));
    cloud.ok("DeleteDBInstance", json!({ "DBInstanceIdentifier": "one", "SkipFinalSnapshot": "true" }));
    cloud.pass(200);
    let mut cloud = cloud.reopened();
    let again = cloud.instance("one", json!({}));
    assert_ne!(first["DbiResourceId"], again["DbiResourceId"]);
}

#[test]
fn a_rename_moves_the_instance_with_its_resource_id_and_data() {
    let mut cloud = Cloud::new();
    let old = cloud.instance("old", json!({}));
    let rename = json!({ "DBInstanceIdentifier": "old", "NewDBInstanceIdentifier": "new", "ApplyImmediately": "true" });
    let body = cloud.ok("ModifyDBInstance", rename.clone());
    assert_eq!(body["DBInstance"]["DBInstanceStatus"], "renaming");
    assert_eq!(body["DBInstance"]["PendingModifiedValues"]["DBInstanceIdentifier"], "new");
    assert_eq!(
        cloud.refused("CreateDBInstance", create("new", json!({}))),
        ("DBInstanceAlreadyExists".to_owned(), 400)
    );
    assert_eq!(cloud.refused("ModifyDBInstance", rename), ("InvalidDBInstanceState".to_owned(), 400));
    cloud.pass(530);
    assert_eq!(cloud.status("old"), "renaming", "AWS names about ten minutes");
    cloud.pass(11);
    assert_eq!(cloud.status("new"), "rebooting");
    let gone = json!({ "DBInstanceIdentifier": "old" });
    assert_eq!(cloud.refused("DescribeDBInstances", gone), ("DBInstanceNotFound".to_owned(), 404));
    cloud.pass(60);
    let row = cloud.describe("new");
    assert_eq!(row["DBInstanceStatus"], "available");
    assert_eq!(row["DbiResourceId"], old["DbiResourceId"]);
    assert!(row["Endpoint"]["Address"].as_str().unwrap().starts_with("new."));
}

#[test]
fn a_rename_onto_a_taken_name_is_refused() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    cloud.instance("two", json!({}));
    let rename = json!({ "DBInstanceIdentifier": "one", "NewDBInstanceIdentifier": "two", "ApplyImmediately": "true" });
    assert_eq!(cloud.refused("ModifyDBInstance", rename), ("DBInstanceAlreadyExists".to_owned(), 400));
    assert_eq!(cloud.status("one"), "available");
}

#[test]
fn what_is_not_applied_at_once_waits_for_the_window_even_through_a_reboot() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({ "PreferredMaintenanceWindow": "tue:04:00-tue:05:00" }));
    cloud.ok(
        "ModifyDBInstance",
        json!({ "DBInstanceIdentifier": "one", "MultiAZ": "true", "DeletionProtection": "true" }),
    );
    let row = cloud.describe("one");
    assert_eq!(row["MultiAZ"], false);
    assert_eq!(row["DeletionProtection"], true);
    assert_eq!(row["PendingModifiedValues"]["MultiAZ"], "true");
    cloud.ok("RebootDBInstance", json!({ "DBInstanceIdentifier": "one" }));
    cloud.pass(18 * 3600);
    let row = cloud.describe("one");
    assert_eq!(row["MultiAZ"], true);
    assert_eq!(row["SecondaryAvailabilityZone"], "us-west-2b");
    assert_eq!(row["PendingModifiedValues"], json!({}));
}

#[test]
fn a_full_instance_takes_no_write_and_no_change_but_more_storage() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({}));
    let arn = one["DBInstanceArn"].as_str().unwrap();
    assert!(cloud.state.fill_storage(arn));
    let writer = Writer::Endpoint(one_address(&mut cloud));
    assert_eq!(cloud.state.write_through(&writer, cloud.now), Err(NotWritten::Full));
    let rename = json!({ "DBInstanceIdentifier": "one", "NewDBInstanceIdentifier": "two", "ApplyImmediately": "true" });
    assert_eq!(cloud.refused("ModifyDBInstance", rename).0, "InvalidDBInstanceState");
    let grow = json!({ "DBInstanceIdentifier": "one", "AllocatedStorage": "200", "ApplyImmediately": "true" });
    cloud.ok("ModifyDBInstance", grow);
    cloud.pass(130);
    assert_eq!(cloud.status("one"), "storage-optimization");
    cloud.state.write_through(&writer, cloud.now).unwrap();
}

fn one_address(cloud: &mut Cloud) -> String {
    cloud.describe("one")["Endpoint"]["Address"].as_str().unwrap().to_owned()
}

#[test]
fn grown_storage_is_optimised_while_the_instance_serves() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    let grow = |gb: &str| json!({ "DBInstanceIdentifier": "one", "AllocatedStorage": gb, "ApplyImmediately": "true" });
    assert_eq!(cloud.refused("ModifyDBInstance", grow("50")).0, "InvalidParameterCombination");
    cloud.ok("ModifyDBInstance", grow("200"));
    assert_eq!(cloud.status("one"), "modifying");
    cloud.pass(130);
    let row = cloud.describe("one");
    assert_eq!((&row["DBInstanceStatus"], &row["AllocatedStorage"]), (&json!("storage-optimization"), &json!(200)));
    cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
}

#[test]
fn a_stopped_instance_starts_again() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    let one = json!({ "DBInstanceIdentifier": "one" });
    assert_eq!(cloud.refused("StartDBInstance", one.clone()).0, "InvalidDBInstanceState");
    cloud.ok("StopDBInstance", one.clone());
    cloud.pass(200);
    assert_eq!(cloud.status("one"), "stopped");
    assert_eq!(cloud.refused("StopDBInstance", one.clone()).0, "InvalidDBInstanceState");
    cloud.ok("StartDBInstance", one.clone());
    cloud.pass(301);
    assert_eq!(cloud.status("one"), "available");
    cloud.ok("StopDBInstance", one);
    cloud.pass(200 + 6 * 86_400);
    assert_eq!(cloud.status("one"), "stopped");
    cloud.pass(86_400 + 301);
    assert_eq!(cloud.status("one"), "available", "AWS lets nothing stand for more than seven days");
}

#[test]
fn deletion_is_guarded_and_leaves_what_it_was_asked_to_leave() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({ "DeletionProtection": "true" }));
    let delete = |extra: Value| merged(json!({ "DBInstanceIdentifier": "one" }), extra);
    let skip = json!({ "SkipFinalSnapshot": "true" });
    assert_eq!(cloud.refused("DeleteDBInstance", delete(skip.clone())).0, "InvalidParameterCombination");
    cloud.ok("ModifyDBInstance", json!({ "DBInstanceIdentifier": "one", "DeletionProtection": "false" }));
    let refused = [json!({}), merged(skip, json!({ "FinalDBSnapshotIdentifier": "last" }))];
    for extra in refused {
        assert_eq!(cloud.refused("DeleteDBInstance", delete(extra)).0, "InvalidParameterCombination");
    }
    let last = json!({ "FinalDBSnapshotIdentifier": "last", "DeleteAutomatedBackups": "false" });
    let deleted = cloud.ok("DeleteDBInstance", delete(last.clone()));
    assert_eq!(cloud.refused("DeleteDBInstance", delete(last)).0, "InvalidDBInstanceState");
    cloud.pass(3600);
    assert_eq!(cloud.refused("DescribeDBInstances", delete(json!({}))).0, "DBInstanceNotFound");
    assert_eq!(cloud.snapshot("last")["Status"], "available");
    let resource = deleted["DBInstance"]["DbiResourceId"].clone();
    let kept = cloud.ok("DescribeDBInstanceAutomatedBackups", json!({ "DbiResourceId": resource }));
    assert_eq!(items(&kept["DBInstanceAutomatedBackups"])[0]["Status"], "retained");
    cloud.ok("DeleteDBInstanceAutomatedBackup", json!({ "DbiResourceId": resource }));
    let none = cloud.ok("DescribeDBSnapshots", json!({ "SnapshotType": "automated" }));
    assert_eq!(items(&none["DBSnapshots"]).len(), 0);
}

#[test]
fn a_replica_follows_its_source_until_it_is_promoted() {
    let mut cloud = Cloud::new();
    let source = cloud.instance("source", json!({}));
    let replica = json!({
        "DBInstanceIdentifier": "replica", "SourceDBInstanceIdentifier": source["DBInstanceArn"],
    });
    let body = cloud.call_as(VENDOR, THERE, "CreateDBInstanceReadReplica", replica).unwrap();
    assert_eq!(body["DBInstance"]["ReadReplicaSourceDBInstanceIdentifier"], source["DBInstanceArn"]);
    let arn = body["DBInstance"]["DBInstanceArn"].clone();
    assert_eq!(items(&cloud.describe("source")["ReadReplicaDBInstanceIdentifiers"]), &vec![arn.clone()]);
    cloud.write(&source["DBInstanceArn"]);
    assert_eq!(cloud.content(&arn), cloud.content(&source["DBInstanceArn"]));
    cloud.pass(1000);
    let promote = json!({ "DBInstanceIdentifier": "replica" });
    cloud.call_as(VENDOR, THERE, "PromoteReadReplica", promote).unwrap();
    cloud.write(&source["DBInstanceArn"]);
    assert_ne!(cloud.content(&arn), cloud.content(&source["DBInstanceArn"]));
    assert_eq!(items(&cloud.describe("source")["ReadReplicaDBInstanceIdentifiers"]).len(), 0);
}

#[test]
fn pages_show_every_row_once() {
    let mut cloud = Cloud::new();
    for n in 0..27 {
        cloud.ok("CreateDBInstance", create(&format!("db-{n:02}"), json!({ "AllocatedStorage": "20" })));
    }
    let first = cloud.ok("DescribeDBInstances", json!({ "MaxRecords": "20" }));
    let marker = first["Marker"].clone();
    let second = cloud.ok("DescribeDBInstances", json!({ "MaxRecords": "20", "Marker": marker }));
    assert_eq!((items(&first["DBInstances"]).len(), items(&second["DBInstances"]).len()), (20, 7));
    assert_eq!(second["Marker"], Value::Null);
    assert_eq!(cloud.refused("DescribeDBInstances", json!({ "MaxRecords": "19" })).0, "InvalidParameterValue");
    assert_eq!(cloud.refused("DescribeDBInstances", json!({ "Marker": "?" })).0, "InvalidParameterValue");
}

#[test]
fn accounts_and_regions_do_not_see_each_other() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    for (account, region) in [(VENDOR, THERE), (OTHER, HERE)] {
        let body = cloud.call_as(account, region, "DescribeDBInstances", json!({})).unwrap();
        assert_eq!(items(&body["DBInstances"]).len(), 0);
        cloud.call_as(account, region, "CreateDBInstance", create("one", json!({}))).unwrap();
    }
}

#[test]
fn filters_choose_and_unknown_ones_are_refused() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({}));
    cloud.instance("two", json!({ "Engine": "mysql" }));
    let cases = [
        ("engine", json!("mysql"), "two"),
        ("db-instance-id", one["DBInstanceArn"].clone(), "one"),
        ("dbi-resource-id", one["DbiResourceId"].clone(), "one"),
    ];
    for (name, value, expected) in cases {
        let body = cloud.ok("DescribeDBInstances", json!({ "Filters": [{ "Name": name, "Values": [value] }] }));
        let ids: Vec<&Value> = items(&body["DBInstances"]).iter().map(|row| &row["DBInstanceIdentifier"]).collect();
        assert_eq!(ids, [expected], "{name}");
    }
    let unknown = json!({ "Filters": [{ "Name": "colour", "Values": ["red"] }] });
    assert_eq!(cloud.refused("DescribeDBInstances", unknown).0, "InvalidParameterValue");
}

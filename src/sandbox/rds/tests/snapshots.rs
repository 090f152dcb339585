use super::*;

fn take(cloud: &mut Cloud, instance: &str, id: &str) -> Value {
    let body = cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": instance, "DBSnapshotIdentifier": id }));
    body["DBSnapshot"].clone()
}

#[test]
fn a_snapshot_progresses_while_its_instance_is_backing_up() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({ "BackupRetentionPeriod": "0" }));
    assert_eq!(take(&mut cloud, "one", "s")["Status"], "creating");
    assert_eq!(cloud.status("one"), "backing-up");
    let second = json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "t" });
    assert_eq!(cloud.refused("CreateDBSnapshot", second).0, "InvalidDBInstanceState");
    cloud.pass(80);
    assert_eq!(cloud.snapshot("s")["PercentProgress"], 50);
    cloud.pass(80);
    assert_eq!(cloud.snapshot("s")["Status"], "available");
    assert_eq!(cloud.status("one"), "available");
}

#[test]
fn restored_data_is_the_data_of_the_moment_of_the_snapshot() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({ "MultiAZ": "true", "VpcSecurityGroupIds": ["sg-12345678"] }));
    let saved = cloud.content(&one["DBInstanceArn"]);
    take(&mut cloud, "one", "s");
    cloud.pass(300);
    cloud.write(&one["DBInstanceArn"]);
    let body = cloud
        .ok("RestoreDBInstanceFromDBSnapshot", json!({ "DBInstanceIdentifier": "two", "DBSnapshotIdentifier": "s" }));
    let two = &body["DBInstance"];
    assert_eq!(cloud.content(&two["DBInstanceArn"]), saved);
    assert_eq!((&two["AllocatedStorage"], &two["MasterUsername"]), (&json!(100), &json!("dave")));
    assert_eq!(two["MultiAZ"], false, "a restore has one zone unless told");
    assert_ne!(items(&two["VpcSecurityGroups"])[0]["VpcSecurityGroupId"], "sg-12345678");
    cloud.pass(481);
    assert_eq!(cloud.status("two"), "backing-up");
    let again = json!({ "DBInstanceIdentifier": "two", "DBSnapshotIdentifier": "s" });
    assert_eq!(cloud.refused("RestoreDBInstanceFromDBSnapshot", again).0, "DBInstanceAlreadyExists");
}

#[test]
fn copies_across_regions_are_called_for_in_the_destination() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    let source = take(&mut cloud, "one", "s");
    let copy = json!({ "SourceDBSnapshotIdentifier": source["DBSnapshotArn"], "TargetDBSnapshotIdentifier": "t" });
    let early = cloud.call_as(VENDOR, THERE, "CopyDBSnapshot", copy.clone()).unwrap_err();
    assert_eq!((early.code.as_str(), early.http_status), ("InvalidDBSnapshotState", 400));
    cloud.pass(300);
    let body = cloud.call_as(VENDOR, THERE, "CopyDBSnapshot", copy).unwrap();
    let target = &body["DBSnapshot"];
    assert_eq!(target["DBSnapshotArn"], "arn:aws:rds:us-east-1:127450652264:snapshot:t");
    assert_eq!(target["SourceRegion"], HERE);
    assert_eq!(cloud.content(&target["DBSnapshotArn"]), cloud.content(&source["DBSnapshotArn"]));
    let by_name = json!({ "SourceDBSnapshotIdentifier": "s", "TargetDBSnapshotIdentifier": "u" });
    let unseen = cloud.call_as(VENDOR, THERE, "CopyDBSnapshot", by_name).unwrap_err();
    assert_eq!((unseen.code.as_str(), unseen.http_status), ("DBSnapshotNotFound", 404));
}

#[test]
fn tags_are_copied_only_when_asked() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    let tagged =
        json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s", "Tags": [{ "Key": "a", "Value": "1" }] });
    cloud.ok("CreateDBSnapshot", tagged);
    cloud.pass(300);
    for (target, copy_tags, expected) in [("without", "false", 0), ("with", "true", 1)] {
        let copy = json!({
            "SourceDBSnapshotIdentifier": "s", "TargetDBSnapshotIdentifier": target, "CopyTags": copy_tags,
        });
        let body = cloud.ok("CopyDBSnapshot", copy);
        assert_eq!(items(&body["DBSnapshot"]["TagList"]).len(), expected, "{target}");
    }
}

#[test]
fn copies_of_one_snapshot_wait_for_each_other_and_later_ones_are_quicker() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    take(&mut cloud, "one", "s");
    cloud.pass(300);
    for target in ["first", "second"] {
        cloud.ok("CopyDBSnapshot", json!({ "SourceDBSnapshotIdentifier": "s", "TargetDBSnapshotIdentifier": target }));
    }
    cloud.pass(510);
    assert_eq!(
        (cloud.snapshot("first")["PercentProgress"].as_i64(), cloud.snapshot("second")["PercentProgress"].as_i64()),
        (Some(98), Some(0))
    );
    cloud.pass(10 + 140);
    assert_eq!(cloud.snapshot("second")["Status"], "available");
}

#[test]
fn a_region_takes_twenty_copies_at_a_time_and_a_hundred_snapshots() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    take(&mut cloud, "one", "s");
    cloud.pass(300);
    let copy = |n: usize| json!({ "SourceDBSnapshotIdentifier": "s", "TargetDBSnapshotIdentifier": format!("c{n}") });
    for n in 0..20 {
        cloud.ok("CopyDBSnapshot", copy(n));
    }
    assert_eq!(cloud.refused("CopyDBSnapshot", copy(20)).0, "SnapshotQuotaExceeded");
    for n in 20..99 {
        cloud.pass(3600);
        cloud.ok("CopyDBSnapshot", copy(n));
    }
    cloud.pass(3600);
    assert_eq!(cloud.refused("CopyDBSnapshot", copy(99)).0, "SnapshotQuotaExceeded");
    let body = cloud.ok("DescribeAccountAttributes", json!({}));
    let quota =
        items(&body["AccountQuotas"]).iter().find(|quota| quota["AccountQuotaName"] == "ManualSnapshots").unwrap();
    assert_eq!((&quota["Used"], &quota["Max"]), (&json!(100), &json!(100)));
}

#[test]
fn a_shared_snapshot_is_seen_by_the_other_account_alone() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    let arn = take(&mut cloud, "one", "s")["DBSnapshotArn"].clone();
    cloud.pass(300);
    let share = json!({ "DBSnapshotIdentifier": "s", "AttributeName": "restore", "ValuesToAdd": [OTHER] });
    let body = cloud.ok("ModifyDBSnapshotAttribute", share);
    let attribute = &items(&body["DBSnapshotAttributesResult"]["DBSnapshotAttributes"])[0];
    assert_eq!(items(&attribute["AttributeValues"]), &vec![json!(OTHER)]);
    for (account, include, expected) in [(OTHER, "true", 1), (OTHER, "false", 0), ("999999999999", "true", 0)] {
        let asked = json!({ "IncludeShared": include });
        let body = cloud.call_as(account, HERE, "DescribeDBSnapshots", asked).unwrap();
        assert_eq!(items(&body["DBSnapshots"]).len(), expected, "{account} {include}");
        for row in items(&body["DBSnapshots"]) {
            assert_eq!((&row["DBSnapshotIdentifier"], &row["SnapshotType"]), (&arn, &json!("shared")));
        }
    }
    let restore = json!({ "DBInstanceIdentifier": "theirs", "DBSnapshotIdentifier": arn });
    cloud.call_as(OTHER, HERE, "RestoreDBInstanceFromDBSnapshot", restore.clone()).unwrap();
    let stranger = cloud.call_as("999999999999", HERE, "RestoreDBInstanceFromDBSnapshot", restore).unwrap_err();
    assert_eq!(stranger.code, "DBSnapshotNotFound");
}

#[test]
fn automated_snapshots_come_daily_expire_and_cannot_be_deleted() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({ "BackupRetentionPeriod": "2" }));
    let count = |cloud: &mut Cloud| {
        let body = cloud.ok("DescribeDBSnapshots", json!({ "SnapshotType": "automated" }));
        items(&body["DBSnapshots"]).len()
    };
    assert_eq!(count(&mut cloud), 1);
    cloud.pass(86_400);
    assert_eq!(count(&mut cloud), 2);
    for _ in 0..3 {
        cloud.pass(86_400);
        count(&mut cloud);
    }
    assert_eq!(count(&mut cloud), 2);
    let body = cloud.ok("DescribeDBSnapshots", json!({ "DBInstanceIdentifier": "one" }));
    let id = items(&body["DBSnapshots"])[0]["DBSnapshotIdentifier"].clone();
    assert_eq!(cloud.refused("DeleteDBSnapshot", json!({ "DBSnapshotIdentifier": id })).0, "InvalidDBSnapshotState");
}

#[test]
fn point_in_time_recovery_needs_backups_and_takes_the_present_data() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({}));
    cloud.instance("bare", json!({ "BackupRetentionPeriod": "0" }));
    cloud.pass(3600);
    let recover = |source: &str| {
        json!({
            "SourceDBInstanceIdentifier": source, "TargetDBInstanceIdentifier": "back", "UseLatestRestorableTime": "true",
        })
    };
    assert_eq!(cloud.refused("RestoreDBInstanceToPointInTime", recover("bare")).0, "PointInTimeRestoreNotEnabled");
    let body = cloud.ok("RestoreDBInstanceToPointInTime", recover("one"));
    assert_eq!(cloud.content(&body["DBInstance"]["DBInstanceArn"]), cloud.content(&one["DBInstanceArn"]));
}

#[test]
fn a_state_survives_being_written_and_read() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    take(&mut cloud, "one", "s");
    cloud.pass(10);
    let before = (cloud.describe("one"), cloud.snapshot("s"));
    let mut cloud = cloud.reopened();
    assert_eq!((cloud.describe("one"), cloud.snapshot("s")), before);
    cloud.pass(300);
    assert_eq!(cloud.snapshot("s")["Status"], "available");
}

#[test]
fn what_aws_backup_keeps_is_named_when_asked_for_and_not_deleted_by_rds() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({}));
    let arn = cloud.state.back_up(one["DBInstanceArn"].as_str().unwrap(), cloud.now).unwrap();
    cloud.pass(600);
    take(&mut cloud, "one", "mine");
    let named = |cloud: &mut Cloud, asked: Value| {
        let body = cloud.ok("DescribeDBSnapshots", asked);
        let rows = items(&body["DBSnapshots"]).iter();
        rows.map(|row| row["SnapshotType"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!named(&mut cloud, json!({})).contains(&"awsbackup".to_owned()));
    assert_eq!(named(&mut cloud, json!({ "SnapshotType": "awsbackup" })), ["awsbackup"]);
    assert_eq!(named(&mut cloud, json!({ "SnapshotType": "manual" })), ["manual"]);
    let delete = cloud.refused("DeleteDBSnapshot", json!({ "DBSnapshotIdentifier": arn }));
    assert_eq!(delete.0, "InvalidDBSnapshotState");
    let quotas = cloud.ok("DescribeAccountAttributes", json!({}));
    let manual = items(&quotas["AccountQuotas"]).iter().find(|row| row["AccountQuotaName"] == "ManualSnapshots");
    assert_eq!(manual.unwrap()["Used"], 1);
    cloud.ok("DeleteDBInstance", json!({ "DBInstanceIdentifier": "one", "SkipFinalSnapshot": "true" }));
    cloud.pass(600);
    assert_eq!(named(&mut cloud, json!({ "SnapshotType": "awsbackup" })), ["awsbackup"], "it outlives its instance");
}

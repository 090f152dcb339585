//! Which data is where, and who can write.

use serde_json::json;

use super::super::{HoldingKind, NotWritten, Writer};
use super::{Cloud, HERE, OTHER, THERE, VENDOR};

fn address(cloud: &mut Cloud, id: &str) -> String {
    cloud.describe(id)["Endpoint"]["Address"].as_str().unwrap().to_owned()
}

fn resource(cloud: &mut Cloud, id: &str) -> String {
    cloud.describe(id)["DbiResourceId"].as_str().unwrap().to_owned()
}

#[test]
fn copies_that_were_written_after_they_parted_are_not_as_new_as_each_other() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({}));
    cloud.write(&one["DBInstanceArn"]);
    cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
    cloud.pass(300);
    let restore = json!({ "DBInstanceIdentifier": "two", "DBSnapshotIdentifier": "s" });
    let two = cloud.ok("RestoreDBInstanceFromDBSnapshot", restore)["DBInstance"]["DBInstanceArn"].clone();
    let (original, restored) = (cloud.content(&one["DBInstanceArn"]), cloud.content(&two));
    assert_eq!(original, restored);
    cloud.write(&one["DBInstanceArn"]);
    cloud.write(&two);
    let (original, restored) = (cloud.content(&one["DBInstanceArn"]), cloud.content(&two));
    assert_eq!((original.id(), original.counter()), (restored.id(), restored.counter()));
    assert!(!original.at_least_as_new_as(&restored) && !restored.at_least_as_new_as(&original));
    assert_ne!(original.fingerprint(), restored.fingerprint());
    let other = cloud.instance("other", json!({}));
    assert!(!original.at_least_as_new_as(&cloud.content(&other["DBInstanceArn"])), "another's empty data");
}

#[test]
fn a_recovery_holds_what_was_written_until_its_time() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({ "BackupRetentionPeriod": "7" }));
    cloud.pass(600);
    let first = cloud.write(&one["DBInstanceArn"]);
    let then = cloud.now;
    cloud.pass(600);
    let second = cloud.write(&one["DBInstanceArn"]);
    cloud.pass(600);
    let mut recovered = |id: &str, time: serde_json::Value| {
        let mut call = json!({ "SourceDBInstanceIdentifier": "one", "TargetDBInstanceIdentifier": id });
        call.as_object_mut().unwrap().extend(time.as_object().unwrap().clone());
        let arn = cloud.ok("RestoreDBInstanceToPointInTime", call)["DBInstance"]["DBInstanceArn"].clone();
        let content = cloud.content(&arn);
        (content.holds(first), content.holds(second))
    };
    assert_eq!(recovered("early", json!({ "RestoreTime": then.to_rfc3339() })), (true, false));
    assert_eq!(recovered("late", json!({ "UseLatestRestorableTime": "true" })), (true, true));
}

#[test]
fn replicated_backups_keep_the_last_write_of_a_source_that_is_gone() {
    let mut cloud = Cloud::new();
    let one = cloud.instance("one", json!({ "BackupRetentionPeriod": "7" }));
    let start = json!({ "SourceDBInstanceArn": one["DBInstanceArn"] });
    cloud.call_as(VENDOR, THERE, "StartDBInstanceAutomatedBackupsReplication", start).unwrap();
    let written = cloud.write(&one["DBInstanceArn"]);
    cloud.ok("DeleteDBInstance", json!({ "DBInstanceIdentifier": "one", "SkipFinalSnapshot": "true" }));
    cloud.pass(300);
    cloud.ok("DescribeDBInstances", json!({}));
    let stock = cloud.state.stock(&cloud.kms, cloud.now);
    let kept: Vec<_> = stock.iter().filter(|holding| holding.content.holds(written)).collect();
    assert_eq!(kept.len(), 1, "{stock:#?}");
    assert_eq!((kept[0].kind, kept[0].region.as_str(), kept[0].automated), (HoldingKind::Backup, THERE, true));
}

#[test]
fn a_renamed_system_is_out_of_reach_by_its_name_but_not_for_who_kept_its_address() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({ "VpcSecurityGroupIds": ["sg-open"] }));
    let (name, id) = (address(&mut cloud, "one"), resource(&mut cloud, "one"));
    let now = cloud.now;
    let by_name = Writer::Endpoint(name);
    let by_address = Writer::Address(id.clone());
    let inside = Writer::Inside(id);
    assert_eq!(cloud.state.write_through(&by_name, now), Ok(1));
    let rename =
        json!({ "DBInstanceIdentifier": "one", "NewDBInstanceIdentifier": "aside", "ApplyImmediately": "true" });
    cloud.ok("ModifyDBInstance", rename);
    for writer in [&by_name, &by_address, &inside] {
        assert_eq!(cloud.state.write_through(writer, now), Err(NotWritten::NotServing));
    }
    cloud.pass(3600);
    cloud.ok("DescribeDBInstances", json!({}));
    assert_eq!(cloud.state.write_through(&by_name, cloud.now), Err(NotWritten::Unreachable));
    assert_eq!(cloud.state.write_through(&by_address, cloud.now), Ok(2));
    cloud.state.close_security_group("sg-shut");
    let close = json!({ "DBInstanceIdentifier": "aside", "VpcSecurityGroupIds": ["sg-shut"] });
    cloud.ok("ModifyDBInstance", close);
    assert_eq!(cloud.state.write_through(&by_address, cloud.now), Err(NotWritten::Closed));
    assert_eq!(cloud.state.write_through(&inside, cloud.now), Ok(3));
}

#[test]
fn what_lies_under_a_key_that_cannot_be_used_is_not_decryptable() {
    let mut cloud = Cloud::new();
    let caller = super::Caller {
        account: OTHER.to_owned(),
        partition: "aws".to_owned(),
        arn: format!("arn:aws:iam::{OTHER}:root"),
    };
    let policy = |vendors: bool| {
        let own = json!({ "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{OTHER}:root") },
            "Action": "kms:*", "Resource": "*" });
        let more = json!({ "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{VENDOR}:root") },
            "Action": ["kms:CreateGrant", "kms:DescribeKey"], "Resource": "*" });
        let statements = if vendors { vec![own, more] } else { vec![own] };
        json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
    };
    let kms = |cloud: &mut Cloud, action: &str, params: serde_json::Value| {
        let call = super::Call {
            now: cloud.now,
            caller: caller.clone(),
            region: HERE.to_owned(),
            action: action.to_owned(),
            params,
        };
        super::kms::handle(&mut cloud.kms, &call, super::kms::Prepared::default()).unwrap().body
    };
    let made = kms(&mut cloud, "CreateKey", json!({ "Policy": policy(true) }));
    let key = made["KeyMetadata"]["Arn"].clone();
    let one = cloud.instance("one", json!({ "StorageEncrypted": "true", "KmsKeyId": key }));
    let decryptable = |cloud: &Cloud| {
        let stock = cloud.state.stock(&cloud.kms, cloud.now);
        stock.into_iter().find(|holding| one["DBInstanceArn"] == holding.arn).unwrap().decryptable
    };
    assert!(decryptable(&cloud));
    for (spoil, mend) in [
        (("DisableKey", json!({ "KeyId": key })), ("EnableKey", json!({ "KeyId": key }))),
        (
            ("PutKeyPolicy", json!({ "KeyId": key, "Policy": policy(false) })),
            ("PutKeyPolicy", json!({ "KeyId": key, "Policy": policy(true) })),
        ),
        (("ScheduleKeyDeletion", json!({ "KeyId": key })), ("CancelKeyDeletion", json!({ "KeyId": key }))),
    ] {
        kms(&mut cloud, spoil.0, spoil.1);
        assert!(!decryptable(&cloud), "{}", spoil.0);
        kms(&mut cloud, mend.0, mend.1);
    }
}

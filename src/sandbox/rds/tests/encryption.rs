use super::*;

impl Cloud {
    fn kms(&mut self, account: &str, region: &str, action: &str, params: Value) -> Value {
        let caller = Caller {
            account: account.to_owned(),
            partition: "aws".to_owned(),
            arn: format!("arn:aws:iam::{account}:root"),
        };
        let call = Call { now: self.now, caller, region: region.to_owned(), action: action.to_owned(), params };
        kms::handle(&mut self.kms, &call, kms::Prepared::default()).unwrap().body
    }

    fn key(&mut self, account: &str, region: &str, params: Value) -> String {
        let body = self.kms(account, region, "CreateKey", params);
        body["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    pub(super) fn own_key(&mut self) -> String {
        self.key(VENDOR, HERE, json!({}))
    }

    /// An encrypted instance `one` with the snapshot `s`.
    fn encrypted(&mut self) -> String {
        let key = self.own_key();
        self.instance("one", json!({ "StorageEncrypted": "true", "KmsKeyId": key }));
        self.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
        self.pass(300);
        key
    }
}

/// A customer's policy that lets the vendor use the key through RDS.
fn policy(with_grants: bool) -> String {
    let mut statements = vec![
        json!({
            "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{OTHER}:root") }, "Action": "kms:*",
            "Resource": "*",
        }),
        json!({
            "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{VENDOR}:root") },
            "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
            "Resource": "*",
        }),
    ];
    if with_grants {
        statements.push(json!({
            "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{VENDOR}:root") },
            "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"], "Resource": "*",
            "Condition": { "Bool": { "kms:GrantIsForAWSResource": "true" } },
        }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn copy(target: &str, key: Option<&str>) -> Value {
    json!({ "SourceDBSnapshotIdentifier": "s", "TargetDBSnapshotIdentifier": target, "KmsKeyId": key })
}

#[test]
fn a_copy_moves_the_data_under_the_named_key_and_a_restore_keeps_it() {
    let mut cloud = Cloud::new();
    let first = cloud.encrypted();
    let second = cloud.own_key();
    let target = cloud.ok("CopyDBSnapshot", copy("t", Some(&second)))["DBSnapshot"].clone();
    assert_eq!((&target["KmsKeyId"], &target["Encrypted"]), (&json!(second), &json!(true)));
    assert_eq!(cloud.ok("CopyDBSnapshot", copy("same", None))["DBSnapshot"]["KmsKeyId"], json!(first));
    cloud.pass(3600);
    let restore = json!({ "DBInstanceIdentifier": "two", "DBSnapshotIdentifier": "t" });
    let body = cloud.ok("RestoreDBInstanceFromDBSnapshot", restore);
    assert_eq!(body["DBInstance"]["KmsKeyId"], json!(second));
    let source = cloud.describe("one")["DBInstanceArn"].clone();
    assert_eq!(cloud.content(&body["DBInstance"]["DBInstanceArn"]), cloud.content(&source));
}

#[test]
fn an_unencrypted_snapshot_becomes_encrypted_by_a_copy() {
    let mut cloud = Cloud::new();
    cloud.instance("one", json!({}));
    cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
    cloud.pass(300);
    let key = cloud.own_key();
    assert_eq!(cloud.ok("CopyDBSnapshot", copy("t", Some(&key)))["DBSnapshot"]["KmsKeyId"], json!(key));
}

#[test]
fn a_customers_key_serves_only_with_the_whole_policy() {
    for (whole, expected) in [(true, None), (false, Some("KMSKeyNotAccessibleFault"))] {
        let mut cloud = Cloud::new();
        cloud.encrypted();
        let key = cloud.key(OTHER, HERE, json!({ "Policy": policy(whole) }));
        let outcome = cloud.call("CopyDBSnapshot", copy("t", Some(&key)));
        assert_eq!(outcome.err().map(|error| error.code).as_deref(), expected, "with grants: {whole}");
    }
}

#[test]
fn a_copy_across_regions_needs_a_key_of_the_destination() {
    let mut cloud = Cloud::new();
    cloud.encrypted();
    let arn = cloud.snapshot("s")["DBSnapshotArn"].clone();
    let here = cloud.own_key();
    let there = cloud.key(VENDOR, THERE, json!({}));
    let cases = [
        (None, Some("InvalidParameterValue")),
        (Some(here), Some("KMSKeyNotAccessibleFault")),
        (Some(there.clone()), None),
    ];
    for (key, expected) in cases {
        let params = json!({ "SourceDBSnapshotIdentifier": arn, "TargetDBSnapshotIdentifier": "t", "KmsKeyId": key });
        let outcome = cloud.call_as(VENDOR, THERE, "CopyDBSnapshot", params);
        assert_eq!(outcome.err().map(|error| error.code).as_deref(), expected, "{key:?}");
    }
    let backups = json!({ "SourceDBInstanceArn": cloud.describe("one")["DBInstanceArn"], "KmsKeyId": there });
    let body = cloud.call_as(VENDOR, THERE, "StartDBInstanceAutomatedBackupsReplication", backups).unwrap();
    assert_eq!(body["DBInstanceAutomatedBackup"]["KmsKeyId"], json!(there));
}

#[test]
fn an_instance_whose_key_is_lost_can_be_recovered_for_seven_days() {
    for (days, expected) in [(6, None), (8, Some("InvalidDBInstanceState"))] {
        let mut cloud = Cloud::new();
        let key = cloud.encrypted();
        cloud.kms(VENDOR, HERE, "DisableKey", json!({ "KeyId": key }));
        assert_eq!(cloud.status("one"), "inaccessible-encryption-credentials-recoverable");
        let one = json!({ "DBInstanceIdentifier": "one" });
        assert_eq!(cloud.refused("StartDBInstance", one.clone()).0, "KMSKeyNotAccessibleFault");
        let snapshot = json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "t" });
        assert_eq!(cloud.refused("CreateDBSnapshot", snapshot).0, "InvalidDBInstanceState");
        assert_eq!(cloud.refused("CopyDBSnapshot", copy("t", None)).0, "KMSKeyNotAccessibleFault");
        cloud.pass(days * 86_400);
        cloud.kms(VENDOR, HERE, "EnableKey", json!({ "KeyId": key }));
        let outcome = cloud.call("StartDBInstance", one);
        assert_eq!(outcome.err().map(|error| error.code).as_deref(), expected, "after {days} days");
        cloud.pass(400);
        let status = if expected.is_none() { "available" } else { "inaccessible-encryption-credentials" };
        assert_eq!(cloud.status("one"), status);
    }
}

#[test]
fn a_snapshot_under_the_default_key_is_not_shared_and_no_encrypted_one_is_public() {
    let mut cloud = Cloud::new();
    cloud.encrypted();
    cloud.instance("default", json!({ "StorageEncrypted": "true" }));
    cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "default", "DBSnapshotIdentifier": "d" }));
    cloud.pass(300);
    for (id, with, expected) in [("s", OTHER, None), ("s", "all", Some(400)), ("d", OTHER, Some(400))] {
        let share = json!({ "DBSnapshotIdentifier": id, "AttributeName": "restore", "ValuesToAdd": [with] });
        let outcome = cloud.call("ModifyDBSnapshotAttribute", share);
        assert_eq!(outcome.err().map(|error| error.http_status), expected, "{id} with {with}");
    }
}

#[test]
fn a_replica_may_have_a_key_of_its_own_but_not_over_plain_data() {
    let mut cloud = Cloud::new();
    cloud.encrypted();
    cloud.instance("plain", json!({}));
    let key = cloud.own_key();
    let replica = |id: &str, source: &str| json!({ "DBInstanceIdentifier": id, "SourceDBInstanceIdentifier": source, "KmsKeyId": key });
    let body = cloud.ok("CreateDBInstanceReadReplica", replica("r1", "one"));
    assert_eq!(body["DBInstance"]["KmsKeyId"], json!(key));
    assert_eq!(cloud.refused("CreateDBInstanceReadReplica", replica("r2", "plain")).0, "InvalidParameterCombination");
}

#[test]
fn a_cluster_is_restored_under_a_new_key_but_a_plain_one_not_recovered_under_one() {
    let mut cloud = Cloud::new();
    let create = json!({
        "DBClusterIdentifier": "c", "Engine": "aurora-mysql", "MasterUsername": "dave",
        "MasterUserPassword": "correct-horse",
    });
    cloud.ok("CreateDBCluster", create);
    cloud.pass(500);
    cloud.ok("CreateDBClusterSnapshot", json!({ "DBClusterIdentifier": "c", "DBClusterSnapshotIdentifier": "s" }));
    cloud.pass(500);
    let key = cloud.own_key();
    let restore = json!({
        "DBClusterIdentifier": "r", "SnapshotIdentifier": "s", "Engine": "aurora-mysql", "KmsKeyId": key,
    });
    assert_eq!(cloud.ok("RestoreDBClusterFromSnapshot", restore)["DBCluster"]["KmsKeyId"], json!(key));
    let recover = json!({
        "DBClusterIdentifier": "p", "SourceDBClusterIdentifier": "c", "UseLatestRestorableTime": "true", "KmsKeyId": key,
    });
    assert_eq!(cloud.refused("RestoreDBClusterToPointInTime", recover).0, "InvalidParameterCombination");
}

#[test]
fn a_deleted_instance_gives_its_grant_back() {
    let mut cloud = Cloud::new();
    let key = cloud.encrypted();
    let grants = |cloud: &mut Cloud| {
        cloud.kms(VENDOR, HERE, "ListGrants", json!({ "KeyId": key }))["Grants"].as_array().unwrap().len()
    };
    assert_eq!(grants(&mut cloud), 1);
    cloud.ok("DeleteDBInstance", json!({ "DBInstanceIdentifier": "one", "SkipFinalSnapshot": "true" }));
    cloud.pass(200);
    cloud.ok("DescribeDBInstances", json!({}));
    assert_eq!(grants(&mut cloud), 0);
}

#[test]
fn a_blue_green_deployment_moves_plain_data_under_a_key_and_keeps_the_name() {
    let mut cloud = Cloud::new();
    let blue = cloud.instance("one", json!({ "MultiAZ": "true" }));
    let key = cloud.own_key();
    let create = |key: &str| {
        json!({
            "BlueGreenDeploymentName": "rekey", "Source": blue["DBInstanceArn"],
            "TargetResourceConfigurations": [{ "SourceArn": blue["DBInstanceArn"], "TargetKmsKeyId": key }],
        })
    };
    assert_eq!(cloud.refused("CreateBlueGreenDeployment", create("alias/none")).0, "KMSKeyNotAccessibleFault");
    let body = cloud.ok("CreateBlueGreenDeployment", create(&key));
    assert_eq!(body["BlueGreenDeployment"]["Status"], "PROVISIONING");
    let id = json!({ "BlueGreenDeploymentIdentifier": body["BlueGreenDeployment"]["BlueGreenDeploymentIdentifier"] });
    let early = cloud.refused("SwitchoverBlueGreenDeployment", id.clone());
    assert_eq!(early, ("InvalidBlueGreenDeploymentStateFault".to_owned(), 400));
    cloud.pass(1200);
    cloud.write(&blue["DBInstanceArn"]);
    cloud.ok("SwitchoverBlueGreenDeployment", id.clone());
    cloud.pass(60);
    let (one, old) = (cloud.describe("one"), cloud.describe("one-old1"));
    assert_eq!(
        (&one["KmsKeyId"], &one["MultiAZ"], &old["StorageEncrypted"]),
        (&json!(key), &json!(true), &json!(false))
    );
    assert_eq!(old["DbiResourceId"], blue["DbiResourceId"]);
    assert_eq!(cloud.content(&one["DBInstanceArn"]), cloud.content(&old["DBInstanceArn"]));
    let body = cloud.ok("DescribeBlueGreenDeployments", id.clone());
    assert_eq!(items(&body["BlueGreenDeployments"])[0]["Status"], "SWITCHOVER_COMPLETED");
    let with_target = merged(id.clone(), json!({ "DeleteTarget": "true" }));
    assert_eq!(cloud.refused("DeleteBlueGreenDeployment", with_target).0, "InvalidParameterCombination");
    cloud.ok("DeleteBlueGreenDeployment", id.clone());
    cloud.pass(200);
    assert_eq!(cloud.refused("DescribeBlueGreenDeployments", id).0, "BlueGreenDeploymentNotFoundFault");
    assert_eq!(cloud.status("one"), "available");
}

#[test]
fn a_shared_encrypted_snapshot_is_copied_with_both_keys_before_it_is_restored() {
    for (allowed, expected) in [(true, None), (false, Some("KMSKeyNotAccessibleFault"))] {
        let mut cloud = Cloud::new();
        let statement = |account: &str| {
            json!({
                "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{account}:root") }, "Action": "kms:*",
                "Resource": "*",
            })
        };
        let mut statements = vec![statement(VENDOR)];
        statements.extend(allowed.then(|| statement(OTHER)));
        let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let key = cloud.key(VENDOR, HERE, json!({ "Policy": policy }));
        cloud.instance("one", json!({ "StorageEncrypted": "true", "KmsKeyId": key }));
        cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
        cloud.pass(300);
        cloud.ok(
            "ModifyDBSnapshotAttribute",
            json!({ "DBSnapshotIdentifier": "s", "AttributeName": "restore", "ValuesToAdd": [OTHER] }),
        );
        let arn = cloud.snapshot("s")["DBSnapshotArn"].clone();
        let restore = json!({ "DBInstanceIdentifier": "theirs", "DBSnapshotIdentifier": arn });
        let direct = cloud.call_as(OTHER, HERE, "RestoreDBInstanceFromDBSnapshot", restore).unwrap_err();
        assert_eq!(direct.code, "InvalidRestoreFault");
        let keyless = json!({ "SourceDBSnapshotIdentifier": arn, "TargetDBSnapshotIdentifier": "t" });
        let unnamed = cloud.call_as(OTHER, HERE, "CopyDBSnapshot", keyless.clone()).unwrap_err();
        assert_eq!(unnamed.code, "KMSKeyNotAccessibleFault");
        let own = cloud.key(OTHER, HERE, json!({}));
        let outcome = cloud.call_as(OTHER, HERE, "CopyDBSnapshot", merged(keyless, json!({ "KmsKeyId": own })));
        assert_eq!(outcome.err().map(|error| error.code).as_deref(), expected, "allowed: {allowed}");
    }
}

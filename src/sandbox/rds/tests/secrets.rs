//! Master passwords in Secrets Manager.

use serde_json::{Value, json};

use super::{Cloud, items};

fn secret(cloud: &mut Cloud, id: &str) -> Value {
    cloud.describe(id)["MasterUserSecret"].clone()
}

#[test]
fn a_restored_instance_is_given_a_secret_of_its_own_afterwards() {
    let mut cloud = Cloud::new();
    let (key_one, key_two) = (cloud.own_key(), cloud.own_key());
    let managed = json!({ "ManageMasterUserPassword": "true", "MasterUserPassword": null });
    cloud.instance("one", managed);
    let first = secret(&mut cloud, "one");
    assert!(first["KmsKeyId"].as_str().unwrap().starts_with("arn:aws:kms:"), "the account's own for Secrets Manager");
    cloud.ok("CreateDBSnapshot", json!({ "DBInstanceIdentifier": "one", "DBSnapshotIdentifier": "s" }));
    cloud.pass(300);
    let restore = json!({ "DBInstanceIdentifier": "two", "DBSnapshotIdentifier": "s" });
    let managed = super::merged(restore.clone(), json!({ "ManageMasterUserPassword": "true" }));
    let refused = cloud.refused("RestoreDBInstanceFromDBSnapshot", managed);
    assert_eq!(refused.0, "InvalidParameterCombination", "AWS takes it for Oracle only");
    cloud.ok("RestoreDBInstanceFromDBSnapshot", restore);
    cloud.pass(1000);
    assert_eq!(secret(&mut cloud, "two"), Value::Null);
    let manage = json!({ "DBInstanceIdentifier": "two", "ManageMasterUserPassword": "true",
        "MasterUserSecretKmsKeyId": key_one, "ApplyImmediately": "true" });
    cloud.ok("ModifyDBInstance", manage);
    let second = secret(&mut cloud, "two");
    assert_eq!(second["KmsKeyId"], key_one);
    assert_ne!(second["SecretArn"], first["SecretArn"]);
    cloud.pass(200);
    let modify = |more: Value| super::merged(json!({ "DBInstanceIdentifier": "two" }), more);
    let other = modify(json!({ "MasterUserSecretKmsKeyId": key_two }));
    assert_eq!(cloud.refused("ModifyDBInstance", other).0, "InvalidParameterCombination", "its key stays");
    let password = modify(json!({ "MasterUserPassword": "correct-horse" }));
    assert_eq!(cloud.refused("ModifyDBInstance", password).0, "InvalidParameterCombination");
    let off = modify(json!({ "ManageMasterUserPassword": "false" }));
    assert_eq!(cloud.refused("ModifyDBInstance", off).0, "InvalidParameterCombination", "without a password");
    let off = modify(json!({ "ManageMasterUserPassword": "false", "MasterUserPassword": "correct-horse",
        "ApplyImmediately": "true" }));
    cloud.ok("ModifyDBInstance", off);
    assert_eq!(secret(&mut cloud, "two"), Value::Null);
    let key = json!({ "DBInstanceIdentifier": "one", "MasterUserSecretKmsKeyId": key_two });
    assert_eq!(cloud.refused("ModifyDBInstance", key).0, "InvalidParameterCombination");
    assert_eq!(items(&cloud.ok("DescribeDBInstances", json!({}))["DBInstances"]).len(), 2);
}

#[test]
fn a_source_whose_password_is_managed_has_no_replica_but_of_sql_server() {
    let mut cloud = Cloud::new();
    let managed = json!({ "ManageMasterUserPassword": "true", "MasterUserPassword": null });
    cloud.instance("one", managed.clone());
    let replica =
        |of: &str| json!({ "DBInstanceIdentifier": format!("{of}-replica"), "SourceDBInstanceIdentifier": of });
    assert_eq!(cloud.refused("CreateDBInstanceReadReplica", replica("one")).0, "InvalidParameterCombination");
    cloud.instance("plain", json!({}));
    cloud.ok("CreateDBInstanceReadReplica", replica("plain"));
    cloud.pass(1000);
    for id in ["plain", "plain-replica"] {
        let manage = json!({ "DBInstanceIdentifier": id, "ManageMasterUserPassword": "true" });
        assert_eq!(cloud.refused("ModifyDBInstance", manage).0, "InvalidParameterCombination", "{id}");
    }
    let server = json!({ "Engine": "sqlserver-ee", "MasterUsername": "keeper" });
    cloud.instance("server", super::merged(managed, server));
    cloud.ok("CreateDBInstanceReadReplica", replica("server"));
}

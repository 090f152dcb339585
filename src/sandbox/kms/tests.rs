//! KMS through the AWS SDK's own client, over the sandbox's connector.

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_sdk_kms::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    error::ProvideErrorMetadata,
    primitives::Blob,
    types::{
        AlgorithmSpec, DataKeySpec, DryRunModifierType, ExpirationModelType, GrantOperation, ImportType,
        IncludeKeyMaterial, KeyState, OriginType, Tag, WrappingKeySpec,
    },
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};

use crate::sandbox::{
    Call, Caller, FaultKind, FaultRule, Sandbox,
    tests::{TestWall, in_memory},
};

const VENDOR: &str = "127450652264";
const CUSTOMER: &str = "123456789012";
const REGION: &str = "us-west-2";

/// The specification's key policy.
fn customer_policy() -> String {
    serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Enable my own AWS account to manage this key", "Effect": "Allow",
         "Principal": {"AWS": format!("arn:aws:iam::{CUSTOMER}:root")}, "Action": "kms:*", "Resource": "*"},
        {"Sid": "Allow use of the key", "Effect": "Allow",
         "Principal": {"AWS": format!("arn:aws:iam::{VENDOR}:root")},
         "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
         "Resource": "*"},
        {"Sid": "Allow attachment of persistent resources", "Effect": "Allow",
         "Principal": {"AWS": format!("arn:aws:iam::{VENDOR}:root")},
         "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"], "Resource": "*",
         "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}},
    ]})
    .to_string()
}

fn client(sandbox: &Sandbox, region: &str, credentials: Credentials) -> Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(credentials)
        .http_client(sandbox.connector())
        .build();
    Client::from_conf(config)
}

fn vendor(sandbox: &Sandbox) -> Client {
    client(sandbox, REGION, Credentials::new("AKIATEST", "secret", None, None, "test"))
}

async fn customer_credentials(sandbox: &Sandbox) -> Credentials {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .region(aws_sdk_sts::config::Region::new(REGION))
        .credentials_provider(Credentials::new("AKIATEST", "secret", None, None, "test"))
        .http_client(sandbox.connector())
        .build();
    let role = format!("arn:aws:iam::{CUSTOMER}:role/admin");
    let sts = aws_sdk_sts::Client::from_conf(config);
    let answer = sts.assume_role().role_arn(role).role_session_name("dave").send().await.unwrap();
    let issued = answer.credentials.unwrap();
    Credentials::new(issued.access_key_id, issued.secret_access_key, Some(issued.session_token), None, "test")
}

fn code<T: std::fmt::Debug, E: ProvideErrorMetadata>(result: Result<T, SdkError<E, HttpResponse>>) -> String {
    let error = result.expect_err("the call must fail");
    error.code().unwrap_or("no code").to_owned()
}

struct Customer {
    sandbox: Sandbox,
    wall: TestWall,
    client: Client,
    key: String,
}

/// A customer's account with a key under the specification's policy.
async fn customer() -> Customer {
    let (sandbox, wall) = in_memory().await;
    let client = client(&sandbox, REGION, customer_credentials(&sandbox).await);
    let made = client.create_key().policy(customer_policy()).send().await.unwrap();
    let key = made.key_metadata.unwrap().arn.unwrap();
    Customer { sandbox, wall, client, key }
}

#[tokio::test]
async fn the_vendor_may_use_but_not_manage_the_customers_key() {
    let Customer { sandbox, key, .. } = customer().await;
    let vendor = vendor(&sandbox);
    let sealed = vendor.encrypt().key_id(&key).plaintext(Blob::new("x")).encryption_context("a", "1").send().await;
    let blob = sealed.unwrap().ciphertext_blob.unwrap();
    let opened = vendor.decrypt().ciphertext_blob(blob.clone()).encryption_context("a", "1").send().await.unwrap();
    assert_eq!(opened.plaintext.unwrap().as_ref(), b"x");
    let wrong = vendor.decrypt().ciphertext_blob(blob).encryption_context("a", "2").send().await;
    assert_eq!(code(wrong), "InvalidCiphertextException");
    let grant = vendor.create_grant().key_id(&key).grantee_principal(format!("arn:aws:iam::{VENDOR}:root"));
    let grant = grant.operations(GrantOperation::Decrypt);
    assert_eq!(code(grant.clone().send().await), "AccessDeniedException");
    assert_eq!(code(grant.dry_run(true).send().await), "AccessDeniedException");
    assert_eq!(code(vendor.list_grants().key_id(&key).send().await), "AccessDeniedException");
    assert_eq!(code(vendor.disable_key().key_id(&key).send().await), "AccessDeniedException");
    assert_eq!(code(vendor.get_key_rotation_status().key_id(&key).send().await), "AccessDeniedException");
}

#[tokio::test]
async fn dry_runs_say_what_would_happen_and_need_no_ciphertext_when_told() {
    let Customer { sandbox, client, key, .. } = customer().await;
    let vendor = vendor(&sandbox);
    let data_key = vendor.generate_data_key().key_id(&key).key_spec(DataKeySpec::Aes256).dry_run(true);
    assert_eq!(code(data_key.send().await), "DryRunOperationException");
    let re_encrypt = vendor.re_encrypt().source_key_id(&key).destination_key_id(&key).dry_run(true);
    let re_encrypt = re_encrypt.dry_run_modifiers(DryRunModifierType::IgnoreCiphertext);
    assert_eq!(code(re_encrypt.clone().send().await), "DryRunOperationException");
    client.disable_key().key_id(&key).send().await.unwrap();
    assert_eq!(code(re_encrypt.send().await), "DisabledException");
}

fn call(account: &str, action: &str, params: serde_json::Value) -> Call {
    Call {
        now: chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
        caller: Caller {
            account: account.to_owned(),
            partition: "aws".to_owned(),
            arn: format!("arn:aws:iam::{account}:root"),
        },
        region: REGION.to_owned(),
        action: action.to_owned(),
        params,
    }
}

#[test]
fn rds_attaches_what_a_direct_grant_may_not_and_only_once() {
    let mut state = super::State::default();
    let create = call(CUSTOMER, "CreateKey", serde_json::json!({"Policy": customer_policy()}));
    let made = super::handle(&mut state, &create, super::Prepared::default()).unwrap();
    let key = made.body["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let Call { now, caller, .. } = call(VENDOR, "", serde_json::Value::Null);
    assert_eq!(state.attach(now, &caller, REGION, &key, "db-1").unwrap(), key);
    assert_eq!(state.attach(now, &caller, REGION, &key, "db-1").unwrap(), key);
    assert_eq!(state.grants_of(&key).count(), 1);
    state.detach(&key, "db-1");
    assert_eq!(state.grants_of(&key).count(), 0);
    assert!(state.attach(now, &caller, "us-east-1", &key, "db-1").unwrap_err().0.contains("Invalid arn us-west-2"));
    let own = state.default_rds_key(now, &caller, REGION);
    assert_eq!(state.attach(now, &caller, REGION, "alias/aws/rds", "db-2").unwrap(), own);
    assert_eq!(state.usable(now, &key), Ok(()));
    let delete = call(CUSTOMER, "ScheduleKeyDeletion", serde_json::json!({"KeyId": key}));
    super::handle(&mut state, &delete, super::Prepared::default()).unwrap();
    assert!(state.usable(now, &key).unwrap_err().0.contains("pending deletion"));
    assert!(state.attach(now, &caller, REGION, &key, "db-3").is_err());
    assert_eq!(state.grants_of(&key).count(), 0);
}

#[tokio::test]
async fn a_key_pending_deletion_is_gone_with_its_aliases_when_due() {
    let Customer { sandbox, client, key, wall } = customer().await;
    client.create_alias().alias_name("alias/k").target_key_id(&key).send().await.unwrap();
    client.schedule_key_deletion().key_id(&key).pending_window_in_days(7).send().await.unwrap();
    let encrypt = client.encrypt().key_id(&key).plaintext(Blob::new("x"));
    assert_eq!(code(encrypt.send().await), "KMSInvalidStateException");
    let described = client.describe_key().key_id("alias/k").send().await.unwrap().key_metadata.unwrap();
    assert_eq!(described.key_state, Some(KeyState::PendingDeletion));
    wall.advance(7 * 86_400);
    assert_eq!(code(client.list_keys().send().await), "ExpiredTokenException");
    let client = self::client(&sandbox, REGION, customer_credentials(&sandbox).await);
    assert_eq!(code(client.describe_key().key_id(&key).send().await), "NotFoundException");
    assert_eq!(code(client.describe_key().key_id("alias/k").send().await), "NotFoundException");
}

struct Imported {
    client: Client,
    key: String,
}

impl Imported {
    async fn import(&self, material: &[u8], kind: Option<ImportType>) -> Result<String, String> {
        let parameters = self.client.get_parameters_for_import().key_id(&self.key);
        let parameters = parameters.wrapping_algorithm(AlgorithmSpec::RsaesOaepSha1);
        let parameters = parameters.wrapping_key_spec(WrappingKeySpec::Rsa2048).send().await.unwrap();
        let public = PublicEncryptingKey::from_der(parameters.public_key.unwrap().as_ref()).unwrap();
        let public = OaepPublicEncryptingKey::new(public).unwrap();
        let mut wrapped = vec![0; public.ciphertext_size()];
        public.encrypt(&OAEP_SHA1_MGF1SHA1, material, &mut wrapped, None).unwrap();
        let import = self.client.import_key_material().key_id(&self.key).set_import_type(kind);
        let import = import.import_token(parameters.import_token.unwrap()).encrypted_key_material(Blob::new(wrapped));
        let result = import.expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire).send().await;
        match result {
            Ok(answer) => Ok(answer.key_material_id.unwrap()),
            Err(error) => Err(error.code().unwrap_or("no code").to_owned()),
        }
    }

    async fn state(&self) -> KeyState {
        let answer = self.client.describe_key().key_id(&self.key).send().await.unwrap();
        answer.key_metadata.unwrap().key_state.unwrap()
    }
}

async fn external() -> Imported {
    let (sandbox, _) = in_memory().await;
    let client = vendor(&sandbox);
    let made = client.create_key().origin(OriginType::External).send().await.unwrap();
    Imported { client, key: made.key_metadata.unwrap().arn.unwrap() }
}

#[tokio::test]
async fn imported_material_can_come_back_but_not_change() {
    let it = external().await;
    assert_eq!(it.state().await, KeyState::PendingImport);
    let id = it.import(&[7; 32], None).await.unwrap();
    assert_eq!(it.state().await, KeyState::Enabled);
    let sealed = it.client.encrypt().key_id(&it.key).plaintext(Blob::new("x")).send().await.unwrap();
    assert_eq!(it.import(&[8; 32], None).await.unwrap_err(), "IncorrectKeyMaterialException");
    it.client.delete_imported_key_material().key_id(&it.key).send().await.unwrap();
    assert_eq!(it.state().await, KeyState::PendingImport);
    let blob = sealed.ciphertext_blob.unwrap();
    let decrypt = || it.client.decrypt().ciphertext_blob(blob.clone()).send();
    assert_eq!(code(decrypt().await), "KMSInvalidStateException");
    assert_eq!(it.import(&[7; 16], None).await.unwrap_err(), "IncorrectKeyMaterialException");
    assert_eq!(it.import(&[7; 32], None).await.unwrap(), id);
    assert_eq!(decrypt().await.unwrap().plaintext.unwrap().as_ref(), b"x");
}

#[tokio::test]
async fn new_imported_material_waits_for_its_rotation_and_old_data_stays_readable() {
    let it = external().await;
    let old = it.import(&[7; 32], None).await.unwrap();
    let sealed = it.client.encrypt().key_id(&it.key).plaintext(Blob::new("x")).send().await.unwrap();
    assert_eq!(code(it.client.rotate_key_on_demand().key_id(&it.key).send().await), "KMSInvalidStateException");
    let new = it.import(&[8; 32], Some(ImportType::NewKeyMaterial)).await.unwrap();
    it.client.rotate_key_on_demand().key_id(&it.key).send().await.unwrap();
    let all = it.client.list_key_rotations().key_id(&it.key).include_key_material(IncludeKeyMaterial::AllKeyMaterial);
    let states: Vec<_> = all
        .send()
        .await
        .unwrap()
        .rotations
        .unwrap()
        .into_iter()
        .map(|entry| (entry.key_material_id.unwrap(), entry.key_material_state.unwrap().as_str().to_owned()))
        .collect();
    assert_eq!(states, [(old.clone(), "NON_CURRENT".to_owned()), (new, "CURRENT".to_owned())]);
    let opened = it.client.decrypt().ciphertext_blob(sealed.ciphertext_blob.unwrap()).send().await.unwrap();
    assert_eq!(opened.key_material_id.unwrap(), old);
    it.client.delete_imported_key_material().key_id(&it.key).key_material_id(&old).send().await.unwrap();
    assert_eq!(it.state().await, KeyState::PendingImport);
}

#[tokio::test]
async fn a_lost_reply_leaves_one_effect_and_the_sdk_tries_again() {
    let (sandbox, _) = in_memory().await;
    let rule =
        |kind| FaultRule { service: None, action: Some("CreateKey".to_owned()), nth: Some(1), remaining: None, kind };
    sandbox.faults().add(rule(FaultKind::LostReply));
    let client = vendor(&sandbox);
    client.create_key().tags(Tag::builder().tag_key("a").tag_value("b").build().unwrap()).send().await.unwrap();
    let actions: Vec<String> = sandbox.ledger().into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["CreateKey", "CreateKey"]);
    sandbox.faults().add(rule(FaultKind::Error {
        code: "KMSInternalException".into(),
        message: "".into(),
        status: 400,
    }));
    assert_eq!(code(client.create_key().send().await), "KMSInternalException");
    assert_eq!(sandbox.ledger().len(), 2);
}

#[tokio::test]
async fn a_changed_policy_takes_its_time_when_told_to() {
    let Customer { sandbox, client, key, wall } = customer().await;
    let vendor = vendor(&sandbox);
    sandbox.faults().set_policy_delay(std::time::Duration::from_secs(60));
    let closed = serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": CUSTOMER},
        "Action": "kms:*", "Resource": "*"}});
    client.put_key_policy().key_id(&key).policy(closed.to_string()).send().await.unwrap();
    vendor.describe_key().key_id(&key).send().await.unwrap();
    wall.advance(61);
    assert_eq!(code(vendor.describe_key().key_id(&key).send().await), "AccessDeniedException");
}

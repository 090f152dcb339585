//! The battery of probes that shows whether the vendor can use a customer's key as it must, and no further.
//!
//! Every probe is harmless: it encrypts a few bytes of its own or asks KMS. Whether RDS can attach the key is shown by a
//! canary, which takes longer and stands with the data systems.
//! Source: <https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html>.

use aws_sdk_kms::{
    Client,
    primitives::Blob,
    types::{DataKeySpec, GrantOperation, KeyManagerType, KeySpec, KeyState, KeyUsageType},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::KeyArn;
use crate::{
    aws::{Described, describe},
    worker::StepError,
};

/// How a probe came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Passed,
    Failed,
    /// It can be neither shown nor refuted from here, for example under a policy that is scoped to RDS.
    Inconclusive,
}

/// One probe's result, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub probe: String,
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What the customer has to change; empty where nothing is wrong.
    pub cure: String,
}

/// What the battery found, and whether a denial may still be a policy that has not spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub findings: Vec<Finding>,
    /// Something was denied that the prescribed policy allows.
    pub denied: bool,
}

struct Battery<'a> {
    kms: &'a Client,
    key: &'a KeyArn,
    context: [(&'static str, String); 2],
    result: Probe,
}

/// Probes a key through KMS.
///
/// # Errors
/// KMS could not be asked (throttled, unavailable): nothing is known about the key then.
pub async fn probe_kms(kms: &Client, key: &KeyArn, enterprise: &str, now: DateTime<Utc>) -> Result<Probe, StepError> {
    let context = [("purpose", "keyferry-verification".to_owned()), ("enterprise", enterprise.to_owned())];
    let mut battery = Battery { kms, key, context, result: Probe { findings: Vec::new(), denied: false } };
    if battery.metadata(now).await? {
        battery.encrypt_and_decrypt().await?;
        battery.data_key().await?;
        battery.re_encrypt().await?;
        battery.direct_grant().await?;
    }
    Ok(battery.result)
}

impl Battery<'_> {
    fn note(&mut self, probe: &str, verdict: Verdict, seen: impl Into<String>, cure: impl Into<String>) {
        self.result.findings.push(Finding { probe: probe.to_owned(), verdict, seen: seen.into(), cure: cure.into() });
    }

    /// Notes a failed call. Answers `Err` where the call says nothing about the key.
    fn note_failure(&mut self, probe: &str, action: &str, error: Described) -> Result<(), StepError> {
        match error.error {
            "Keyferry.Throttled" | "Keyferry.Unavailable" => {
                return Err(error.into_step_error(&format!("probe {probe} of {}", self.key)));
            }
            "Keyferry.AccessDenied" => {
                self.result.denied = true;
                self.note(
                    probe,
                    Verdict::Failed,
                    format!("AWS denied {action}: {}", error.message),
                    format!(
                        "apply the key policy that was sent to you: the vendor's account needs {action} on this key"
                    ),
                );
            }
            _ => {
                let cure = cure_of_state(&error);
                self.note(
                    probe,
                    Verdict::Failed,
                    format!("{action} failed with {}: {}", error.code, error.message),
                    cure,
                );
            }
        }
        Ok(())
    }

    /// Looks at the key's metadata; answers whether further probes make sense.
    async fn metadata(&mut self, now: DateTime<Utc>) -> Result<bool, StepError> {
        const PROBE: &str = "key-metadata";
        let described = match self.kms.describe_key().key_id(self.key.to_string()).send().await {
            Ok(described) => described,
            Err(error) => {
                let error = describe(&error);
                if error.is("NotFoundException") {
                    self.note(
                        PROBE,
                        Verdict::Failed,
                        format!("AWS knows no key {}", self.key),
                        "give the ARN of a key that exists",
                    );
                } else {
                    self.note_failure(PROBE, "kms:DescribeKey", error)?;
                }
                return Ok(self.result.denied);
            }
        };
        let Some(metadata) = described.key_metadata else {
            self.note(PROBE, Verdict::Inconclusive, "KMS answered without metadata", "");
            return Ok(true);
        };
        let mut wrong: Vec<(String, &str)> = Vec::new();
        if metadata.key_spec != Some(KeySpec::SymmetricDefault) {
            wrong.push((
                format!("its spec is {:?}", metadata.key_spec),
                "create a symmetric key (SYMMETRIC_DEFAULT): RDS takes no other",
            ));
        }
        if metadata.key_usage != Some(KeyUsageType::EncryptDecrypt) {
            wrong.push((
                format!("its usage is {:?}", metadata.key_usage),
                "create a key with the usage ENCRYPT_DECRYPT",
            ));
        }
        if metadata.key_manager == Some(KeyManagerType::Aws) {
            wrong.push((
                "AWS manages it".to_owned(),
                "create a customer managed key: an AWS managed key cannot be shared",
            ));
        }
        match metadata.key_state {
            Some(KeyState::Enabled) => {}
            Some(KeyState::Disabled) => {
                wrong.push(("the key is disabled".to_owned(), "enable it: `aws kms enable-key --key-id <id>`"))
            }
            Some(KeyState::PendingDeletion) => wrong.push((
                format!("the key is pending deletion ({})", stamp(metadata.deletion_date)),
                "cancel the deletion and enable the key: `aws kms cancel-key-deletion`, then `aws kms enable-key`",
            )),
            Some(KeyState::PendingImport) => {
                wrong.push(("the key has no key material".to_owned(), "import its key material"))
            }
            other => wrong
                .push((format!("the key is in the state {other:?}"), "wait until it is Enabled, or give another key")),
        }
        let horizon = now.timestamp().saturating_add(30 * 86_400);
        if let Some(ends) = metadata.valid_to.filter(|ends| ends.secs() < horizon) {
            wrong.push((
                format!("its key material expires at {}", stamp(Some(ends))),
                "import the material again without an expiry: when it ends, the data can no longer be read",
            ));
        }
        if wrong.is_empty() {
            let origin = metadata.origin.map(|origin| origin.as_str().to_owned()).unwrap_or_default();
            self.note(PROBE, Verdict::Passed, format!("enabled, symmetric, origin {origin}"), "");
            return Ok(true);
        }
        for (seen, cure) in wrong {
            self.note(PROBE, Verdict::Failed, seen, cure);
        }
        Ok(false)
    }

    async fn encrypt_and_decrypt(&mut self) -> Result<(), StepError> {
        const PROBE: &str = "encrypt-decrypt";
        const TEXT: &[u8] = b"keyferry probe";
        let mut encrypt = self.kms.encrypt().key_id(self.key.to_string()).plaintext(Blob::new(TEXT));
        for (name, value) in &self.context {
            encrypt = encrypt.encryption_context(*name, value);
        }
        let ciphertext = match encrypt.send().await {
            Ok(answer) => answer.ciphertext_blob.unwrap_or_else(|| Blob::new(Vec::new())),
            Err(error) => return self.note_failure(PROBE, "kms:Encrypt", describe(&error)),
        };
        let mut decrypt = self.kms.decrypt().key_id(self.key.to_string()).ciphertext_blob(ciphertext);
        for (name, value) in &self.context {
            decrypt = decrypt.encryption_context(*name, value);
        }
        match decrypt.send().await {
            Ok(answer) if answer.plaintext.as_ref().is_some_and(|text| text.as_ref() == TEXT) => {
                self.note(PROBE, Verdict::Passed, "encrypted and decrypted under an encryption context", "");
            }
            Ok(_) => self.note(
                PROBE,
                Verdict::Failed,
                "what was decrypted is not what was encrypted",
                "give another key and tell us",
            ),
            Err(error) => return self.note_failure(PROBE, "kms:Decrypt", describe(&error)),
        }
        Ok(())
    }

    async fn data_key(&mut self) -> Result<(), StepError> {
        const PROBE: &str = "data-key";
        let mut generate =
            self.kms.generate_data_key_without_plaintext().key_id(self.key.to_string()).key_spec(DataKeySpec::Aes256);
        for (name, value) in &self.context {
            generate = generate.encryption_context(*name, value);
        }
        match generate.send().await {
            Ok(_) => self.note(PROBE, Verdict::Passed, "a data key was generated; its plaintext never left KMS", ""),
            Err(error) => return self.note_failure(PROBE, "kms:GenerateDataKey*", describe(&error)),
        }
        Ok(())
    }

    async fn re_encrypt(&mut self) -> Result<(), StepError> {
        const PROBE: &str = "re-encrypt";
        let encrypted = self
            .kms
            .encrypt()
            .key_id(self.key.to_string())
            .plaintext(Blob::new(b"keyferry probe".to_vec()))
            .send()
            .await;
        let ciphertext = match encrypted {
            Ok(answer) => answer.ciphertext_blob.unwrap_or_else(|| Blob::new(Vec::new())),
            Err(error) => return self.note_failure(PROBE, "kms:Encrypt", describe(&error)),
        };
        let key = self.key.to_string();
        let moved =
            self.kms.re_encrypt().ciphertext_blob(ciphertext).source_key_id(&key).destination_key_id(&key).send().await;
        match moved {
            Ok(_) => self.note(PROBE, Verdict::Passed, "a ciphertext was re-encrypted inside KMS", ""),
            Err(error) => return self.note_failure(PROBE, "kms:ReEncrypt*", describe(&error)),
        }
        Ok(())
    }

    /// A grant that is not for an AWS resource must be refused: the policy gives the vendor no more than RDS needs.
    async fn direct_grant(&mut self) -> Result<(), StepError> {
        const PROBE: &str = "direct-grant-denied";
        let grantee = format!("arn:{}:iam::{}:root", self.key.partition, self.key.account);
        let asked = self.kms.create_grant().key_id(self.key.to_string()).grantee_principal(grantee);
        match asked.operations(GrantOperation::Decrypt).dry_run(true).send().await {
            Ok(_) => self.note(PROBE, Verdict::Inconclusive, "KMS answered a dry run as if it were none", ""),
            Err(error) => {
                let error = describe(&error);
                match error.error {
                    "Keyferry.AccessDenied" => {
                        self.note(PROBE, Verdict::Passed, "a grant outside RDS is refused: least privilege holds", "");
                    }
                    "Keyferry.Throttled" | "Keyferry.Unavailable" => {
                        return Err(error.into_step_error(&format!("probe {PROBE} of {}", self.key)));
                    }
                    _ if error.is("DryRunOperationException") => self.note(
                        PROBE,
                        Verdict::Failed,
                        "the policy lets the vendor create grants for anybody",
                        "keep the condition kms:GrantIsForAWSResource in the policy's third statement",
                    ),
                    _ => self.note(PROBE, Verdict::Inconclusive, format!("{}: {}", error.code, error.message), ""),
                }
            }
        }
        Ok(())
    }
}

fn cure_of_state(error: &Described) -> &'static str {
    if error.message.contains("pending deletion") {
        "cancel the deletion and enable the key: `aws kms cancel-key-deletion`, then `aws kms enable-key`"
    } else if error.message.contains("pending import") {
        "import the key's material"
    } else if error.is("DisabledException") || error.message.contains("disabled") {
        "enable the key: `aws kms enable-key --key-id <id>`"
    } else {
        "look at the key in the AWS console, or give another key"
    }
}

fn stamp(at: Option<aws_smithy_types::DateTime>) -> String {
    at.and_then(|at| DateTime::from_timestamp(at.secs(), 0)).map_or_else(String::new, |at| at.to_rfc3339())
}

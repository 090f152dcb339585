//! The battery: named probes that show whether the vendor can use a customer's key, and no more than agreed.
//!
//! A probe is passed, failed (with what the customer has to change) or inconclusive. Direct probes are denied when a
//! customer narrows the policy to RDS (`kms:ViaService`), although RDS works; so a denial alone proves nothing until the
//! canary, a copy of a tiny snapshot under the key by RDS, has spoken ([`Battery::settle`]). A *direct* CreateGrant must be
//! denied: `kms:GrantIsForAWSResource` allows grants by AWS services only, which is the least privilege agreed.

use aws_sdk_kms::{
    Client,
    primitives::Blob,
    types::{GrantOperation, KeyManagerType, KeySpec, KeyState, KeyUsageType},
};
use serde::{Deserialize, Serialize};

use super::import::current_material;
use crate::aws::{Failure, failure};

/// A probe's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeState {
    Passed,
    Failed,
    Inconclusive,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// `key-metadata`, `key-material`, `encrypt-decrypt`, `data-key`, `re-encrypt`, `create-grant-denied` or `rds-canary`.
    pub name: String,
    pub state: ProbeState,
    /// Stable, in kebab-case, for a probe that did not pass: `key-disabled`, `statement-use-missing`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was seen.
    pub seen: String,
    /// What the customer has to change; empty if nothing.
    #[serde(default)]
    pub change: String,
}

/// Who has the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Custody {
    #[default]
    Customer,
    Vendor,
}

/// The probes of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Battery {
    pub probes: Vec<Probe>,
}

/// What comes of a battery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Passed,
    Failed,
}

impl Probe {
    pub fn passed(name: &str, seen: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: ProbeState::Passed, code: None, seen: seen.into(), change: String::new() }
    }

    pub fn failed(name: &str, code: &str, seen: impl Into<String>, change: impl Into<String>) -> Self {
        let (code, seen, change) = (Some(code.to_owned()), seen.into(), change.into());
        Self { name: name.to_owned(), state: ProbeState::Failed, code, seen, change }
    }

    pub fn inconclusive(name: &str, code: &str, seen: impl Into<String>) -> Self {
        let code = Some(code.to_owned());
        Self { name: name.to_owned(), state: ProbeState::Inconclusive, code, seen: seen.into(), change: String::new() }
    }
}

const DENIED: &str = "denied";

impl Battery {
    /// Failed if any probe failed.
    pub fn verdict(&self) -> Verdict {
        if self.probes.iter().any(|probe| probe.state == ProbeState::Failed) {
            Verdict::Failed
        } else {
            Verdict::Passed
        }
    }

    /// Whether a direct use of the key was denied: this may be a policy that is still spreading.
    pub fn denied(&self) -> bool {
        self.probes.iter().any(|probe| probe.code.as_deref() == Some(DENIED))
    }

    /// Whether something is wrong that neither waiting nor the canary can change: the canary need not be tried.
    pub fn hopeless(&self) -> bool {
        self.probes.iter().any(|probe| probe.state == ProbeState::Failed && probe.name == METADATA)
    }

    /// Takes the canary in and says what the denials before it mean.
    pub fn settle(mut self, canary: Probe, vendor: &str, vendor_account: &str) -> Self {
        let rds_works = canary.state == ProbeState::Passed;
        for probe in self.probes.iter_mut().filter(|probe| probe.code.as_deref() == Some(DENIED)) {
            if rds_works {
                probe.code = Some("via-service-only".to_owned());
                probe
                    .seen
                    .push_str("; RDS can use the key, so the policy seems to allow use through AWS services only");
            } else {
                probe.state = ProbeState::Failed;
                probe.code = Some("statement-use-missing".to_owned());
                probe.change = format!(
                    "add the statement 'Allow {vendor} use of the key' for account {vendor_account} to the key's policy, \
                     exactly as it is in the policy you were given"
                );
            }
        }
        self.probes.push(canary);
        self
    }
}

const METADATA: &str = "key-metadata";
const MATERIAL: &str = "key-material";
/// Probes tried directly, in order, after the metadata.
const DIRECT: [&str; 3] = ["encrypt-decrypt", "data-key", "re-encrypt"];
const GRANT: &str = "create-grant-denied";

/// Runs every probe but the canary. `context` names the enterprise and the run in the encryption context, so that the
/// customer finds the probes in CloudTrail. It changes nothing.
///
/// # Errors
/// AWS could not be asked (throttled, unreachable): nothing is known about the key then.
pub async fn probe(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<Battery, Failure> {
    let mut battery = Battery::default();
    battery.probes.push(metadata(kms, arn).await?);
    if battery.hopeless() {
        for name in DIRECT.iter().chain([&GRANT]) {
            battery.probes.push(Probe::inconclusive(
                name,
                "not-tried",
                "not tried: the key itself has to be put right first",
            ));
        }
        return Ok(battery);
    }
    battery.probes.push(told(DIRECT[0], encrypt_decrypt(kms, arn, context).await)?);
    battery.probes.push(told(DIRECT[1], data_key(kms, arn, context).await)?);
    battery.probes.push(told(DIRECT[2], re_encrypt(kms, arn, context).await)?);
    battery.probes.push(grant(kms, arn).await?);
    Ok(battery)
}

/// The same for a key of the vendor's own that a customer's material was imported into, as the evidence of the import says:
/// what a customer's policy has to grant and to deny does not apply to it, but what is in it does.
///
/// # Errors
/// AWS could not be asked.
pub async fn probe_own(
    kms: &Client,
    arn: &str,
    context: &[(&str, &str)],
    imported: Option<&str>,
) -> Result<Battery, Failure> {
    let mut battery = Battery::default();
    battery.probes.push(metadata(kms, arn).await?);
    battery.probes.push(material(kms, arn, imported).await?);
    if !battery.hopeless() {
        battery.probes.push(told(DIRECT[0], encrypt_decrypt(kms, arn, context).await)?);
        battery.probes.push(told(DIRECT[1], data_key(kms, arn, context).await)?);
        battery.probes.push(told(DIRECT[2], re_encrypt(kms, arn, context).await)?);
    }
    Ok(battery)
}

/// Whether a key can be used at this moment, in the four calls that cost least: described, tried without effect, a data key
/// made and opened again. For who is about to delete what another key still opens.
///
/// # Errors
/// AWS could not be asked.
pub async fn usable(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<Battery, Failure> {
    let mut battery = Battery::default();
    battery.probes.push(metadata(kms, arn).await?);
    if !battery.hopeless() {
        battery.probes.push(told("dry-run", dry_run(kms, arn, context).await)?);
        battery.probes.push(told("data-key", data_key_opened(kms, arn, context).await)?);
    }
    Ok(battery)
}

async fn dry_run(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<String, Failure> {
    let call = kms.encrypt().key_id(arn).plaintext(Blob::new(PLAIN)).dry_run(true);
    let call = with_context(context, call, |call, key, value| call.encryption_context(key, value));
    match call.send().await.map_err(|error| failure(&format!("encrypt under {arn}, without effect"), &error)) {
        Err(failure) if failure.is(&["DryRunOperationException"]) => Ok("an encryption would be allowed".to_owned()),
        Err(failure) => Err(failure),
        Ok(_) => Ok("an encryption is allowed".to_owned()),
    }
}

async fn data_key_opened(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<String, Failure> {
    let call = kms.generate_data_key_without_plaintext().key_id(arn).key_spec(aws_sdk_kms::types::DataKeySpec::Aes256);
    let call = with_context(context, call, |call, key, value| call.encryption_context(key, value));
    let made = call.send().await.map_err(|error| failure(&format!("generate a data key under {arn}"), &error))?;
    let opened = decrypt(kms, arn, context, made.ciphertext_blob.unwrap_or_else(|| Blob::new([]))).await?;
    Ok(format!("generated a data key and opened it again ({} bytes)", opened.len()))
}

/// What is in the key is what the customer imported.
async fn material(kms: &Client, arn: &str, imported: Option<&str>) -> Result<Probe, Failure> {
    let held = current_material(kms, arn).await;
    let held = match held {
        Ok(held) => held,
        Err(failure) if failure.transient() => return Err(failure),
        Err(failure) => return Ok(Probe::failed(MATERIAL, "key-not-described", failure.cause, "make the key visible")),
    };
    let change = "find out how the key came to its material; it must be what the customer imported and nothing else";
    Ok(match (held, imported) {
        (Some(held), Some(imported)) if held == imported => {
            Probe::passed(MATERIAL, format!("holds the imported material {held}"))
        }
        (Some(held), Some(imported)) => {
            let seen = format!("key {arn} holds the material {held}, but {imported} was imported");
            Probe::failed(MATERIAL, "key-material-differs", seen, change)
        }
        (Some(held), None) => {
            let seen = format!("key {arn} holds the material {held}, of whose import there is no evidence");
            Probe::failed(MATERIAL, "key-material-unproven", seen, change)
        }
        (None, _) => {
            let seen = format!("key {arn} holds no material that it can be used with");
            Probe::failed(MATERIAL, "key-without-material", seen, "have the customer import the same material again")
        }
    })
}

fn told(name: &str, outcome: Result<String, Failure>) -> Result<Probe, Failure> {
    match outcome {
        Ok(seen) => Ok(Probe::passed(name, seen)),
        Err(failure) if failure.transient() => Err(failure),
        Err(failure) if failure.denied() => Ok(Probe::inconclusive(name, DENIED, failure.cause)),
        Err(failure) => {
            Ok(Probe::failed(name, "key-not-usable", failure.cause, "make the key usable, then hand it over again"))
        }
    }
}

async fn metadata(kms: &Client, arn: &str) -> Result<Probe, Failure> {
    let described =
        kms.describe_key().key_id(arn).send().await.map_err(|error| failure(&format!("describe key {arn}"), &error));
    let metadata = match described {
        Ok(output) => output.key_metadata,
        Err(failure) if failure.transient() => return Err(failure),
        Err(failure) if failure.not_found() => {
            let change = "check the ARN: no such key exists in that account and region";
            return Ok(Probe::failed(METADATA, "key-not-found", failure.cause, change));
        }
        Err(failure) if failure.denied() => return Ok(Probe::inconclusive(METADATA, DENIED, failure.cause)),
        Err(failure) => return Ok(Probe::failed(METADATA, "key-not-described", failure.cause, "check the ARN")),
    };
    let Some(metadata) = metadata else {
        return Ok(Probe::inconclusive(METADATA, "no-metadata", "AWS answered without the key's metadata"));
    };
    let failed = |code: &str, seen: String, change: &str| Ok(Probe::failed(METADATA, code, seen, change));
    match metadata.key_state() {
        Some(KeyState::Enabled) => {}
        Some(KeyState::Disabled) => {
            return failed("key-disabled", format!("key {arn} is disabled"), "enable the key");
        }
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
            let when = metadata.deletion_date().map_or_else(|| "soon".to_owned(), ToString::to_string);
            let seen = format!("key {arn} is going to be deleted ({when})");
            return failed(
                "key-pending-deletion",
                seen,
                "cancel the key's deletion and enable it, or hand over another key",
            );
        }
        Some(KeyState::PendingImport) => {
            return failed(
                "key-without-material",
                format!("key {arn} has no key material"),
                "import the key's material",
            );
        }
        Some(KeyState::Creating | KeyState::Updating) => {
            return Ok(Probe::inconclusive(METADATA, "key-changing", format!("key {arn} is being created or updated")));
        }
        other => {
            let state = other.map_or("unknown", KeyState::as_str);
            return failed("key-unavailable", format!("key {arn} is in state {state}"), "make the key available");
        }
    }
    if metadata.key_spec() != Some(&KeySpec::SymmetricDefault)
        || metadata.key_usage() != Some(&KeyUsageType::EncryptDecrypt)
    {
        let seen = format!(
            "key {arn} is of {} for {}",
            metadata.key_spec().map_or("no spec", KeySpec::as_str),
            metadata.key_usage().map_or("no use", KeyUsageType::as_str)
        );
        return failed(
            "key-not-symmetric",
            seen,
            "create a symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)",
        );
    }
    if metadata.key_manager() == Some(&KeyManagerType::Aws) {
        return failed("key-aws-managed", format!("key {arn} is managed by AWS"), "hand over a key that you manage");
    }
    if let Some(valid_to) = metadata.valid_to() {
        let seen = format!("the material of key {arn} expires at {valid_to}: data is lost with it");
        return failed("key-material-expires", seen, "import the same material again without an expiry");
    }
    let origin = metadata.origin().map_or("unknown", aws_sdk_kms::types::OriginType::as_str);
    Ok(Probe::passed(METADATA, format!("enabled, symmetric, managed by the customer, origin {origin}")))
}

fn with_context<T>(context: &[(&str, &str)], start: T, add: impl Fn(T, &str, &str) -> T) -> T {
    context.iter().fold(start, |builder, (key, value)| add(builder, key, value))
}

const PLAIN: &[u8] = b"keyferry probe";

async fn encrypt(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<Blob, Failure> {
    let call = kms.encrypt().key_id(arn).plaintext(Blob::new(PLAIN));
    let call = with_context(context, call, |call, key, value| call.encryption_context(key, value));
    let output = call.send().await.map_err(|error| failure(&format!("encrypt under {arn}"), &error))?;
    Ok(output.ciphertext_blob.unwrap_or_else(|| Blob::new([])))
}

async fn decrypt(kms: &Client, arn: &str, context: &[(&str, &str)], blob: Blob) -> Result<Vec<u8>, Failure> {
    let call = kms.decrypt().key_id(arn).ciphertext_blob(blob);
    let call = with_context(context, call, |call, key, value| call.encryption_context(key, value));
    let output = call.send().await.map_err(|error| failure(&format!("decrypt under {arn}"), &error))?;
    Ok(output.plaintext.map(Blob::into_inner).unwrap_or_default())
}

fn same(plain: &[u8], arn: &str) -> Result<(), Failure> {
    if plain == PLAIN {
        return Ok(());
    }
    let cause = format!("decrypt under {arn}: what came back is not what was encrypted");
    Err(Failure { code: None, error: "Keyferry.Unexpected", cause })
}

async fn encrypt_decrypt(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<String, Failure> {
    let blob = encrypt(kms, arn, context).await?;
    same(&decrypt(kms, arn, context, blob).await?, arn)?;
    Ok("encrypted and decrypted with an encryption context".to_owned())
}

async fn data_key(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<String, Failure> {
    let call = kms.generate_data_key_without_plaintext().key_id(arn).key_spec(aws_sdk_kms::types::DataKeySpec::Aes256);
    let call = with_context(context, call, |call, key, value| call.encryption_context(key, value));
    let output = call.send().await.map_err(|error| failure(&format!("generate a data key under {arn}"), &error))?;
    let wrapped = output.ciphertext_blob.map_or(0, |blob| blob.into_inner().len());
    Ok(format!("generated a data key, wrapped in {wrapped} bytes"))
}

async fn re_encrypt(kms: &Client, arn: &str, context: &[(&str, &str)]) -> Result<String, Failure> {
    let blob = encrypt(kms, arn, context).await?;
    let call = kms.re_encrypt().source_key_id(arn).destination_key_id(arn).ciphertext_blob(blob);
    let call = with_context(context, call, |call, key, value| {
        call.source_encryption_context(key, value).destination_encryption_context(key, value)
    });
    let output = call.send().await.map_err(|error| failure(&format!("re-encrypt under {arn}"), &error))?;
    same(&decrypt(kms, arn, context, output.ciphertext_blob.unwrap_or_else(|| Blob::new([]))).await?, arn)?;
    Ok("re-encrypted and decrypted".to_owned())
}

async fn grant(kms: &Client, arn: &str) -> Result<Probe, Failure> {
    let account = arn.split(':').nth(4).unwrap_or_default();
    let partition = arn.split(':').nth(1).unwrap_or("aws");
    let call = kms
        .create_grant()
        .key_id(arn)
        .grantee_principal(format!("arn:{partition}:iam::{account}:root"))
        .operations(GrantOperation::DescribeKey)
        .name("keyferry-probe")
        .dry_run(true);
    let change = "add the condition kms:GrantIsForAWSResource = true to the statement that allows kms:CreateGrant";
    match call.send().await.map_err(|error| failure(&format!("create a grant on {arn} directly"), &error)) {
        Err(failure) if failure.denied() => Ok(Probe::passed(GRANT, "a direct CreateGrant is denied, as agreed")),
        Err(failure) if failure.is(&["DryRunOperationException"]) => {
            Ok(Probe::failed(GRANT, "grants-too-wide", "a direct CreateGrant would be allowed", change))
        }
        Err(failure) if failure.transient() => Err(failure),
        Err(failure) => Ok(Probe::inconclusive(GRANT, "grant-unclear", failure.cause)),
        Ok(_) => Ok(Probe::failed(GRANT, "grants-too-wide", "a direct CreateGrant is allowed", change)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Battery {
        Battery { probes: vec![Probe::inconclusive("data-key", DENIED, "denied")] }
    }

    #[test]
    fn denials_are_findings_only_when_rds_cannot_use_the_key_either() {
        let narrow = denied().settle(Probe::passed("rds-canary", "copied"), "Replicon", "127450652264");
        assert_eq!(narrow.verdict(), Verdict::Passed);
        assert_eq!(narrow.probes[0].code.as_deref(), Some("via-service-only"));
        let missing = denied().settle(Probe::failed("rds-canary", "x", "refused", "y"), "Replicon", "127450652264");
        assert_eq!(missing.verdict(), Verdict::Failed);
        assert_eq!(missing.probes[0].code.as_deref(), Some("statement-use-missing"));
        assert!(missing.probes[0].change.contains("Allow Replicon use of the key"));
    }

    #[test]
    fn a_battery_without_failures_passes() {
        assert_eq!(Battery::default().verdict(), Verdict::Passed);
        assert!(!Battery::default().denied() && denied().denied());
    }
}

//! The customer of the demo who imports keys: over the customers' API, with nothing but what a customer has.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::{ENTERPRISE, show::Show};
use crate::{
    access::{Access, Environment, KeyOrder, KeyScope, Networks},
    cli::output::Failure,
    config::Config,
    keys::import::Algorithm,
    worker::{Service, SystemClock},
};

/// Where the API key that was handed out lies.
const API_KEY: &str = "demo-api-key";

pub(super) struct Customer {
    access: Access,
    url: String,
    api_key: PathBuf,
    client: Client,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    region: String,
    public_key: String,
    import_token: String,
    algorithm: Algorithm,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("the customer's import: {what}: {error}"))
}

impl Customer {
    pub fn new(service: &Service, config: &Config, listener: &TcpListener, folder: &Path) -> Self {
        let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let prefix = &config.vendor.customer_api_prefix;
        Self {
            access: Access::new(service.clone(), Arc::new(SystemClock), config),
            url: format!("http://{address}{prefix}/enterprises/{ENTERPRISE}/cmk"),
            api_key: folder.join(API_KEY),
            client: Client::new(),
        }
    }

    /// One round: a token for every region, and one new key wrapped for each.
    pub async fn import(&self, show: &mut Show) -> Result<(), Failure> {
        let api_key = self.api_key().await?;
        let send = |request: RequestBuilder| request.header("authorization", format!("ApiKey {}", *api_key)).send();
        let asked = send(self.client.put(format!("{}/import-key-request", self.url))).await;
        let Some(opened) = answer(asked.map_err(|error| failed("import-key-request", error))?).await? else {
            return Ok(());
        };
        let targets: Vec<Target> = serde_json::from_value(opened.get("targets").cloned().unwrap_or_default())
            .map_err(|error| failed("import-key-request", error))?;
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..]).map_err(|error| failed("no random bits", error))?;
        let mut wrapped = Vec::new();
        for target in &targets {
            let material = BASE64.encode(wrap(target, &key[..])?);
            wrapped
                .push(json!({ "region": target.region, "importToken": target.import_token, "keyMaterial": material }));
        }
        let uploaded = self.client.post(format!("{}/import-key", self.url)).json(&json!({ "targets": wrapped }));
        let uploaded = send(uploaded).await.map_err(|error| failed("import-key", error))?;
        if let Some(receipt) = answer(uploaded).await? {
            for result in receipt.get("results").and_then(Value::as_array).into_iter().flatten() {
                let member = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
                show.person(
                    "customer",
                    &format!("imports its key into {} ({:.12}…)", member("region"), member("keyMaterialId")),
                );
            }
        }
        Ok(())
    }

    /// The API key, handed out anew when an interrupted demo lost it.
    async fn api_key(&self) -> Result<Zeroizing<String>, Failure> {
        if let Ok(kept) = fs::read_to_string(&self.api_key) {
            return Ok(Zeroizing::new(kept));
        }
        let of = |error: crate::worker::ServiceError| Failure::from_error(&error);
        for lost in self.access.keys(ENTERPRISE).await.map_err(of)? {
            if lost.state == crate::access::KeyState::Live && lost.environment == Environment::Production {
                self.access.revoke_key(ENTERPRISE, &lost.id, "it was lost", "the demo").await.map_err(of)?;
            }
        }
        let order = KeyOrder {
            enterprise: ENTERPRISE.to_owned(),
            environment: Environment::Production,
            scope: KeyScope::Import,
            networks: Networks::default(),
            expires_at: None,
            replaces: None,
            by: "demo engineer".to_owned(),
            idempotency_key: None,
        };
        let (_, key) = self.access.create_key(order).await.map_err(of)?;
        let file = self.api_key.with_extension("part");
        let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&file);
        written
            .and_then(|mut written| written.write_all(key.reveal().as_bytes()))
            .and_then(|()| fs::rename(&file, &self.api_key))
            .map_err(|error| failed("the API key cannot be kept", error))?;
        Ok(Zeroizing::new(key.reveal().to_owned()))
    }
}

/// A success's body; none for what another look at the run makes good.
async fn answer(response: reqwest::Response) -> Result<Option<Value>, Failure> {
    let status = response.status();
    let body: Value = response.json().await.map_err(|error| failed("the answer is not JSON", error))?;
    match status {
        StatusCode::OK => Ok(Some(body)),
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(None),
        _ => Err(failed("it was refused", body)),
    }
}

fn wrap(target: &Target, key: &[u8]) -> Result<Vec<u8>, Failure> {
    let unusable = || failed("the public key cannot be used", &target.region);
    let der = pem::parse(&target.public_key).map_err(|_| unusable())?;
    let public = PublicEncryptingKey::from_der(der.contents()).map_err(|_| unusable())?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| unusable())?;
    let algorithm = match target.algorithm {
        Algorithm::OaepSha1 => &OAEP_SHA1_MGF1SHA1,
        Algorithm::OaepSha256 => &OAEP_SHA256_MGF1SHA256,
    };
    let mut wrapped = vec![0; public.ciphertext_size()];
    let length = public.encrypt(algorithm, key, &mut wrapped, None).map_err(|_| unusable())?.len();
    wrapped.truncate(length);
    Ok(wrapped)
}

//! `keyferry customer import-key`: the two calls of the customers' API, as often as it takes.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use reqwest::{Method, StatusCode, Url, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Source, Upload, failed, opened, wrap_all};
use crate::{
    cli::{
        Common,
        output::{Failure, print_each, say},
    },
    worker::{Clock as _, SystemClock},
};

/// Rounds of request and upload; each leaves fewer keys without material.
const ROUNDS: usize = 10;
/// Tries of one call that got no answer, or was told to come again.
const TRIES: u64 = 6;

#[derive(Debug, clap::Args)]
pub struct Command {
    /// Where the vendor's API is, production or test, as the information packet says
    #[arg(long, env = "KEYFERRY_ENDPOINT", value_name = "URL")]
    endpoint: String,
    /// The path prefix of the vendor's API
    #[arg(long, env = "KEYFERRY_PREFIX", value_name = "PATH", default_value = "/!/ems")]
    prefix: String,
    /// Your enterprise identifier
    #[arg(long, env = "KEYFERRY_ENTERPRISE")]
    enterprise: String,
    /// A file that holds the API key; without it, the variable KEYFERRY_API_KEY is the key
    #[arg(long, env = "KEYFERRY_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Import into this region alone, if each region is to have a key of its own
    #[arg(long)]
    region: Option<String>,
    /// RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1
    #[arg(long, value_name = "ALGORITHM", default_value = "RSAES_OAEP_SHA_256")]
    wrapping: String,
    /// Receipts are added to this file, one JSON document a line
    #[arg(long, value_name = "FILE")]
    receipts: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

/// What is left of an upload: keep it, a later re-import is recognised by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    status: String,
    id: String,
    region: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    key_id: String,
    key_material_id: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    remaining: Vec<String>,
    results: Vec<Receipt>,
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        let door = self.door()?;
        let material = self.source.material()?;
        let mut query = vec![("wrappingAlgorithm", self.wrapping.as_str())];
        query.extend(self.region.as_deref().map(|region| ("region", region)));
        for _ in 0..ROUNDS {
            let request = match door.call(Method::PUT, "import-key-request", &query, None).await {
                Err(Failure::Problem(problem)) if problem.get("code") == Some(&json!("import-complete")) => {
                    say("nothing waits for a key: every region has it already");
                    return Ok(ExitCode::SUCCESS);
                }
                other => opened(other?)?,
            };
            let upload = wrap_all(&material, request, self.region.as_deref())?;
            let answer = door.call(Method::POST, "import-key", &[], Some(&upload)).await?;
            let Answer { remaining, results } = serde_json::from_value(answer)
                .map_err(|error| Failure::Failed(format!("the answer to the upload cannot be understood: {error}")))?;
            for receipt in &results {
                self.keep(common, receipt)?;
            }
            if remaining.is_empty() {
                say("all regions have their key");
                return Ok(ExitCode::SUCCESS);
            }
            say(&format!("still waiting for a key: {}", remaining.join(", ")));
            if self.region.is_some() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        Err(Failure::Failed(format!("after {ROUNDS} rounds regions still wait for a key: run this again to go on")))
    }

    fn door(&self) -> Result<Door, Failure> {
        let base = Url::parse(&self.endpoint).ok();
        let base = base.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or_else(|| Failure::Usage(format!("`{}` is not a URL", self.endpoint)))?;
        let key = match &self.api_key_file {
            Some(path) => fs::read_to_string(path)
                .map_err(|error| Failure::Failed(format!("cannot read the API key {}: {error}", path.display())))?,
            None => std::env::var("KEYFERRY_API_KEY").map_err(|_| {
                Failure::Usage(
                    "no API key: name a file that holds it with --api-key-file, or set KEYFERRY_API_KEY".to_owned(),
                )
            })?,
        };
        let mut authorization = header::HeaderValue::from_str(&Zeroizing::new(format!("ApiKey {}", key.trim())))
            .map_err(|_| Failure::Usage("the API key holds characters that no API key has".to_owned()))?;
        authorization.set_sensitive(true);
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(60))
            .default_headers([(header::AUTHORIZATION, authorization)].into_iter().collect())
            .build()
            .map_err(failed)?;
        Ok(Door { http, base, prefix: self.prefix.clone(), enterprise: self.enterprise.clone() })
    }

    fn keep(&self, common: &Common, receipt: &Receipt) -> Result<(), Failure> {
        if let Some(path) = &self.receipts {
            append(path, receipt)
                .map_err(|error| Failure::Failed(format!("cannot add a receipt to {}: {error}", path.display())))?;
        }
        print_each(common.output, receipt, || {
            let instance = receipt.instance.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("{}{instance}  {}  KeyMaterialId {}", receipt.region, receipt.key_id, receipt.key_material_id)
        })
    }
}

fn append(path: &Path, receipt: &Receipt) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(receipt)?;
    line.push(b'\n');
    let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(&line)?;
    file.sync_all()
}

/// The way to the vendor's API.
struct Door {
    http: reqwest::Client,
    base: Url,
    prefix: String,
    enterprise: String,
}

/// An answer that says to come again, or none at all.
struct Again {
    wait: Duration,
    why: Failure,
}

impl Door {
    /// Both calls may be made again: a request opens another import, and an upload that was taken is answered as it was.
    async fn call(
        &self,
        method: Method,
        name: &str,
        query: &[(&str, &str)],
        body: Option<&Upload>,
    ) -> Result<Value, Failure> {
        for attempt in 1.. {
            match self.once(method.clone(), name, query, body).await? {
                Ok(answer) => return Ok(answer),
                Err(Again { why, .. }) if attempt >= TRIES => return Err(why),
                Err(Again { wait, .. }) => {
                    let wait = wait.max(Duration::from_secs(attempt));
                    say(&format!("no success yet: trying again in {} s", wait.as_secs()));
                    SystemClock.sleep(wait).await;
                }
            }
        }
        Err(Failure::Failed("no answer".to_owned()))
    }

    async fn once(
        &self,
        method: Method,
        name: &str,
        query: &[(&str, &str)],
        body: Option<&Upload>,
    ) -> Result<Result<Value, Again>, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::Usage(format!("`{}` is not the URL of an API", self.base)))?
            .pop_if_empty()
            .extend(self.prefix.split('/').filter(|part| !part.is_empty()))
            .extend(["enterprises", &self.enterprise, "cmk", name]);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Err(again(None, Failure::from_error(&error.without_url())))),
        };
        let status = response.status();
        let retry_after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = match response.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(again(None, Failure::from_error(&error.without_url())))),
        };
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            json!({ "title": status.canonical_reason(), "code": "not-an-answer", "detail": format!("{} answered {status}", self.base) })
        });
        match status {
            status if status.is_success() => Ok(Ok(answer)),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Ok(Err(again(retry_after, Failure::Problem(answer))))
            }
            _ => Err(Failure::Problem(answer)),
        }
    }
}

fn again(retry_after: Option<u64>, why: Failure) -> Again {
    Again { wait: Duration::from_secs(retry_after.unwrap_or(0)), why }
}

//! The CLI's way to a server's API.

use std::{fs, path::PathBuf, time::Duration};

use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::output::Failure;
use crate::{telemetry::with_causes, worker::Page};

/// The server when nobody says.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Where the server is and how it is told who asks.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// The server
    #[arg(long, env = "KEYFERRY_URL", default_value = DEFAULT_URL)]
    url: String,
    /// A file that holds the token; without it, the variable KEYFERRY_TOKEN is the token
    #[arg(long, env = "KEYFERRY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// In whose role a change is made.
#[derive(Debug, Clone, clap::Args)]
pub struct ActAs {
    /// Act in this role: engineer, csm, customer or admin; with `; NAME` the history says for whom
    #[arg(long = "as", value_name = "ROLE[; NAME]")]
    acting: Option<String>,
}

impl ActAs {
    /// The words that were typed for it.
    pub fn words(&self) -> Vec<String> {
        self.acting.iter().flat_map(|acting| ["--as".to_owned(), acting.clone()]).collect()
    }

    pub fn headers(&self) -> Vec<(&'static str, String)> {
        self.acting.iter().map(|acting| ("keyferry-actor", acting.clone())).collect()
    }
}

/// A client of one server.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl Connection {
    /// The words that were typed for it, as far as the environment does not say the same.
    pub fn words(&self) -> Vec<String> {
        let said = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
        let url = (self.url != DEFAULT_URL && !said("KEYFERRY_URL", &self.url))
            .then(|| ["--url".to_owned(), self.url.clone()]);
        let file = self.token_file.as_ref().map(|path| path.display().to_string());
        let file = file.filter(|path| !said("KEYFERRY_TOKEN_FILE", path)).map(|path| ["--token-file".to_owned(), path]);
        url.into_iter().chain(file).flatten().collect()
    }

    /// # Errors
    /// A URL that is none, a token file that cannot be read, no token at all.
    pub fn client(&self) -> Result<Client, Failure> {
        let base = Url::parse(&self.url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or_else(|| Failure::Usage(format!("`{}` is not the URL of a server", self.url)))?;
        let token = match &self.token_file {
            Some(path) => fs::read_to_string(path)
                .map_err(|error| Failure::Failed(format!("cannot read the token file {}: {error}", path.display())))?,
            None => std::env::var("KEYFERRY_TOKEN").map_err(|_| {
                Failure::Usage("no token: set KEYFERRY_TOKEN, or name DIR/admin-token with --token-file".to_owned())
            })?,
        };
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| Failure::from_error(&error))?;
        Ok(Client { http, base, token: token.trim().to_owned() })
    }
}

impl Client {
    /// The URL of a path under `/api/v1`; each part is percent-encoded.
    fn url(&self, parts: &[&str], query: &[(&str, String)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::Usage(format!("`{}` is not the URL of a server", self.base)))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(parts);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let response = request.bearer_auth(&self.token).send().await.map_err(|error| {
            let unsent = error.is_connect() || error.is_builder();
            let text = with_causes(&error.without_url());
            if unsent {
                Failure::Failed(format!("cannot reach {}: {text}", self.base))
            } else {
                Failure::Unanswered(format!("no answer from {}: {text}", self.base))
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(broken_off)?;
        // A proxy in between answers what it likes: what is no problem document is told as one.
        Err(Failure::Problem(serde_json::from_slice::<Value>(&body).ok().filter(Value::is_object).unwrap_or_else(
            || {
                json!({
                    "title": status.canonical_reason().unwrap_or("Error"),
                    "status": status.as_u16(),
                    "code": "not-keyferry",
                    "detail": format!("{} answered {status}; is it a keyferry server?", self.base),
                })
            },
        )))
    }

    async fn decode<T: DeserializeOwned>(response: reqwest::Response) -> Result<T, Failure> {
        let body = response.bytes().await.map_err(broken_off)?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::Unanswered(format!("the server's answer cannot be understood: {error}")))
    }

    pub async fn get<T: DeserializeOwned>(&self, parts: &[&str], query: &[(&str, String)]) -> Result<T, Failure> {
        let request = self.http.request(Method::GET, self.url(parts, query)?).timeout(Duration::from_secs(60));
        Self::decode(self.send(request).await?).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        body: &Value,
        headers: &[(&'static str, String)],
    ) -> Result<T, Failure> {
        let mut request = self.http.request(Method::POST, self.url(parts, &[])?).timeout(Duration::from_secs(60));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        Self::decode(self.send(request.json(body)).await?).await
    }

    pub async fn patch<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        body: &Value,
        headers: &[(&'static str, String)],
    ) -> Result<T, Failure> {
        let mut request = self.http.request(Method::PATCH, self.url(parts, &[])?).timeout(Duration::from_secs(60));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        Self::decode(self.send(request.json(body)).await?).await
    }

    /// A document that is no JSON, as it is.
    pub async fn text(&self, parts: &[&str], query: &[(&str, String)]) -> Result<String, Failure> {
        let request = self.http.request(Method::GET, self.url(parts, query)?).timeout(Duration::from_secs(60));
        self.send(request).await?.text().await.map_err(broken_off)
    }

    /// The same as the answer to a change.
    pub async fn post_for_text(
        &self,
        parts: &[&str],
        body: &Value,
        headers: &[(&'static str, String)],
    ) -> Result<String, Failure> {
        let mut request = self.http.request(Method::POST, self.url(parts, &[])?).timeout(Duration::from_secs(60));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = self.send(request.json(body)).await?;
        response.text().await.map_err(broken_off)
    }

    /// All items of a listing, at most `limit` if there is one.
    pub async fn list<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        filter: &[(&str, String)],
        limit: Option<usize>,
    ) -> Result<Vec<T>, Failure> {
        let mut items: Vec<T> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let wanted = limit.map_or(200, |limit| limit.saturating_sub(items.len()).min(200));
            if wanted == 0 {
                return Ok(items);
            }
            let mut query = filter.to_vec();
            query.push(("limit", wanted.to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get(parts, &query).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// A stream of server-sent events; it has no time limit.
    pub async fn events(&self, parts: &[&str]) -> Result<Events, Failure> {
        let response = self.send(self.http.request(Method::GET, self.url(parts, &[])?)).await?;
        Ok(Events { response, buffer: Vec::new() })
    }
}

fn broken_off(error: reqwest::Error) -> Failure {
    Failure::Unanswered(format!("the answer broke off: {}", with_causes(&error.without_url())))
}

/// Server-sent events, as far as keyferry's own server sends them.
pub struct Events {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Events {
    /// The data of the next event; `None` when the stream has ended or broke.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(data) = take_event(&mut self.buffer) {
                if data.is_empty() {
                    continue;
                }
                return Some(data);
            }
            self.buffer.extend_from_slice(&self.response.chunk().await.ok()??);
        }
    }
}

/// Takes one whole event out of the buffer: its data, empty for a comment.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let event: Vec<u8> = buffer.drain(..end + 2).collect();
    let text = String::from_utf8_lossy(&event);
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
    Some(data.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        Client { http: reqwest::Client::new(), base: Url::parse(url).expect("a URL"), token: String::new() }
    }

    #[test]
    fn parts_of_a_path_cannot_leave_their_place() {
        let url = client("http://127.0.0.1:8080/").url(&["runs", "a/../b?c"], &[("cursor", "x&y".to_owned())]);
        assert_eq!(url.expect("a URL").as_str(), "http://127.0.0.1:8080/api/v1/runs/a%2F..%2Fb%3Fc?cursor=x%26y");
        let behind = client("https://ops.example/keyferry").url(&["runs"], &[]).expect("a URL");
        assert_eq!(behind.as_str(), "https://ops.example/keyferry/api/v1/runs");
    }

    #[test]
    fn events_are_taken_whole_and_comments_are_empty() {
        let mut buffer = b": ping\n\nevent: run\nid: 4\ndata: {\"a\":1}\n\nevent: r".to_vec();
        assert_eq!(take_event(&mut buffer).as_deref(), Some(""));
        assert_eq!(take_event(&mut buffer).as_deref(), Some("{\"a\":1}"));
        assert_eq!(take_event(&mut buffer), None);
        assert_eq!(buffer, b"event: r");
    }
}

//! Talks to the server of a home; starts one for the time of the command if none runs.

use crate::app::{Server, ServerConfig};
use crate::clock::SystemClock;
use crate::home;
use anyhow::Context;
use domain::{Kind, Refusal};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take: applying a project loads its files.
const LIMIT: Duration = Duration::from_secs(600);

/// A server, and how to ask it.
pub struct Client {
    url: String,
    http: reqwest::Client,
    own: Option<Server>,
}

impl Client {
    /// A client of the server at this address.
    pub fn at(url: &str) -> Client {
        let http = reqwest::Client::builder().timeout(LIMIT).no_proxy().default_headers(identity());
        // To read the machine's certificates takes longer than many a command.
        let http = http.tls_built_in_root_certs(url.starts_with("https:")).build().unwrap_or_default();
        Client { url: url.trim_end_matches('/').to_owned(), http, own: None }
    }

    /// The server named by `--server`, the one that serves the home, or one of our own on a free port.
    pub async fn connect(home: &Path, server: Option<&str>) -> anyhow::Result<Client> {
        if let Some(url) = server {
            return Ok(Client::at(url));
        }
        if let Some(info) = home::running_server(home) {
            return Ok(Client::at(&info.url));
        }
        let config = ServerConfig {
            home: home.into(),
            listen: "127.0.0.1:0".into(),
            clock: Arc::new(SystemClock),
            replay: false,
            announce: true,
            python: None,
        };
        let own = Server::start(config).await?;
        let mut client = Client::at(&own.url);
        client.own = Some(own);
        Ok(client)
    }

    /// The running app, if this command started it.
    pub fn own(&self) -> Option<&Server> {
        self.own.as_ref()
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    /// Sends something.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.http.post(format!("{}{path}", self.url)).json(body)).await
    }

    /// Asks a model, or one version of it.
    pub async fn predict(&self, path: &str, kind: &str, body: String, version: Option<u64>) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).header("content-type", kind).body(body);
        let request = version.iter().fold(request, |request, version| request.header("x-trimtab-version", version.to_string()));
        self.send(request).await
    }

    /// Writes an artifact; its bytes are streamed.
    pub async fn put_artifact(&self, path: &str, body: reqwest::Body) -> anyhow::Result<()> {
        self.send(self.http.put(self.artifact(path)).body(body)).await.map(|_| ())
    }

    /// The bytes of an artifact, as they come.
    pub async fn get_artifact(&self, path: &str) -> anyhow::Result<impl futures::Stream<Item = reqwest::Result<bytes::Bytes>> + use<>> {
        let answer = self.http.get(self.artifact(path)).send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &answer.text().await.unwrap_or_default()).into());
        }
        Ok(answer.bytes_stream())
    }

    fn artifact(&self, path: &str) -> String {
        let path: Vec<String> = path.split('/').map(super::encode).collect();
        format!("{}/api/2.0/mlflow-artifacts/artifacts/{}", self.url, path.join("/"))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            // A log is plain text; everything else is JSON.
            return Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)));
        }
        Err(refusal(status.as_u16(), &text).into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let refusal = Refusal::new(Kind::Unavailable, "server/unreachable", format!("no answer from {}: {error}", self.url));
        refusal.hint("trimtab up").into()
    }

    /// Ends the server that this command started.
    pub async fn close(self) {
        if let Some(own) = self.own {
            own.stop().await;
        }
    }
}

/// Who asks: `TRIMTAB_ACTOR`, else the machine's user. What changes something is recorded with it.
fn identity() -> reqwest::header::HeaderMap {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let user = named("TRIMTAB_ACTOR").or_else(|| named("USER")).or_else(|| named("LOGNAME"));
    let value = user.and_then(|user| reqwest::header::HeaderValue::from_str(user.trim()).ok());
    value.into_iter().map(|value| (reqwest::header::HeaderName::from_static("x-trimtab-actor"), value)).collect()
}

/// A problem document (or MLflow's error) as a refusal.
fn refusal(status: u16, text: &str) -> Refusal {
    let kind = match status {
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        429 => Kind::Busy,
        504 => Kind::Timeout,
        500..=599 => Kind::Unavailable,
        _ => Kind::Invalid,
    };
    let body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let field = |name: &str| body.get(name).and_then(Value::as_str);
    let what = field("detail").or(field("message")).or(field("title")).unwrap_or(text);
    // Some messages hold their hint, for clients that show nothing else.
    let told = field("hint").and_then(|hint| what.strip_suffix(&format!(" ({hint})"))).unwrap_or(what);
    let told = field("place").and_then(|place| told.strip_suffix(&format!(" at {place}"))).unwrap_or(told);
    let mut refusal = Refusal::new(kind, field("code").unwrap_or("server/refused"), told);
    refusal.hint = field("hint").map(str::to_owned);
    refusal.place = field("place").map(str::to_owned);
    refusal
}

/// The text of a file, with a refusal that names the next step.
pub fn read_project(file: &Path) -> anyhow::Result<(String, String, String)> {
    let yaml = file.with_extension("yaml");
    let file = if !file.exists() && file.ends_with("trimtab.toml") && yaml.exists() { &yaml } else { file };
    let text = std::fs::read_to_string(file).map_err(|error| {
        Refusal::not_found("project/no_file", format!("{} cannot be read: {error}", file.display())).hint("trimtab init makes one")
    })?;
    let absolute = std::path::absolute(file).context("finding the project's folder")?;
    let root = absolute.parent().unwrap_or(&absolute).to_string_lossy().into_owned();
    let name = absolute.file_name().map_or_else(|| "trimtab.toml".into(), |name| name.to_string_lossy().into_owned());
    Ok((text, root, name))
}

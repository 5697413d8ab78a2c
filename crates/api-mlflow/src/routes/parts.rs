//! Large artifacts in parts, several at once: up by a number of uploads, down by ranges. The addresses are this server's own.

use super::artifacts::{checked_file, put_refused};
use crate::error::ApiError;
use crate::message::{Done, Message, Reply, done};
use crate::path::checked;
use crate::{MlflowApi, names};
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ETAG, HOST};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use domain::Refusal;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tracking::{place, uploads};

/// Below `/mlflow-artifacts`.
pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/mpu/create", post(begin_at_root))
        .route("/mpu/create/{*folder}", post(begin))
        .route("/mpu/parts/{id}/{number}", put(part))
        .route("/mpu/complete", post(complete_at_root))
        .route("/mpu/complete/{*folder}", post(complete))
        .route("/mpu/abort", post(abort_at_root))
        .route("/mpu/abort/{*folder}", post(abort))
        .route("/presigned/{*path}", get(address))
}

#[derive(Deserialize)]
struct Begin {
    /// The file on the client's side; its last part is the artifact's name.
    path: String,
    num_parts: Option<u32>,
}

#[derive(Serialize)]
struct Began {
    upload_id: String,
    credentials: Vec<Credential>,
}

/// Where a part goes.
#[derive(Serialize)]
struct Credential {
    url: String,
    part_number: u32,
}

#[derive(Deserialize)]
struct Complete {
    path: String,
    upload_id: String,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    part_number: u32,
    etag: Option<String>,
}

#[derive(Deserialize)]
struct Abort {
    upload_id: String,
}

async fn begin_at_root(state: State<MlflowApi>, headers: HeaderMap, message: Message<Begin>) -> Reply<Began> {
    begin(state, Path(String::new()), headers, message).await
}

async fn begin(State(api): State<MlflowApi>, Path(folder): Path<String>, headers: HeaderMap, Message(m): Message<Begin>) -> Reply<Began> {
    let (target, base) = (target(&folder, &m.path)?, base(&headers)?);
    let parts = m.num_parts.unwrap_or(1);
    let upload_id = uploads::id(api.clock.wall_now(), names::random());
    uploads::begin(&*api.artifacts, &upload_id, &target, parts).await?;
    let url = |number: u32| format!("{base}/api/2.0/mlflow-artifacts/mpu/parts/{upload_id}/{number}");
    let credentials = (1..=parts).map(|part_number| Credential { url: url(part_number), part_number }).collect();
    Ok(Json(Began { upload_id, credentials }))
}

async fn part(
    State(api): State<MlflowApi>,
    Path((id, number)): Path<(String, u32)>,
    request: Request,
) -> Result<[(axum::http::HeaderName, String); 1], ApiError> {
    let body = Box::pin(request.into_body().into_data_stream().map_err(std::io::Error::other));
    let etag = uploads::put(&*api.artifacts, &id, number, body).await?;
    Ok([(ETAG, format!("\"{etag}\""))])
}

async fn complete_at_root(state: State<MlflowApi>, message: Message<Complete>) -> Reply<Done> {
    complete(state, Path(String::new()), message).await
}

async fn complete(State(api): State<MlflowApi>, Path(folder): Path<String>, Message(m): Message<Complete>) -> Reply<Done> {
    let target = target(&folder, &m.path)?;
    let named = |part: Part| uploads::Part { number: part.part_number, etag: part.etag.unwrap_or_default() };
    match uploads::complete(&api.artifacts, &m.upload_id, &target, m.parts.into_iter().map(named).collect()).await {
        Ok(()) => done(),
        Err(ports::CommitError::Fault(fault)) => Err(put_refused(&api, &target, fault).await?),
        Err(refused) => Err(refused.into()),
    }
}

async fn abort_at_root(state: State<MlflowApi>, message: Message<Abort>) -> Reply<Done> {
    abort(state, Path(String::new()), message).await
}

async fn abort(State(api): State<MlflowApi>, Path(folder): Path<String>, Message(m): Message<Abort>) -> Reply<Done> {
    checked(&folder)?;
    uploads::abort(&*api.artifacts, &m.upload_id).await?;
    done()
}

#[derive(Serialize)]
struct Address {
    url: String,
    headers: std::collections::BTreeMap<String, String>,
    file_size: u64,
}

/// Where an artifact can be read in ranges, and how long it is.
async fn address(State(api): State<MlflowApi>, Path(path): Path<String>, headers: HeaderMap) -> Reply<Address> {
    let path = checked_file(&path)?;
    let Some((file_size, _)) = api.artifacts.get(&path).await? else {
        return Err(Refusal::not_found("artifact/not_found", format!("no artifact `{path}`")).into());
    };
    let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{}", base(&headers)?, encoded(&path));
    Ok(Json(Address { url, headers: Default::default(), file_size }))
}

/// The artifact's path: the folder, and the name of the client's file.
fn target(folder: &str, file: &str) -> Result<String, Refusal> {
    let name = file.rsplit(['/', '\\']).next().unwrap_or_default();
    let path = place::join(folder, name).filter(|_| !name.is_empty()).ok_or_else(|| crate::path::invalid(file))?;
    checked_file(&path)
}

/// This server as the client knows it.
fn base(headers: &HeaderMap) -> Result<String, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST.as_str()).filter(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#']));
    let host =
        host.ok_or_else(|| Refusal::invalid("request/host", "the request does not say which host it is for").hint("send a Host header"))?;
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    Ok(format!("{scheme}://{host}"))
}

/// A path for an address: all but the plain characters as `%XX`.
fn encoded(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes().map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

//! Artifacts: streamed through, in bounded memory, and never outside the store.

use crate::convert::run_id;
use crate::error::ApiError;
use crate::message::{Message, Reply};
use crate::{MlflowApi, dto, message::Int};
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use domain::Refusal;
use futures::TryStreamExt;
use ports::ArtifactInfo;
use ports::refusals::no_run;
use serde::Deserialize;
use tracking::{logged_models, place};

/// Below `/mlflow-artifacts`.
pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/artifacts", get(list))
        .route("/artifacts/", get(list))
        .route("/artifacts/{*path}", get(download).put(upload).delete(delete))
}

/// Below `/mlflow`.
pub(super) fn run_routes() -> Router<MlflowApi> {
    Router::new().route("/artifacts/list", get(list_of_run)).route("/logged-models/{id}/artifacts/directories", get(list_of_model))
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    path: String,
}

/// A path within the artifact store. What climbs, is absolute, has another separator or a fragment is refused, also if a
/// second decoding would make it so.
fn checked(path: &str) -> Result<String, Refusal> {
    let climbs = |path: &str| path.starts_with('/') || path.contains(['\\', '#', '\0']) || path.split('/').any(|part| part == "..");
    let mut decoded = path.to_owned();
    while !climbs(&decoded) {
        let next = percent_decoded(&decoded);
        if next == decoded {
            return place::join("", path).ok_or_else(|| invalid(path));
        }
        decoded = next;
    }
    Err(invalid(path))
}

fn invalid(path: &str) -> Refusal {
    Refusal::invalid("artifact/path", format!("Invalid path `{path}`")).hint("give a relative path without `..`, `\\` and `#`")
}

/// Text with its `%XX` decoded; what is no text afterwards stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

async fn upload(State(api): State<MlflowApi>, Path(path): Path<String>, request: Request) -> Result<(), ApiError> {
    let path = checked(&path)?;
    if path.is_empty() {
        return Err(invalid(&path).into());
    }
    let body = request.into_body().into_data_stream().map_err(std::io::Error::other);
    match api.artifacts.put(&path, Box::pin(body)).await {
        Ok(_) => Ok(()),
        Err(fault) => Err(occupied(&api, &path).await?.map_or(ApiError::Fault(fault), ApiError::Refused)),
    }
}

/// Tells whether an artifact could not be written because another is in its way: that is the caller's to mend.
async fn occupied(api: &MlflowApi, path: &str) -> Result<Option<Refusal>, ApiError> {
    let refusal = |what: String| Some(Refusal::invalid("artifact/occupied", what).hint("choose another path"));
    if !api.artifacts.list(path).await?.is_empty() {
        return Ok(refusal(format!("`{path}` is a folder")));
    }
    let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
    for parent in parents {
        if api.artifacts.get(parent).await?.is_some() {
            return Ok(refusal(format!("`{parent}` is an artifact and cannot hold others")));
        }
    }
    Ok(None)
}

async fn download(State(api): State<MlflowApi>, Path(path): Path<String>) -> Result<Response, ApiError> {
    let path = checked(&path)?;
    let missing = || Refusal::not_found("artifact/not_found", format!("no artifact `{path}`"));
    let (size, stream) = api.artifacts.get(&path).await?.ok_or_else(missing)?;
    let kind = mime_guess::from_path(&path).first_or_octet_stream();
    // What users upload is never shown as a page of this server.
    let headers = [
        (CONTENT_TYPE, kind.to_string()),
        (CONTENT_LENGTH, size.to_string()),
        (CONTENT_DISPOSITION, "attachment".into()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

async fn delete(State(api): State<MlflowApi>, Path(path): Path<String>) -> Result<Json<crate::message::Done>, ApiError> {
    let path = checked(&path)?;
    if path.is_empty() {
        return Err(invalid(&path).into());
    }
    api.artifacts.delete(&path).await?;
    crate::message::done()
}

/// Children by their own names.
async fn list(State(api): State<MlflowApi>, Query(query): Query<ListQuery>) -> Reply<dto::Files> {
    let folder = checked(&query.path)?;
    Ok(Json(dto::Files { root_uri: None, files: children(&api, &folder, "").await? }))
}

/// Children by their paths within the run.
async fn list_of_run(State(api): State<MlflowApi>, Message(m): Message<dto::ListArtifacts>) -> Reply<dto::Files> {
    let id = run_id(m.run_id, m.run_uuid)?;
    let run = api.runs.run(&id)?.ok_or_else(|| no_run(&id))?;
    listed(&api, run.artifact_uri, m.path).await
}

async fn list_of_model(
    State(api): State<MlflowApi>,
    Path(id): Path<String>,
    Message(m): Message<dto::ListModelArtifacts>,
) -> Reply<dto::Files> {
    let model = logged_models::find(&api.world()?, &id)?;
    listed(&api, model.artifact_uri, m.artifact_directory_path).await
}

async fn listed(api: &MlflowApi, root_uri: String, path: Option<String>) -> Reply<dto::Files> {
    let path = checked(&path.unwrap_or_default())?;
    let elsewhere = || {
        Refusal::invalid("artifact/elsewhere", format!("`{root_uri}` is not in this server's artifact store"))
            .hint("open it with its own client")
    };
    let root = place::relative(&root_uri).ok_or_else(elsewhere)?;
    let folder = place::join(&root, &path).ok_or_else(|| invalid(&path))?;
    let files = children(api, &folder, &path).await?;
    Ok(Json(dto::Files { root_uri: Some(root_uri), files }))
}

async fn children(api: &MlflowApi, folder: &str, shown: &str) -> Result<Vec<dto::FileInfo>, ApiError> {
    let named = |info: ArtifactInfo| {
        let name = info.path.rsplit('/').next().unwrap_or_default();
        let path = if shown.is_empty() { name.to_owned() } else { format!("{shown}/{name}") };
        dto::FileInfo { path: Some(path), is_dir: Some(info.is_dir), file_size: (!info.is_dir).then_some(Int(info.bytes as i64)) }
    };
    Ok(api.artifacts.list(folder).await?.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["a", "a/b.txt", "größe/日本", "a..b", "100%", "a%20b", "a b", "..."] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in ["..", "../a", "a/../b", "/etc/passwd", "a\\b", "a#b", "%2e%2e/a", "a/%252e%252e/b", "%2Fetc", "a/%5c", "a\0b", "./a"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}

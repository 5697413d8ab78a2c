//! Artifacts by their paths in the store: streamed through, in bounded memory, and never outside it.

use crate::error::ApiError;
use crate::message::{Done, Int, Message, Reply, done};
use crate::path::{checked, invalid};
use crate::{MlflowApi, dto};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use domain::{Fault, Refusal};
use futures::TryStreamExt;
use ports::{ArtifactInfo, ByteStream};
use std::ops::Range;

/// Below `/mlflow-artifacts`.
pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/artifacts", get(list))
        .route("/artifacts/", get(list))
        .route("/artifacts/{*path}", get(download).put(upload).delete(delete))
        .merge(super::parts::routes())
}

async fn upload(State(api): State<MlflowApi>, Path(path): Path<String>, request: Request) -> Result<(), ApiError> {
    put(&api, &checked_file(&path)?, Box::pin(request.into_body().into_data_stream().map_err(std::io::Error::other))).await
}

/// A path that names something, not all of the store.
pub(super) fn checked_file(path: &str) -> Result<String, Refusal> {
    let inside = checked(path)?;
    if inside.is_empty() { Err(invalid(path)) } else { Ok(inside) }
}

pub(super) async fn put(api: &MlflowApi, path: &str, body: ByteStream) -> Result<(), ApiError> {
    match api.artifacts.put(path, body).await {
        Ok(_) => Ok(()),
        Err(fault) => Err(put_refused(api, path, fault).await?),
    }
}

/// Why an artifact could not be written.
pub(super) async fn put_refused(api: &MlflowApi, path: &str, fault: Fault) -> Result<ApiError, ApiError> {
    Ok(occupied(api, path).await?.map_or(ApiError::Fault(fault), ApiError::Refused))
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

async fn download(State(api): State<MlflowApi>, Path(path): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    send(&api, &checked_file(&path)?, &headers).await
}

/// An artifact, or the part of it that is asked for.
pub(super) async fn send(api: &MlflowApi, path: &str, asked: &HeaderMap) -> Result<Response, ApiError> {
    let Some((size, whole)) = api.artifacts.get(path).await? else { return Err(missing(api, path).await?.into()) };
    let name = path.rsplit('/').next().unwrap_or_default();
    // What users upload is never shown as a page of this server.
    let headers = [
        (CONTENT_TYPE, mime_guess::from_path(path).first_or_octet_stream().to_string()),
        (CONTENT_DISPOSITION, attachment(name)),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (ACCEPT_RANGES, "bytes".into()),
    ];
    let range = asked.get(RANGE).and_then(|range| range.to_str().ok()).and_then(|range| part(range, size));
    match range {
        None => Ok((headers, [(CONTENT_LENGTH, size.to_string())], Body::from_stream(whole)).into_response()),
        Some(Part::Outside) => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            Ok((status, headers, [(CONTENT_RANGE, format!("bytes */{size}"))], "the artifact ends before the range").into_response())
        }
        Some(Part::Bytes(range)) => {
            drop(whole);
            let Some(stream) = api.artifacts.get_range(path, range.clone()).await? else { return Err(missing(api, path).await?.into()) };
            let of = [
                (CONTENT_LENGTH, (range.end - range.start).to_string()),
                (CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end - 1)),
            ];
            Ok((StatusCode::PARTIAL_CONTENT, headers, of, Body::from_stream(stream)).into_response())
        }
    }
}

async fn missing(api: &MlflowApi, path: &str) -> Result<Refusal, ApiError> {
    if api.artifacts.list(path).await?.is_empty() {
        return Ok(Refusal::not_found("artifact/not_found", format!("no artifact `{path}`")));
    }
    Ok(Refusal::invalid("artifact/folder", format!("`{path}` is a folder")).hint("list it, and get its files one by one"))
}

/// The file's own name; other characters than ASCII as RFC 5987 writes them.
fn attachment(name: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.chars().all(is_token) {
        return format!("attachment; filename={name}");
    }
    if name.is_ascii() {
        let plain: String = name.chars().filter(|c| !c.is_control()).collect();
        return format!("attachment; filename=\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
    let encoded: String = name.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    let plain: String = name.chars().filter(|c| is_token(*c) || *c == ' ').collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[derive(Debug, PartialEq)]
enum Part {
    Bytes(Range<u64>),
    Outside,
}

/// One range of bytes. Several at once, other units and what cannot be read are answered with the whole, as RFC 9110 allows.
fn part(asked: &str, size: u64) -> Option<Part> {
    let (from, to) = asked.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = (from.trim(), to.trim());
    let range = if from.is_empty() {
        size.saturating_sub(to.parse().ok()?)..size
    } else {
        let from: u64 = from.parse().ok()?;
        let to = if to.is_empty() { size } else { to.parse::<u64>().ok()?.saturating_add(1) };
        if to <= from && from < size {
            return None;
        }
        from..to.min(size)
    };
    Some(if range.start < range.end { Part::Bytes(range) } else { Part::Outside })
}

/// Deletes an artifact, or a folder with all in it.
async fn delete(State(api): State<MlflowApi>, Path(path): Path<String>) -> Reply<Done> {
    let path = checked_file(&path)?;
    api.artifacts.delete(&path).await?;
    done()
}

/// Children by their own names.
async fn list(State(api): State<MlflowApi>, Message(m): Message<dto::ListFolder>) -> Reply<dto::Files> {
    let folder = checked(&m.path.unwrap_or_default())?;
    Ok(Json(dto::Files { root_uri: None, files: children(&api, &folder, "").await? }))
}

/// The children of a folder, their names below `shown`.
pub(super) async fn children(api: &MlflowApi, folder: &str, shown: &str) -> Result<Vec<dto::FileInfo>, ApiError> {
    let named = |info: ArtifactInfo| {
        let name = info.path.rsplit('/').next().unwrap_or_default();
        let path = if shown.is_empty() { name.to_owned() } else { format!("{shown}/{name}") };
        dto::FileInfo { path: Some(path), is_dir: Some(info.is_dir), file_size: (!info.is_dir).then_some(Int(info.bytes as i64)) }
    };
    Ok(api.artifacts.list(folder).await?.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        let bytes = |range: Range<u64>| Some(Part::Bytes(range));
        for (asked, part_of_10) in [
            ("bytes=0-3", bytes(0..4)),
            ("bytes=5-", bytes(5..10)),
            ("bytes=-3", bytes(7..10)),
            ("bytes=-99", bytes(0..10)),
            ("bytes=8-99", bytes(8..10)),
            ("bytes=9-9", bytes(9..10)),
            ("bytes=10-", Some(Part::Outside)),
            ("bytes=-0", Some(Part::Outside)),
            ("bytes=5-3", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-3", None),
            ("bytes=a-b", None),
            ("bytes=", None),
        ] {
            assert_eq!(part(asked, 10), part_of_10, "{asked}");
        }
        assert_eq!(part("bytes=0-", 0), Some(Part::Outside));
    }

    #[test]
    fn a_name_is_told_in_ascii() {
        assert_eq!(attachment("a.bin"), "attachment; filename=a.bin");
        assert_eq!(attachment("a b\".txt"), "attachment; filename=\"a b\\\".txt\"");
        assert_eq!(attachment("ß x"), "attachment; filename=\" x\"; filename*=UTF-8''%C3%9F%20x");
    }
}

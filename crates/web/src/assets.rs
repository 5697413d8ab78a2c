//! Styles and scripts, inside the binary.

use crate::page::{PageError, not_found};
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};
use serde::Deserialize;
use std::borrow::Cow;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Own;

#[derive(RustEmbed)]
#[folder = "vendor/"]
struct Vendored;

#[derive(RustEmbed)]
#[folder = "templates/"]
pub(crate) struct Templates;

#[derive(Deserialize)]
pub(crate) struct Version {
    v: Option<String>,
}

fn find(name: &str) -> Option<EmbeddedFile> {
    Own::get(name).or_else(|| Vendored::get(name))
}

/// The first digits of the content's hash.
fn tag(file: &EmbeddedFile) -> String {
    file.metadata.sha256_hash()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The address of an asset; it changes with the content, so that it can be kept for ever.
pub(crate) fn address(name: &str) -> Option<String> {
    Some(format!("/assets/{name}?v={}", tag(&find(name)?)))
}

/// `GET /assets/NAME`.
pub(crate) async fn serve(Path(name): Path<String>, Query(asked): Query<Version>, headers: HeaderMap) -> Response {
    let Some(file) = find(&name) else { return not_found().await.into_response() };
    let tag = tag(&file);
    let keep = if asked.v.as_deref() == Some(tag.as_str()) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let quoted = format!("\"{tag}\"");
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|have| have.as_bytes() == quoted.as_bytes());
    let kind = mime_guess::from_path(&name).first_or_octet_stream().to_string();
    let describe = [(header::ETAG, quoted), (header::CACHE_CONTROL, keep.to_owned()), (header::CONTENT_TYPE, kind)];
    if known {
        return (StatusCode::NOT_MODIFIED, describe).into_response();
    }
    let body = match file.data {
        Cow::Borrowed(bytes) => axum::body::Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    (describe, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], body).into_response()
}

/// A template's text.
pub(crate) fn template(name: &str) -> Result<Option<String>, PageError> {
    let Some(file) = Templates::get(name) else { return Ok(None) };
    let text = String::from_utf8(file.data.into_owned()).map_err(|e| domain::Fault::because(format!("reading template {name}"), e))?;
    Ok(Some(text))
}

//! Styles and scripts, inside the binary.

use crate::page::{PageError, no_page};
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

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

/// Assets that are made of several files, so that a page asks for few.
const BUNDLES: [(&str, &[&str]); 2] = [("app.css", &["uPlot.min.css", "app.css"]), ("run.js", &["uPlot.iife.min.js", "run.js"])];

/// A style or a script, whole.
struct Asset {
    body: Bytes,
    /// The first digits of the content's hash.
    tag: String,
}

/// Every asset by its name.
static ASSETS: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    let parts = |name: &str| {
        BUNDLES
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(|| vec![name.to_owned()], |(_, parts)| parts.iter().map(|part| (*part).to_owned()).collect())
    };
    let whole = |name: &str| {
        let mut body = Vec::new();
        for file in parts(name).iter().filter_map(|part| Own::get(part).or_else(|| Vendored::get(part))) {
            body.extend_from_slice(&file.data);
            body.push(b'\n');
        }
        Asset { tag: domain::Digest::of(&body).short().to_owned(), body: body.into() }
    };
    Own::iter().chain(Vendored::iter()).map(|name| (name.to_string(), whole(&name))).collect()
});

/// The address of an asset; it changes with the content, so that it can be kept for ever.
pub(crate) fn address(name: &str) -> Option<String> {
    Some(format!("/assets/{name}?v={}", ASSETS.get(name)?.tag))
}

/// `GET /assets/NAME`.
pub(crate) async fn serve(Path(name): Path<String>, Query(asked): Query<Version>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.get(&name) else { return no_page() };
    let keep = if asked.v.as_deref() == Some(asset.tag.as_str()) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let quoted = format!("\"{}\"", asset.tag);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|have| have.as_bytes() == quoted.as_bytes());
    let kind = mime_guess::from_path(&name).first_or_octet_stream().to_string();
    let describe = [(header::ETAG, quoted), (header::CACHE_CONTROL, keep.to_owned()), (header::CONTENT_TYPE, kind)];
    if known {
        return (StatusCode::NOT_MODIFIED, describe).into_response();
    }
    (describe, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], asset.body.clone()).into_response()
}

/// A template's text.
pub(crate) fn template(name: &str) -> Result<Option<String>, PageError> {
    let Some(file) = Templates::get(name) else { return Ok(None) };
    let text = String::from_utf8(file.data.into_owned()).map_err(|e| domain::Fault::because(format!("reading template {name}"), e))?;
    Ok(Some(text))
}

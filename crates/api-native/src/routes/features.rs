//! Pushed rows, values now, the project file.

use crate::Api;
use crate::error::ApiError;
use crate::features_api::{OnlineAnswer, ProjectFile};
use crate::request::{Caller, Record, Sent, instant, scalars};
use axum::Json;
use axum::extract::{Path, State};
use domain::Refusal;
use features::{Change, PushReport};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct Rows {
    rows: Vec<Record>,
}

#[derive(Deserialize)]
pub(super) struct RowsOf {
    source: String,
    rows: Vec<Record>,
}

pub(super) async fn push_named(
    State(api): State<Api>,
    Path(source): Path<String>,
    Sent(sent): Sent<Rows>,
) -> Result<Json<PushReport>, ApiError> {
    Ok(Json(api.features.push(&source, scalars("rows", sent.rows)?).await?))
}

pub(super) async fn push(State(api): State<Api>, Sent(sent): Sent<RowsOf>) -> Result<Json<PushReport>, ApiError> {
    Ok(Json(api.features.push(&sent.source, scalars("rows", sent.rows)?).await?))
}

#[derive(Deserialize)]
pub(super) struct OnlineRequest {
    /// Feature views, in the order of the columns.
    features: Vec<String>,
    /// Join keys, and the request's own columns for on-demand features.
    entities: Vec<Record>,
    /// The request's time; without it, now.
    at: Option<Value>,
}

pub(super) async fn online(State(api): State<Api>, Sent(sent): Sent<OnlineRequest>) -> Result<Json<OnlineAnswer>, ApiError> {
    if sent.features.is_empty() {
        return Err(Refusal::invalid("features/none", "no feature views are asked for")
            .at("features")
            .hint("name them: {\"features\": [\"VIEW\"]}")
            .into());
    }
    let at = sent.at.as_ref().map(|at| instant(at, || "at".into())).transpose()?;
    let entities = scalars("entities", sent.entities)?;
    Ok(Json(api.features.online(&sent.features, entities, at).await?))
}

#[derive(Deserialize)]
pub(super) struct Views {
    features: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Materialized {
    /// Rows written by view.
    rows: IndexMap<String, u64>,
}

pub(super) async fn materialize(State(api): State<Api>, Sent(sent): Sent<Views>) -> Result<Json<Materialized>, ApiError> {
    Ok(Json(Materialized { rows: api.features.materialize(&sent.features).await? }))
}

#[derive(Serialize)]
pub(super) struct Changes {
    changes: Vec<Change>,
}

pub(super) async fn plan(State(api): State<Api>, Sent(file): Sent<ProjectFile>) -> Result<Json<Changes>, ApiError> {
    Ok(Json(Changes { changes: api.features.plan(&file).await? }))
}

pub(super) async fn apply(State(api): State<Api>, Caller(actor): Caller, Sent(file): Sent<ProjectFile>) -> Result<Json<Changes>, ApiError> {
    Ok(Json(Changes { changes: api.features.apply(&file, &actor).await? }))
}

//! Training sets as recorded.

use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery};
use crate::request::Asked;
use axum::Json;
use axum::extract::{Path, State};
use domain::Refusal;
use domain::entity::TrainingSet;

pub(super) async fn list(State(api): State<Api>, Asked(page): Asked<PageQuery>) -> Result<Json<Page<TrainingSet>>, ApiError> {
    let mut sets = api.world()?.list::<TrainingSet>()?;
    sets.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    Ok(Json(page.of(sets)?))
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<TrainingSet>, ApiError> {
    let found = api.world()?.get::<TrainingSet>(&id)?;
    let refusal =
        || Refusal::not_found("training_set/not_found", format!("there is no training set `{id}`")).hint("GET /api/v1/training-sets");
    Ok(Json(found.ok_or_else(refusal)?))
}

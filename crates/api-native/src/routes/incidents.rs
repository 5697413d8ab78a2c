//! Incidents, and a person's retraining.

use super::pipelines::Requested;
use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery};
use crate::request::{Asked, Caller};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::entity::Incident;
use domain::{IncidentId, Refusal};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct ModelQuery {
    model: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Asked(query): Asked<ModelQuery>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<Page<Incident>>, ApiError> {
    let mut incidents = api.world()?.list::<Incident>()?;
    incidents.retain(|incident| query.model.as_ref().is_none_or(|model| incident.model.as_str() == model));
    incidents.sort_by(|a, b| (b.opened, &b.id).cmp(&(a.opened, &a.id)));
    Ok(Json(page.of(incidents)?))
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Incident>, ApiError> {
    let found = api.world()?.list::<Incident>()?.into_iter().find(|incident| incident.id.as_str() == id);
    let refusal = || Refusal::not_found("incident/not_found", format!("there is no incident `{id}`")).hint("trimtab status");
    Ok(Json(found.ok_or_else(refusal)?))
}

pub(super) async fn retrain(
    State(api): State<Api>,
    Path(id): Path<String>,
    Caller(actor): Caller,
) -> Result<(StatusCode, Json<Requested>), ApiError> {
    let id = IncidentId::new(id);
    let pipeline_run = api.decide(&actor, |world, actor, now| monitoring::commands::retrain(world, &id, actor, now)).await?;
    Ok((StatusCode::ACCEPTED, Json(Requested { pipeline_run })))
}

//! Backfills: pipeline runs for a range of past instants.

use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery};
use crate::request::{Asked, Caller, Record, Sent, params};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::entity::Backfill;
use domain::{Refusal, Span, Timestamp};
use pipelines::triggers::{self, BackfillRequest};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    from: Timestamp,
    /// Exclusive.
    to: Timestamp,
    #[serde(default = "a_day")]
    every: Span,
    #[serde(default = "one")]
    parallel: u32,
    #[serde(default)]
    params: Record,
}

fn a_day() -> Span {
    Span::days(1)
}

fn one() -> u32 {
    1
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    backfill: Backfill,
    is_over: bool,
}

impl From<Backfill> for Shown {
    fn from(backfill: Backfill) -> Self {
        Shown { is_over: backfill.is_over(), backfill }
    }
}

pub(super) async fn begin(
    State(api): State<Api>,
    Path(pipeline): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<Body>,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    let params = params(body.params)?;
    let asked = BackfillRequest { pipeline, from: body.from, to: body.to, every: body.every, parallel: body.parallel, params };
    let made = api.decide(&actor, |world, actor, now| triggers::backfill(world, &asked, actor, now)).await?;
    Ok((StatusCode::ACCEPTED, Json(made.into())))
}

pub(super) async fn list(State(api): State<Api>, Asked(page): Asked<PageQuery>) -> Result<Json<Page<Backfill>>, ApiError> {
    let mut all = api.world()?.list::<Backfill>()?;
    all.sort_by_key(|backfill| std::cmp::Reverse(backfill.requested));
    Ok(Json(page.of(all)?))
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Shown>, ApiError> {
    Ok(Json(found(&api, &id)?.into()))
}

pub(super) async fn cancel(State(api): State<Api>, Path(id): Path<String>, Caller(actor): Caller) -> Result<Json<Shown>, ApiError> {
    api.decide(&actor, |world, actor, now| triggers::cancel_backfill(world, &id, actor, now)).await?;
    Ok(Json(found(&api, &id)?.into()))
}

fn found(api: &Api, id: &str) -> Result<Backfill, ApiError> {
    let missing = || Refusal::not_found("backfill/not_found", format!("there is no backfill `{id}`")).hint("trimtab pipeline backfills");
    Ok(api.world()?.get::<Backfill>(id)?.ok_or_else(missing)?)
}

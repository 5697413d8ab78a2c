//! The pool: what runs, what waits and why, what was used and what it cost.

use crate::Api;
use crate::error::ApiError;
use crate::request::Asked;
use ::compute::usage::{By, Usage, usage as used};
use axum::Json;
use axum::extract::State;
use domain::{Span, Timestamp};
use ports::PoolState;
use serde::Deserialize;

/// How far back usage goes if nobody says.
const USUAL: Span = Span::from_ms(30 * 86_400_000);

pub(super) async fn state(State(api): State<Api>) -> Json<PoolState> {
    Json(api.compute.state())
}

#[derive(Deserialize)]
pub(super) struct UsageQuery {
    #[serde(default)]
    by: By,
    /// Pipeline runs that were asked for before this are left out; 30 days back if nobody says.
    since: Option<Timestamp>,
}

pub(super) async fn usage(State(api): State<Api>, Asked(query): Asked<UsageQuery>) -> Result<Json<Usage>, ApiError> {
    let now = api.clock.event_now();
    let since = query.since.unwrap_or_else(|| now - USUAL);
    Ok(Json(api.apart(move |api| used(&api.world()?, query.by, since, now)).await?))
}

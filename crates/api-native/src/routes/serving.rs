//! How models are served: who answers, how fast, and what went wrong.

use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use domain::{ModelName, Timestamp};
use indexmap::IndexMap;
use ports::{Behaviour, Failure};
use serde::Serialize;
use serving::{ModelStatus, Seen, VersionStatus};
use stats::latency::Histogram;
use std::collections::BTreeMap;

/// One model.
#[derive(Serialize)]
pub(super) struct Served {
    model: ModelName,
    versions: Vec<Version>,
    /// Since the server was started.
    total: Measured,
    /// The last five minutes.
    recent: Measured,
    /// Null values by feature.
    missing: BTreeMap<String, u64>,
    /// Minutes with a request, of the last three hours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    minutes: Vec<Minute>,
}

#[derive(Serialize)]
struct Version {
    #[serde(flatten)]
    status: VersionStatus,
    rows: u64,
    latency_ms: Option<Latency>,
}

#[derive(Serialize)]
struct Minute {
    at: Timestamp,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Serialize)]
struct Measured {
    requests: u64,
    rows: u64,
    /// By why there was no answer; what never happened is left out.
    failures: IndexMap<&'static str, u64>,
    /// 0 to 1; the callers' own mistakes do not count.
    error_rate: Option<f64>,
    /// Null values among those that were looked up or sent, 0 to 1.
    missing_rate: Option<f64>,
    restarts: u64,
    latency_ms: Option<Latency>,
}

/// Quantiles, at most 9.1 % off.
#[derive(Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
}

fn latency(seen: &Histogram) -> Option<Latency> {
    let ms = |us: f64| (us / 10.0).round() / 100.0;
    let q = |q| seen.quantile(q).map(ms);
    let mean = ms(seen.sum_us() as f64 / seen.count().max(1) as f64);
    Some(Latency { mean, p50: q(0.5)?, p90: q(0.9)?, p99: q(0.99)?, p999: q(0.999)? })
}

fn measured(seen: &Behaviour) -> Measured {
    let failures = Failure::ALL.into_iter().map(|failure| (failure.word(), seen.failures[failure as usize]));
    Measured {
        requests: seen.requests,
        rows: seen.rows,
        failures: failures.filter(|(_, count)| *count > 0).collect(),
        error_rate: seen.error_rate(),
        missing_rate: seen.missing_rate(),
        restarts: seen.restarts,
        latency_ms: latency(&seen.latency),
    }
}

fn served(status: ModelStatus, seen: &Seen, recent: &Behaviour, with_minutes: bool) -> Served {
    let version = |status: VersionStatus| {
        let lane = seen.lanes.iter().find(|lane| lane.version == status.version && lane.role == status.role);
        Version { rows: lane.map_or(0, |lane| lane.rows), latency_ms: lane.and_then(|lane| latency(&lane.latency)), status }
    };
    let minute = |minute: &serving::Minute| Minute { at: minute.at, measured: measured(&minute.seen) };
    Served {
        model: status.model,
        versions: status.versions.into_iter().map(version).collect(),
        total: measured(&seen.total),
        recent: measured(recent),
        missing: seen.missing.clone(),
        minutes: if with_minutes { seen.minutes.iter().map(minute).collect() } else { Vec::new() },
    }
}

/// Minutes of `recent`.
const RECENT: u32 = 5;

pub(super) async fn list(State(api): State<Api>) -> Json<Vec<Served>> {
    let found = api.gateway.status().into_iter().filter_map(|status| {
        let (seen, recent) = (api.gateway.seen(&status.model).ok()?, api.gateway.behaviour(&status.model, RECENT).ok()?);
        Some(served(status, &seen, &recent, false))
    });
    Json(found.collect())
}

/// One model, with its minutes.
pub(super) async fn show(State(api): State<Api>, Path(model): Path<String>) -> Result<Json<Served>, ApiError> {
    let model = ModelName::parse(&model)?;
    let (seen, recent) = (api.gateway.seen(&model)?, api.gateway.behaviour(&model, RECENT)?);
    let status = api.gateway.status().into_iter().find(|status| status.model == model);
    let status = status.ok_or_else(|| domain::Refusal::not_found("serve/no_champion", format!("model {model} is not served")))?;
    Ok(Json(served(status, &seen, &recent, true)))
}

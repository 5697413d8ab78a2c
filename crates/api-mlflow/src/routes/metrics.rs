//! Histories of metrics: whole, in pages, of several runs at once, and thinned out for a chart.

use super::page::limit;
use crate::convert::{run_id, some};
use crate::message::{Int, Message, Reply, missing, required};
use crate::{MlflowApi, dto};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use domain::{Refusal, RunId};
use ports::SearchError;

/// Points in one answer for several runs.
const MOST_POINTS: usize = 25_000;
/// Runs of one call.
const MOST_RUNS: usize = 100;
/// Points of a run in a chart.
const MOST_IN_CHART: usize = 2_500;

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/metrics/get-history", get(history))
        .route("/metrics/get-history-bulk", get(bulk))
        .route("/metrics/get-history-bulk-interval", get(interval))
}

/// All points at once unless a page is asked for: that is what clients count on.
async fn history(State(api): State<MlflowApi>, Message(m): Message<dto::GetHistory>) -> Reply<dto::Metrics> {
    let (id, key) = (run_id(m.run_id, m.run_uuid)?, required(m.metric_key, "metric_key")?);
    let limit = m.max_results.map(|asked| limit(Some(asked), MOST_POINTS, usize::MAX)).transpose()?;
    let token = some(m.page_token);
    let page = api.apart(move |api| api.runs.history(&id, &key, limit, token.as_deref())).await?;
    Ok(Json(dto::Metrics { metrics: page.points.into_iter().map(Into::into).collect(), next_page_token: page.token }))
}

fn run_ids(given: Vec<String>, name: &str) -> Result<Vec<RunId>, Refusal> {
    match given.len() {
        0 => Err(missing(name)),
        1..=MOST_RUNS => Ok(given.into_iter().map(RunId::new).collect()),
        more => Err(Refusal::invalid("search/runs", format!("{more} runs are asked for")).hint(format!("ask for at most {MOST_RUNS}"))),
    }
}

/// The first points of each run, run by run.
async fn bulk(State(api): State<MlflowApi>, Message(m): Message<dto::BulkQuery>) -> Reply<dto::BulkMetrics> {
    let (mut runs, key) = (run_ids(m.run_id, "run_id")?, required(m.metric_key, "metric_key")?);
    let most = limit(m.max_results.map(|asked| Int(asked.0.min(MOST_POINTS as i64))), MOST_POINTS, MOST_POINTS)?;
    runs.sort();
    let metrics = api.apart(move |api| {
        let mut metrics: Vec<dto::Metric> = Vec::new();
        for run in runs {
            let left = most - metrics.len();
            if left == 0 {
                break;
            }
            let points = api.runs.history(&run, &key, Some(left), None)?.points;
            metrics.extend(points.into_iter().map(|point| dto::Metric { run_id: Some(run.to_string()), ..point.into() }));
        }
        Ok::<_, SearchError>(metrics)
    });
    Ok(Json(dto::BulkMetrics { metrics: metrics.await? }))
}

/// At most `max_results` points of each run, evenly among those between two steps.
async fn interval(State(api): State<MlflowApi>, Message(m): Message<dto::IntervalQuery>) -> Reply<dto::Metrics> {
    let (runs, key) = (run_ids(m.run_ids, "run_ids")?, required(m.metric_key, "metric_key")?);
    let most = limit(m.max_results, MOST_IN_CHART, MOST_IN_CHART)?;
    let steps = match (m.start_step, m.end_step) {
        (None, None) => None,
        (Some(from), Some(to)) if from.0 <= to.0 => Some((from.0, to.0)),
        (Some(from), Some(to)) => {
            let what = format!("steps {} to {} go backwards", from.0, to.0);
            return Err(Refusal::invalid("search/steps", what).hint("end_step must not be less than start_step").into());
        }
        _ => {
            return Err(Refusal::invalid("search/steps", "only one end of the steps is given").hint("give start_step and end_step").into());
        }
    };
    let points = api.apart(move |api| api.runs.interval(&runs, &key, steps, most)).await?;
    let with_run = points.into_iter().map(|(run, point)| dto::Metric { run_id: Some(run.to_string()), ..point.into() });
    Ok(Json(dto::Metrics { metrics: with_run.collect(), next_page_token: None }))
}

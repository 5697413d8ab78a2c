//! Routes by noun.

mod backfills;
mod compute;
mod features;
mod gates;
mod hooks;
mod incidents;
mod labels;
mod log;
mod metrics;
mod models;
mod pipeline_runs;
mod pipelines;
mod runs;
mod serving;
mod status;
mod training_sets;

use crate::Api;
use axum::Router;
use axum::routing::{get, post};

/// Every route.
pub(crate) fn all() -> Router<Api> {
    let v1 = Router::new()
        .route("/push", post(features::push))
        .route("/push/{source}", post(features::push_named))
        .route("/features/online", post(features::online))
        .route("/features/materialize", post(features::materialize))
        .route("/compute", get(compute::state))
        .route("/compute/usage", get(compute::usage))
        .route("/serving", get(serving::list))
        .route("/serving/{model}", get(serving::show))
        .route("/plan", post(features::plan))
        .route("/apply", post(features::apply))
        .route("/labels/{model}", post(labels::take))
        .route("/status", get(status::status))
        .route("/events", get(log::events))
        .route("/why/{*thing}", get(log::why))
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/{name}/versions", get(pipelines::versions))
        .route("/pipelines/{name}/diff", get(pipelines::diff))
        .route("/pipelines/{name}/runs", post(pipelines::request))
        .route("/pipelines/{name}/backfill", post(backfills::begin))
        .route("/backfills", get(backfills::list))
        .route("/backfills/{id}", get(backfills::show))
        .route("/backfills/{id}/cancel", post(backfills::cancel))
        .route("/hooks/git/{pipeline}", post(hooks::git))
        .route("/pipeline-runs", get(pipeline_runs::list))
        .route("/pipeline-runs/{id}", get(pipeline_runs::show))
        .route("/pipeline-runs/{id}/cancel", post(pipeline_runs::cancel))
        .route("/pipeline-runs/{id}/resume", post(pipeline_runs::resume))
        .route("/pipeline-runs/{id}/rerun", post(pipeline_runs::rerun))
        .route("/pipeline-runs/{id}/changes", get(pipeline_runs::changes))
        .route("/pipeline-runs/{id}/steps/{step}/log", get(pipeline_runs::step_log))
        .route("/pipeline-runs/{id}/steps/{step}/checks", get(pipeline_runs::checks))
        .route("/models", get(models::list))
        .route("/models/{name}", get(models::show))
        .route("/models/{name}/rollback", post(models::rollback))
        .route("/models/{name}/promote", post(models::promote))
        .route("/models/{name}/approve", post(gates::approve))
        .route("/models/{name}/reject", post(gates::reject))
        .route("/models/{name}/audit", get(gates::audit))
        .route("/models/{name}/rollout", get(gates::rollout))
        .route("/models/{name}/rollout/resume", post(gates::resume))
        .route("/models/{name}/rollout/abort", post(gates::abort))
        .route("/gates", get(gates::list))
        .route("/gates/{model}/run", post(gates::run))
        .route("/gates/{model}/{version}", get(gates::show))
        .route("/windows/{name}", get(models::windows))
        .route("/incidents", get(incidents::list))
        .route("/incidents/{id}", get(incidents::show))
        .route("/incidents/{id}/retrain", post(incidents::retrain))
        .route("/runs", get(runs::list))
        .route("/runs/{id}", get(runs::show))
        .route("/runs/{id}/history", get(runs::history))
        .route("/experiments", get(runs::experiments))
        .route("/import", post(runs::import))
        .route("/gc", post(runs::gc))
        .route("/training-sets", get(training_sets::list))
        .route("/training-sets/{id}", get(training_sets::show));
    Router::new()
        .nest("/api/v1", v1)
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(metrics::metrics))
}

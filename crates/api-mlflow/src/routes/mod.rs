//! The routes, by noun.

mod aliases;
mod artifacts;
mod experiments;
mod logged_models;
mod logging;
mod meta;
mod models;
mod page;
mod runs;
mod versions;

use crate::MlflowApi;
use crate::error::ApiError;
use axum::Router;
use axum::routing::any;

/// Everything, at both of its prefixes.
pub(crate) fn all() -> Router<MlflowApi> {
    let mlflow = || {
        let api = experiments::routes().merge(runs::routes()).merge(logging::routes()).merge(logged_models::routes());
        let api = api.merge(models::routes()).merge(versions::routes()).merge(aliases::routes()).merge(artifacts::run_routes());
        api.method_not_allowed_fallback(no_route).fallback(no_route)
    };
    let artifacts = || artifacts::routes().method_not_allowed_fallback(no_route).fallback(no_route);
    Router::new()
        .nest("/api/2.0/mlflow", mlflow())
        .nest("/ajax-api/2.0/mlflow", mlflow())
        .nest("/api/2.0/mlflow-artifacts", artifacts())
        .nest("/ajax-api/2.0/mlflow-artifacts", artifacts())
        .merge(meta::routes())
        .route("/api/3.0/{*rest}", any(no_route))
        .route("/ajax-api/3.0/{*rest}", any(no_route))
}

async fn no_route() -> ApiError {
    ApiError::NoRoute
}

//! The routes, by noun.

mod aliases;
mod artifacts;
mod datasets;
mod experiments;
mod files;
mod logged_models;
mod logging;
mod meta;
mod metrics;
mod models;
mod page;
#[cfg(test)]
mod paging;
mod parts;
mod runs;
mod versions;
mod webhooks;

use crate::MlflowApi;
use crate::error::ApiError;
use axum::Router;
use axum::routing::any;

/// Everything, at both of its prefixes.
pub(crate) fn all() -> Router<MlflowApi> {
    let mlflow = || {
        let api =
            experiments::routes().merge(runs::routes()).merge(metrics::routes()).merge(logging::routes()).merge(logged_models::routes());
        let api =
            api.merge(models::routes()).merge(versions::routes()).merge(aliases::routes()).merge(files::routes()).merge(webhooks::routes());
        api.method_not_allowed_fallback(no_route).fallback(no_route)
    };
    let newer = || datasets::routes().merge(meta::newer_routes()).method_not_allowed_fallback(no_route).fallback(no_route);
    let artifacts = || artifacts::routes().method_not_allowed_fallback(no_route).fallback(no_route);
    Router::new()
        .nest("/api/2.0/mlflow", mlflow())
        .nest("/ajax-api/2.0/mlflow", mlflow())
        .nest("/api/2.0/mlflow-artifacts", artifacts())
        .nest("/ajax-api/2.0/mlflow-artifacts", artifacts())
        .nest("/api/3.0/mlflow", newer())
        .nest("/ajax-api/3.0/mlflow", newer())
        .merge(meta::routes())
        .merge(files::page_routes())
        .route("/api/2.0/{*rest}", any(no_route))
        .route("/ajax-api/2.0/{*rest}", any(no_route))
        .route("/api/3.0/{*rest}", any(no_route))
        .route("/ajax-api/3.0/{*rest}", any(no_route))
}

async fn no_route() -> ApiError {
    ApiError::NoRoute
}

//! What the server is.

use crate::MlflowApi;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

/// The MLflow release whose API this is: clients compare it with their own to choose among calls, and this is the release
/// that the tests are run with.
const MLFLOW_VERSION: &str = "3.17.2";

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new().route("/health", get(|| async { "OK" })).route("/version", get(|| async { MLFLOW_VERSION }))
}

/// Below `/api/3.0/mlflow`.
pub(super) fn newer_routes() -> Router<MlflowApi> {
    Router::new().route("/server-info", get(server_info))
}

/// What clients ask before they choose a way of doing things: artifacts go through this server, large ones in parts.
#[derive(Serialize)]
struct ServerInfo {
    store_type: &'static str,
    workspaces_enabled: bool,
    trace_archival_enabled: bool,
    multipart_uploads_enabled: bool,
    multipart_downloads_enabled: bool,
    presigned_upload_run_id_supported: bool,
    presigned_upload_model_id_supported: bool,
}

async fn server_info() -> Json<ServerInfo> {
    Json(ServerInfo {
        // Clients know two words, this one is for a database.
        store_type: "SqlStore",
        workspaces_enabled: false,
        trace_archival_enabled: false,
        multipart_uploads_enabled: true,
        multipart_downloads_enabled: true,
        presigned_upload_run_id_supported: false,
        presigned_upload_model_id_supported: false,
    })
}

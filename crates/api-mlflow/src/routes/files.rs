//! Artifacts of runs, logged models and versions: by whose they are, not by where they lie.

use super::artifacts::{children, put, send};
use super::models::name;
use crate::convert::{run_id, version};
use crate::error::ApiError;
use crate::message::{Message, Reply, missing, required};
use crate::path::{checked, invalid};
use crate::{MlflowApi, dto};
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::{Refusal, RunId};
use futures::StreamExt;
use ports::refusals::no_run;
use tracking::{logged_models, place, registry};

/// Bytes that a page may upload at once.
const LARGEST: usize = 10 << 20;

/// Below `/mlflow`.
pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/artifacts/list", get(list_of_run))
        .route("/logged-models/{id}/artifacts/directories", get(list_of_model))
        .route("/logged-models/{id}/artifacts/files", get(of_model))
        .route("/upload-artifact", post(upload))
}

/// Below no prefix: pages ask here.
pub(super) fn page_routes() -> Router<MlflowApi> {
    Router::new().route("/get-artifact", get(of_run)).route("/model-versions/get-artifact", get(of_version))
}

fn root_of_run(api: &MlflowApi, id: &RunId) -> Result<String, ApiError> {
    Ok(api.runs.run(id)?.ok_or_else(|| no_run(id))?.artifact_uri)
}

/// The path in the store of something below a root.
fn inside(root_uri: &str, path: &str) -> Result<String, Refusal> {
    let elsewhere = || {
        Refusal::invalid("artifact/elsewhere", format!("`{root_uri}` is not in this server's artifact store"))
            .hint("open it with its own client")
    };
    let root = place::relative(root_uri).ok_or_else(elsewhere)?;
    place::join(&root, &checked(path)?).ok_or_else(|| invalid(path))
}

/// Children by their paths within the run.
async fn list_of_run(State(api): State<MlflowApi>, Message(m): Message<dto::ListArtifacts>) -> Reply<dto::Files> {
    let root_uri = root_of_run(&api, &run_id(m.run_id, m.run_uuid)?)?;
    listed(&api, root_uri, m.path).await
}

async fn list_of_model(
    State(api): State<MlflowApi>,
    Path(id): Path<String>,
    Message(m): Message<dto::ListModelArtifacts>,
) -> Reply<dto::Files> {
    let model = logged_models::find(&api.world()?, &id)?;
    listed(&api, model.artifact_uri, m.artifact_directory_path).await
}

async fn listed(api: &MlflowApi, root_uri: String, path: Option<String>) -> Reply<dto::Files> {
    let path = checked(&path.unwrap_or_default())?;
    let files = children(api, &inside(&root_uri, &path)?, &path).await?;
    Ok(Json(dto::Files { root_uri: Some(root_uri), files }))
}

async fn of_run(State(api): State<MlflowApi>, headers: HeaderMap, Message(m): Message<dto::ArtifactOfRun>) -> Result<Response, ApiError> {
    let (run, path) = (run_id(m.run_id, m.run_uuid)?, checked(&required(m.path, "path")?)?);
    send(&api, &inside(&root_of_run(&api, &run)?, &path)?, &headers).await
}

async fn of_model(
    State(api): State<MlflowApi>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Message(m): Message<dto::ArtifactOfModel>,
) -> Result<Response, ApiError> {
    let path = checked(&required(m.artifact_file_path, "artifact_file_path")?)?;
    let model = logged_models::find(&api.world()?, &id)?;
    send(&api, &inside(&model.artifact_uri, &path)?, &headers).await
}

async fn of_version(
    State(api): State<MlflowApi>,
    headers: HeaderMap,
    Message(m): Message<dto::ArtifactOfVersion>,
) -> Result<Response, ApiError> {
    let path = checked(&required(m.path, "path")?)?;
    let (name, number, world) = (name(m.name)?, version(m.version)?, api.world()?);
    let uri = place::of_version(&world, &registry::find_version(&world, &name, number)?)?;
    send(&api, &inside(&uri, &path)?, &headers).await
}

/// What a page uploads to a run: small, and in one piece.
async fn upload(State(api): State<MlflowApi>, Query(m): Query<dto::ArtifactOfRun>, request: Request) -> Result<(), ApiError> {
    let run = RunId::new(required(m.run_uuid.or(m.run_id), "run_uuid")?);
    let path = checked(&required(m.path, "path")?)?;
    let too_large = |_| Refusal::invalid("request/too_large", "the artifact has more than 10 MiB").hint("log it with the MLflow client");
    let bytes = to_bytes(request.into_body(), LARGEST).await.map_err(too_large)?;
    if bytes.is_empty() {
        return Err(missing("data").into());
    }
    let to = inside(&root_of_run(&api, &run)?, &path)?;
    put(&api, &to, futures::stream::once(async move { Ok(bytes) }).boxed()).await
}

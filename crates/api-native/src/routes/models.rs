//! Registered models: versions, what serves, how they were judged, their windows.

use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery};
use crate::request::{Asked, Caller, Sent};
use axum::Json;
use axum::extract::{Path, State};
use domain::entity::{Deployment, GateReport, Metric, ModelVersion, Monitor, RegisteredModel, VersionEnvironment, Window};
use domain::spec::ModelSpec;
use domain::{Digest, ModelName, Refusal, VersionNumber};
use ports::World;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

#[derive(Serialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    model: RegisteredModel,
    champion: Option<VersionNumber>,
    challenger: Option<VersionNumber>,
}

pub(super) async fn list(State(api): State<Api>, Asked(page): Asked<PageQuery>) -> Result<Json<Page<Listed>>, ApiError> {
    let world = api.world()?;
    let models = page.of(world.list::<RegisteredModel>()?)?;
    let mut items = Vec::new();
    for model in models.items {
        let deployment = world.get::<Deployment>(model.name.as_str())?;
        let champion = deployment.as_ref().and_then(|deployment| deployment.champion);
        let rolled_out = |deployment: Deployment| {
            let shadow = deployment.challenger.map(|shadow| shadow.version);
            deployment.canary.map(|canary| canary.version).or(shadow)
        };
        let challenger = deployment.and_then(rolled_out);
        items.push(Listed { model, champion, challenger });
    }
    Ok(Json(Page { items, next: models.next }))
}

#[derive(Serialize)]
pub(super) struct Shown {
    model: Option<RegisteredModel>,
    declared: Option<ModelSpec>,
    deployment: Option<Deployment>,
    /// Newest first.
    versions: Page<Version>,
}

#[derive(Serialize)]
struct Version {
    #[serde(flatten)]
    version: ModelVersion,
    /// What its run logged last.
    metrics: Vec<Metric>,
    gate: Option<GateReport>,
    monitor: Option<Monitor>,
    /// What its workers see, where it is locked; or why it is not.
    environment: Option<VersionEnvironment>,
    /// The lock's, by itself: for tables.
    environment_sha256: Option<Digest>,
}

pub(super) async fn show(State(api): State<Api>, Path(name): Path<String>, Asked(page): Asked<PageQuery>) -> Result<Json<Shown>, ApiError> {
    let world = api.world()?;
    let name = known(&world, &name)?;
    let mut versions = world.scope::<ModelVersion>(name.as_str())?;
    versions.sort_by_key(|version| Reverse(version.version));
    let page = page.of(versions)?;
    let mut items = Vec::new();
    for version in page.items {
        let key = format!("{name}/{}", version.version);
        let run = version.run.as_ref().map(|run| api.runs.run(run)).transpose()?.flatten();
        let metrics = run.map(|run| run.metrics).unwrap_or_default();
        let environment = world.get::<VersionEnvironment>(&key)?;
        let environment_sha256 = environment.as_ref().and_then(|environment| Some(environment.lock.as_ref()?.sha256.clone()));
        items.push(Version { metrics, gate: world.get(&key)?, monitor: world.get(&key)?, environment, environment_sha256, version });
    }
    Ok(Json(Shown {
        model: world.get(name.as_str())?,
        declared: declared(&world, name.as_str())?,
        deployment: world.get(name.as_str())?,
        versions: Page { items, next: page.next },
    }))
}

fn declared(world: &World, name: &str) -> Result<Option<ModelSpec>, ApiError> {
    Ok(world.project()?.and_then(|project| project.spec.model.get(name).cloned()))
}

/// The name of a model that is registered or declared.
pub(super) fn known(world: &World, name: &str) -> Result<ModelName, ApiError> {
    let name = ModelName::parse(name)?;
    if world.get::<RegisteredModel>(name.as_str())?.is_some() || declared(world, name.as_str())?.is_some() {
        return Ok(name);
    }
    Err(Refusal::not_found("model/not_found", format!("there is no model `{name}`")).hint("trimtab model ls").into())
}

#[derive(Serialize)]
pub(super) struct RolledBack {
    model: ModelName,
    /// The version that serves now.
    version: VersionNumber,
}

pub(super) async fn rollback(
    State(api): State<Api>,
    Path(name): Path<String>,
    Caller(actor): Caller,
) -> Result<Json<RolledBack>, ApiError> {
    let model = known(&api.world()?, &name)?;
    let version = api.decide(&actor, |world, actor, now| delivery::commands::rollback(world, &model, actor, now)).await?;
    Ok(Json(RolledBack { model, version }))
}

#[derive(Deserialize)]
pub(super) struct PromoteBody {
    version: u64,
}

/// By hand, as a client does that sets the alias.
pub(super) async fn promote(
    State(api): State<Api>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<PromoteBody>,
) -> Result<Json<RolledBack>, ApiError> {
    let model = known(&api.world()?, &name)?;
    let version = VersionNumber(body.version);
    api.decide(&actor, |world, actor, now| tracking::aliases::set(world, &model, tracking::CHAMPION, version, actor, now)).await?;
    Ok(Json(RolledBack { model, version }))
}

#[derive(Deserialize)]
pub(super) struct KindQuery {
    /// `input` or `performance`.
    kind: Option<domain::entity::WindowKind>,
}

pub(super) async fn windows(
    State(api): State<Api>,
    Path(name): Path<String>,
    Asked(query): Asked<KindQuery>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<Page<Window>>, ApiError> {
    let world = api.world()?;
    let name = known(&world, &name)?;
    let mut windows = world.scope::<Window>(name.as_str())?;
    windows.retain(|window| query.kind.is_none_or(|kind| window.kind == kind));
    windows.sort_by_key(|window| Reverse((window.range.from, window.version, window.kind)));
    Ok(Json(page.of(windows)?))
}

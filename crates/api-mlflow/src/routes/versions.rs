//! Versions of registered models.

use super::models::name;
use super::page::{Search, limit};
use crate::caller::Caller;
use crate::convert::{latest_versions, model_version, some, tags, version};
use crate::error::ApiError;
use crate::message::{Done, Message, Reply, done, required};
use crate::{MlflowApi, dto};
use axum::extract::State;
use axum::routing::{delete as route_delete, get, patch, post};
use axum::{Json, Router};
use domain::RunId;
use domain::entity::{ModelVersion, RegisteredModel, Tag};
use domain::filter::Target;
use ports::World;
use tracking::place;
use tracking::registry::{self, NewVersion};

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/model-versions/create", post(create))
        .route("/model-versions/get", get(one))
        .route("/model-versions/search", get(search))
        .route("/model-versions/get-download-uri", get(download_uri))
        .route("/model-versions/update", patch(update))
        .route("/model-versions/delete", route_delete(delete))
        .route("/model-versions/transition-stage", post(transition))
        .route("/model-versions/set-tag", post(set_tag))
        .route("/model-versions/delete-tag", route_delete(delete_tag))
        .route("/registered-models/get-latest-versions", get(latest).post(latest))
}

/// The version with its aliases, as an answer.
pub(super) fn answer(world: &World, version: ModelVersion) -> Reply<dto::OneVersion> {
    Ok(Json(dto::OneVersion { model_version: with_aliases(world, version)? }))
}

fn with_aliases(world: &World, version: ModelVersion) -> Result<dto::ModelVersion, ApiError> {
    let model = world.get::<RegisteredModel>(version.model.as_str())?;
    Ok(model_version(version, model.as_ref()))
}

async fn create(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::CreateVersion>) -> Reply<dto::OneVersion> {
    let new = NewVersion {
        model: name(m.name)?,
        source: required(m.source, "source")?,
        run: some(m.run_id).map(RunId::new),
        model_id: some(m.model_id),
        tags: tags(m.tags)?,
        description: m.description.unwrap_or_default(),
    };
    let version = api.decide(&caller, |world, actor, now| registry::create_version(world, new.clone(), actor, now)).await?;
    answer(&api.world()?, version)
}

async fn one(State(api): State<MlflowApi>, Message(m): Message<dto::VersionRef>) -> Reply<dto::OneVersion> {
    let (name, number, world) = (name(m.name)?, version(m.version)?, api.world()?);
    answer(&world, registry::find_version(&world, &name, number)?)
}

async fn search(State(api): State<MlflowApi>, Message(m): Message<dto::SearchModels>) -> Reply<dto::Versions> {
    let limit = limit(m.max_results, 10_000, 200_000)?;
    let search = Search::parse::<ModelVersion>(&Target::VERSIONS, m.filter.as_deref(), &m.order_by, m.page_token.as_deref(), limit, "")?;
    let world = api.world()?;
    let (page, next_page_token) = search.without_prompts().page(world.list::<ModelVersion>()?)?;
    let model_versions = page.into_iter().map(|version| with_aliases(&world, version)).collect::<Result<_, _>>()?;
    Ok(Json(dto::Versions { model_versions, next_page_token }))
}

async fn download_uri(State(api): State<MlflowApi>, Message(m): Message<dto::VersionRef>) -> Reply<dto::ArtifactUri> {
    let (name, number) = (name(m.name)?, version(m.version)?);
    let world = api.world()?;
    let version = registry::find_version(&world, &name, number)?;
    Ok(Json(dto::ArtifactUri { artifact_uri: place::of_version(&world, &version)? }))
}

async fn update(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::DescribeVersion>) -> Reply<dto::OneVersion> {
    let (name, number, description) = (name(m.name)?, version(m.version)?, m.description.unwrap_or_default());
    let version =
        api.decide(&caller, |world, actor, now| registry::describe_version(world, &name, number, &description, actor, now)).await?;
    answer(&api.world()?, version)
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::VersionRef>) -> Reply<Done> {
    let (name, number) = (name(m.name)?, version(m.version)?);
    api.decide(&caller, |world, actor, now| registry::delete_version(world, &name, number, actor, now)).await?;
    done()
}

async fn transition(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::Transition>) -> Reply<dto::OneVersion> {
    let (name, number, stage) = (name(m.name)?, version(m.version)?, required(m.stage, "stage")?);
    let archive = m.archive_existing_versions.is_some_and(|archive| archive.0);
    let version = api.decide(&caller, |world, actor, now| registry::transition(world, &name, number, &stage, archive, actor, now)).await?;
    answer(&api.world()?, version)
}

async fn set_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::VersionTag>) -> Reply<Done> {
    let (name, number) = (name(m.name)?, version(m.version)?);
    let tag = Tag::new(required(m.key, "key")?, m.value.unwrap_or_default());
    api.decide(&caller, |world, actor, now| registry::set_version_tag(world, &name, number, tag.clone(), actor, now)).await?;
    done()
}

async fn delete_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::VersionTag>) -> Reply<Done> {
    let (name, number, key) = (name(m.name)?, version(m.version)?, required(m.key, "key")?);
    api.decide(&caller, |world, actor, now| registry::delete_version_tag(world, &name, number, &key, actor, now)).await?;
    done()
}

/// The newest version of each stage, or of the stages asked for.
async fn latest(State(api): State<MlflowApi>, Message(m): Message<dto::LatestVersions>) -> Reply<dto::Versions> {
    let (name, world) = (name(m.name)?, api.world()?);
    let model = registry::find_model(&world, &name)?;
    let stages = m.stages.iter().map(|word| registry::stage(word)).collect::<Result<Vec<_>, _>>()?;
    let mut versions = latest_versions(world.scope::<ModelVersion>(name.as_str())?);
    versions.retain(|version| stages.is_empty() || stages.contains(&version.stage.as_str()));
    let model_versions = versions.into_iter().map(|version| model_version(version, Some(&model))).collect();
    Ok(Json(dto::Versions { model_versions, next_page_token: None }))
}

//! Registered models.

use super::page::{Search, limit};
use crate::caller::Caller;
use crate::convert::{registered_model, tags};
use crate::error::ApiError;
use crate::message::{Done, Message, Reply, done, required};
use crate::{MlflowApi, dto};
use axum::extract::State;
use axum::routing::{delete as route_delete, get, patch, post};
use axum::{Json, Router};
use domain::entity::{ModelVersion, RegisteredModel, Tag};
use domain::filter::Target;
use domain::{ModelName, Refusal};
use ports::World;
use tracking::registry;

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/registered-models/create", post(create))
        .route("/registered-models/rename", post(rename))
        .route("/registered-models/update", patch(update))
        .route("/registered-models/delete", route_delete(delete))
        .route("/registered-models/get", get(one))
        .route("/registered-models/search", get(search))
        .route("/registered-models/set-tag", post(set_tag))
        .route("/registered-models/delete-tag", route_delete(delete_tag))
}

/// The name of a model; what no model can be named is refused before it is looked for.
pub(super) fn name(text: Option<String>) -> Result<ModelName, Refusal> {
    ModelName::parse(&required(text, "name")?)
}

fn whole(world: &World, model: RegisteredModel) -> Result<dto::RegisteredModel, ApiError> {
    let versions = world.scope::<ModelVersion>(model.name.as_str())?;
    Ok(registered_model(model, versions))
}

async fn create(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::CreateModel>) -> Reply<dto::OneModel> {
    let (name, tags, description) = (required(m.name, "name")?, tags(m.tags)?, m.description.unwrap_or_default());
    let model =
        api.decide(&caller, |world, actor, now| registry::create_model(world, &name, tags.clone(), &description, actor, now)).await?;
    Ok(Json(dto::OneModel { registered_model: registered_model(model, Vec::new()) }))
}

async fn rename(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::RenameModel>) -> Reply<dto::OneModel> {
    let (name, new) = (name(m.name)?, required(m.new_name, "new_name")?);
    let model = api.decide(&caller, |world, actor, now| registry::rename_model(world, &name, &new, actor, now)).await?;
    Ok(Json(dto::OneModel { registered_model: whole(&api.world()?, model)? }))
}

async fn update(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::Describe>) -> Reply<dto::OneModel> {
    let (name, description) = (name(m.name)?, m.description.unwrap_or_default());
    let model = api.decide(&caller, |world, actor, now| registry::describe_model(world, &name, &description, actor, now)).await?;
    Ok(Json(dto::OneModel { registered_model: whole(&api.world()?, model)? }))
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::Named>) -> Reply<Done> {
    let name = name(m.name)?;
    api.decide(&caller, |world, actor, now| registry::delete_model(world, &name, actor, now)).await?;
    done()
}

async fn one(State(api): State<MlflowApi>, Message(m): Message<dto::Named>) -> Reply<dto::OneModel> {
    let (name, world) = (name(m.name)?, api.world()?);
    let model = registry::find_model(&world, &name)?;
    Ok(Json(dto::OneModel { registered_model: whole(&world, model)? }))
}

async fn search(State(api): State<MlflowApi>, Message(m): Message<dto::SearchModels>) -> Reply<dto::Models> {
    let limit = limit(m.max_results, 100, 1000)?;
    let search = Search::parse::<RegisteredModel>(&Target::MODELS, m.filter.as_deref(), &m.order_by, m.page_token.as_deref(), limit, "")?;
    let world = api.world()?;
    let (page, next_page_token) = search.without_prompts().page(world.list::<RegisteredModel>()?)?;
    let registered_models = page.into_iter().map(|model| whole(&world, model)).collect::<Result<_, _>>()?;
    Ok(Json(dto::Models { registered_models, next_page_token }))
}

async fn set_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::ModelTag>) -> Reply<Done> {
    let (name, tag) = (name(m.name)?, Tag::new(required(m.key, "key")?, m.value.unwrap_or_default()));
    api.decide(&caller, |world, actor, now| registry::set_model_tag(world, &name, tag.clone(), actor, now)).await?;
    done()
}

async fn delete_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::ModelTag>) -> Reply<Done> {
    let (name, key) = (name(m.name)?, required(m.key, "key")?);
    api.decide(&caller, |world, actor, now| registry::delete_model_tag(world, &name, &key, actor, now)).await?;
    done()
}

//! Logged models.

use super::page::{Search, limit};
use crate::caller::Caller;
use crate::convert::{logged_status, params, some, tags};
use crate::message::{Done, Message, Reply, done, required};
use crate::{MlflowApi, dto, names};
use axum::extract::{Path, State};
use axum::routing::{delete as route_delete, get, patch, post};
use axum::{Json, Router};
use domain::entity::LoggedModel;
use domain::filter::Target;
use domain::{ExperimentId, RunId};
use tracking::logged_models::{self, NewLoggedModel};

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/logged-models", post(create))
        .route("/logged-models/search", post(search))
        .route("/logged-models/{id}", get(one).patch(finalize).delete(delete))
        .route("/logged-models/{id}/params", post(log_params))
        .route("/logged-models/{id}/tags", patch(set_tags))
        .route("/logged-models/{id}/tags/{key}", route_delete(delete_tag))
}

fn answer(model: LoggedModel) -> Reply<dto::OneLoggedModel> {
    Ok(Json(dto::OneLoggedModel { model: model.into() }))
}

async fn create(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::CreateLoggedModel>) -> Reply<dto::OneLoggedModel> {
    let new = NewLoggedModel {
        id: format!("m-{}", names::hex_id()),
        experiment: ExperimentId::new(required(m.experiment_id, "experiment_id")?),
        name: some(m.name).unwrap_or_else(names::spare_name),
        model_type: some(m.model_type),
        source_run: some(m.source_run_id).map(RunId::new),
        tags: tags(m.tags)?,
        params: params(m.params)?,
    };
    answer(api.decide(&caller, |world, actor, now| logged_models::create(world, new.clone(), actor, now)).await?)
}

async fn one(State(api): State<MlflowApi>, Path(id): Path<String>) -> Reply<dto::OneLoggedModel> {
    answer(logged_models::find(&api.world()?, &id)?)
}

async fn finalize(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::FinalizeModel>,
) -> Reply<dto::OneLoggedModel> {
    let status = logged_status(&required(m.status, "status")?)?;
    answer(api.decide(&caller, |world, actor, now| logged_models::finalize(world, &id, status, actor, now)).await?)
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Path(id): Path<String>) -> Reply<Done> {
    api.decide(&caller, |world, actor, now| logged_models::delete(world, &id, actor, now)).await?;
    done()
}

async fn log_params(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::LoggedModelParams>,
) -> Reply<Done> {
    let params = params(m.params)?;
    api.decide(&caller, |world, actor, now| logged_models::log_params(world, &id, params.clone(), actor, now)).await?;
    done()
}

async fn set_tags(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::LoggedModelTags>,
) -> Reply<dto::OneLoggedModel> {
    let tags = tags(m.tags)?;
    answer(api.decide(&caller, |world, actor, now| logged_models::set_tags(world, &id, tags.clone(), actor, now)).await?)
}

async fn delete_tag(State(api): State<MlflowApi>, caller: Caller, Path((id, key)): Path<(String, String)>) -> Reply<Done> {
    api.decide(&caller, |world, actor, now| logged_models::delete_tag(world, &id, &key, actor, now)).await?;
    done()
}

async fn search(State(api): State<MlflowApi>, Message(m): Message<dto::SearchLoggedModels>) -> Reply<dto::LoggedModels> {
    let mut order = Vec::new();
    for key in m.order_by {
        let field = required(key.field_name, "order_by.field_name")?;
        order.push(if key.ascending == Some(false) { format!("{field} DESC") } else { field });
    }
    let search =
        Search::parse(&Target::LOGGED_MODELS, m.filter.as_deref(), &order, m.page_token.as_deref(), limit(m.max_results, 100, 100)?)?;
    let mut all = api.world()?.list::<LoggedModel>()?;
    all.retain(|model| m.experiment_ids.iter().any(|id| id == model.experiment.as_str()));
    let (page, next_page_token) = search.page(all, |a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(Json(dto::LoggedModels { models: page.into_iter().map(Into::into).collect(), next_page_token }))
}

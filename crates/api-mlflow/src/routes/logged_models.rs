//! Logged models.

use super::page::{Listed, Search, limit};
use crate::caller::Caller;
use crate::convert::{logged_status, params, some, tags};
use crate::message::{Done, Message, Reply, done, missing, required};
use crate::{MlflowApi, dto, names};
use axum::extract::{Path, State};
use axum::routing::{delete as route_delete, get, patch, post};
use axum::{Json, Router};
use domain::entity::{LifecycleStage, LoggedModel, Metric};
use domain::filter::{Expr, Field, Found, OrderBy, Searchable, Target};
use domain::{ExperimentId, Fault, Refusal, RunId};
use ports::Sorted;
use serde::Serialize;
use std::sync::Arc;
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

async fn one(
    State(api): State<MlflowApi>,
    Path(id): Path<String>,
    Message(m): Message<dto::LoggedModelQuery>,
) -> Reply<dto::OneLoggedModel> {
    let world = api.world()?;
    if m.allow_deleted.is_some_and(|allow| allow.0) {
        return answer(world.get::<LoggedModel>(&id)?.ok_or_else(|| logged_models::none(&id))?);
    }
    answer(logged_models::find(&world, &id)?)
}

async fn finalize(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::FinalizeModel>,
) -> Reply<dto::OneLoggedModel> {
    let status = logged_status(&required(m.status.map(|word| word.0), "status")?)?;
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

/// Models of the experiments; a clause or key about a metric looks at its latest value, on the datasets asked for.
async fn search(State(api): State<MlflowApi>, Message(m): Message<dto::SearchLoggedModels>) -> Reply<dto::LoggedModels> {
    if m.experiment_ids.is_empty() {
        return Err(missing("experiment_ids").into());
    }
    // Clients say "as many as you like" with 0.
    let limit = limit(m.max_results.filter(|asked| asked.0 != 0), 100, 50_000)?;
    let keys = m.order_by.into_iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let datasets = Arc::new(m.datasets.into_iter().map(On::of).collect::<Result<Vec<_>, _>>()?);
    let about = serde_json::to_string(&(&m.experiment_ids, keys.iter().map(|key| &key.on).collect::<Vec<_>>(), &*datasets))
        .map_err(|e| Fault::because("writing a page token", e))?;
    let filter = Expr::parse(m.filter.as_deref().unwrap_or(""), &Target::LOGGED_MODELS)?;
    let asks_metric = filter.0.iter().any(|clause| matches!(clause.field, Field::Metric(_)));
    let order = keys.iter().map(|key| key.by.clone()).collect();
    let search = Search::of::<OnDatasets>(filter, order, m.page_token.as_deref(), limit, &about)?;

    let all = api.apart(|api| api.world()?.list::<LoggedModel>()).await?;
    let is_asked = |model: &LoggedModel| {
        model.lifecycle_stage == LifecycleStage::Active && m.experiment_ids.iter().any(|id| id == model.experiment.as_str())
    };
    let on_datasets = |model: LoggedModel| OnDatasets { model, datasets: datasets.clone() };
    let mut all: Vec<_> = all.into_iter().filter(is_asked).map(on_datasets).collect();
    if !datasets.is_empty() && !asks_metric {
        all.retain(|thing| thing.model.all_metrics().any(|(_, metric)| thing.counts(metric)));
    }
    let by_metric = |at: usize, thing: &OnDatasets| {
        let Key { by: OrderBy { field: Field::Metric(metric), .. }, on } = keys.get(at)? else { return None };
        let of = thing.model.all_metrics().filter(|(_, found)| found.key == *metric && on.as_ref().is_none_or(|on| on.fits(found)));
        let latest = of.max_by_key(|(_, found)| (found.time, found.step));
        Some(latest.map_or(Sorted::Missing, |(_, found)| Sorted::number(found.value)))
    };
    let (page, next_page_token) = search.page_of(all, by_metric)?;
    Ok(Json(dto::LoggedModels { models: page.into_iter().map(|thing| thing.model.into()).collect(), next_page_token }))
}

/// One key of the order.
struct Key {
    by: OrderBy,
    on: Option<On>,
}

fn key(asked: dto::ModelOrder) -> Result<Key, Refusal> {
    let field = required(asked.field_name, "order_by.field_name")?;
    let by = OrderBy { descending: asked.ascending == Some(false), ..OrderBy::parse(&field, &Target::LOGGED_MODELS)? };
    if matches!(by.field, Field::Param(_) | Field::Tag(_)) {
        let what = format!("`{field}` is no key of an order");
        return Err(Refusal::invalid("search/order", what).hint("order by an attribute or by metrics.KEY"));
    }
    let (name, digest) = (some(asked.dataset_name), some(asked.dataset_digest));
    let on = (name.is_some() || digest.is_some()).then_some(On { name, digest });
    Ok(Key { by, on })
}

/// A dataset that metrics are about.
#[derive(Serialize)]
struct On {
    name: Option<String>,
    digest: Option<String>,
}

impl On {
    fn of(asked: dto::DatasetRef) -> Result<Self, Refusal> {
        Ok(On { name: Some(required(asked.dataset_name, "datasets.dataset_name")?), digest: some(asked.dataset_digest) })
    }

    fn fits(&self, metric: &Metric) -> bool {
        let is = |asked: &Option<String>, found: &Option<String>| asked.is_none() || asked == found;
        is(&self.name, &metric.dataset_name) && is(&self.digest, &metric.dataset_digest)
    }
}

/// A model as a search on some datasets sees it: metrics that are about others are not there. None means all.
struct OnDatasets {
    model: LoggedModel,
    datasets: Arc<Vec<On>>,
}

impl OnDatasets {
    fn counts(&self, metric: &Metric) -> bool {
        self.datasets.is_empty() || self.datasets.iter().any(|on| on.fits(metric))
    }
}

impl Searchable for OnDatasets {
    fn find(&self, field: &Field) -> Vec<Found<'_>> {
        let Field::Metric(key) = field else { return self.model.find(field) };
        let of = self.model.all_metrics().filter(|(_, metric)| metric.key == *key && self.counts(metric));
        of.map(|(_, metric)| Found::Number(metric.value)).collect()
    }
}

impl Listed for OnDatasets {
    const ORDER: &'static [(&'static str, bool)] = LoggedModel::ORDER;

    fn id(&self) -> String {
        self.model.id.clone()
    }
}

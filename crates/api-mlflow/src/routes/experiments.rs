//! Experiments.

use super::page::{Search, limit};
use crate::caller::Caller;
use crate::convert::{some, tags, view};
use crate::message::{Done, Message, Reply, done, required};
use crate::{MlflowApi, dto};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::entity::{Experiment, LifecycleStage, Tag};
use domain::filter::Target;
use domain::{ExperimentId, Refusal};
use ports::ViewType;
use ports::refusals::no_experiment;
use tracking::experiments::{self, NewExperiment};

/// Experiments whose datasets one call may ask for.
const MOST_WITH_DATASETS: usize = 20;

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/experiments/create", post(create))
        .route("/experiments/get", get(one))
        .route("/experiments/get-by-name", get(by_name))
        .route("/experiments/search", get(search).post(search))
        .route("/experiments/update", post(update))
        .route("/experiments/delete", post(delete))
        .route("/experiments/restore", post(restore))
        .route("/experiments/set-experiment-tag", post(set_tag))
        .route("/experiments/delete-experiment-tag", post(delete_tag))
        .route("/experiments/search-datasets", post(search_datasets))
}

fn id(text: Option<String>) -> Result<ExperimentId, Refusal> {
    let id = required(text, "experiment_id")?;
    if id.chars().all(|c| c.is_ascii_digit()) {
        return Ok(ExperimentId::new(id));
    }
    Err(Refusal::invalid("experiment/id", format!("`{id}` is not the id of an experiment")).hint("ids are numbers"))
}

async fn create(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::CreateExperiment>) -> Reply<dto::ExperimentId> {
    let new = NewExperiment { name: required(m.name, "name")?, artifact_location: some(m.artifact_location), tags: tags(m.tags)? };
    let experiment = api.decide(&caller, |world, actor, now| experiments::create(world, new.clone(), actor, now)).await?;
    Ok(Json(dto::ExperimentId { experiment_id: experiment.id.to_string() }))
}

async fn one(State(api): State<MlflowApi>, Message(m): Message<dto::ById>) -> Reply<dto::OneExperiment> {
    let id = id(m.experiment_id)?;
    let experiment = api.world()?.experiment(&id)?.ok_or_else(|| no_experiment(&id))?;
    Ok(Json(dto::OneExperiment { experiment: experiment.into() }))
}

/// A deleted experiment is found too: clients ask before they create.
async fn by_name(State(api): State<MlflowApi>, Message(m): Message<dto::ByName>) -> Reply<dto::OneExperiment> {
    let name = required(m.experiment_name, "experiment_name")?;
    let found = api.world()?.experiments()?.into_iter().find(|experiment| experiment.name == name);
    let missing = || Refusal::not_found("experiment/not_found", format!("Could not find experiment with name '{name}'"));
    Ok(Json(dto::OneExperiment { experiment: found.ok_or_else(missing)?.into() }))
}

async fn search(State(api): State<MlflowApi>, Message(m): Message<dto::SearchExperiments>) -> Reply<dto::Experiments> {
    let limit = limit(m.max_results, 1000, 50_000)?;
    let view = view(m.view_type)?;
    let about = format!("{view:?}");
    let search =
        Search::parse::<Experiment>(&Target::EXPERIMENTS, m.filter.as_deref(), &m.order_by, m.page_token.as_deref(), limit, &about)?;
    let mut all = api.world()?.experiments()?;
    match view {
        ViewType::All => {}
        ViewType::Active => all.retain(|experiment| experiment.lifecycle_stage == LifecycleStage::Active),
        ViewType::Deleted => all.retain(|experiment| experiment.lifecycle_stage == LifecycleStage::Deleted),
    }
    let (page, next_page_token) = search.page(all)?;
    Ok(Json(dto::Experiments { experiments: page.into_iter().map(Into::into).collect(), next_page_token }))
}

async fn update(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::UpdateExperiment>) -> Reply<Done> {
    let (id, name) = (id(m.experiment_id)?, required(m.new_name, "new_name")?);
    api.decide(&caller, |world, actor, now| experiments::rename(world, &id, &name, actor, now)).await?;
    done()
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::ById>) -> Reply<Done> {
    let id = id(m.experiment_id)?;
    api.decide(&caller, |world, actor, now| experiments::delete(world, &id, actor, now)).await?;
    done()
}

async fn restore(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::ById>) -> Reply<Done> {
    let id = id(m.experiment_id)?;
    api.decide(&caller, |world, actor, now| experiments::restore(world, &id, actor, now)).await?;
    done()
}

async fn set_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::ExperimentTag>) -> Reply<Done> {
    let (id, tag) = (id(m.experiment_id)?, Tag::new(required(m.key, "key")?, m.value.unwrap_or_default()));
    api.decide(&caller, |world, actor, now| experiments::set_tag(world, &id, tag.clone(), actor, now)).await?;
    done()
}

async fn delete_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::ExperimentTag>) -> Reply<Done> {
    let (id, key) = (id(m.experiment_id)?, required(m.key, "key")?);
    api.decide(&caller, |world, actor, now| experiments::delete_tag(world, &id, &key, actor, now)).await?;
    done()
}

/// What runs of the experiments read: each dataset once a context.
async fn search_datasets(State(api): State<MlflowApi>, Message(m): Message<dto::SearchDatasets>) -> Reply<dto::DatasetSummaries> {
    if m.experiment_ids.is_empty() || m.experiment_ids.len() > MOST_WITH_DATASETS {
        let what = format!("{} experiments are asked for", m.experiment_ids.len());
        return Err(Refusal::invalid("search/experiments", what).hint(format!("give experiment_ids, 1 to {MOST_WITH_DATASETS}")).into());
    }
    let experiments: Vec<_> = m.experiment_ids.into_iter().map(ExperimentId::new).collect();
    let found = api.apart(move |api| api.runs.datasets(&experiments)).await?;
    Ok(Json(dto::DatasetSummaries { dataset_summaries: found.into_iter().map(Into::into).collect() }))
}

//! Runs: their life, and the search over them.

use super::page::limit;
use crate::caller::Caller;
use crate::convert::{run_id, run_info, some, status, tags, view};
use crate::message::{Done, Message, Reply, done};
use crate::{MlflowApi, dto, names};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::filter::{Expr, OrderBy};
use domain::{ExperimentId, RunId, Timestamp};
use ports::RunSearch;
use ports::refusals::no_run;
use tracking::runs::{self, NewRun, RunChange};

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/runs/create", post(create))
        .route("/runs/get", get(one))
        .route("/runs/update", post(update))
        .route("/runs/delete", post(delete))
        .route("/runs/restore", post(restore))
        .route("/runs/search", post(search))
}

async fn create(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::CreateRun>) -> Reply<dto::OneRun> {
    let tags = tags(m.tags)?;
    let tagged_user = tags.iter().find(|tag| tag.key == "mlflow.user").map(|tag| tag.value.clone());
    let new = NewRun {
        id: RunId::new(names::hex_id()),
        experiment: ExperimentId::new(some(m.experiment_id).unwrap_or_else(|| "0".into())),
        name: m.run_name,
        spare_name: names::spare_name(),
        user: some(m.user_id).or(tagged_user).unwrap_or_default(),
        start: m.start_time.map_or_else(|| api.clock.event_now(), |start| Timestamp::from_ms(start.0)),
        tags,
    };
    let run = api.decide(&caller, |world, actor, now| runs::create(world, new.clone(), actor, now)).await?;
    // A new run is told without its outputs.
    Ok(Json(dto::OneRun { run: dto::Run { outputs: None, ..run.into() } }))
}

async fn one(State(api): State<MlflowApi>, Message(m): Message<dto::RunRef>) -> Reply<dto::OneRun> {
    let id = run_id(m.run_id, m.run_uuid)?;
    let run = api.runs.run(&id)?.ok_or_else(|| no_run(&id))?;
    Ok(Json(dto::OneRun { run: run.into() }))
}

async fn update(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::UpdateRun>) -> Reply<dto::OneRunInfo> {
    let id = run_id(m.run_id, m.run_uuid)?;
    let change = RunChange {
        name: m.run_name,
        status: some(m.status).map(|word| status(&word)).transpose()?,
        end: m.end_time.map(|end| Timestamp::from_ms(end.0)),
    };
    let run = api.decide(&caller, |world, actor, now| runs::update(world, &id, change.clone(), actor, now)).await?;
    Ok(Json(dto::OneRunInfo { run_info: run_info(&run) }))
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::RunRef>) -> Reply<Done> {
    let id = run_id(m.run_id, m.run_uuid)?;
    api.decide(&caller, |world, actor, now| runs::delete(world, &id, actor, now)).await?;
    done()
}

async fn restore(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::RunRef>) -> Reply<Done> {
    let id = run_id(m.run_id, m.run_uuid)?;
    api.decide(&caller, |world, actor, now| runs::restore(world, &id, actor, now)).await?;
    done()
}

async fn search(State(api): State<MlflowApi>, Message(m): Message<dto::SearchRuns>) -> Reply<dto::Runs> {
    let search = RunSearch {
        experiments: m.experiment_ids.into_iter().map(ExperimentId::new).collect(),
        filter: Expr::parse_runs(m.filter.as_deref().unwrap_or(""))?,
        view: view(m.run_view_type)?,
        order: m.order_by.iter().map(|key| OrderBy::parse_runs(key)).collect::<Result<_, _>>()?,
        limit: limit(m.max_results, 1000, 50_000)?,
        token: some(m.page_token),
    };
    let page = api.apart(move |api| api.runs.search(&search)).await?;
    Ok(Json(dto::Runs { runs: page.items.into_iter().map(Into::into).collect(), next_page_token: page.token }))
}

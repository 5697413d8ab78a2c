//! Tracking runs and experiments, in MLflow's filter grammar.

use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery, limit};
use crate::request::{Asked, Caller, Sent};
use axum::Json;
use axum::extract::{Path, State};
use domain::entity::{Experiment, LifecycleStage, Metric, Run};
use domain::filter::{Expr, OrderBy};
use domain::{ExperimentId, Fault, Refusal, RunId};
use ports::refusals::no_run;
use ports::{CommitError, RunSearch, ViewType};
use serde::{Deserialize, Serialize};
use tracking::gc::{self, Freed};
use tracking::import::{Item, Taken, take};

#[derive(Deserialize)]
pub(super) struct RunsQuery {
    /// Names or ids, comma-separated; none means every active one, or every one if deleted runs are asked for.
    #[serde(default)]
    experiment: String,
    #[serde(default)]
    filter: String,
    /// `metrics.rmse ASC, start_time DESC`.
    #[serde(default)]
    order: String,
    /// `active`, `deleted` or `all`.
    view: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

pub(super) async fn list(State(api): State<Api>, Asked(query): Asked<RunsQuery>) -> Result<Json<Page<Run>>, ApiError> {
    let view = view(query.view.as_deref())?;
    let search = RunSearch {
        experiments: experiments_of(&api, &query.experiment, view)?,
        filter: Expr::parse_runs(&query.filter)?,
        order: orders(&query.order).map(|key| OrderBy::parse_runs(&key)).collect::<Result<_, _>>()?,
        view,
        limit: limit(query.limit)?,
        token: query.after,
    };
    let page = api.apart(move |api| api.runs.search(&search)).await?;
    Ok(Json(Page { items: page.items, next: page.token }))
}

/// Keys of an order; a comma within quotes is part of its key.
fn orders(text: &str) -> impl Iterator<Item = String> {
    let mut keys = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, ',') => keys.push(String::new()),
            (None, '`' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        if let (Some(last), false) = (keys.last_mut(), quote.is_none() && c == ',') {
            last.push(c);
        }
    }
    keys.into_iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty())
}

fn view(word: Option<&str>) -> Result<ViewType, Refusal> {
    match word {
        None | Some("active") => Ok(ViewType::Active),
        Some("deleted") => Ok(ViewType::Deleted),
        Some("all") => Ok(ViewType::All),
        Some(other) => Err(Refusal::invalid("runs/view", format!("`{other}` is no view of runs")).hint("give active, deleted or all")),
    }
}

fn experiments_of(api: &Api, names: &str, view: ViewType) -> Result<Vec<ExperimentId>, ApiError> {
    let all = api.world()?.experiments()?;
    let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        let wanted = |one: &Experiment| view != ViewType::Active || one.lifecycle_stage == LifecycleStage::Active;
        return Ok(all.into_iter().filter(wanted).map(|one| one.id).collect());
    }
    let find = |name: &&str| {
        let found = all.iter().find(|one| one.name == *name).or_else(|| all.iter().find(|one| one.id.as_str() == *name));
        let missing = || Refusal::not_found("experiment/not_found", format!("no experiment `{name}`")).hint("trimtab experiment ls");
        found.map(|one| one.id.clone()).ok_or_else(missing)
    };
    Ok(names.iter().map(find).collect::<Result<_, _>>()?)
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Run>, ApiError> {
    let id = RunId::new(id);
    Ok(Json(api.runs.run(&id)?.ok_or_else(|| no_run(&id))?))
}

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    key: String,
    limit: Option<usize>,
    after: Option<String>,
}

/// Points of a page of a history, unless asked for.
const POINTS: usize = 10_000;

pub(super) async fn history(
    State(api): State<Api>,
    Path(id): Path<String>,
    Asked(query): Asked<HistoryQuery>,
) -> Result<Json<Page<Metric>>, ApiError> {
    let id = RunId::new(id);
    let limit = query.limit.unwrap_or(POINTS).clamp(1, POINTS);
    let page = api.apart(move |api| api.runs.history(&id, &query.key, Some(limit), query.after.as_deref())).await?;
    Ok(Json(Page { items: page.points, next: page.token }))
}

pub(super) async fn experiments(State(api): State<Api>, Asked(page): Asked<PageQuery>) -> Result<Json<Page<Experiment>>, ApiError> {
    Ok(Json(page.by(api.world()?.experiments()?, |experiment| experiment.id.to_string())?))
}

#[derive(Deserialize)]
pub(super) struct GcBody {
    /// `30d`: only what was deleted longer ago; by default all.
    older_than: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn gc(State(api): State<Api>, Caller(actor): Caller, Sent(body): Sent<GcBody>) -> Result<Json<Freed>, ApiError> {
    let now = api.clock.event_now();
    let before = gc::before(now, body.older_than.as_deref().unwrap_or("0d"))?;
    let mut freed = gc::collect(&*api.store, &*api.runs, &*api.artifacts, before, body.dry_run, &actor, now).await?;
    let kept = pipelines::work::environments_in_use(&api.world()?)?;
    freed.environments = api.gateway.free_environments(now - before, &kept, body.dry_run).await?;
    Ok(Json(freed))
}

#[derive(Deserialize)]
pub(super) struct ImportBody {
    items: Vec<Item>,
}

/// What became of each item.
#[derive(Serialize, Default)]
pub(super) struct Imported {
    new: usize,
    known: usize,
    refused: Vec<RefusedItem>,
}

#[derive(Serialize)]
struct RefusedItem {
    item: String,
    #[serde(flatten)]
    refusal: Refusal,
}

pub(super) async fn import(
    State(api): State<Api>,
    Caller(actor): Caller,
    Sent(body): Sent<ImportBody>,
) -> Result<Json<Imported>, ApiError> {
    let mut imported = Imported::default();
    let now = api.clock.event_now();
    for item in body.items {
        let name = item.name();
        match take(&*api.store, &*api.runs, item, &actor, now).await {
            Ok(Taken::New) => imported.new += 1,
            Ok(Taken::Known) => imported.known += 1,
            Err(CommitError::Refused(refusal)) => imported.refused.push(RefusedItem { item: name, refusal }),
            Err(CommitError::Conflict(what)) => return Err(Fault::broken(format!("importing {name}: {what} kept changing")).into()),
            Err(CommitError::Fault(fault)) => return Err(fault.into()),
        }
    }
    Ok(Json(imported))
}

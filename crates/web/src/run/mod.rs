//! One tracking run: its curves, what was logged, its files, where it came from and what came of it.

mod curves;
mod files;
mod lineage;
mod log;
mod preview;
mod thin;

pub(crate) use curves::{Axis, Course, Look, answer as curves};
pub(crate) use files::serve as file;
pub(crate) use log::{PIPELINE_RUN_TAG, answer as log, tail};

use crate::WebState;
use crate::address::Asked;
use crate::format::{figure, span, time};
use crate::link;
use crate::page::{PageError, show};
use crate::runs::PARENT_TAG;
use crate::versions::Made;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use curves::{CURVES, Figures};
use domain::RunId;
use domain::entity::{LifecycleStage, Run, RunStatus};
use domain::filter::{Clause, Expr, Field, Op, Value};
use files::Tree;
use lineage::Lineage;
use log::Log;
use ports::{RunSearch, ViewType, World};
use preview::Preview;
use serde::Serialize;

/// Tags that clients set for themselves begin so.
const CLIENT_TAG: &str = "mlflow.";
/// The tag that holds what its owner says of a run.
const NOTE_TAG: &str = "mlflow.note.content";
/// Metrics of the machine, shown last.
const SYSTEM: &str = "system/";

#[derive(Serialize)]
struct Page {
    id: String,
    name: String,
    status: &'static str,
    is_live: bool,
    is_deleted: bool,
    user: String,
    start: String,
    end: Option<String>,
    took: Option<String>,
    note: Option<String>,
    source: Option<String>,
    commit: Option<String>,
    experiment: String,
    experiment_href: String,
    parent: Option<Linked>,
    /// How many runs are parts of this one, and where they are.
    parts: Option<Linked>,
    parts_compare: String,
    lineage: Lineage,
    params: Vec<(String, String)>,
    metrics: Vec<Latest>,
    tags: Vec<(String, String)>,
    client_tags: Vec<(String, String)>,
    look: Look,
    /// For the form of the curves: what else the address says.
    kept: Vec<(String, String)>,
    keys: String,
    figures: Figures,
    before_href: String,
    after_href: String,
    only: Option<String>,
    all_href: String,
    curves_href: String,
    tree: Tree,
    /// Its files are not in this server's store.
    elsewhere: Option<String>,
    preview: Option<Preview>,
    log: Option<Log>,
    url: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Linked {
    pub text: String,
    pub href: String,
}

#[derive(Serialize)]
struct Latest {
    key: String,
    value: String,
    exact: String,
    step: i64,
    href: String,
}

/// `GET /runs/ID`.
pub(crate) async fn page(
    State(state): State<WebState>,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, PageError> {
    let (id, asked) = (RunId::new(id), Asked::new(pairs));
    let (mut page, run) = {
        let (id, asked) = (id.clone(), asked.clone());
        state.read(move |state| read(state, &id, &asked)).await?
    };
    match files::folder(&run) {
        Some(folder) => {
            page.tree = files::tree(&state, &folder, &asked, &link::run(&id)).await?;
            let wanted = asked.one("file").or_else(|| files::first(&page.tree.nodes)).map(str::to_owned);
            if let Some(path) = wanted {
                page.preview = preview::preview(&state, &id, &folder, &path).await?;
            }
        }
        None => page.elsewhere = Some(run.artifact_uri),
    }
    show("run.html", &format!("Run {}", page.name), "runs", &page)
}

/// The page without its artifacts, and the run.
fn read(state: &WebState, id: &RunId, asked: &Asked) -> Result<(Page, Run), PageError> {
    let run = state.runs.run(id)?.ok_or_else(|| PageError::missing("run", id))?;
    let world = state.world()?;
    let experiment = world.experiment(&run.experiment)?.map_or_else(|| run.experiment.to_string(), |found| found.name);
    let (only, part) = (asked.one("metric"), asked.one("keys").unwrap_or_default());
    let look = Look::read(asked);
    let keys = keys(&run, only, part);
    let from = asked.one("from").and_then(|from| from.parse().ok()).unwrap_or(0);
    let figures = curves::figures(state, &run, &keys, from, look)?;
    let here = link::run(id);
    let path = format!("{here}/curves");
    let drawn = figures.shown.iter().fold(Asked::default(), |asked, figure| asked.and("key", &figure.key));
    let own = |key: &str| key.starts_with(CLIENT_TAG);
    let (client_tags, tags) = run.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).partition(|(key, _)| own(key));
    let step = log::step(&world, &run)?;
    let page = Page {
        id: run.id.to_string(),
        name: if run.name.is_empty() { run.id.as_str().chars().take(8).collect() } else { run.name.clone() },
        status: run.status.word(),
        is_live: run.status == RunStatus::Running,
        is_deleted: run.lifecycle_stage == LifecycleStage::Deleted,
        user: run.user.clone(),
        start: time(run.start),
        end: run.end.map(time),
        took: run.end.map(|end| span(end - run.start)),
        note: run.tag(NOTE_TAG).map(str::to_owned),
        source: run.tag("mlflow.source.name").map(str::to_owned),
        commit: run.tag("mlflow.source.git.commit").map(str::to_owned),
        experiment,
        experiment_href: link::experiment(run.experiment.as_str()),
        parent: parent(state, &run)?,
        parts: parts(state, &world, &run)?,
        parts_compare: format!("/compare?parent={}", link::part(id.as_str())),
        lineage: lineage::lineage(&world, &run, &Made::read(&world)?)?,
        params: run.params.iter().map(|param| (param.key.clone(), param.value.clone())).collect(),
        metrics: latest(&run, asked),
        tags,
        client_tags,
        look,
        kept: asked.without(&["x", "log", "smooth", "keys", "from"]).pairs(),
        keys: part.into(),
        before_href: asked.with("from", &from.saturating_sub(CURVES).to_string()).address(&here) + "#curves",
        after_href: asked.with("from", &(keys.len() - figures.after).to_string()).address(&here) + "#curves",
        all_href: asked.without(&["metric"]).address(&here) + "#curves",
        curves_href: drawn.address(&path),
        figures,
        only: only.map(str::to_owned),
        tree: Tree::default(),
        elsewhere: None,
        preview: None,
        log: step.map(|step| log::log(&step)).transpose()?.flatten(),
        url: format!("http://{}", state.facts.server()?.listen),
    };
    Ok((page, run))
}

/// The metrics that may be drawn, those of the machine last.
fn keys<'a>(run: &'a Run, only: Option<&str>, part: &str) -> Vec<&'a str> {
    let part = part.to_lowercase();
    let fits = |key: &&str| only.map_or_else(|| key.to_lowercase().contains(&part), |only| only == *key);
    let mut keys: Vec<&str> = run.metrics.iter().map(|metric| metric.key.as_str()).filter(fits).collect();
    keys.sort_by_key(|key| key.starts_with(SYSTEM));
    keys
}

fn latest(run: &Run, asked: &Asked) -> Vec<Latest> {
    let latest = |metric: &domain::entity::Metric| Latest {
        key: metric.key.clone(),
        value: figure(metric.value),
        exact: metric.value.to_string(),
        step: metric.step,
        href: asked.without(&["from", "keys"]).with("metric", &metric.key).address(&link::run(&run.id)) + "#curves",
    };
    run.metrics.iter().map(latest).collect()
}

fn parent(state: &WebState, run: &Run) -> Result<Option<Linked>, PageError> {
    let Some(id) = run.tag(PARENT_TAG).map(RunId::new) else { return Ok(None) };
    Ok(state.runs.run(&id)?.map(|parent| Linked { text: parent.name, href: link::run(&id) }))
}

fn parts(state: &WebState, world: &World, run: &Run) -> Result<Option<Linked>, PageError> {
    let search = RunSearch {
        experiments: world.experiments()?.into_iter().map(|experiment| experiment.id).collect(),
        filter: Expr(vec![Clause { field: Field::Tag(PARENT_TAG.into()), op: Op::Eq, value: Value::Text(run.id.to_string()) }]),
        view: ViewType::Active,
        ..RunSearch::default()
    };
    let n = state.runs.count(&search)?;
    let filter = format!("tags.`{PARENT_TAG}` = '{}'", run.id);
    Ok((n > 0).then(|| Linked { text: crate::format::counted(n, "part"), href: format!("/runs?filter={}", link::part(&filter)) }))
}

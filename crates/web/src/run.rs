//! Tracking runs: the newest of them, and one with its curves.

use crate::curve::{Curve, curve};
use crate::format::{bytes, figure, span, time};
use crate::page::{PageError, show};
use crate::{WebState, link};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::entity::{LifecycleStage, ModelVersion, PipelineRun, RegisteredModel, Run, TriggerKind};
use domain::{ExperimentId, PipelineRunId, RunId};
use ports::{RunSearch, World};
use serde::{Deserialize, Serialize};

/// Runs in the list.
const NEWEST: usize = 100;
/// Points of all curves of a page together, and the least and the most of one.
const POINTS: usize = 6_000;
const POINTS_EACH: (usize, usize) = (40, 400);
/// Curves on a page; the others are a link away.
const CURVES: usize = 60;
/// Artifacts that are listed.
const ARTIFACTS: usize = 200;
/// The tag by which a run says which pipeline run it belongs to.
pub(crate) const PIPELINE_RUN_TAG: &str = "trimtab.pipeline_run";
/// Tags that clients set for themselves begin so.
const CLIENT_TAG: &str = "mlflow.";

#[derive(Deserialize)]
pub(crate) struct ListAsked {
    experiment: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    metric: Option<String>,
}

#[derive(Serialize)]
struct List {
    rows: Vec<Row>,
    is_cut: bool,
    experiment: Option<String>,
    /// This server, for those who have no run yet.
    url: String,
}

#[derive(Serialize)]
struct Row {
    href: String,
    name: String,
    status: &'static str,
    experiment: String,
    experiment_href: String,
    start: String,
    took: Option<String>,
    metrics: Vec<(String, String)>,
    more_metrics: usize,
    versions: Vec<VersionLink>,
}

/// A model version that came of a run.
#[derive(Serialize)]
pub(crate) struct VersionLink {
    pub text: String,
    pub href: String,
    pub aliases: Vec<String>,
}

/// `GET /runs`.
pub(crate) async fn list(State(state): State<WebState>, Query(asked): Query<ListAsked>) -> Result<Response, PageError> {
    let list = state.read(move |state| read_list(state, asked.experiment)).await?;
    show("runs.html", "Runs", &list)
}

fn read_list(state: &WebState, only: Option<String>) -> Result<List, PageError> {
    let world = state.world()?;
    let mut experiments = world.experiments()?;
    if let Some(only) = &only {
        experiments.retain(|experiment| experiment.id.as_str() == only);
        if experiments.is_empty() {
            return Err(PageError::missing("experiment", only));
        }
    }
    let ids: Vec<ExperimentId> = experiments.iter().map(|experiment| experiment.id.clone()).collect();
    let found = state.runs.search(&RunSearch { experiments: ids, limit: NEWEST, ..RunSearch::default() })?;
    let made = Made::read(&world)?;
    let row = |run: &Run| Row {
        href: link::run(&run.id),
        name: run.name.clone(),
        status: run.status.word(),
        experiment: experiments.iter().find(|experiment| experiment.id == run.experiment).map_or(String::new(), |found| found.name.clone()),
        experiment_href: link::experiment(run.experiment.as_str()),
        start: time(run.start),
        took: run.end.map(|end| span(end - run.start)),
        metrics: run.metrics.iter().take(3).map(|metric| (metric.key.clone(), figure(metric.value))).collect(),
        more_metrics: run.metrics.len().saturating_sub(3),
        versions: made.of(|version| version.run.as_ref() == Some(&run.id)),
    };
    let url = format!("http://{}", state.facts.server()?.listen);
    let experiment = only.and(experiments.first()).map(|experiment| experiment.name.clone());
    Ok(List { rows: found.items.iter().map(row).collect(), is_cut: found.token.is_some(), experiment, url })
}

#[derive(Serialize)]
struct Page {
    id: String,
    name: String,
    status: &'static str,
    is_deleted: bool,
    user: String,
    start: String,
    end: Option<String>,
    took: Option<String>,
    experiment: String,
    experiment_href: String,
    pipeline_run: Option<Linked>,
    incident: Option<Linked>,
    versions: Vec<VersionLink>,
    logged_models: Vec<String>,
    params: Vec<(String, String)>,
    metrics: Vec<Latest>,
    tags: Vec<(String, String)>,
    client_tags: Vec<(String, String)>,
    datasets: Vec<(String, String, String)>,
    curves: Vec<Curve>,
    /// Metrics with curves that are not on this page.
    hidden: usize,
    only: Option<String>,
    artifacts: Vec<Artifact>,
    artifacts_are_cut: bool,
}

#[derive(Serialize)]
struct Linked {
    text: String,
    href: String,
}

#[derive(Serialize)]
struct Latest {
    key: String,
    value: String,
    exact: String,
    step: i64,
    href: String,
}

#[derive(Serialize)]
struct Artifact {
    path: String,
    bytes: String,
    href: String,
}

/// `GET /runs/ID`.
pub(crate) async fn page(State(state): State<WebState>, Path(id): Path<String>, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let id = RunId::new(id);
    let (mut page, folder) = state.read(move |state| read(state, &id, asked.metric)).await?;
    (page.artifacts, page.artifacts_are_cut) = artifacts(&state, &RunId::new(page.id.clone()), &folder).await?;
    let title = format!("Run {}", page.name);
    show("run.html", &title, &page)
}

/// The page without its artifacts, and the folder that these are in.
fn read(state: &WebState, id: &RunId, only: Option<String>) -> Result<(Page, String), PageError> {
    let run = state.runs.run(id)?.ok_or_else(|| PageError::missing("run", id))?;
    let world = state.world()?;
    let experiment = world.experiment(&run.experiment)?.map_or_else(|| run.experiment.to_string(), |found| found.name);
    let made = Made::read(&world)?;
    let (pipeline_run, incident) = origin(&world, &run)?;
    let (curves, hidden) = curves(state, &run, only.as_deref())?;
    let (client_tags, tags) =
        run.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).partition(|(key, _)| key.starts_with(CLIENT_TAG));
    let latest = |metric: &domain::entity::Metric| Latest {
        key: metric.key.clone(),
        value: figure(metric.value),
        exact: metric.value.to_string(),
        step: metric.step,
        href: format!("{}?metric={}", link::run(id), link::part(&metric.key)),
    };
    let page = Page {
        id: run.id.to_string(),
        name: run.name.clone(),
        status: run.status.word(),
        is_deleted: run.lifecycle_stage == LifecycleStage::Deleted,
        user: run.user.clone(),
        start: time(run.start),
        end: run.end.map(time),
        took: run.end.map(|end| span(end - run.start)),
        experiment,
        experiment_href: link::experiment(run.experiment.as_str()),
        pipeline_run,
        incident,
        versions: made.of(|version| version.run.as_ref() == Some(id)),
        logged_models: run.outputs.iter().filter(|output| !output.input).map(|output| output.model_id.clone()).collect(),
        params: run.params.iter().map(|param| (param.key.clone(), param.value.clone())).collect(),
        metrics: run.metrics.iter().map(latest).collect(),
        tags,
        client_tags,
        datasets: run
            .inputs
            .iter()
            .map(|input| (input.name.clone(), input.digest.clone(), input.context().unwrap_or_default().to_owned()))
            .collect(),
        curves,
        hidden,
        only,
        artifacts: Vec::new(),
        artifacts_are_cut: false,
    };
    Ok((page, folder(&run.artifact_uri)))
}

/// The pipeline run that a run belongs to, and the incident that asked for it.
fn origin(world: &World, run: &Run) -> Result<(Option<Linked>, Option<Linked>), PageError> {
    let Some(id) = run.tag(PIPELINE_RUN_TAG).map(PipelineRunId::new) else { return Ok((None, None)) };
    let Some(found) = world.get::<PipelineRun>(id.as_str())? else { return Ok((None, None)) };
    let incident = match &found.trigger.kind {
        TriggerKind::Incident { incident } => Some(Linked { text: incident.to_string(), href: link::incident(incident) }),
        TriggerKind::Command | TriggerKind::Api => None,
    };
    Ok((Some(Linked { text: id.to_string(), href: link::pipeline_run(&id) }), incident))
}

/// The curves of a run's metrics, or of one of them; and how many metrics were left out.
fn curves(state: &WebState, run: &Run, only: Option<&str>) -> Result<(Vec<Curve>, usize), PageError> {
    let keys: Vec<&str> = run.metrics.iter().map(|metric| metric.key.as_str()).filter(|key| only.is_none_or(|only| only == *key)).collect();
    let most = match only {
        Some(_) => POINTS / 3,
        None => (POINTS / keys.len().max(1)).clamp(POINTS_EACH.0, POINTS_EACH.1),
    };
    let mut drawn = Vec::new();
    for key in keys.iter().take(CURVES) {
        let history = state.runs.history(&run.id, key, None, None)?;
        drawn.extend(curve(key, &history.points, most));
    }
    Ok((drawn, keys.len().saturating_sub(CURVES)))
}

/// The folder in the artifact store, from a run's artifact URI.
fn folder(uri: &str) -> String {
    let path = uri.strip_prefix("mlflow-artifacts:").unwrap_or_default();
    let path = match path.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => path,
    };
    path.trim_matches('/').to_owned()
}

/// The files of a run, folder by folder, and whether there are more.
async fn artifacts(state: &WebState, run: &RunId, folder: &str) -> Result<(Vec<Artifact>, bool), PageError> {
    let mut files = Vec::new();
    let mut open = if folder.is_empty() { Vec::new() } else { vec![folder.to_owned()] };
    while let Some(next) = open.pop() {
        for entry in state.artifacts.list(&next).await? {
            if entry.is_dir {
                open.push(entry.path);
                continue;
            }
            if files.len() == ARTIFACTS {
                return Ok((files, true));
            }
            let path = entry.path.get(folder.len()..).unwrap_or(&entry.path).trim_start_matches('/').to_owned();
            files.push(Artifact { href: link::artifact(run, &path), bytes: bytes(entry.bytes), path });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((files, false))
}

/// Model versions with their models' aliases.
pub(crate) struct Made {
    versions: Vec<ModelVersion>,
    models: Vec<RegisteredModel>,
}

impl Made {
    pub(crate) fn read(world: &World) -> Result<Self, PageError> {
        Ok(Made { versions: world.list()?, models: world.list()? })
    }

    /// Links to the versions that fit.
    pub(crate) fn of(&self, fits: impl Fn(&ModelVersion) -> bool) -> Vec<VersionLink> {
        self.versions.iter().filter(|version| fits(version)).map(|version| self.link(version)).collect()
    }

    fn link(&self, version: &ModelVersion) -> VersionLink {
        let model = self.models.iter().find(|model| model.name == version.model);
        let aliases = model.into_iter().flat_map(|model| &model.aliases).filter(|(_, number)| **number == version.version);
        VersionLink {
            text: format!("{} version {}", version.model, version.version),
            href: link::version(&version.model, version.version),
            aliases: aliases.map(|(alias, _)| alias.clone()).collect(),
        }
    }
}

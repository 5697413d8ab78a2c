//! Pipelines: all of them, and one with its graph, its last runs and its versions.

mod cases;
mod grid;
mod run;

pub(crate) use run::log as run_log;
pub(crate) use run::page as run_page;

use crate::WebState;
use crate::format::{between, counted, time};
use crate::graph::{Graph, Node, draw};
use crate::link;
use crate::made::word;
use crate::page::{PageError, show};
use axum::extract::{Path, State};
use axum::response::Response;
use domain::Timestamp;
use domain::entity::{PipelineRun, PipelineVersion};
use domain::spec::{ParamSpec, PipelineSpec, StepSpec};
use grid::Grid;
use ports::World;
use serde::Serialize;
use std::collections::BTreeMap;

/// Runs in the grid of the list, and in that of one pipeline.
const IN_LIST: usize = 20;
const IN_PAGE: usize = 60;
/// Runs that are listed with their errors.
const LISTED: usize = 30;

#[derive(Serialize)]
struct List {
    pipelines: Vec<Listed>,
    is_applied: bool,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    href: String,
    on: Vec<String>,
    version: Option<u64>,
    runs: String,
    last: Option<RunRow>,
    grid: Grid,
    /// When its schedules fire next, in UTC.
    next: Vec<String>,
}

#[derive(Serialize)]
struct RunRow {
    id: String,
    href: String,
    state: &'static str,
    version: u64,
    requested: String,
    took: Option<String>,
    asked_by: String,
    error: Option<String>,
}

#[derive(Serialize)]
struct VersionRow {
    number: u64,
    hash: String,
    commit: Option<String>,
    created: String,
    steps: usize,
    runs: usize,
    is_newest: bool,
}

#[derive(Serialize)]
struct Page {
    name: String,
    on: Vec<String>,
    params: Vec<(String, String)>,
    graph: Option<Graph>,
    grid: Grid,
    runs: Vec<RunRow>,
    total: String,
    versions: Vec<VersionRow>,
    is_declared: bool,
    next: Vec<String>,
}

/// `GET /pipelines`.
pub(crate) async fn list(State(state): State<WebState>) -> Result<Response, PageError> {
    let list = state.read(read_list).await?;
    show("pipelines.html", "Pipelines", "pipelines", &list)
}

fn read_list(state: &WebState) -> Result<List, PageError> {
    let world = state.world()?;
    let project = world.project()?;
    let mut by_name: BTreeMap<String, Vec<PipelineRun>> = BTreeMap::new();
    let declared = project.as_ref().map(|project| &project.spec.pipeline);
    for name in declared.into_iter().flat_map(|all| all.keys()) {
        by_name.entry(name.clone()).or_default();
    }
    for run in world.list::<PipelineRun>()? {
        by_name.entry(run.pipeline.clone()).or_default().push(run);
    }
    let (now, mut pipelines) = (state.facts.now()?, Vec::new());
    for (name, mut runs) in by_name {
        runs.sort_by_key(|run| run.requested);
        let newest = newest_version(&world, &name)?;
        let spec = declared.and_then(|all| all.get(&name)).or(newest.as_ref().map(|version| &version.spec));
        let steps: Vec<String> = spec.map_or(Vec::new(), |spec| spec.step.keys().cloned().collect());
        let shown = &runs[runs.len().saturating_sub(IN_LIST)..];
        pipelines.push(Listed {
            href: link::pipeline(&name),
            on: spec.map_or(Vec::new(), |spec| spec.on.clone()),
            version: newest.as_ref().map(|version| version.number),
            runs: counted(runs.len() as u64, "run"),
            last: runs.last().map(row),
            next: spec.map_or(Vec::new(), |spec| firings(spec, now, 1)),
            grid: grid::grid(&world, shown, &steps)?,
            name,
        });
    }
    Ok(List { pipelines, is_applied: project.is_some() })
}

/// `GET /pipelines/NAME`.
pub(crate) async fn page(State(state): State<WebState>, Path(name): Path<String>) -> Result<Response, PageError> {
    let page = state.read(move |state| read_page(state, name)).await?;
    show("pipeline.html", &format!("Pipeline {}", page.name), "pipelines", &page)
}

fn read_page(state: &WebState, name: String) -> Result<Page, PageError> {
    let world = state.world()?;
    let project = world.project()?;
    let declared = project.and_then(|project| project.spec.pipeline.get(&name).cloned());
    let mut versions = world.scope::<PipelineVersion>(&name)?;
    versions.sort_by_key(|version| version.number);
    let mut runs: Vec<PipelineRun> = world.list::<PipelineRun>()?.into_iter().filter(|run| run.pipeline == name).collect();
    runs.sort_by_key(|run| run.requested);
    let Some(spec) = declared.clone().or_else(|| versions.last().map(|version| version.spec.clone())) else {
        return Err(PageError::missing("pipeline", &name));
    };
    let steps: Vec<String> = spec.step.keys().cloned().collect();
    let shown = &runs[runs.len().saturating_sub(IN_PAGE)..];
    let newest = versions.last().map(|version| version.number);
    let now = state.facts.now()?;
    Ok(Page {
        on: spec.on.clone(),
        params: spec.params.iter().map(|(name, declared)| (name.clone(), param(declared))).collect(),
        graph: graph(&spec, |step| ("", spec.find(step).map_or(String::new(), described), None)),
        grid: grid::grid(&world, shown, &steps)?,
        total: counted(runs.len() as u64, "run"),
        runs: runs.iter().rev().take(LISTED).map(row).collect(),
        versions: versions
            .iter()
            .rev()
            .map(|version| VersionRow {
                number: version.number,
                hash: version.hash.short().into(),
                commit: version.git_commit.as_ref().map(|commit| commit.chars().take(10).collect()),
                created: time(version.created),
                steps: version.spec.step.len(),
                runs: runs.iter().filter(|run| run.version == version.number).count(),
                is_newest: Some(version.number) == newest,
            })
            .collect(),
        next: declared.as_ref().map_or(Vec::new(), |spec| firings(spec, now, 5)),
        is_declared: declared.is_some(),
        name,
    })
}

/// When a pipeline fires next by its schedules.
fn firings(spec: &PipelineSpec, now: Timestamp, count: usize) -> Vec<String> {
    pipelines::triggers::upcoming(spec, now, count).into_iter().map(|(at, _)| time(at)).collect()
}

fn newest_version(world: &World, name: &str) -> Result<Option<PipelineVersion>, PageError> {
    Ok(world.scope::<PipelineVersion>(name)?.into_iter().max_by_key(|version| version.number))
}

fn row(run: &PipelineRun) -> RunRow {
    RunRow {
        id: run.id.to_string(),
        href: link::pipeline_run(&run.id),
        state: word(run.state),
        version: run.version,
        requested: time(run.requested),
        took: between(run.started, run.ended),
        asked_by: crate::made::asked_by(&run.trigger.kind).0,
        error: run.error.as_ref().and_then(|error| error.lines().next()).map(str::to_owned),
    }
}

/// The picture of a pipeline's steps; `tell` gives a step's state, second line and address.
pub(crate) fn graph(spec: &PipelineSpec, tell: impl Fn(&str) -> (&'static str, String, Option<String>)) -> Option<Graph> {
    let last: Vec<String> = spec.step.keys().cloned().collect();
    let node = |(name, step): (&String, &StepSpec)| {
        let mut needs: Vec<String> = pipelines::graph::needs(spec, step).into_iter().flatten().collect();
        if spec.on_exit.contains_key(name) && needs.is_empty() {
            needs.clone_from(&last);
        }
        needs.sort();
        needs.dedup();
        let (state, note, href) = tell(name);
        Node { name: name.clone(), needs, state, note, href }
    };
    // An exit step comes after all others: after those that nothing else comes after.
    let mut nodes: Vec<Node> = spec.step.iter().chain(&spec.on_exit).map(node).collect();
    let inner: std::collections::BTreeSet<String> =
        nodes.iter().filter(|node| spec.step.contains_key(&node.name)).flat_map(|node| node.needs.clone()).collect();
    for node in nodes.iter_mut().filter(|node| spec.on_exit.contains_key(&node.name)) {
        node.needs.retain(|needed| !inner.contains(needed));
    }
    draw(nodes)
}

/// A parameter as its page shows it.
fn param(declared: &ParamSpec) -> String {
    let ParamSpec::Rule(rule) = declared else { return declared.default_value().map_or(String::new(), ToString::to_string) };
    let mut said: Vec<String> = declared.kind().map(|kind| kind.name().to_owned()).into_iter().collect();
    said.push(rule.default.as_ref().map_or("must be given".into(), |default| format!("default {default}")));
    said.extend(rule.min.map(|min| format!("at least {min}")));
    said.extend(rule.max.map(|max| format!("at most {max}")));
    said.extend((!rule.choices.is_empty()).then(|| rule.choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")));
    said.extend(rule.help.clone());
    said.join(", ")
}

/// What a step does, and over what or when.
fn described(step: &StepSpec) -> String {
    let over: Vec<&str> = step.each.keys().map(String::as_str).collect();
    let condition = if step.when.is_some() { ", on condition" } else { "" };
    let each = if over.is_empty() { String::new() } else { format!(" for each {}", over.join(", ")) };
    format!("{}{each}{condition}", kind(step))
}

/// What a step does, in a few words.
pub(crate) fn kind(step: &StepSpec) -> &'static str {
    match step {
        StepSpec { training_set: Some(_), .. } => "training set",
        StepSpec { gate: Some(_), .. } => "gate",
        StepSpec { sweep: Some(_), .. } => "sweep",
        StepSpec { pipeline: Some(_), .. } => "pipeline",
        step if !step.check.is_empty() => "check",
        step if !step.materialize.is_empty() => "materialize",
        _ => "command",
    }
}

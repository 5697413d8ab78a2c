//! Experiments at a glance: how many runs, how the newest went, which was best.

use crate::WebState;
use crate::address::Asked;
use crate::format::{count, figure, time};
use crate::link;
use crate::page::{PageError, show};
use crate::plot::{Scale, line};
use crate::runs::MainMetric;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::entity::{AppliedProject, Experiment, LifecycleStage, Run, RunStatus};
use domain::filter::{Field, OrderBy};
use ports::RunSearch;
use serde::Serialize;

/// Experiments on a page, and the newest runs of each that are looked at.
const ROWS: usize = 100;
const NEWEST: usize = 40;
const SPARK: (f64, f64) = (120.0, 24.0);

#[derive(Serialize)]
struct Page {
    rows: Vec<Row>,
    total: u64,
    q: String,
    next_href: Option<String>,
    url: String,
}

#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    href: String,
    is_deleted: bool,
    note: String,
    runs: String,
    running: usize,
    failed: usize,
    newest: Option<(String, String, String)>,
    metric: Option<String>,
    direction: &'static str,
    best: Option<(String, String)>,
    /// The main metric, run after run.
    spark: Option<String>,
}

/// `GET /experiments`.
pub(crate) async fn page(State(state): State<WebState>, Query(pairs): Query<Vec<(String, String)>>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, &Asked::new(pairs))).await?;
    show("experiments.html", "Experiments", "experiments", &page)
}

fn read(state: &WebState, asked: &Asked) -> Result<Page, PageError> {
    let world = state.world()?;
    let part = asked.one("q").unwrap_or_default().to_lowercase();
    let mut experiments = world.experiments()?;
    experiments.retain(|experiment| experiment.lifecycle_stage == LifecycleStage::Active && experiment.name.to_lowercase().contains(&part));
    experiments.sort_by_key(|experiment| std::cmp::Reverse((experiment.updated, experiment.created)));
    let project = world.project()?;
    let from = asked.one("from").and_then(|from| from.parse::<usize>().ok()).unwrap_or(0);
    let total = experiments.len();
    let shown = experiments.into_iter().skip(from).take(ROWS);
    let rows = shown.map(|experiment| row(state, experiment, project.as_deref())).collect::<Result<Vec<_>, _>>()?;
    let more = from + rows.len() < total;
    Ok(Page {
        next_href: more.then(|| asked.with("from", &(from + ROWS).to_string()).address("/experiments")),
        q: asked.one("q").unwrap_or_default().into(),
        total: total as u64,
        url: format!("http://{}", state.facts.server()?.listen),
        rows,
    })
}

fn row(state: &WebState, experiment: Experiment, project: Option<&AppliedProject>) -> Result<Row, PageError> {
    let search = RunSearch { experiments: vec![experiment.id.clone()], limit: NEWEST, ..RunSearch::default() };
    let newest = state.runs.search(&search)?.items;
    let runs = state.runs.count(&search)?;
    let main = MainMetric::find(None, std::slice::from_ref(&experiment), project, &newest);
    let best = match &main {
        Some(main) => {
            let order = vec![OrderBy { field: Field::Metric(main.key.clone()), descending: !main.is_less_better }];
            let found = state.runs.search(&RunSearch { order, limit: 1, ..search })?.items;
            found.first().and_then(|run| Some((figure(value(run, main).filter(|value| value.is_finite())?), link::run(&run.id))))
        }
        None => None,
    };
    let of = |status: RunStatus| newest.iter().filter(|run| run.status == status).count();
    let note = experiment.tags.iter().find(|tag| tag.key == "mlflow.note.content").map_or(String::new(), |tag| tag.value.clone());
    Ok(Row {
        href: link::experiment(experiment.id.as_str()),
        is_deleted: experiment.lifecycle_stage == LifecycleStage::Deleted,
        note: note.chars().take(160).collect(),
        runs: count(runs),
        running: of(RunStatus::Running),
        failed: of(RunStatus::Failed),
        newest: newest.first().map(|run| (crate::compare::name(run), link::run(&run.id), time(run.start))),
        spark: main.as_ref().and_then(|main| spark(&newest, main)),
        direction: main.as_ref().map_or("", MainMetric::direction),
        metric: main.map(|main| main.key),
        best,
        id: experiment.id.to_string(),
        name: experiment.name,
    })
}

fn value(run: &Run, main: &MainMetric) -> Option<f64> {
    run.metrics.iter().find(|metric| metric.key == main.key).map(|metric| metric.value)
}

/// The oldest of the newest runs first.
fn spark(newest: &[Run], main: &MainMetric) -> Option<String> {
    let values: Vec<f64> = newest.iter().rev().filter_map(|run| value(run, main)).filter(|value| value.is_finite()).collect();
    if values.len() < 2 {
        return None;
    }
    let x = Scale::new([0.0, (values.len() - 1) as f64].into_iter(), false, (2.0, SPARK.0 - 2.0))?;
    let y = Scale::new(values.iter().copied(), false, (SPARK.1 - 3.0, 3.0))?;
    Some(line(values.iter().enumerate().map(|(at, value)| Some((x.at(at as f64)?, y.at(*value)?)))))
}

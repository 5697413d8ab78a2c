//! One box that finds anything: runs by their words, everything else by its name.

use crate::WebState;
use crate::address::Asked;
use crate::link;
use crate::page::{PageError, show};
use axum::extract::{Query, State};
use axum::response::Response;
use domain::entity::{Experiment, FeatureViewVersion, Incident, LifecycleStage, ModelVersion, PipelineRun, RegisteredModel};
use domain::filter::Field;
use domain::{ExperimentId, Fault, PipelineRunId, RunId};
use ports::World;
use serde::Serialize;

/// Hits of one kind.
const HITS: usize = 30;

#[derive(Serialize)]
struct Page {
    q: String,
    groups: Vec<Group>,
    /// The table of the runs that fit.
    runs_href: String,
}

#[derive(Serialize)]
struct Group {
    title: &'static str,
    hits: Vec<Hit>,
    is_cut: bool,
}

#[derive(Serialize)]
struct Hit {
    text: String,
    href: String,
    /// Where the words were found.
    at: String,
    excerpt: String,
}

/// `GET /search?q=…`.
pub(crate) async fn page(State(state): State<WebState>, Query(pairs): Query<Vec<(String, String)>>) -> Result<Response, PageError> {
    let q = Asked::new(pairs).one("q").unwrap_or_default().trim().to_owned();
    let page = state.read(move |state| read(state, q)).await?;
    let title = if page.q.is_empty() { "Search".to_owned() } else { format!("Search: {}", page.q) };
    show("search.html", &title, "search", &page)
}

fn read(state: &WebState, q: String) -> Result<Page, PageError> {
    let mut groups = Vec::new();
    if !q.is_empty() {
        let world = state.world()?;
        let experiments = world.experiments()?;
        groups.push(runs(state, &experiments, &q)?);
        groups.extend(named(&world, &experiments, &q.to_lowercase())?);
        groups.retain(|group| !group.hits.is_empty());
    }
    Ok(Page { runs_href: Asked::default().and("q", &q).address("/runs"), q, groups })
}

fn runs(state: &WebState, experiments: &[Experiment], q: &str) -> Result<Group, PageError> {
    let ids: Vec<ExperimentId> = experiments.iter().map(|experiment| experiment.id.clone()).collect();
    let mut hits = Vec::new();
    // An id is not among the words.
    if q.len() == 32
        && let Some(run) = state.runs.run(&RunId::new(q))?
    {
        hits.push(Hit { text: run.name, href: link::run(&run.id), at: "run id".into(), excerpt: q.into() });
    }
    let found = state.runs.find_text(q, &ids, HITS)?;
    let is_cut = found.len() == HITS;
    for hit in found {
        let name = state.runs.run(&hit.run)?.map_or_else(|| hit.run.to_string(), |run| run.name);
        hits.push(Hit { text: name, href: link::run(&hit.run), at: place(&hit.field), excerpt: hit.excerpt });
    }
    Ok(Group { title: "runs", hits, is_cut })
}

fn place(field: &Field) -> String {
    match field {
        Field::Attribute(_) => "name".into(),
        Field::Param(key) => format!("param {key}"),
        Field::Tag(key) if key == "mlflow.note.content" => "note".into(),
        Field::Tag(key) => format!("tag {key}"),
        Field::Metric(key) => format!("metric {key}"),
        Field::Dataset(part) => format!("dataset {part}"),
    }
}

/// All but runs: there are few, and their names are short.
fn named(world: &World, experiments: &[Experiment], q: &str) -> Result<Vec<Group>, Fault> {
    let group = |title, all: Vec<Hit>| {
        let mut hits: Vec<Hit> =
            all.into_iter().filter(|hit| hit.text.to_lowercase().contains(q) || hit.excerpt.to_lowercase().contains(q)).collect();
        let is_cut = hits.len() > HITS;
        hits.truncate(HITS);
        Group { title, hits, is_cut }
    };
    let hit = |text: String, href: String, at: &str, excerpt: String| Hit { text, href, at: at.into(), excerpt };
    let active = experiments.iter().filter(|experiment| experiment.lifecycle_stage == LifecycleStage::Active);
    let experiments =
        active.map(|experiment| hit(experiment.name.clone(), link::experiment(experiment.id.as_str()), "experiment", String::new()));
    let models = world.list::<RegisteredModel>()?.into_iter();
    let models = models.map(|model| hit(model.name.to_string(), link::model(&model.name), "model", model.description));
    let versions = world.list::<ModelVersion>()?.into_iter().map(|version| {
        let text = format!("{} version {}", version.model, version.version);
        hit(text, link::version(&version.model, version.version), "version", version.description)
    });
    let incidents = world.list::<Incident>()?.into_iter();
    let incidents = incidents.map(|incident| hit(incident.id.to_string(), link::incident(&incident.id), "incident", incident.why));
    let pipeline_runs = world.list::<PipelineRun>()?.into_iter();
    let pipeline_runs = pipeline_runs.map(|run| {
        let id = PipelineRunId::new(run.id.as_str());
        hit(id.to_string(), link::pipeline_run(&id), "pipeline run", run.error.unwrap_or_default())
    });
    let views = world.list::<FeatureViewVersion>()?.into_iter();
    let views = views.map(|view| hit(view.name, "/?topics=features#river".into(), "feature view", view.features.join(", ")));
    Ok(vec![
        group("experiments", experiments.collect()),
        group("models", models.collect()),
        group("model versions", versions.collect()),
        group("incidents", incidents.collect()),
        group("pipeline runs", pipeline_runs.collect()),
        group("feature views", views.collect()),
    ])
}

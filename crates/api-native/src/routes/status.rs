//! How things stand.

use super::metrics::notifications_waiting;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use domain::entity::*;
use domain::{Digest, Fault, IncidentId, ModelName, Timestamp, Topic, VersionNumber};
use indexmap::IndexMap;
use ports::World;
use serde::Serialize;
use serving::ModelStatus;
use std::collections::BTreeSet;

#[derive(Serialize)]
pub(super) struct Status {
    /// Event clock.
    now: Timestamp,
    project: Option<ProjectStatus>,
    /// Counts of nouns by station of the loop.
    stations: IndexMap<Topic, IndexMap<&'static str, usize>>,
    models: Vec<LoopStatus>,
    serving: Vec<ModelStatus>,
    readers: Vec<ReaderStatus>,
    /// The newest event.
    head: u64,
    notifications_waiting: usize,
}

#[derive(Serialize)]
struct ProjectStatus {
    name: String,
    hash: Digest,
    root: String,
    applied: Timestamp,
}

/// How the loop of one model stands.
#[derive(Serialize)]
struct LoopStatus {
    model: ModelName,
    declared: bool,
    champion: Option<VersionNumber>,
    champion_since: Option<Timestamp>,
    challenger: Option<VersionNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<Canary>,
    shadows: Vec<VersionNumber>,
    /// The lowest gated figure that a champion has had (the highest, where higher is better), and the present one's.
    best: Option<f64>,
    gated: Option<f64>,
    open_incident: Option<IncidentId>,
    last_input_window: Option<Window>,
    last_performance_window: Option<Window>,
}

#[derive(Serialize)]
struct ReaderStatus {
    name: String,
    at: u64,
    lag: u64,
}

pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, ApiError> {
    api.apart(|api| of(&api).map(Json)).await
}

/// Ready when the store answers.
pub(super) async fn ready(State(api): State<Api>) -> Result<&'static str, ApiError> {
    api.apart(|api| api.world().map(|_| "ok\n")).await
}

fn of(api: &Api) -> Result<Status, Fault> {
    let world = api.world()?;
    let head = *api.store.head().borrow();
    let project = world.project()?;
    let serving = api.gateway.status();
    let readers = api.reactor.progress().into_iter().map(|(name, at)| ReaderStatus { name, at, lag: head.saturating_sub(at) });
    Ok(Status {
        now: api.clock.event_now(),
        stations: stations(&world, project.as_deref(), &serving)?,
        models: models(&world, project.as_deref())?,
        notifications_waiting: notifications_waiting(&world)?,
        project: project.map(|project| ProjectStatus {
            name: project.spec.project.name.clone(),
            hash: project.hash.clone(),
            root: project.root.clone(),
            applied: project.applied,
        }),
        serving,
        readers: readers.collect(),
        head,
    })
}

fn stations(
    world: &World,
    project: Option<&AppliedProject>,
    serving: &[ModelStatus],
) -> Result<IndexMap<Topic, IndexMap<&'static str, usize>>, Fault> {
    let declared = |count: fn(&AppliedProject) -> usize| project.map_or(0, count);
    let runs = world.list::<PipelineRun>()?;
    let incidents = world.list::<Incident>()?;
    let incident = |state| incidents.iter().filter(|incident| incident.state == state).count();
    let answered: u64 = serving.iter().map(|model| model.answered).sum();
    let counts: [(Topic, Vec<(&'static str, usize)>); 6] = [
        (
            Topic::Features,
            vec![
                ("sources", declared(|project| project.spec.source.len())),
                ("feature_views", declared(|project| project.spec.feature.len())),
                ("training_sets", world.list::<TrainingSet>()?.len()),
            ],
        ),
        (
            Topic::Tracking,
            vec![
                ("experiments", world.experiments()?.len()),
                ("registered_models", world.list::<RegisteredModel>()?.len()),
                ("model_versions", world.list::<ModelVersion>()?.len()),
            ],
        ),
        (
            Topic::Pipelines,
            vec![
                ("pipelines", declared(|project| project.spec.pipeline.len())),
                ("pipeline_runs", runs.len()),
                ("under_way", runs.iter().filter(|run| !run.state.is_over()).count()),
            ],
        ),
        (Topic::Delivery, vec![("gate_reports", world.list::<GateReport>()?.len()), ("deployments", world.list::<Deployment>()?.len())]),
        (Topic::Serving, vec![("served", serving.len()), ("answered", answered as usize)]),
        (
            Topic::Monitoring,
            vec![
                ("windows", world.list::<Window>()?.len()),
                ("open_incidents", incident(IncidentState::Open)),
                ("escalated", incident(IncidentState::Escalated)),
            ],
        ),
    ];
    Ok(counts.into_iter().map(|(topic, nouns)| (topic, nouns.into_iter().collect())).collect())
}

/// Every model that is declared, registered or deployed.
fn models(world: &World, project: Option<&AppliedProject>) -> Result<Vec<LoopStatus>, Fault> {
    let declared: BTreeSet<ModelName> = project.iter().flat_map(|project| project.spec.model.keys().map(ModelName::new)).collect();
    let mut names = declared.clone();
    names.extend(world.list::<RegisteredModel>()?.into_iter().map(|model| model.name));
    names.extend(world.list::<Deployment>()?.into_iter().map(|deployment| deployment.model));
    names.into_iter().map(|model| loop_of(world, declared.contains(&model), model)).collect()
}

fn loop_of(world: &World, declared: bool, model: ModelName) -> Result<LoopStatus, Fault> {
    let deployment = world.get::<Deployment>(model.as_str())?.unwrap_or_else(|| Deployment::new(model.clone()));
    let open = world.scope::<Incident>(model.as_str())?.into_iter().filter(|incident| incident.state == IncidentState::Open);
    // The model's own before one of how it is served.
    let open = open.min_by_key(|incident| incident.system);
    let windows = world.scope::<Window>(model.as_str())?;
    let last = |kind| {
        let judged = windows.iter().filter(|window| window.kind == kind && window.verdict.is_some());
        judged.max_by_key(|window| (window.range.to, window.version)).cloned()
    };
    Ok(LoopStatus {
        declared,
        champion: deployment.champion,
        champion_since: deployment.champion_since(),
        challenger: deployment.challenger.map(|shadow| shadow.version),
        canary: deployment.canary,
        shadows: deployment.shadows,
        best: deployment.best,
        gated: deployment.gated,
        open_incident: open.map(|incident| incident.id),
        last_input_window: last(WindowKind::Input),
        last_performance_window: last(WindowKind::Performance),
        model,
    })
}

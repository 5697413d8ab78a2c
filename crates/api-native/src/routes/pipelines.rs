//! Pipelines as declared, their versions, and asking for a run.

use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery};
use crate::request::{Asked, Caller, Record, Sent, params};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::entity::{KeptCode, PipelineRun, PipelineVersion, Trigger, TriggerKind};
use domain::spec::PipelineSpec;
use domain::{PipelineRunId, Refusal, Timestamp};
use pipelines::commands::{self, Request};
use pipelines::diff::VersionDiff;
use pipelines::triggers;
use pipelines::work::fingerprint;
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
pub(super) struct Declared {
    name: String,
    #[serde(flatten)]
    spec: PipelineSpec,
    /// The newest version that ran.
    version: Option<u64>,
    last_run: Option<PipelineRun>,
    /// When its schedules fire next.
    next: Vec<Timestamp>,
}

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Page<Declared>>, ApiError> {
    let world = api.world()?;
    let declared = world.project()?.map(|project| project.spec.pipeline.clone()).unwrap_or_default();
    let runs = world.list::<PipelineRun>()?;
    let mut items = Vec::new();
    for (name, spec) in declared {
        let version = world.scope::<PipelineVersion>(&name)?.iter().map(|version| version.number).max();
        let last_run = runs.iter().filter(|run| run.pipeline == name).max_by_key(|run| run.requested).cloned();
        let next = triggers::upcoming(&spec, api.clock.event_now(), 3).into_iter().map(|(at, _)| at).collect();
        items.push(Declared { name, spec, version, last_run, next });
    }
    Ok(Json(Page { items, next: None }))
}

pub(super) async fn versions(
    State(api): State<Api>,
    Path(name): Path<String>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<Page<PipelineVersion>>, ApiError> {
    let world = api.world()?;
    let mut versions = world.scope::<PipelineVersion>(&name)?;
    if versions.is_empty() {
        commands::declared(&world, &name)?;
    }
    versions.sort_by_key(|version| std::cmp::Reverse(version.number));
    Ok(Json(page.of(versions)?))
}

#[derive(Deserialize)]
pub(super) struct DiffQuery {
    /// Without it: the version before `to`.
    from: Option<u64>,
    /// Without it: the newest.
    to: Option<u64>,
}

pub(super) async fn diff(
    State(api): State<Api>,
    Path(name): Path<String>,
    Asked(query): Asked<DiffQuery>,
) -> Result<Json<VersionDiff>, ApiError> {
    let world = api.world()?;
    let mut versions = world.scope::<PipelineVersion>(&name)?;
    if versions.is_empty() {
        commands::declared(&world, &name)?;
    }
    versions.sort_by_key(|version| version.number);
    let numbers: Vec<String> = versions.iter().map(|version| version.number.to_string()).collect();
    let missing = |what: String| Refusal::not_found("pipeline/version", what).hint(format!("versions: {}", numbers.join(", ")));
    let find = |number: u64| {
        let found = versions.iter().find(|version| version.number == number);
        found.ok_or_else(|| missing(format!("pipeline {name} has no version {number}")))
    };
    let newest = versions.last().ok_or_else(|| missing(format!("pipeline {name} has never run and has no version")))?;
    let to = query.to.map_or(Ok(newest), find)?;
    let from = match query.from {
        Some(number) => find(number)?,
        None => versions
            .iter()
            .rfind(|version| version.number < to.number)
            .ok_or_else(|| missing(format!("there is no version before {}", to.number)))?,
    };
    let kept = |version: &PipelineVersion| world.get::<KeptCode>(&format!("{name}/{}", version.number));
    let (old, new) = (kept(from)?, kept(to)?);
    Ok(Json(pipelines::diff::versions(from, to, [old.as_ref(), new.as_ref()])))
}

#[derive(Deserialize)]
pub(super) struct RunRequest {
    #[serde(default)]
    params: Record,
    /// `command` for the command line, whose runs a pipeline need not list under `on`.
    #[serde(default)]
    trigger: AskedBy,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AskedBy {
    #[default]
    Api,
    Command,
}

#[derive(Serialize)]
pub(super) struct Requested {
    pub(super) pipeline_run: PipelineRunId,
}

pub(super) async fn request(
    State(api): State<Api>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    Sent(sent): Sent<RunRequest>,
) -> Result<(StatusCode, Json<Requested>), ApiError> {
    let params = params(sent.params)?;
    let pipeline = name.clone();
    let fingerprint = api.apart(move |api| fingerprint(&*api.store, &name)).await?;
    let kind = match sent.trigger {
        AskedBy::Api => TriggerKind::Api,
        AskedBy::Command => TriggerKind::Command,
    };
    let now = api.clock.event_now();
    let trigger = Trigger { kind, time: now, holdout_to: now };
    let request = Request { params, ..Request::new(pipeline, trigger, fingerprint) };
    let pipeline_run = api.decide(&actor, |world, actor, now| commands::request(world, &request, actor, now)).await?;
    Ok((StatusCode::ACCEPTED, Json(Requested { pipeline_run })))
}

/// A pipeline run that must be there.
pub(super) fn no_run(id: &str) -> Refusal {
    Refusal::not_found("pipeline_run/not_found", format!("there is no pipeline run `{id}`")).hint("trimtab pipeline ls")
}

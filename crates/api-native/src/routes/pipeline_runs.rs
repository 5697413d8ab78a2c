//! Pipeline runs: what they did, their logs, cancel and resume.

use super::pipelines::no_run;
use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery};
use crate::request::{Asked, Caller, Sent};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::entity::{CheckCase, CheckCounts, CheckReport, CommitStatus, PipelineRun, PipelineStep, PipelineVersion, Trigger, TriggerKind};
use domain::{Fault, PipelineRunId, Refusal};
use pipelines::checks::report_of;
use pipelines::commands::{self, Request, Rerun};
use pipelines::work::{fingerprint, not_restored};
use ports::World;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Seek, SeekFrom};

/// Bytes of a log that one answer holds.
const LOG_PIECE: u64 = 1 << 20;
/// Cases that a run's own answer names.
const NAMED: usize = 20;
/// The place in a log where the next answer goes on.
const NEXT_HEADER: &str = "x-trimtab-next";

#[derive(Deserialize)]
pub(super) struct PipelineQuery {
    pipeline: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    Asked(query): Asked<PipelineQuery>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<Page<PipelineRun>>, ApiError> {
    let mut runs = api.world()?.list::<PipelineRun>()?;
    runs.retain(|run| query.pipeline.as_ref().is_none_or(|pipeline| run.pipeline == *pipeline));
    runs.sort_by(|a, b| (b.requested, &b.id).cmp(&(a.requested, &a.id)));
    Ok(Json(page.of(runs)?))
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    run: PipelineRun,
    /// The version that it ran, whole.
    definition: Option<PipelineVersion>,
    /// In the order of the file, each with its attempts.
    steps: Vec<PipelineStep>,
    /// What its checks found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Checked>,
    /// What its git host is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_status: Option<CommitStatus>,
}

/// A check's newest report, in short.
#[derive(Serialize)]
struct Checked {
    step: String,
    /// The pipeline run that it is of, if the step was taken from the cache.
    pipeline_run: PipelineRunId,
    attempt: u32,
    #[serde(flatten)]
    counts: CheckCounts,
    /// Cases that fail, at most twenty.
    failing: Vec<String>,
    /// Cases that cannot be relied on, at most twenty.
    unreliable: Vec<String>,
}

impl Checked {
    fn of(report: CheckReport) -> Self {
        let names = |of: &dyn Fn(&CheckCase) -> bool| {
            report.cases.iter().filter(|case| of(case)).map(|case| case.name.clone()).take(NAMED).collect::<Vec<_>>()
        };
        Checked {
            failing: names(&|case| case.state.is_bad()),
            unreliable: names(&|case| case.flaky.is_some()),
            counts: report.counts,
            attempt: report.attempt,
            step: report.step,
            pipeline_run: report.pipeline_run,
        }
    }
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Shown>, ApiError> {
    Ok(Json(shown(&api.world()?, &id)?))
}

fn shown(world: &World, id: &str) -> Result<Shown, ApiError> {
    let run = world.get::<PipelineRun>(id)?.ok_or_else(|| no_run(id))?;
    let version = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))?;
    let mut steps = world.scope::<PipelineStep>(id)?;
    steps.sort_by_cached_key(|step| version.as_ref().and_then(|version| version.spec.step.get_index_of(&step.name)));
    let is_check = |step: &&PipelineStep| {
        let spec = version.as_ref().map(|version| version.spec.find(&step.name));
        spec.is_none_or(|spec| spec.is_some_and(|spec| !spec.check.is_empty()))
    };
    let mut checks = Vec::new();
    for step in steps.iter().filter(is_check) {
        checks.extend(report_of(world, step, None)?.map(Checked::of));
    }
    let commit_status = world.get::<CommitStatus>(id)?;
    Ok(Shown { run, definition: version, steps, checks, commit_status })
}

#[derive(Deserialize)]
pub(super) struct AttemptQuery {
    attempt: Option<u32>,
}

/// A check's cases.
pub(super) async fn checks(
    State(api): State<Api>,
    Path((id, name)): Path<(String, String)>,
    Asked(query): Asked<AttemptQuery>,
) -> Result<Json<CheckReport>, ApiError> {
    let world = api.world()?;
    let step = found_step(&world, &id, &name)?;
    let report = report_of(&world, &step, query.attempt)?.ok_or_else(|| {
        Refusal::not_found("step/no_report", format!("step {name} of {id} has no report"))
            .hint("checks have one once their command has written it: check = [...]")
    })?;
    Ok(Json(report))
}

fn found_step(world: &World, id: &str, name: &str) -> Result<PipelineStep, ApiError> {
    world.get::<PipelineRun>(id)?.ok_or_else(|| no_run(id))?;
    let step = world.get::<PipelineStep>(&format!("{id}/{name}"))?;
    Ok(step.ok_or_else(|| {
        Refusal::not_found("step/not_found", format!("pipeline run {id} has no step `{name}`")).hint(format!("trimtab pipeline show {id}"))
    })?)
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
    Caller(actor): Caller,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    let run = PipelineRunId::new(id.as_str());
    api.decide(&actor, |world, actor, now| commands::cancel(world, &run, actor, now)).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&api.world()?, &id)?)))
}

#[derive(Deserialize)]
pub(super) struct ResumeBody {
    /// A step that runs again, with what depends on it, though it may be done.
    #[serde(default)]
    from: Option<String>,
}

pub(super) async fn resume(
    State(api): State<Api>,
    Path(id): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<ResumeBody>,
) -> Result<(StatusCode, Json<Shown>), ApiError> {
    let run = PipelineRunId::new(id.as_str());
    api.decide(&actor, |world, actor, now| commands::resume(world, &run, body.from.as_deref(), actor, now)).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&api.world()?, &id)?)))
}

#[derive(Deserialize)]
pub(super) struct RerunBody {
    /// One step alone, with the inputs that it had.
    step: Option<String>,
    /// Of the step's search, only this trial.
    trial: Option<u32>,
    /// `old`: the version that the run ran, `today`: the pipeline as the project declares it now.
    #[serde(default)]
    version: Which,
    /// With the old version's code, in a folder of its own.
    #[serde(default)]
    exact: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Which {
    #[default]
    Old,
    Today,
}

#[derive(Serialize)]
pub(super) struct Repeated {
    #[serde(flatten)]
    run: Shown,
    /// What an exact repetition could not bring back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_restored: Vec<String>,
}

pub(super) async fn rerun(
    State(api): State<Api>,
    Path(id): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<RerunBody>,
) -> Result<(StatusCode, Json<Repeated>), ApiError> {
    let old = PipelineRunId::new(id.as_str());
    if body.version == Which::Today {
        if body.step.is_some() || body.exact {
            return Err(Refusal::invalid("rerun/version", "today's version runs whole, with today's code")
                .hint("leave out `step` and `exact`, or ask for the old version")
                .into());
        }
        let run = api.world()?.get::<PipelineRun>(&id)?.ok_or_else(|| no_run(&id))?;
        let name = run.pipeline.clone();
        let fingerprint = api.apart(move |api| fingerprint(&*api.store, &name)).await?;
        let trigger = Trigger { kind: TriggerKind::Command, ..run.trigger };
        let request = Request { params: run.params, inputs: run.inputs, ..Request::new(run.pipeline, trigger, fingerprint) };
        let again = api.decide(&actor, |world, actor, now| commands::request(world, &request, actor, now)).await?;
        return Ok((StatusCode::ACCEPTED, Json(Repeated { run: shown(&api.world()?, again.as_str())?, not_restored: Vec::new() })));
    }
    let root = api.world()?.get::<PipelineRun>(&id)?.and_then(|run| run.root).filter(|_| !body.exact);
    if let Some(gone) = root.filter(|root| !std::path::Path::new(root).is_dir()) {
        let hint = format!("trimtab pipeline rerun {id} --exact brings its code back");
        return Err(Refusal::conflict("pipeline/no_checkout", format!("the checkout {gone} is kept no longer")).hint(hint).into());
    }
    let asked = Rerun { step: body.step, trial: body.trial, exact: body.exact };
    let again = api.decide(&actor, |world, actor, now| commands::rerun(world, &old, &asked, actor, now)).await?;
    let not_restored = if body.exact { api.apart(move |api| not_restored(&*api.store, &old)).await? } else { Vec::new() };
    Ok((StatusCode::ACCEPTED, Json(Repeated { run: shown(&api.world()?, again.as_str())?, not_restored })))
}

#[derive(Serialize)]
pub(super) struct Changes {
    /// What would not be the same today; none: code and environment are as they were.
    changes: Vec<String>,
}

pub(super) async fn changes(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Changes>, ApiError> {
    let steps = shown(&api.world()?, &id)?.steps;
    let changes = api.apart(move |api| pipelines::work::changes(&*api.store, &steps)).await?;
    Ok(Json(Changes { changes }))
}

#[derive(Deserialize)]
pub(super) struct LogQuery {
    /// Bytes to leave out at the beginning: where an earlier answer ended.
    #[serde(default)]
    from: u64,
}

pub(super) async fn step_log(
    State(api): State<Api>,
    Path((id, name)): Path<(String, String)>,
    Asked(query): Asked<LogQuery>,
) -> Result<Response, ApiError> {
    let world = api.world()?;
    let step = found_step(&world, &id, &name)?;
    drop(world);
    let attempt = step.attempts.last();
    let log = attempt.map(|attempt| attempt.log.clone()).filter(|log| !log.is_empty());
    // The log of a command is there from its first word on.
    let is_command = attempt.is_some_and(|attempt| !attempt.command.is_empty());
    let no_log = move || {
        Refusal::not_found("step/no_log", format!("step {name} of {id} has no log")).hint("it did not run, or what it is keeps none")
    };
    let log = log.ok_or_else(&no_log)?;
    let piece = api.apart(move |_| read_piece(&log, query.from)).await?;
    let piece = piece.or_else(|| is_command.then(Vec::new)).ok_or_else(no_log)?;
    let next = (query.from + piece.len() as u64).to_string();
    Ok(([(header::CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"), (NEXT_HEADER, next.as_str())], piece).into_response())
}

/// A piece of a log; `None` if the file is not there.
fn read_piece(path: &str, from: u64) -> Result<Option<Vec<u8>>, Fault> {
    let what = |e: std::io::Error| Fault::because(format!("reading the log {path}"), e);
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(what(error)),
    };
    let mut piece = Vec::new();
    file.seek(SeekFrom::Start(from)).map_err(what)?;
    file.take(LOG_PIECE).read_to_end(&mut piece).map_err(what)?;
    Ok(Some(piece))
}

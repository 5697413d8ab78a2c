//! A pipeline run as it is shown: steps, durations, the training set, the runs and versions that came of it.

use crate::format::{between, bytes, counted, range, span, time};
use crate::page::PageError;
use crate::run::PIPELINE_RUN_TAG;
use crate::{WebState, link};
use domain::entity::{PipelineRun, PipelineStep, PipelineVersion, RunState, StepState, TrainingSet, TriggerKind};
use domain::filter::{Clause, Expr, Field, Op, Value};
use domain::spec::step_of;
use domain::{Fault, IncidentId, PipelineRunId, Span, Timestamp};
use ports::{RunSearch, ViewType, World};
use serde::Serialize;

/// Width of the picture of steps over time.
const WIDTH: f64 = 220.0;
/// Tracking runs of one pipeline run that are listed.
const RUNS: usize = 20;

#[derive(Debug, Serialize)]
pub(crate) struct PipelineView {
    pub id: String,
    pub href: String,
    pub pipeline: String,
    pub version: u64,
    pub state: &'static str,
    pub trigger: String,
    pub incident: Option<String>,
    pub incident_href: Option<String>,
    pub requested: String,
    pub took: Option<String>,
    pub error: Option<String>,
    pub params: Vec<(String, String)>,
    pub steps: Vec<StepView>,
    pub training_sets: Vec<TrainingSetView>,
    /// Name, status and address of tracking runs.
    pub runs: Vec<(String, &'static str, String)>,
    pub width: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct StepView {
    name: String,
    href: String,
    state: &'static str,
    why: String,
    took: Option<String>,
    attempts: usize,
    used: String,
    error: Option<String>,
    log: Option<String>,
    /// Begin and length of each attempt in the picture.
    bars: Vec<(String, String)>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TrainingSetView {
    pub id: String,
    pub rows: String,
    pub time: Option<String>,
    pub until: String,
    pub cutoff: String,
    pub features: String,
    pub label: String,
    pub content: String,
    pub views: String,
}

/// A pipeline run with all that belongs to it, if it is there.
pub(crate) fn view(state: &WebState, world: &World, id: &PipelineRunId) -> Result<Option<PipelineView>, PageError> {
    let Some(run) = world.get::<PipelineRun>(id.as_str())? else { return Ok(None) };
    let steps = in_order(world, &run)?;
    let mut training_sets = Vec::new();
    for set in steps.iter().filter_map(|step| step.training_set.as_ref()) {
        training_sets.extend(world.get::<TrainingSet>(set.as_str())?.as_ref().map(TrainingSetView::from));
    }
    let (trigger, incident) = asked_by(&run.trigger.kind);
    let times: Vec<Timestamp> =
        steps.iter().flat_map(|step| &step.attempts).flat_map(|attempt| [Some(attempt.started), attempt.ended]).flatten().collect();
    let whole = times.iter().min().copied().zip(times.iter().max().copied());
    Ok(Some(PipelineView {
        href: link::pipeline_run(id),
        state: word(run.state),
        trigger,
        incident: incident.map(ToString::to_string),
        incident_href: incident.map(link::incident),
        requested: time(run.requested),
        took: between(run.started, run.ended),
        params: run.params.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        steps: steps.iter().map(|step| step_view(step, whole)).collect(),
        training_sets,
        runs: tracking_runs(state, world, id)?,
        width: WIDTH,
        id: run.id.to_string(),
        pipeline: run.pipeline,
        version: run.version,
        error: run.error,
    }))
}

/// Who asked for a pipeline run, in words; and the incident, if it was one.
pub(crate) fn asked_by(kind: &TriggerKind) -> (String, Option<&IncidentId>) {
    match kind {
        TriggerKind::Command => ("a command".into(), None),
        TriggerKind::Api => ("the API".into(), None),
        TriggerKind::Incident { incident } => ("incident".into(), Some(incident)),
        TriggerKind::Schedule { at } => (format!("its schedule for {}", time(*at)), None),
        TriggerKind::Git { by, .. } => {
            let (what, commit) = kind.git_words().unwrap_or_default();
            (format!("{by}: {what} at {commit}"), None)
        }
        TriggerKind::Event { on, .. } => (on.clone(), None),
        TriggerKind::Step { pipeline_run, step } => (format!("step {step} of {pipeline_run}"), None),
        TriggerKind::Backfill { backfill, at } => (format!("backfill {backfill} for {}", time(*at)), None),
    }
}

/// The steps in the order of the pipeline's file; the store lists them by name.
pub(crate) fn in_order(world: &World, run: &PipelineRun) -> Result<Vec<PipelineStep>, Fault> {
    let mut steps = world.scope::<PipelineStep>(run.id.as_str())?;
    if let Some(version) = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))? {
        let names: Vec<&String> = version.spec.step.keys().chain(version.spec.on_exit.keys()).collect();
        let number =
            |step: &PipelineStep| step.name.split_once('[').and_then(|(_, number)| number.trim_end_matches(']').parse::<usize>().ok());
        steps.sort_by_key(|step| (names.iter().position(|name| *name == step_of(&step.name)), number(step)));
    }
    Ok(steps)
}

fn tracking_runs(state: &WebState, world: &World, id: &PipelineRunId) -> Result<Vec<(String, &'static str, String)>, PageError> {
    let tagged = Clause { field: Field::Tag(PIPELINE_RUN_TAG.into()), op: Op::Eq, value: Value::Text(id.to_string()) };
    let search = RunSearch {
        experiments: world.experiments()?.into_iter().map(|experiment| experiment.id).collect(),
        filter: Expr(vec![tagged]),
        view: ViewType::All,
        limit: RUNS,
        ..RunSearch::default()
    };
    let found = state.runs.search(&search).map_err(|e| Fault::because("looking for the runs of a pipeline run", e))?;
    Ok(found.items.into_iter().map(|run| (run.name, run.status.word(), link::run(&run.id))).collect())
}

fn step_view(step: &PipelineStep, whole: Option<(Timestamp, Timestamp)>) -> StepView {
    let last = step.attempts.last();
    let spent: i64 = step.attempts.iter().filter_map(|attempt| Some((attempt.ended? - attempt.started).ms())).sum();
    let cpu: Option<u64> = step.attempts.iter().map(|attempt| attempt.cpu_ms).sum();
    let memory = step.attempts.iter().filter_map(|attempt| attempt.peak_memory_bytes).max();
    let cpu = cpu.filter(|ms| *ms > 0).map(|ms| format!("{} of CPU", span(Span::from_ms(ms as i64))));
    let used: Vec<String> = [cpu, memory.map(|peak| format!("{} at most", bytes(peak)))].into_iter().flatten().collect();
    StepView {
        name: step.name.clone(),
        href: format!("{}?step={}#step", link::pipeline_run(&step.pipeline_run), link::part(&step.name)),
        state: step_word(step.state),
        why: step.why.clone().unwrap_or_default(),
        took: (step.attempts.iter().any(|attempt| attempt.ended.is_some())).then(|| span(Span::from_ms(spent))),
        attempts: step.attempts.len(),
        used: used.join(", "),
        error: last.and_then(|attempt| attempt.error.clone()),
        log: last.map(|attempt| attempt.log.clone()).filter(|log| !log.is_empty()),
        bars: whole.map_or(Vec::new(), |whole| bars(step, whole)),
    }
}

fn bars(step: &PipelineStep, (first, last): (Timestamp, Timestamp)) -> Vec<(String, String)> {
    let all = ((last - first).ms() as f64).max(1.0);
    let x = |at: Timestamp| (at - first).ms() as f64 / all * (WIDTH - 2.0);
    let bar = |attempt: &domain::entity::StepAttempt| {
        let (from, to) = (x(attempt.started), x(attempt.ended.unwrap_or(last)));
        (format!("{from:.1}"), format!("{:.1}", (to - from).max(2.0)))
    };
    step.attempts.iter().map(bar).collect()
}

impl From<&TrainingSet> for TrainingSetView {
    fn from(set: &TrainingSet) -> Self {
        TrainingSetView {
            id: set.id.to_string(),
            rows: counted(set.rows, "row"),
            time: set.time.map(range),
            until: time(set.until),
            cutoff: time(set.cutoff),
            features: set.features.join(", "),
            label: set.label.clone(),
            content: set.content.short().into(),
            views: set.views.iter().map(|(name, version)| format!("{name} version {version}")).collect::<Vec<_>>().join(", "),
        }
    }
}

pub(crate) fn word(state: RunState) -> &'static str {
    state.word()
}

pub(crate) fn step_word(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "waiting",
        StepState::Running => "running",
        StepState::Succeeded => "succeeded",
        StepState::Cached => "cached",
        StepState::Failed => "failed",
        StepState::Skipped => "skipped",
        StepState::UpstreamFailed => "blocked",
        StepState::Cancelled => "cancelled",
    }
}

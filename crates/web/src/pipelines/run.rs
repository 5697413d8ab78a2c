//! A pipeline run: its graph, its steps over time, and one step with its attempts and its log.

use super::cases::{self, Cases};
use super::{graph, kind};
use crate::format::{between, bytes, counted, span, time};
use crate::graph::Graph;
use crate::link;
use crate::made::{PipelineView, step_word, view};
use crate::page::{PageError, show};
use crate::run::tail;
use crate::versions::{Made, VersionLink};
use crate::{WebState, gantt};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::entity::{PipelineRun, PipelineStep, PipelineVersion, StepAttempt, StepState};
use domain::{PipelineRunId, Span};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct Asked {
    step: Option<String>,
    attempt: Option<u32>,
}

#[derive(Serialize)]
struct Page {
    run: PipelineView,
    pipeline_href: String,
    graph: Option<Graph>,
    gantt: Option<gantt::Gantt>,
    step: Option<Step>,
    versions: Vec<VersionLink>,
    is_over: bool,
    /// What may be done: its name, the address it is posted to, what is sent, and the command that does the same.
    actions: Vec<Action>,
    repeats: Option<(String, String)>,
}

/// A button.
#[derive(Serialize)]
struct Action {
    title: &'static str,
    post: String,
    body: String,
    command: String,
}

#[derive(Serialize)]
struct Step {
    name: String,
    state: &'static str,
    kind: &'static str,
    why: String,
    key: Option<String>,
    parts: Vec<(String, String)>,
    outputs: Vec<(String, String, String)>,
    attempts: Vec<Attempt>,
    shown: u32,
    log: Option<Log>,
    actions: Vec<Action>,
    cases: Option<Cases>,
}

#[derive(Serialize)]
struct Attempt {
    number: u32,
    href: String,
    started: String,
    took: Option<String>,
    end: String,
    is_bad: bool,
    cpu: Option<String>,
    memory: Option<String>,
    command: String,
    env: Vec<(String, String)>,
    commit: Option<String>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Log {
    text: String,
    note: Option<String>,
    command: String,
    /// Where a script gets what it says now.
    href: String,
    is_live: bool,
}

/// `GET /pipeline-runs/ID`.
pub(crate) async fn page(State(state): State<WebState>, Path(id): Path<String>, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let id = PipelineRunId::new(id);
    let page = state.read(move |state| read(state, &id, &asked)).await?;
    show("pipeline_run.html", &format!("Pipeline run {}", page.run.id), "pipelines", &page)
}

fn read(state: &WebState, id: &PipelineRunId, asked: &Asked) -> Result<Page, PageError> {
    let world = state.world()?;
    let run = view(state, &world, id)?.ok_or_else(|| PageError::missing("pipeline run", id))?;
    let entity = world.get::<PipelineRun>(id.as_str())?.ok_or_else(|| PageError::missing("pipeline run", id))?;
    let steps = crate::made::in_order(&world, &entity)?;
    let version = world.get::<PipelineVersion>(&format!("{}/{}", entity.pipeline, entity.version))?;
    let href = |name: &str| format!("{}?step={}#step", link::pipeline_run(id), link::part(name));
    let tell = |name: &str| {
        let step = steps.iter().find(|step| step.name == name);
        let state = step.map_or("waiting", |step| step_word(step.state));
        let note = step.map_or(String::new(), note);
        (state, note, step.map(|_| href(name)))
    };
    let failed = steps.iter().find(|step| step.state == StepState::Failed).map(|step| step.name.clone());
    let running = steps.iter().find(|step| step.state == StepState::Running).map(|step| step.name.clone());
    let chosen = asked.step.clone().or(failed).or(running);
    let step = match &chosen {
        Some(name) => {
            let mut step = read_step(&entity, &version, &steps, name, asked.attempt)?;
            step.cases = cases::read(&world, &steps, name, asked.attempt)?;
            Some(step)
        }
        None => None,
    };
    Ok(Page {
        pipeline_href: link::pipeline(&entity.pipeline),
        graph: version.as_ref().and_then(|version| graph(&version.spec, tell)),
        gantt: gantt::gantt(&entity, &steps, href),
        step,
        versions: Made::read(&world)?.of(|version| version.pipeline_run.as_ref() == Some(id)),
        is_over: entity.state.is_over(),
        actions: actions(&entity),
        repeats: entity.again.as_ref().map(|again| (again.of.to_string(), link::pipeline_run(&again.of))),
        run,
    })
}

fn actions(run: &PipelineRun) -> Vec<Action> {
    let action = |title, verb: &str, body: &str, command: String| Action {
        title,
        post: format!("/api/v1/pipeline-runs/{}/{verb}", link::part(run.id.as_str())),
        body: body.into(),
        command,
    };
    use domain::entity::RunState::{Cancelled, Failed, Queued, Running, Succeeded};
    match run.state {
        Queued | Running => vec![action("Cancel", "cancel", "{}", format!("trimtab pipeline cancel {}", run.id))],
        Failed | Cancelled => vec![action("Resume where it stopped", "resume", "{}", format!("trimtab pipeline resume {}", run.id))],
        Succeeded => vec![action("Run again", "rerun", "{}", format!("trimtab pipeline rerun {}", run.id))],
    }
}

fn note(step: &PipelineStep) -> String {
    let spent: i64 = step.attempts.iter().filter_map(|attempt| Some((attempt.ended? - attempt.started).ms())).sum();
    if let Some(items) = &step.items {
        return format!("{}, {}", counted(items.len() as u64, "item"), step_word(step.state));
    }
    match step.state {
        StepState::Succeeded | StepState::Failed if spent > 0 => span(Span::from_ms(spent)),
        state => step_word(state).into(),
    }
}

fn read_step(
    run: &PipelineRun,
    version: &Option<PipelineVersion>,
    steps: &[PipelineStep],
    name: &str,
    attempt: Option<u32>,
) -> Result<Step, PageError> {
    let step = steps.iter().find(|step| step.name == name).ok_or_else(|| PageError::missing("step", name))?;
    let shown = attempt.or(step.attempts.last().map(|last| last.number)).unwrap_or(0);
    let base = format!("{}?step={}", link::pipeline_run(&run.id), link::part(name));
    let log = step.attempts.iter().find(|one| one.number == shown).map(|one| one.log.as_str()).filter(|path| !path.is_empty());
    let log = log.map(tail).transpose()?.flatten().map(|(text, note)| Log {
        text,
        note,
        command: format!("trimtab pipeline logs {} {name}", run.id),
        href: format!("{}/log?step={}&attempt={shown}", link::pipeline_run(&run.id), link::part(name)),
        is_live: step.state == StepState::Running,
    });
    let spec = version.as_ref().and_then(|version| version.spec.find(name));
    Ok(Step {
        name: name.into(),
        state: step_word(step.state),
        kind: spec.map_or("step", kind),
        why: step.why.clone().unwrap_or_default(),
        key: step.cache_key.as_ref().map(|key| key.short().into()),
        parts: step.key_parts.iter().map(|(part, digest)| (part.clone(), digest.short().into())).collect(),
        outputs: step.outputs.iter().map(|(name, kept)| (name.clone(), bytes(kept.bytes), kept.digest.short().into())).collect(),
        attempts: step.attempts.iter().map(|attempt| attempt_view(attempt, &base)).collect(),
        shown,
        log,
        actions: step_actions(run, step),
        cases: None,
    })
}

/// What may be done with a step of a run that is over.
fn step_actions(run: &PipelineRun, step: &PipelineStep) -> Vec<Action> {
    use domain::entity::RunState::{Cancelled, Failed};
    if !run.state.is_over() || !step.state.is_over() {
        return Vec::new();
    }
    let action = |title, verb: &str, field: &str| Action {
        title,
        post: format!("/api/v1/pipeline-runs/{}/{verb}", link::part(run.id.as_str())),
        body: serde_json::json!({ (field): step.name }).to_string(),
        command: format!("trimtab pipeline {verb} {} --{field} {}", run.id, step.name),
    };
    let from_here = matches!(run.state, Failed | Cancelled).then(|| action("Go on from here", "resume", "from"));
    from_here.into_iter().chain([action("Run this step again", "rerun", "step")]).collect()
}

fn attempt_view(attempt: &StepAttempt, base: &str) -> Attempt {
    let end = match (attempt.ended, attempt.timed_out, attempt.signal, attempt.exit) {
        (None, ..) => "running".into(),
        (_, true, ..) => "timed out".into(),
        (_, _, Some(signal), _) => format!("signal {signal}"),
        (_, _, _, Some(exit)) => format!("exit {exit}"),
        _ if attempt.error.is_some() => "failed".into(),
        _ => "done".into(),
    };
    Attempt {
        number: attempt.number,
        href: format!("{base}&attempt={}#step", attempt.number),
        started: time(attempt.started),
        took: between(Some(attempt.started), attempt.ended),
        end,
        is_bad: attempt.error.is_some(),
        cpu: attempt.cpu_ms.map(|ms| span(Span::from_ms(ms as i64))),
        memory: attempt.peak_memory_bytes.map(bytes),
        command: attempt.command.join(" "),
        env: attempt.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        commit: attempt.git_commit.as_ref().map(|commit| commit.chars().take(10).collect()),
        error: attempt.error.clone(),
    }
}

/// `GET /pipeline-runs/ID/log?step=NAME&attempt=N`: the end of a step's log as text.
pub(crate) async fn log(State(state): State<WebState>, Path(id): Path<String>, Query(asked): Query<Asked>) -> Result<String, PageError> {
    state
        .read(move |state| {
            let name = asked.step.unwrap_or_default();
            let step = state.world()?.get::<PipelineStep>(&format!("{id}/{name}"))?.ok_or_else(|| PageError::missing("step", &name))?;
            let chosen = |attempt: &&StepAttempt| asked.attempt.is_none_or(|number| attempt.number == number);
            let path = step.attempts.iter().rev().find(chosen).map(|attempt| attempt.log.as_str()).filter(|path| !path.is_empty());
            Ok(path.map(tail).transpose()?.flatten().map_or(String::new(), |(text, _)| text))
        })
        .await
}

//! Decisions about whole pipeline runs.

use crate::{check, graph, index};
use domain::entity::{
    Again, KeptCode, OpenRun, PipelineRun, PipelineStep, PipelineVersion, RunState, StepArtifact, StepState, Trigger, TriggerKind,
};
use domain::spec::{Overlap, ParamValue, PipelineSpec, step_of};
use domain::{Actor, Batch, Digest, Event, Fault, PipelineRunId, Refusal, Timestamp};
use indexmap::IndexMap;
use ports::{CommitError, World};

/// What was found on disk when a pipeline was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Fingerprint {
    pub code: Digest,
    pub environment: Digest,
    pub git_commit: Option<String>,
    pub git_diff: Option<String>,
}

/// Asks for a pipeline run.
#[derive(Clone, Debug)]
pub struct Request {
    /// `None`: the next number of the pipeline. Asking for an id twice makes one pipeline run.
    pub id: Option<PipelineRunId>,
    pub pipeline: String,
    pub params: IndexMap<String, ParamValue>,
    /// What the step of another pipeline run gives it.
    pub inputs: IndexMap<String, StepArtifact>,
    pub trigger: Trigger,
    pub fingerprint: Fingerprint,
    pub cause: Option<u64>,
    pub thread: Option<String>,
    /// Another definition than the applied project's: that of a commit, or of an older version.
    pub spec: Option<PipelineSpec>,
    /// Where its steps work, if that is not the project's folder: a checkout.
    pub root: Option<String>,
}

impl Request {
    /// The next run of a pipeline as the project declares it, in the project's folder.
    pub fn new(pipeline: impl Into<String>, trigger: Trigger, fingerprint: Fingerprint) -> Self {
        Request {
            id: None,
            pipeline: pipeline.into(),
            params: IndexMap::new(),
            inputs: IndexMap::new(),
            trigger,
            fingerprint,
            cause: None,
            thread: None,
            spec: None,
            root: None,
        }
    }
}

/// The declared pipeline.
pub fn declared(world: &World, pipeline: &str) -> Result<PipelineSpec, CommitError> {
    let project = world.project()?;
    let Some(project) = project else {
        return Err(Refusal::not_found("project/none", "no project file is applied").hint("trimtab apply").into());
    };
    project.spec.pipeline.get(pipeline).cloned().ok_or_else(|| {
        let names: Vec<&str> = project.spec.pipeline.keys().map(String::as_str).collect();
        Refusal::not_found("pipeline/not_found", format!("there is no pipeline `{pipeline}`"))
            .hint(if names.is_empty() { "declare one in trimtab.toml".into() } else { format!("pipelines: {}", names.join(", ")) })
            .into()
    })
}

/// Decides on a request: the pipeline run with its version.
pub fn request(world: &World, request: &Request, actor: &Actor, now: Timestamp) -> Result<(Batch, PipelineRunId), CommitError> {
    let mut batch = Batch::new(actor.clone(), now);
    batch.cause = request.cause;
    batch.thread = request.thread.clone();
    if let Some(id) = &request.id
        && world.get::<PipelineRun>(id.as_str())?.is_some()
    {
        return Ok((batch, id.clone()));
    }
    let spec = match &request.spec {
        Some(spec) => spec.clone(),
        None => declared(world, &request.pipeline)?,
    };
    check::check(&request.pipeline, &spec)?;
    let allowed = match &request.trigger.kind {
        TriggerKind::Api => spec.on.iter().any(|on| on == "api"),
        _ => true,
    };
    if !allowed {
        return Err(Refusal::new(
            domain::Kind::Forbidden,
            "pipeline/trigger",
            format!("pipeline {} does not list `api` under `on`", request.pipeline),
        )
        .hint("add \"api\" to `on`, or use `trimtab pipeline run`")
        .into());
    }
    let params = merge_params(&spec, &request.params)?;
    if let Some(missing) = spec.inputs.iter().find(|input| !request.inputs.contains_key(*input)) {
        let what = format!("pipeline {} takes `{missing}` from the step of another pipeline, and cannot run alone", request.pipeline);
        return Err(Refusal::invalid("pipeline/inputs", what).hint("call it by a step with `pipeline = ..`").into());
    }
    make_room(world, &mut batch, &request.pipeline, &spec, &request.trigger.kind)?;
    let id = match &request.id {
        Some(id) => id.clone(),
        None => next_id(world, &request.pipeline)?,
    };
    let version = version_of(world, &mut batch, &request.pipeline, &spec, &request.fingerprint, now)?;
    for step in spec.step.keys().chain(spec.on_exit.keys()) {
        batch.write(&PipelineStep::waiting(id.clone(), step));
    }
    let queued = PipelineRun::queued(id.clone(), &request.pipeline, request.trigger.clone(), now);
    let run = PipelineRun { version, params, inputs: request.inputs.clone(), root: request.root.clone(), ..queued };
    queue(world, &mut batch, run)?;
    Ok((batch, id))
}

/// What a pipeline's `overlap` says while other runs of it are under way. Waiting needs nothing here: the engine begins one at a time.
fn make_room(world: &World, batch: &mut Batch, pipeline: &str, spec: &PipelineSpec, kind: &TriggerKind) -> Result<(), CommitError> {
    if matches!(spec.overlap, Overlap::Allow | Overlap::Queue) {
        return Ok(());
    }
    for mut run in index::under_way(world, pipeline)? {
        match (spec.overlap, kind) {
            (Overlap::CancelOlder, _) if !run.cancel_asked => {
                run.cancel_asked = true;
                batch.write(&run);
                batch.say(Event::PipelineCancelRequested { pipeline_run: run.id });
            }
            (Overlap::Skip, TriggerKind::Incident { .. } | TriggerKind::Step { .. }) | (Overlap::CancelOlder, _) => {}
            _ => {
                let what = format!("{} is under way, and {pipeline} skips what overlaps", run.id);
                return Err(Refusal::conflict("pipeline/overlap", what).hint(format!("trimtab pipeline cancel {}", run.id)).into());
            }
        }
    }
    Ok(())
}

/// The parameters of a run: what is given, else the default; one without a default must be given.
pub(crate) fn merge_params(spec: &PipelineSpec, given: &IndexMap<String, ParamValue>) -> Result<IndexMap<String, ParamValue>, Refusal> {
    if let Some(unknown) = given.keys().find(|name| !spec.params.contains_key(*name)) {
        let names: Vec<&str> = spec.params.keys().map(String::as_str).collect();
        return Err(Refusal::invalid("pipeline/param", format!("there is no parameter `{unknown}`")).hint(if names.is_empty() {
            "the pipeline has none".into()
        } else {
            format!("parameters: {}", names.join(", "))
        }));
    }
    let merged = spec.params.iter().map(|(name, declared)| {
        let value = match (given.get(name), declared.default_value()) {
            (Some(value), _) => declared.accept(name, value)?,
            (None, Some(default)) => default.clone(),
            (None, None) => {
                return Err(Refusal::invalid("pipeline/param", format!("parameter `{name}` has no default and must be given"))
                    .hint(format!("--param {name}=..")));
            }
        };
        Ok((name.clone(), value))
    });
    merged.collect()
}

/// The number of the version with this hash; a new one if there is none.
fn version_of(
    world: &World,
    batch: &mut Batch,
    pipeline: &str,
    spec: &PipelineSpec,
    fingerprint: &Fingerprint,
    now: Timestamp,
) -> Result<u64, CommitError> {
    let hash = Digest::of_json(&(spec, &fingerprint.code, &fingerprint.environment));
    let versions = world.scope::<PipelineVersion>(pipeline)?;
    if let Some(same) = versions.iter().find(|version| version.hash == hash) {
        return Ok(same.number);
    }
    let number = versions.iter().map(|version| version.number).max().unwrap_or(0) + 1;
    batch.write(&PipelineVersion {
        pipeline: pipeline.into(),
        number,
        hash,
        spec: spec.clone(),
        code: fingerprint.code.clone(),
        environment: fingerprint.environment.clone(),
        git_commit: fingerprint.git_commit.clone(),
        git_diff: fingerprint.git_diff.clone(),
        created: now,
    });
    Ok(number)
}

fn found(world: &World, id: &PipelineRunId) -> Result<PipelineRun, CommitError> {
    world.get::<PipelineRun>(id.as_str())?.ok_or_else(|| {
        Refusal::not_found("pipeline_run/not_found", format!("there is no pipeline run `{id}`")).hint("trimtab pipeline ls").into()
    })
}

/// Asks a pipeline run to stop. One that is over stays as it is.
pub fn cancel(world: &World, id: &PipelineRunId, actor: &Actor, now: Timestamp) -> Result<(Batch, ()), CommitError> {
    let mut run = found(world, id)?;
    let mut batch = Batch::new(actor.clone(), now);
    if run.state.is_over() || run.cancel_asked {
        return Ok((batch, ()));
    }
    run.cancel_asked = true;
    batch.write(&run);
    batch.say(Event::PipelineCancelRequested { pipeline_run: id.clone() });
    Ok((batch, ()))
}

/// What of a pipeline run is run again, and how.
#[derive(Clone, Debug, Default)]
pub struct Rerun {
    /// One step alone, with exactly the inputs that it had.
    pub step: Option<String>,
    /// Of its search, only this trial.
    pub trial: Option<u32>,
    /// The steps work in a folder with the code as it was when this version first ran.
    pub exact: bool,
}

/// Runs a pipeline run's version again with its parameters and trigger time.
pub fn rerun(
    world: &World,
    id: &PipelineRunId,
    asked: &Rerun,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, PipelineRunId), CommitError> {
    let old = found(world, id)?;
    let steps = world.scope::<PipelineStep>(id.as_str())?;
    let mut batch = Batch::new(actor.clone(), now);
    let again = next_id(world, &old.pipeline)?;
    let spec = spec_of(world, &old)?;
    let step = asked.step.as_deref();
    if let Some(trial) = asked.trial {
        let search = step.and_then(|step| spec.find(step)?.sweep.as_ref());
        let trials = search.map_or(0, |search| crate::sweep::trials(search).len());
        if trial as usize >= trials {
            let what = format!("{} of {id} has no trial {trial}", step.map_or("no step".into(), |step| format!("step {step}")));
            return Err(Refusal::not_found("step/trial", what).hint(format!("it has {trials} trials, counted from 0")).into());
        }
    }
    if asked.exact && world.get::<KeptCode>(&format!("{}/{}", old.pipeline, old.version))?.is_none() {
        let what = format!("the code of version {} of pipeline {} was not kept", old.version, old.pipeline);
        return Err(Refusal::conflict("pipeline/no_code", what).hint("run it again without --exact, from the commit that it names").into());
    }
    let names: Vec<String> = match step {
        None => spec.step.keys().chain(spec.on_exit.keys()).cloned().collect(),
        Some(step) if spec.step.contains_key(step) => graph::needed_for(&spec, step).into_iter().collect(),
        Some(step) => {
            let names: Vec<&str> = spec.step.keys().map(String::as_str).collect();
            return Err(Refusal::not_found("step/not_found", format!("pipeline run {id} has no step `{step}`"))
                .hint(format!("steps: {}", names.join(", ")))
                .into());
        }
    };
    for name in &names {
        let mut new = PipelineStep::waiting(again.clone(), name);
        if step == Some(name.as_str()) {
            new.fresh = true;
        } else if step.is_some() {
            let done = steps.iter().find(|step| step.name == *name && step.state.is_done());
            let done = done.ok_or_else(|| {
                let what = format!("step {name} of {id} was not finished: there are no inputs to run `{}` with", step.unwrap_or_default());
                Refusal::conflict("step/no_inputs", what).hint(format!("trimtab pipeline resume {id}"))
            })?;
            new.state = StepState::Cached;
            new.why = Some(format!("as in {id}"));
            new.outputs.clone_from(&done.outputs);
            new.training_set.clone_from(&done.training_set);
        }
        batch.write(&new);
    }
    let trigger = Trigger { kind: TriggerKind::Command, ..old.trigger };
    let queued = PipelineRun::queued(again.clone(), &old.pipeline, trigger, now);
    let repeats = Again { of: id.clone(), step: step.map(str::to_owned), trial: asked.trial, exact: asked.exact };
    let run = PipelineRun {
        version: old.version,
        params: old.params,
        inputs: old.inputs,
        again: Some(repeats),
        root: old.root.filter(|_| !asked.exact),
        ..queued
    };
    queue(world, &mut batch, run)?;
    Ok((batch, again))
}

/// The definition that a run ran.
fn spec_of(world: &World, run: &PipelineRun) -> Result<PipelineSpec, CommitError> {
    let version = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))?;
    let missing = || Fault::broken(format!("version {} of pipeline {} is missing", run.version, run.pipeline));
    Ok(version.ok_or_else(missing)?.spec)
}

/// A run that the engine will find waiting, and the event that wakes it.
fn queue(world: &World, batch: &mut Batch, run: PipelineRun) -> Result<(), Fault> {
    index::add(world, batch, &run)?;
    batch.write(&run);
    batch.say(Event::PipelineRunRequested {
        pipeline_run: run.id,
        pipeline: run.pipeline,
        version: run.version,
        trigger: run.trigger.kind,
    });
    Ok(())
}

fn next_id(world: &World, pipeline: &str) -> Result<PipelineRunId, CommitError> {
    let mut number = index::count(world, pipeline)? + 1;
    loop {
        let id = PipelineRunId::new(format!("{pipeline}-{number}"));
        if world.get::<PipelineRun>(id.as_str())?.is_none() {
            return Ok(id);
        }
        number += 1;
    }
}

/// Goes on with a failed or cancelled pipeline run: what is done stays done, apart from the step `from`, which runs whatever the
/// cache holds, and what depends on it, which runs if its inputs are no longer the same.
pub fn resume(world: &World, id: &PipelineRunId, from: Option<&str>, actor: &Actor, now: Timestamp) -> Result<(Batch, ()), CommitError> {
    let mut run = found(world, id)?;
    let mut batch = Batch::new(actor.clone(), now);
    if !matches!(run.state, RunState::Failed | RunState::Cancelled) {
        let what = format!("pipeline run {id} has not failed");
        return Err(Refusal::conflict("pipeline_run/not_failed", what).hint(format!("trimtab pipeline show {id}")).into());
    }
    let steps = world.scope::<PipelineStep>(id.as_str())?;
    let again = match from {
        None => Default::default(),
        Some(from) if steps.iter().any(|step| step.name == from) => graph::depending_on(&spec_of(world, &run)?, from),
        Some(from) => {
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
            return Err(Refusal::not_found("step/not_found", format!("pipeline run {id} has no step `{from}`"))
                .hint(format!("steps: {}", names.join(", ")))
                .into());
        }
    };
    let spec = spec_of(world, &run)?;
    for mut step in steps {
        let is_again = again.contains(step_of(&step.name));
        let is_exit = spec.on_exit.contains_key(step_of(&step.name));
        if step.state.is_done() && !is_again && !is_exit {
            continue;
        }
        if is_again {
            step.outputs.clear();
            step.training_set = None;
            step.sweep = None;
            step.fresh |= from == Some(step.name.as_str());
        }
        step.state = StepState::Waiting;
        step.why = None;
        batch.write(&step);
    }
    run.state = RunState::Queued;
    run.cancel_asked = false;
    run.error = None;
    run.ended = None;
    batch.write(&run);
    batch.write(&OpenRun::of(&run));
    batch.say(Event::PipelineRunRequested {
        pipeline_run: id.clone(),
        pipeline: run.pipeline.clone(),
        version: run.version,
        trigger: TriggerKind::Command,
    });
    Ok((batch, ()))
}

//! What monitoring does because of events.

use crate::case::Loaded;
use crate::commands::close_windows;
use crate::declared::{Declared, deployment};
use crate::incident::{Judged, Nothing};
use domain::entity::{Incident, ModelVersion, Monitor, RetrainOutcome, RunState, WindowKind};
use domain::{Batch, Event, Fault, ModelName, PipelineRunId, Recorded, Verdict, VersionNumber};
use ports::World;
use reactor::Reaction;

/// Monitoring's readers of the log; alerts are [`crate::notify`]'s.
pub fn reactions() -> Vec<Reaction> {
    vec![
        Reaction { name: "monitoring.monitors", react: Box::new(monitors) },
        Reaction { name: "monitoring.windows", react: Box::new(windows) },
        Reaction { name: "monitoring.incidents", react: Box::new(incidents) },
    ]
}

/// A new champion is watched; so is one that served before its monitor was declared.
fn monitors(world: &World, recorded: &Recorded) -> Result<Batch, Fault> {
    let mut batch = Batch::reacting("monitoring.monitors", recorded);
    match &recorded.event {
        Event::ChampionPromoted { model, version, .. } => {
            for mut monitor in world.scope::<Monitor>(model.as_str())? {
                if monitor.to.is_none() && monitor.version != *version {
                    monitor.to = Some(recorded.at);
                    batch.write(&monitor);
                }
            }
            if Declared::model(world, model)?.is_some() {
                watch(world, &mut batch, model, *version)?;
            }
        }
        Event::ProjectApplied { .. } => {
            for (model, _) in Declared::all(world)? {
                let deployment = deployment(world, &model)?;
                // A champion of later than the file has an event of its own, which may not have been dealt with yet.
                let since = deployment.champion_since().filter(|since| *since < recorded.at);
                let (Some(champion), Some(_)) = (deployment.champion, since) else { continue };
                if world.get::<Monitor>(&format!("{model}/{champion}"))?.is_none() {
                    watch(world, &mut batch, &model, champion)?;
                }
            }
        }
        _ => {}
    }
    Ok(batch)
}

/// Starts the watch over a version from the batch's time on. One that was champion before keeps its reference and how far
/// its windows closed.
fn watch(world: &World, batch: &mut Batch, model: &ModelName, number: VersionNumber) -> Result<(), Fault> {
    let key = format!("{model}/{number}");
    let known = world.get::<Monitor>(&key)?;
    let version = world.get::<ModelVersion>(&key)?;
    let what = match version.and_then(|version| version.training_set) {
        Some(set) => format!("training set {set}"),
        None => format!("no training set of version {number} is known"),
    };
    let monitor = Monitor {
        model: model.clone(),
        version: number,
        reference: known.as_ref().and_then(|known| known.reference.clone()),
        reference_what: what.clone(),
        from: batch.at,
        to: None,
        input_closed_to: known.as_ref().and_then(|known| known.input_closed_to),
        performance_closed_to: known.as_ref().and_then(|known| known.performance_closed_to),
        newest: known.as_ref().and_then(|known| known.newest),
        bad: Vec::new(),
    };
    batch.write(&monitor);
    batch.say(Event::MonitorStarted { model: model.clone(), version: number, reference: what });
    Ok(())
}

/// A sealed segment's watermark closes windows.
fn windows(world: &World, recorded: &Recorded) -> Result<Batch, Fault> {
    let mut batch = Batch::reacting("monitoring.windows", recorded);
    if let Event::SegmentSealed { stream, watermark, .. } = &recorded.event {
        let sealed = stream_of(stream).map(|(kind, model)| (model, kind, *watermark));
        close_windows(world, &mut batch, sealed)?;
    }
    Ok(batch)
}

/// The model whose predictions or labels a stream holds, and the windows that it closes.
pub(crate) fn stream_of(stream: &str) -> Option<(WindowKind, &str)> {
    match stream.split_once('/')? {
        ("prediction", model) => Some((WindowKind::Input, model)),
        ("label", model) => Some((WindowKind::Performance, model)),
        _ => None,
    }
}

/// What moves an incident on.
fn incidents(world: &World, recorded: &Recorded) -> Result<Batch, Fault> {
    let mut batch = Batch::reacting("monitoring.incidents", recorded);
    match &recorded.event {
        Event::WindowJudged { model, version, kind: WindowKind::Performance, range, whole, verdict, why, .. } => {
            if let Some(mut loaded) = Loaded::model(world, model)?.filter(|loaded| loaded.case.champion == *version) {
                let judged = Judged { range: *range, whole: *whole, verdict: *verdict, why };
                let said = loaded.step(|case, policy| case.window(policy, &judged, recorded.at));
                loaded.write(&mut batch, said);
            }
        }
        Event::GateDecided { model, challenger, verdict, why, .. } if *verdict != Verdict::Pass => {
            let why = format!("the gate refused version {challenger} ({}): {why}", verdict.word());
            let run = made_by(world, model, *challenger)?;
            nothing(world, &mut batch, model, run, Some(*challenger), RetrainOutcome::Refused, &why)?;
        }
        Event::RolloutAborted { model, version, why } => {
            let why = format!("the rollout of version {version} was given up: {why}");
            let run = made_by(world, model, *version)?;
            nothing(world, &mut batch, model, run, Some(*version), RetrainOutcome::Failed, &why)?;
        }
        Event::ApprovalRejected { model, version, by, reason } => {
            let why = format!("{by} rejected version {version}: {reason}");
            let run = made_by(world, model, *version)?;
            nothing(world, &mut batch, model, run, Some(*version), RetrainOutcome::Refused, &why)?;
        }
        Event::ApprovalExpired { model, version } => {
            let why = format!("nobody approved of version {version} in time");
            let run = made_by(world, model, *version)?;
            nothing(world, &mut batch, model, run, Some(*version), RetrainOutcome::Refused, &why)?;
        }
        Event::ChampionPromoted { model, version, why, .. } => {
            let run = made_by(world, model, *version)?;
            if let Some(mut loaded) = Loaded::model(world, model)? {
                loaded.case.promoted(run.as_ref(), *version, why);
                loaded.write(&mut batch, Vec::new());
            }
        }
        Event::PipelineRunFinished { pipeline_run, state, error, .. } => {
            pipeline_finished(world, &mut batch, pipeline_run, *state, error.as_deref())?;
        }
        _ => {}
    }
    Ok(batch)
}

/// The pipeline run that made a version.
fn made_by(world: &World, model: &ModelName, version: VersionNumber) -> Result<Option<PipelineRunId>, Fault> {
    Ok(world.get::<ModelVersion>(&format!("{model}/{version}"))?.and_then(|version| version.pipeline_run))
}

fn nothing(
    world: &World,
    batch: &mut Batch,
    model: &ModelName,
    run: Option<PipelineRunId>,
    challenger: Option<VersionNumber>,
    outcome: RetrainOutcome,
    why: &str,
) -> Result<(), Fault> {
    let (Some(run), Some(mut loaded)) = (run, Loaded::model(world, model)?) else { return Ok(()) };
    let at = batch.at;
    let said = loaded.step(|case, policy| case.came_to_nothing(policy, &Nothing { run: &run, challenger, outcome, why }, at));
    loaded.write(batch, said);
    Ok(())
}

/// The pipeline of a retraining ended: with a challenger that a gate judges, or with nothing.
fn pipeline_finished(world: &World, batch: &mut Batch, id: &PipelineRunId, state: RunState, error: Option<&str>) -> Result<(), Fault> {
    // Known by what was asked for: one that could not even begin has left no pipeline run.
    let asked = |incident: &Incident| incident.attempts.iter().any(|attempt| attempt.pipeline_run == *id);
    let Some(incident) = world.list::<Incident>()?.into_iter().find(asked) else { return Ok(()) };
    let model = incident.model;
    let versions = world.scope::<ModelVersion>(model.as_str())?;
    let newest = versions.iter().filter(|version| version.pipeline_run.as_ref() == Some(id)).map(|version| version.version).max();
    let why = match (state, newest) {
        (RunState::Succeeded, Some(version)) => {
            let Some(mut loaded) = Loaded::model(world, &model)? else { return Ok(()) };
            let gated = loaded.declared.spec.gate.is_some();
            let waiting = (!gated).then(|| format!("waiting for a person: `{model}` has no gate to judge version {version}"));
            loaded.case.registered(id, version, waiting);
            loaded.write(batch, Vec::new());
            return Ok(());
        }
        (RunState::Succeeded, None) => format!("pipeline run {id} registered no version of `{model}`"),
        (RunState::Cancelled, _) => format!("pipeline run {id} was cancelled"),
        _ => format!("pipeline run {id} failed: {}", error.unwrap_or("no reason given")),
    };
    nothing(world, batch, &model, Some(id.clone()), newest, RetrainOutcome::Failed, &why)
}

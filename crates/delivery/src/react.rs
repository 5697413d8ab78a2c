//! What delivery does because of events.

use crate::approval;
use crate::commands::{after_shadow, ask, declared, follow_alias, reacting, roll_out};
use crate::rollout::after_canary;
use domain::entity::{GateReport, GateRequest, ModelVersion, PipelineRun, RunState};
use domain::{Batch, Event, Fault, ModelName, PipelineRunId, Recorded, Refusal, Verdict};
use ports::World;
use reactor::Reaction;

/// Delivery's readers of the log.
pub fn reactions() -> Vec<Reaction> {
    vec![
        Reaction { name: "delivery.gates", react: Box::new(gates) },
        Reaction { name: "delivery.rollouts", react: Box::new(rollouts) },
        Reaction { name: "delivery.overrides", react: Box::new(overrides) },
    ]
}

/// Versions that are to be judged: those of a pipeline run once it has succeeded, others as soon as they are registered.
fn gates(world: &World, recorded: &Recorded) -> Result<Batch, Fault> {
    match &recorded.event {
        Event::PipelineRunFinished { pipeline_run, state: RunState::Succeeded, .. } => after_pipeline(world, recorded, pipeline_run),
        Event::ModelVersionRegistered { model, version, pipeline_run: None, .. } => {
            let mut batch = Batch::reacting("delivery.gates", recorded);
            if let Some(gate) = declared(world, model)?.and_then(|spec| spec.gate) {
                ask(&mut batch, &gate.holdout, model, *version, recorded.at, recorded.at).map_err(unchecked)?;
            }
            Ok(batch)
        }
        _ => Ok(Batch::reacting("delivery.gates", recorded)),
    }
}

fn after_pipeline(world: &World, recorded: &Recorded, id: &PipelineRunId) -> Result<Batch, Fault> {
    let mut batch = Batch::reacting("delivery.gates", recorded);
    let (Some(run), Some(project)) = (world.get::<PipelineRun>(id.as_str())?, world.project()?) else {
        return Ok(batch);
    };
    for (name, spec) in &project.spec.model {
        let Some(gate) = &spec.gate else { continue };
        let mut versions = world.scope::<ModelVersion>(name)?;
        versions.retain(|version| version.pipeline_run.as_ref() == Some(id));
        versions.sort_by_key(|version| version.version);
        for version in versions {
            // A gate step of the pipeline has asked already.
            if world.get::<GateRequest>(&format!("{name}/{}", version.version))?.is_some() {
                continue;
            }
            if batch.thread.is_none() {
                batch.thread = crate::commands::thread_of(world, &version.model, version.version)?;
            }
            let model = ModelName::new(name.clone());
            ask(&mut batch, &gate.holdout, &model, version.version, run.trigger.holdout_to, run.trigger.time).map_err(unchecked)?;
        }
    }
    Ok(batch)
}

/// A file that was applied was checked, so its gates can be read.
fn unchecked(refusal: Refusal) -> Fault {
    Fault::because("reading a gate of the applied project", refusal)
}

/// A passed gate, or enough people, let a version out; a shadow that has answered and a good canary let it on.
fn rollouts(world: &World, recorded: &Recorded) -> Result<Batch, Fault> {
    let name = "delivery.rollouts";
    match &recorded.event {
        Event::GateDecided { model, challenger, champion, verdict: Verdict::Pass, .. } => {
            let mut batch = reacting(world, name, recorded, model, *challenger)?;
            if !approval::request(world, &mut batch, model, *challenger)? {
                roll_out(world, &mut batch, model, *challenger, *champion)?;
            }
            Ok(batch)
        }
        Event::ApprovalGiven { model, version, given, people, .. } if given >= people => {
            let mut batch = reacting(world, name, recorded, model, *version)?;
            let report = world.get::<GateReport>(&format!("{model}/{version}"))?;
            if let Some(report) = report {
                roll_out(world, &mut batch, model, *version, report.champion)?;
            }
            Ok(batch)
        }
        Event::CanaryServed { model, version, .. } | Event::CanaryLabelled { model, version, .. } => {
            let mut batch = reacting(world, name, recorded, model, *version)?;
            after_canary(world, &mut batch, model, *version)?;
            Ok(batch)
        }
        Event::ShadowServed { model, version, answered, failed } => {
            let mut batch = reacting(world, name, recorded, model, *version)?;
            after_shadow(world, &mut batch, model, *version, *answered, *failed)?;
            Ok(batch)
        }
        _ => Ok(Batch::reacting(name, recorded)),
    }
}

/// A champion that was named by hand.
fn overrides(world: &World, recorded: &Recorded) -> Result<Batch, Fault> {
    let mut batch = Batch::reacting("delivery.overrides", recorded);
    if let Event::AliasSet { model, alias, version: Some(version), .. } = &recorded.event
        && alias == crate::commands::CHAMPION
    {
        follow_alias(world, &mut batch, model, *version, &recorded.actor)?;
    }
    Ok(batch)
}

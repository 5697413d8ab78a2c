//! Commands on experiments.

use crate::{Decision, check, place};
use domain::entity::{Experiment, LifecycleStage, Tag};
use domain::{Actor, Batch, Event, ExperimentId, Refusal, RunWrite, Timestamp};
use ports::refusals::{no_experiment, taken_experiment};
use ports::{CommitError, World};

/// The experiment that is always there.
pub(crate) const DEFAULT: &str = "0";

/// What a client gives for a new experiment.
#[derive(Clone, Debug, Default)]
pub struct NewExperiment {
    pub name: String,
    /// Where its runs' artifacts go; `None`: this server's artifact store.
    pub artifact_location: Option<String>,
    pub tags: Vec<Tag>,
}

/// Makes the experiment `0`, `Default`, if it is not there: clients count on it.
pub fn ensure_default(world: &World, actor: &Actor, now: Timestamp) -> Decision<()> {
    if world.experiment(&ExperimentId::new(DEFAULT))?.is_some() {
        return Ok((Batch::new(actor.clone(), now), ()));
    }
    let new = NewExperiment { name: "Default".into(), ..NewExperiment::default() };
    Ok((created(new, ExperimentId::new(DEFAULT), actor, now).0, ()))
}

/// Creates an experiment; its id is one more than the greatest there is.
pub fn create(world: &World, new: NewExperiment, actor: &Actor, now: Timestamp) -> Decision<Experiment> {
    check::experiment_name(&new.name)?;
    let new = NewExperiment { tags: new.tags.into_iter().map(check::experiment_tag).collect::<Result<_, _>>()?, ..new };
    if let Some(location) = &new.artifact_location {
        check::location(location)?;
    }
    let all = world.experiments()?;
    if all.iter().any(|experiment| experiment.name == new.name) {
        return Err(taken_experiment(&new.name).into());
    }
    let greatest = all.iter().filter_map(|experiment| experiment.id.as_str().parse::<u64>().ok()).max();
    let id = ExperimentId::new((greatest.unwrap_or(0) + 1).to_string());
    Ok(created(new, id, actor, now))
}

fn created(new: NewExperiment, id: ExperimentId, actor: &Actor, now: Timestamp) -> (Batch, Experiment) {
    let experiment = Experiment {
        artifact_location: new.artifact_location.unwrap_or_else(|| place::uri(id.as_str())),
        id,
        name: new.name,
        lifecycle_stage: LifecycleStage::Active,
        created: now,
        updated: now,
        tags: new.tags,
    };
    let mut batch = Batch::new(actor.clone(), now);
    batch.say(Event::ExperimentCreated { experiment: experiment.id.clone(), name: experiment.name.clone() });
    batch.run_writes.push(RunWrite::Experiment(experiment.clone()));
    (batch, experiment)
}

/// Puts an experiment and its runs into the bin. Its name stays taken.
pub fn delete(world: &World, id: &ExperimentId, actor: &Actor, now: Timestamp) -> Decision<()> {
    stage(world, id, LifecycleStage::Deleted, actor, now)
}

/// Takes an experiment and its runs out of the bin.
pub fn restore(world: &World, id: &ExperimentId, actor: &Actor, now: Timestamp) -> Decision<()> {
    stage(world, id, LifecycleStage::Active, actor, now)
}

fn stage(world: &World, id: &ExperimentId, stage: LifecycleStage, actor: &Actor, now: Timestamp) -> Decision<()> {
    let found = world.experiment(id)?.filter(|experiment| experiment.lifecycle_stage != stage);
    let experiment = found.ok_or_else(|| no_experiment(id))?;
    let mut batch = Batch::new(actor.clone(), now);
    batch.run_writes.push(RunWrite::Experiment(Experiment { lifecycle_stage: stage, updated: now, ..experiment }));
    batch.run_writes.push(RunWrite::StageRuns { experiment: id.clone(), stage });
    Ok((batch, ()))
}

/// Gives an active experiment another name.
pub fn rename(world: &World, id: &ExperimentId, name: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    check::experiment_name(name)?;
    let experiment = active(world, id)?;
    Ok(changed(Experiment { name: name.to_owned(), ..experiment }, actor, now))
}

/// Sets a tag.
pub fn set_tag(world: &World, id: &ExperimentId, tag: Tag, actor: &Actor, now: Timestamp) -> Decision<()> {
    let tag = check::experiment_tag(tag)?;
    let mut experiment = active(world, id)?;
    experiment.tags.retain(|known| known.key != tag.key);
    experiment.tags.push(tag);
    Ok(changed(experiment, actor, now))
}

/// Deletes a tag that must be there.
pub fn delete_tag(world: &World, id: &ExperimentId, key: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let mut experiment = active(world, id)?;
    let before = experiment.tags.len();
    experiment.tags.retain(|tag| tag.key != key);
    if experiment.tags.len() == before {
        return Err(Refusal::not_found("tag/not_found", format!("experiment `{id}` has no tag `{key}`")).into());
    }
    Ok(changed(experiment, actor, now))
}

fn changed(experiment: Experiment, actor: &Actor, now: Timestamp) -> (Batch, ()) {
    let mut batch = Batch::new(actor.clone(), now);
    batch.run_writes.push(RunWrite::Experiment(Experiment { updated: now, ..experiment }));
    (batch, ())
}

/// An experiment that may be written to.
pub(crate) fn active(world: &World, id: &ExperimentId) -> Result<Experiment, CommitError> {
    let experiment = world.experiment(id)?.ok_or_else(|| no_experiment(id))?;
    if experiment.lifecycle_stage == LifecycleStage::Deleted {
        return Err(Refusal::conflict("experiment/deleted", format!("experiment `{id}` is deleted")).hint("restore it first").into());
    }
    Ok(experiment)
}

//! Commands on runs.

use crate::{Decision, PIPELINE_RUN_TAG, RUN_NAME_TAG, check, experiments};
use domain::entity::{LifecycleStage, Run, RunStatus, Tag};
use domain::{Actor, Batch, Event, ExperimentId, PipelineRunId, Refusal, RunId, RunWrite, Timestamp};
use ports::refusals::{deleted_run, no_run};
use ports::{CommitError, World};

/// Where older clients look for the models of a run.
const MODELS_TAG: &str = "mlflow.log-model.history";

/// What a client gives for a new run.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Made at the edge.
    pub id: RunId,
    pub experiment: ExperimentId,
    pub name: Option<String>,
    /// The name if neither `name` nor the tag gives one; made at the edge.
    pub spare_name: String,
    pub user: String,
    pub start: Timestamp,
    pub tags: Vec<Tag>,
}

/// What a client changes of a run.
#[derive(Clone, Debug, Default)]
pub struct RunChange {
    pub name: Option<String>,
    pub status: Option<RunStatus>,
    pub end: Option<Timestamp>,
}

/// Starts a run in an active experiment. Its name and the tag that mirrors it are the same.
pub fn create(world: &World, new: NewRun, actor: &Actor, now: Timestamp) -> Decision<Run> {
    let experiment = experiments::active(world, &new.experiment)?;
    let mut tags: Vec<Tag> = Vec::new();
    for tag in new.tags {
        let tag = check::tag(tag)?;
        tags.retain(|known| known.key != tag.key);
        tags.push(tag);
    }
    let tagged = tags.iter().find(|tag| tag.key == RUN_NAME_TAG).map(|tag| tag.value.clone());
    let given = new.name.filter(|name| !name.is_empty());
    if let (Some(given), Some(tagged)) = (&given, &tagged)
        && given != tagged
    {
        let what = format!("the run is named `{given}` and tagged `{tagged}`");
        return Err(Refusal::invalid("run/name", what).hint(format!("leave out the tag {RUN_NAME_TAG}")).into());
    }
    let name = given.or(tagged.filter(|name| !name.is_empty())).unwrap_or(new.spare_name);
    tags.retain(|tag| tag.key != RUN_NAME_TAG);
    tags.push(Tag::new(RUN_NAME_TAG, &name));
    tags.sort_by(|a, b| a.key.cmp(&b.key));
    let run = Run {
        artifact_uri: format!("{}/{}/artifacts", experiment.artifact_location.trim_end_matches('/'), new.id),
        id: new.id,
        experiment: new.experiment,
        name,
        user: new.user,
        status: RunStatus::Running,
        start: new.start,
        end: None,
        lifecycle_stage: LifecycleStage::Active,
        params: Vec::new(),
        tags,
        metrics: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let mut batch = Batch::new(actor.clone(), now);
    let pipeline_run = run.tag(PIPELINE_RUN_TAG).map(PipelineRunId::new);
    batch.say(Event::RunStarted { run: run.id.clone(), experiment: run.experiment.clone(), name: run.name.clone(), pipeline_run });
    batch.run_writes.push(RunWrite::CreateRun(run.clone()));
    Ok((batch, run))
}

/// Changes name, status or end of an active run. The step into a final status is an event.
pub fn update(world: &World, id: &RunId, change: RunChange, actor: &Actor, now: Timestamp) -> Decision<Run> {
    let before = active(world, id)?;
    let mut run = before.clone();
    let mut batch = Batch::new(actor.clone(), now);
    if let Some(name) = change.name.filter(|name| !name.is_empty()) {
        let tag = check::tag(Tag::new(RUN_NAME_TAG, &name))?;
        run.tags.retain(|known| known.key != tag.key);
        run.tags.push(tag.clone());
        run.name = name;
        batch.run_writes.push(RunWrite::SetTag { run: id.clone(), tag });
    }
    if let Some(status) = change.status {
        run.status = status;
    }
    run.end = change.end.or(run.end);
    if run == before {
        return Ok((Batch::new(actor.clone(), now), run));
    }
    if run.status != before.status && is_final(run.status) {
        batch.say(Event::RunFinished { run: id.clone(), status: run.status });
    }
    batch.run_writes.push(RunWrite::UpdateRun(run.clone()));
    Ok((batch, run))
}

/// Whether nothing more will come of a run.
pub(crate) fn is_final(status: RunStatus) -> bool {
    matches!(status, RunStatus::Finished | RunStatus::Failed | RunStatus::Killed)
}

/// Puts a run into the bin; one that is there already stays there.
pub fn delete(world: &World, id: &RunId, actor: &Actor, now: Timestamp) -> Decision<()> {
    stage(world, id, LifecycleStage::Deleted, actor, now)
}

/// Takes a run out of the bin; one that is not in it stays where it is.
pub fn restore(world: &World, id: &RunId, actor: &Actor, now: Timestamp) -> Decision<()> {
    stage(world, id, LifecycleStage::Active, actor, now)
}

fn stage(world: &World, id: &RunId, stage: LifecycleStage, actor: &Actor, now: Timestamp) -> Decision<()> {
    let run = world.run(id)?.ok_or_else(|| no_run(id))?;
    let mut batch = Batch::new(actor.clone(), now);
    if run.lifecycle_stage != stage {
        batch.run_writes.push(RunWrite::UpdateRun(Run { lifecycle_stage: stage, ..run }));
    }
    Ok((batch, ()))
}

/// Deletes a tag that must be there.
pub fn delete_tag(world: &World, id: &RunId, key: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let run = active(world, id)?;
    if run.tag(key).is_none() {
        return Err(Refusal::not_found("tag/not_found", format!("run `{id}` has no tag `{key}`")).into());
    }
    let mut batch = Batch::new(actor.clone(), now);
    batch.run_writes.push(RunWrite::DeleteTag { run: id.clone(), key: key.to_owned() });
    Ok((batch, ()))
}

/// Notes a model on its run, as clients before MLflow 3 do: in a tag that holds a JSON list.
pub fn note_model(world: &World, id: &RunId, model_json: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let run = active(world, id)?;
    let before =
        run.tag(MODELS_TAG).and_then(|list| list.trim().strip_prefix('[')?.strip_suffix(']')).filter(|list| !list.trim().is_empty());
    let list = before.map_or_else(|| format!("[{model_json}]"), |before| format!("[{before}, {model_json}]"));
    let mut batch = Batch::new(actor.clone(), now);
    batch.run_writes.push(RunWrite::SetTag { run: id.clone(), tag: Tag::new(MODELS_TAG, list) });
    Ok((batch, ()))
}

fn active(world: &World, id: &RunId) -> Result<Run, CommitError> {
    let run = world.run(id)?.ok_or_else(|| no_run(id))?;
    if run.lifecycle_stage == LifecycleStage::Deleted {
        return Err(deleted_run(id).into());
    }
    Ok(run)
}

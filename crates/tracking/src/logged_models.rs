//! Commands on logged models: models that a run wrote, registered or not.

use crate::{Decision, check, experiments};
use domain::entity::{LifecycleStage, LoggedModel, LoggedModelStatus, Metric, Param, Tag};
use domain::{Actor, Batch, ExperimentId, Fault, ModelName, Refusal, RunId, Timestamp, VersionNumber};
use ports::{CommitError, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a client gives for a new logged model.
#[derive(Clone, Debug)]
pub struct NewLoggedModel {
    /// `m-` and 32 hexadecimal digits; made at the edge.
    pub id: String,
    pub experiment: ExperimentId,
    pub name: String,
    pub model_type: Option<String>,
    pub source_run: Option<RunId>,
    pub tags: Vec<Tag>,
    pub params: Vec<Param>,
}

/// Creates a logged model that waits for its files.
pub fn create(world: &World, new: NewLoggedModel, actor: &Actor, now: Timestamp) -> Decision<LoggedModel> {
    check::logged_model_name(&new.name)?;
    let experiment = experiments::active(world, &new.experiment)?;
    let model = LoggedModel {
        artifact_uri: format!("{}/models/{}/artifacts", experiment.artifact_location.trim_end_matches('/'), new.id),
        id: new.id,
        experiment: new.experiment,
        name: new.name,
        model_type: new.model_type.filter(|kind| !kind.is_empty()),
        source_run: new.source_run,
        status: LoggedModelStatus::Pending,
        status_message: None,
        created: now,
        updated: now,
        lifecycle_stage: LifecycleStage::Active,
        tags: merged(Vec::new(), new.tags)?,
        params: new.params.into_iter().map(check::param).collect::<Result<_, _>>()?,
        metrics: Vec::new(),
        by_others: BTreeMap::new(),
    };
    Ok((Batch::new(actor.clone(), now).put(&model), model))
}

/// Says whether the files are all there.
pub fn finalize(world: &World, id: &str, status: LoggedModelStatus, actor: &Actor, now: Timestamp) -> Decision<LoggedModel> {
    change(world, id, actor, now, |model| {
        (model.status, model.updated) = (status, now);
        Ok(())
    })
}

/// Sets tags.
pub fn set_tags(world: &World, id: &str, tags: Vec<Tag>, actor: &Actor, now: Timestamp) -> Decision<LoggedModel> {
    change(world, id, actor, now, |model| {
        model.tags = merged(std::mem::take(&mut model.tags), tags)?;
        Ok(())
    })
}

/// Deletes a tag that must be there.
pub fn delete_tag(world: &World, id: &str, key: &str, actor: &Actor, now: Timestamp) -> Decision<LoggedModel> {
    change(world, id, actor, now, |model| {
        let before = model.tags.len();
        model.tags.retain(|tag| tag.key != key);
        let is_gone = model.tags.len() < before;
        is_gone.then_some(()).ok_or_else(|| Refusal::not_found("tag/not_found", format!("logged model `{id}` has no tag `{key}`")))
    })
}

/// Where a logged model says which versions came of it, as JSON.
const VERSIONS_TAG: &str = "mlflow.modelVersions";

/// A logged model that knows of one more version; `None` if there is no such model.
pub(crate) fn registered_as(world: &World, id: &str, name: &ModelName, number: VersionNumber) -> Result<Option<LoggedModel>, Fault> {
    let Some(mut model) = world.get::<LoggedModel>(id)? else { return Ok(None) };
    let before = model.tags.iter().find(|tag| tag.key == VERSIONS_TAG);
    let mut all: Vec<Value> = before.and_then(|tag| serde_json::from_str(&tag.value).ok()).unwrap_or_default();
    all.push(json!({"name": name, "version": number.0}));
    model.tags.retain(|tag| tag.key != VERSIONS_TAG);
    model.tags.push(Tag::new(VERSIONS_TAG, Value::from(all).to_string()));
    Ok(Some(model))
}

/// Adds params; one that is there keeps its value.
pub fn log_params(world: &World, id: &str, params: Vec<Param>, actor: &Actor, now: Timestamp) -> Decision<LoggedModel> {
    change(world, id, actor, now, |model| {
        for param in params {
            let param = check::param(param)?;
            match model.params.iter().find(|known| known.key == param.key) {
                Some(known) if known.value != param.value => {
                    return Err(ports::refusals::changed_param(&param.key, &known.value, &param.value));
                }
                Some(_) => {}
                None => model.params.push(param),
            }
        }
        Ok(())
    })
}

/// Keeps the latest value of each metric that a run logged about the model, by run, dataset and key.
pub fn keep_metrics(world: &World, id: &str, run: &RunId, metrics: Vec<Metric>, actor: &Actor, now: Timestamp) -> Decision<LoggedModel> {
    change(world, id, actor, now, |model| {
        let is_own = model.source_run.as_ref() == Some(run);
        let kept = if is_own { &mut model.metrics } else { model.by_others.entry(run.clone()).or_default() };
        for metric in metrics {
            let same = |known: &&mut Metric| {
                (&known.key, &known.dataset_name, &known.dataset_digest) == (&metric.key, &metric.dataset_name, &metric.dataset_digest)
            };
            match kept.iter_mut().find(same) {
                Some(known) if metric.rank() > known.rank() => *known = metric,
                Some(_) => {}
                None => kept.push(metric),
            }
        }
        Ok(())
    })
}

/// Puts a logged model into the bin; its files stay, and so do the versions that came of it. One that is there stays there.
pub fn delete(world: &World, id: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let batch = Batch::new(actor.clone(), now);
    let model = world.get::<LoggedModel>(id)?.ok_or_else(|| none(id))?;
    if model.lifecycle_stage == LifecycleStage::Deleted {
        return Ok((batch, ()));
    }
    Ok((batch.put(&LoggedModel { lifecycle_stage: LifecycleStage::Deleted, updated: now, ..model }), ()))
}

/// A logged model that must be there.
pub fn find(world: &World, id: &str) -> Result<LoggedModel, CommitError> {
    let found = world.get::<LoggedModel>(id)?.filter(|model| model.lifecycle_stage == LifecycleStage::Active);
    found.ok_or_else(|| none(id).into())
}

/// No such logged model, or it is in the bin.
pub fn none(id: &str) -> Refusal {
    Refusal::not_found("logged_model/not_found", format!("no logged model `{id}`"))
}

/// What is said about a model makes it no newer; only its status does.
fn change(
    world: &World,
    id: &str,
    actor: &Actor,
    now: Timestamp,
    edit: impl FnOnce(&mut LoggedModel) -> Result<(), Refusal>,
) -> Decision<LoggedModel> {
    let before = find(world, id)?;
    let mut model = before.clone();
    edit(&mut model)?;
    if model == before {
        return Ok((Batch::new(actor.clone(), now), model));
    }
    Ok((Batch::new(actor.clone(), now).put(&model), model))
}

fn merged(mut tags: Vec<Tag>, new: Vec<Tag>) -> Result<Vec<Tag>, Refusal> {
    for tag in new {
        let tag = check::registry_tag(tag)?;
        tags.retain(|known| known.key != tag.key);
        tags.push(tag);
    }
    Ok(tags)
}

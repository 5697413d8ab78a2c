//! Commands on registered models and their versions.

use crate::webhooks::{self, Told};
use crate::{CHAMPION, Decision, PIPELINE_RUN_TAG, TRAINED_UNTIL_TAG, aliases, check, logged_models, place};
use domain::entity::{Deployment, ModelVersion, PROMPT_TAG, PipelineStep, RegisteredModel, Run, Tag, TrainingSet, VersionStatus};
use domain::{Actor, Batch, Event, Fault, Kind, ModelName, PipelineRunId, Refusal, RunId, Timestamp, TrainingSetId, VersionNumber};
use ports::refusals::no_run;
use ports::{CommitError, World};
use serde_json::json;
use std::collections::BTreeMap;

/// What kind of prompt it is: nothing to tell outside.
const PROMPT_TYPE_TAG: &str = "_mlflow_prompt_type";

/// What a client gives for a new version.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub model: ModelName,
    /// `models:/m-...`, `runs:/...` or `mlflow-artifacts:/...`.
    pub source: String,
    pub run: Option<RunId>,
    pub model_id: Option<String>,
    pub tags: Vec<Tag>,
    pub description: String,
}

/// Registers a name.
pub fn create_model(
    world: &World,
    name: &str,
    tags: Vec<Tag>,
    description: &str,
    actor: &Actor,
    now: Timestamp,
) -> Decision<RegisteredModel> {
    let name = check::model_name(name)?;
    if world.get::<RegisteredModel>(name.as_str())?.is_some() {
        return Err(taken(&name).into());
    }
    let model = RegisteredModel {
        name,
        description: description.into(),
        tags: tags.into_iter().map(check::registry_tag).collect::<Result<_, _>>()?,
        aliases: BTreeMap::new(),
        created: now,
        updated: now,
        next_version: 1,
    };
    let mut batch = Batch::new(actor.clone(), now).put(&model);
    let data = json!({"name": model.name, "tags": map(&model.tags), "description": model.description});
    webhooks::tell(world, &mut batch, &model, Told::Model, "created", &data)?;
    Ok((batch, model))
}

/// Tags as webhooks tell them; what only says that a prompt is one is left out.
fn map(tags: &[Tag]) -> BTreeMap<&str, &str> {
    let told = tags.iter().filter(|tag| tag.key != PROMPT_TAG && tag.key != PROMPT_TYPE_TAG);
    told.map(|tag| (tag.key.as_str(), tag.value.as_str())).collect()
}

/// Gives a model and its versions another name. One that the loop serves keeps its name: windows, incidents and the project
/// file know it by it.
pub fn rename_model(world: &World, name: &ModelName, new: &str, actor: &Actor, now: Timestamp) -> Decision<RegisteredModel> {
    let new = check::model_name(new)?;
    let mut model = find_model(world, name)?;
    if world.get::<RegisteredModel>(new.as_str())?.is_some() {
        return Err(taken(&new).into());
    }
    refuse_if_served(world, name, "renamed")?;
    let mut batch = Batch::new(actor.clone(), now);
    for mut version in world.scope::<ModelVersion>(name.as_str())? {
        batch.delete::<ModelVersion>(format!("{name}/{}", version.version));
        version.model = new.clone();
        batch.write(&version);
    }
    batch.delete::<RegisteredModel>(name.as_str());
    model.name = new;
    model.updated = now;
    batch.write(&model);
    Ok((batch, model))
}

/// Changes a model's description.
pub fn describe_model(world: &World, name: &ModelName, description: &str, actor: &Actor, now: Timestamp) -> Decision<RegisteredModel> {
    let model = RegisteredModel { description: description.into(), updated: now, ..find_model(world, name)? };
    Ok((Batch::new(actor.clone(), now).put(&model), model))
}

/// Sets a tag of a model.
pub fn set_model_tag(world: &World, name: &ModelName, tag: Tag, actor: &Actor, now: Timestamp) -> Decision<()> {
    let mut model = find_model(world, name)?;
    let data = json!({"name": name, "key": tag.key, "value": tag.value});
    set_tag(&mut model.tags, tag)?;
    model.updated = now;
    let mut batch = Batch::new(actor.clone(), now).put(&model);
    webhooks::tell(world, &mut batch, &model, Told::ModelTag, "set", &data)?;
    Ok((batch, ()))
}

/// Deletes a tag of a model; one that is not there is no error.
pub fn delete_model_tag(world: &World, name: &ModelName, key: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let mut model = find_model(world, name)?;
    let mut batch = Batch::new(actor.clone(), now);
    webhooks::tell(world, &mut batch, &model, Told::ModelTag, "deleted", &json!({"name": name, "key": key}))?;
    model.tags.retain(|tag| tag.key != key);
    Ok((batch.put(&model), ()))
}

/// Deletes a model and its versions; the files stay.
pub fn delete_model(world: &World, name: &ModelName, actor: &Actor, now: Timestamp) -> Decision<()> {
    find_model(world, name)?;
    refuse_if_served(world, name, "deleted")?;
    let mut batch = Batch::new(actor.clone(), now);
    for version in world.scope::<ModelVersion>(name.as_str())? {
        batch.delete::<ModelVersion>(format!("{name}/{}", version.version));
    }
    batch.delete::<RegisteredModel>(name.as_str());
    Ok((batch, ()))
}

/// Registers a version: the next number, with what is known of where it came from.
pub fn create_version(world: &World, new: NewVersion, actor: &Actor, now: Timestamp) -> Decision<ModelVersion> {
    let mut model = find_model(world, &new.model)?;
    let from = if is_prompt(&new.tags) { place::of_prompt(&new.source)? } else { place::of_source(world, &new.source)? };
    if let (Some(given), Some(found)) = (&new.model_id, &from.model_id)
        && given != found
    {
        let what = format!("`{}` is not the logged model `{given}`", new.source);
        return Err(Refusal::invalid("version/source", what).hint("leave out model_id").into());
    }
    // A client that registers a logged model often leaves out the run that logged it.
    let (run_id, model_id) = (new.run.or(from.run), new.model_id.or(from.model_id));
    let run = match &run_id {
        Some(id) => Some(world.run(id)?.ok_or_else(|| no_run(id))?),
        None => None,
    };
    let origin = Origin::of(world, run.as_ref())?;
    let mut tags = Vec::new();
    for tag in new.tags {
        set_tag(&mut tags, tag)?;
    }
    let version = ModelVersion {
        model: new.model,
        version: VersionNumber(model.next_version),
        run: run_id,
        model_id,
        source: from.source,
        artifact_path: from.artifact_path,
        status: VersionStatus::Ready,
        stage: "None".into(),
        description: new.description,
        tags,
        created: now,
        updated: now,
        pipeline_run: origin.pipeline_run,
        training_set: origin.training_set,
        trained_until: origin.trained_until,
    };
    model.next_version += 1;
    model.updated = now;
    let event = Event::ModelVersionRegistered {
        model: version.model.clone(),
        version: version.version,
        run: version.run.clone(),
        pipeline_run: version.pipeline_run.clone(),
    };
    let mut batch = Batch::new(actor.clone(), now).put(&model).put(&version).event(event);
    let data = json!({
        "name": version.model, "version": version.version.to_string(), "source": version.source, "run_id": version.run,
        "tags": map(&version.tags), "description": Some(&version.description).filter(|text| !text.is_empty()),
    });
    webhooks::tell(world, &mut batch, &model, Told::Version, "created", &data)?;
    if let Some(id) = version.model_id.as_deref().filter(|_| !is_prompt(&version.tags))
        && let Some(logged) = logged_models::registered_as(world, id, &version.model, version.version)?
    {
        batch.write(&logged);
    }
    Ok((batch, version))
}

/// Where a version came from, as far as its run tells.
#[derive(Default)]
struct Origin {
    pipeline_run: Option<PipelineRunId>,
    training_set: Option<TrainingSetId>,
    trained_until: Option<Timestamp>,
}

impl Origin {
    /// The pipeline run's training set has the last word on the cut-off; without one the run's own tag is believed.
    fn of(world: &World, run: Option<&Run>) -> Result<Self, CommitError> {
        let Some(run) = run else { return Ok(Origin::default()) };
        let pipeline_run = run.tag(PIPELINE_RUN_TAG).map(PipelineRunId::new);
        let set = match &pipeline_run {
            Some(id) => training_set(world, id)?,
            None => None,
        };
        let trained_until = match (&set, run.tag(TRAINED_UNTIL_TAG)) {
            (Some(set), _) => Some(set.cutoff),
            (None, Some(text)) => Some(Timestamp::parse(text).ok_or_else(|| {
                Refusal::invalid("run/trained_until", format!("tag `{TRAINED_UNTIL_TAG}` is `{text}`, which is not a time"))
                    .hint("write it as 2011-03-01T00:00:00Z")
            })?),
            (None, None) => None,
        };
        Ok(Origin { pipeline_run, training_set: set.map(|set| set.id), trained_until })
    }
}

fn training_set(world: &World, pipeline_run: &PipelineRunId) -> Result<Option<TrainingSet>, Fault> {
    let steps = world.scope::<PipelineStep>(pipeline_run.as_str())?;
    match steps.into_iter().find_map(|step| step.training_set) {
        Some(id) => world.get::<TrainingSet>(id.as_str()),
        None => Ok(None),
    }
}

/// Changes a version's description.
pub fn describe_version(
    world: &World,
    name: &ModelName,
    number: VersionNumber,
    description: &str,
    actor: &Actor,
    now: Timestamp,
) -> Decision<ModelVersion> {
    let version = ModelVersion { description: description.into(), updated: now, ..find_version(world, name, number)? };
    Ok((Batch::new(actor.clone(), now).put(&version), version))
}

/// Sets a tag of a version.
pub fn set_version_tag(world: &World, name: &ModelName, number: VersionNumber, tag: Tag, actor: &Actor, now: Timestamp) -> Decision<()> {
    let mut version = find_version(world, name, number)?;
    let data = json!({"name": name, "version": number.to_string(), "key": tag.key, "value": tag.value});
    set_tag(&mut version.tags, tag)?;
    version.updated = now;
    let mut batch = Batch::new(actor.clone(), now).put(&version);
    webhooks::tell(world, &mut batch, &find_model(world, name)?, Told::VersionTag, "set", &data)?;
    Ok((batch, ()))
}

/// Deletes a tag of a version; one that is not there is no error.
pub fn delete_version_tag(
    world: &World,
    name: &ModelName,
    number: VersionNumber,
    key: &str,
    actor: &Actor,
    now: Timestamp,
) -> Decision<()> {
    let mut version = find_version(world, name, number)?;
    version.tags.retain(|tag| tag.key != key);
    let mut batch = Batch::new(actor.clone(), now).put(&version);
    let data = json!({"name": name, "version": number.to_string(), "key": key});
    webhooks::tell(world, &mut batch, &find_model(world, name)?, Told::VersionTag, "deleted", &data)?;
    Ok((batch, ()))
}

/// The stage of a word, in any case.
pub fn stage(word: &str) -> Result<&'static str, Refusal> {
    let known = ["None", "Staging", "Production", "Archived"].into_iter().find(|known| known.eq_ignore_ascii_case(word));
    let hint = "use None, Staging, Production or Archived; better, use aliases";
    known.ok_or_else(|| Refusal::invalid("version/stage", format!("`{word}` is no stage")).hint(hint))
}

/// Moves a version to a stage; with `archive`, those that are in it move to `Archived`.
pub fn transition(
    world: &World,
    name: &ModelName,
    number: VersionNumber,
    to: &str,
    archive: bool,
    actor: &Actor,
    now: Timestamp,
) -> Decision<ModelVersion> {
    let stage = stage(to)?;
    if archive && !matches!(stage, "Staging" | "Production") {
        return Err(Refusal::invalid("version/stage", format!("others cannot be archived when a version goes to {stage}"))
            .hint("leave out archive_existing_versions")
            .into());
    }
    let version = ModelVersion { stage: stage.into(), updated: now, ..find_version(world, name, number)? };
    let mut batch = Batch::new(actor.clone(), now).put(&version);
    if archive {
        let others = world.scope::<ModelVersion>(name.as_str())?.into_iter();
        for other in others.filter(|other| other.version != number && other.stage == stage) {
            batch.write(&ModelVersion { stage: "Archived".into(), updated: now, ..other });
        }
    }
    Ok((batch, version))
}

/// Deletes a version and the aliases that point to it. Its number is not given again.
pub fn delete_version(world: &World, name: &ModelName, number: VersionNumber, actor: &Actor, now: Timestamp) -> Decision<()> {
    find_version(world, name, number)?;
    let mut model = find_model(world, name)?;
    let mut batch = Batch::new(actor.clone(), now);
    let dropped: Vec<String> = model.aliases.iter().filter(|(_, version)| **version == number).map(|(alias, _)| alias.clone()).collect();
    for alias in &dropped {
        aliases::check_free(world, name, alias)?;
        model.aliases.remove(alias);
        batch.say(Event::AliasSet { model: name.clone(), alias: alias.clone(), version: None, previous: Some(number) });
    }
    if dropped.iter().any(|alias| alias == CHAMPION) {
        aliases::undeploy(world, &mut batch, name)?;
    }
    model.updated = now;
    batch.write(&model);
    batch.delete::<ModelVersion>(format!("{name}/{number}"));
    Ok((batch, ()))
}

/// A registered model that must be there.
pub fn find_model(world: &World, name: &ModelName) -> Result<RegisteredModel, CommitError> {
    let found = world.get::<RegisteredModel>(name.as_str())?;
    found.ok_or_else(|| Refusal::not_found("model/not_found", format!("no registered model `{name}`")).into())
}

/// A version that must be there.
pub fn find_version(world: &World, name: &ModelName, number: VersionNumber) -> Result<ModelVersion, CommitError> {
    let found = world.get::<ModelVersion>(&format!("{name}/{number}"))?;
    found.ok_or_else(|| Refusal::not_found("version/not_found", format!("model `{name}` has no version {number}")).into())
}

/// Whether these are the tags of a prompt.
pub fn is_prompt(tags: &[Tag]) -> bool {
    tags.iter().rev().find(|tag| tag.key == PROMPT_TAG).is_some_and(|tag| tag.value.eq_ignore_ascii_case("true"))
}

fn set_tag(tags: &mut Vec<Tag>, tag: Tag) -> Result<(), Refusal> {
    let tag = check::registry_tag(tag)?;
    tags.retain(|known| known.key != tag.key);
    tags.push(tag);
    Ok(())
}

fn taken(name: &ModelName) -> Refusal {
    Refusal::new(Kind::Exists, "model/exists", format!("registered model `{name}` is there already"))
}

fn refuse_if_served(world: &World, name: &ModelName, done: &str) -> Result<(), CommitError> {
    let is_served = world.get::<Deployment>(name.as_str())?.is_some_and(|deployment| !deployment.versions().is_empty());
    if is_served || aliases::declared(world, name)?.is_some() {
        let what = format!("model `{name}` is served or declared in the project file and cannot be {done}");
        return Err(Refusal::conflict("model/in_use", what)
            .hint("delete its alias `champion`, or take it out of the project file first")
            .into());
    }
    Ok(())
}

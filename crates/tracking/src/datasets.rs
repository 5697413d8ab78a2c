//! Commands on evaluation datasets and their records.

use crate::Decision;
use domain::entity::{DatasetRecord, EvaluationDataset};
use domain::{Actor, Batch, Digest, ExperimentId, Refusal, Timestamp};
use ports::refusals::no_experiment;
use ports::{CommitError, World};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// The tag that says who: what it names is kept as author.
const USER_TAG: &str = "mlflow.user";

/// What a client gives for a new dataset.
#[derive(Clone, Debug)]
pub struct NewDataset {
    /// `d-` and 32 hexadecimal digits; made at the edge.
    pub id: String,
    pub name: String,
    pub tags: BTreeMap<String, String>,
    pub experiments: Vec<ExperimentId>,
}

/// One record as a client gives it.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// `dr-` and 32 hexadecimal digits, in case the record is new; made at the edge.
    pub id: String,
    pub inputs: Map<String, Value>,
    /// Anything; `None`: not given.
    pub outputs: Option<Value>,
    pub expectations: Option<Map<String, Value>>,
    pub tags: Option<Map<String, Value>>,
    /// `{"source_type": ..., "source_data": {...}}`.
    pub source: Option<Map<String, Value>>,
}

/// How many records were new, and how many were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upserted {
    pub inserted: u64,
    pub updated: u64,
}

/// Creates a dataset without records.
pub fn create(world: &World, new: NewDataset, actor: &Actor, now: Timestamp) -> Decision<EvaluationDataset> {
    check_name(&new.name)?;
    check_experiments(world, &new.experiments)?;
    let by = new.tags.get(USER_TAG).cloned();
    let dataset = EvaluationDataset {
        digest: digest(&new.name, now),
        id: new.id,
        name: new.name,
        tags: new.tags,
        schema: None,
        records: 0,
        experiments: new.experiments,
        created: now,
        updated: now,
        created_by: by.clone(),
        updated_by: by,
    };
    Ok((Batch::new(actor.clone(), now).put(&dataset), dataset))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let is_good = !name.trim().is_empty() && name.chars().count() <= 255;
    let refusal = || Refusal::invalid("dataset/name", "a dataset's name must have 1 to 255 characters").hint("give it a name");
    is_good.then_some(()).ok_or_else(refusal)
}

fn check_experiments(world: &World, experiments: &[ExperimentId]) -> Result<(), CommitError> {
    for id in experiments {
        world.experiment(id)?.ok_or_else(|| no_experiment(id))?;
    }
    Ok(())
}

fn digest(name: &str, now: Timestamp) -> String {
    Digest::of(format!("{name}:{}", now.ms()).as_bytes()).as_str()[..8].to_owned()
}

/// Deletes a dataset with its records; one that is not there is no error.
pub fn delete(world: &World, id: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let mut batch = Batch::new(actor.clone(), now);
    if world.get::<EvaluationDataset>(id)?.is_some() {
        for record in world.scope::<DatasetRecord>(id)? {
            batch.delete::<DatasetRecord>(key(&record));
        }
        batch.delete::<EvaluationDataset>(id);
    }
    Ok((batch, ()))
}

fn key(record: &DatasetRecord) -> String {
    format!("{}/{}", record.dataset, record.inputs_digest)
}

/// Sets tags; `None` leaves one as it is.
pub fn set_tags(world: &World, id: &str, tags: &BTreeMap<String, Option<String>>, actor: &Actor, now: Timestamp) -> Decision<()> {
    let mut dataset = find(world, id)?;
    for (key, value) in tags {
        if let Some(value) = value {
            dataset.tags.insert(key.clone(), value.clone());
        }
    }
    if let Some(by) = dataset.tags.get(USER_TAG).filter(|_| tags.contains_key(USER_TAG)) {
        dataset.updated_by = Some(by.clone());
    }
    dataset.updated = now;
    Ok((Batch::new(actor.clone(), now).put(&dataset), ()))
}

/// Deletes a tag; neither a tag nor a dataset that is not there is an error.
pub fn delete_tag(world: &World, id: &str, tag: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let batch = Batch::new(actor.clone(), now);
    let Some(mut dataset) = world.get::<EvaluationDataset>(id)? else { return Ok((batch, ())) };
    match dataset.tags.remove(tag) {
        Some(_) => Ok((batch.put(&dataset), ())),
        None => Ok((batch, ())),
    }
}

/// Adds the dataset to experiments, all of which must be there.
pub fn add_experiments(world: &World, id: &str, more: &[ExperimentId], actor: &Actor, now: Timestamp) -> Decision<EvaluationDataset> {
    let mut dataset = find(world, id)?;
    check_experiments(world, more)?;
    for experiment in more {
        if !dataset.experiments.contains(experiment) {
            dataset.experiments.push(experiment.clone());
        }
    }
    dataset.updated = now;
    Ok((Batch::new(actor.clone(), now).put(&dataset), dataset))
}

/// Takes the dataset out of experiments; one that it is not in is no error.
pub fn remove_experiments(world: &World, id: &str, less: &[ExperimentId], actor: &Actor, now: Timestamp) -> Decision<EvaluationDataset> {
    let mut dataset = find(world, id)?;
    let before = dataset.experiments.len();
    dataset.experiments.retain(|experiment| !less.contains(experiment));
    let batch = Batch::new(actor.clone(), now);
    if dataset.experiments.len() == before {
        return Ok((batch, dataset));
    }
    dataset.updated = now;
    Ok((batch.put(&dataset), dataset))
}

/// Adds records; one whose inputs are there already is merged into that one.
pub fn upsert(world: &World, id: &str, given: &[NewRecord], actor: &Actor, now: Timestamp) -> Decision<Upserted> {
    let mut dataset = find(world, id)?;
    let known = world.scope::<DatasetRecord>(id)?.into_iter().map(|record| (record.inputs_digest.clone(), record));
    let mut known: HashMap<String, DatasetRecord> = known.collect();
    let mut done = Upserted { inserted: 0, updated: 0 };
    let mut changed: Vec<String> = Vec::new();
    let mut by = None;
    for new in given {
        let author = new.tags.as_ref().and_then(|tags| tags.get(USER_TAG)?.as_str()).map(str::to_owned);
        let inputs = text(&Value::Object(new.inputs.clone()));
        let inputs_digest = Digest::of(inputs.as_bytes()).as_str().to_owned();
        match known.get_mut(&inputs_digest) {
            Some(record) => {
                merge(record, new, author.clone(), now);
                done.updated += 1;
            }
            None => {
                let record = fresh(id, new, inputs, inputs_digest.clone(), author.clone(), now);
                known.insert(inputs_digest.clone(), record);
                done.inserted += 1;
            }
        }
        by = author.or(by);
        changed.push(inputs_digest);
    }
    let mut batch = Batch::new(actor.clone(), now);
    changed.sort();
    changed.dedup();
    changed.iter().filter_map(|digest| known.get(digest)).for_each(|record| batch.write(record));
    dataset.schema = schema(dataset.schema.take(), given);
    dataset.records = known.len() as u64;
    (dataset.digest, dataset.updated, dataset.updated_by) = (digest(&dataset.name, now), now, by);
    Ok((batch.put(&dataset), done))
}

fn fresh(id: &str, new: &NewRecord, inputs: String, inputs_digest: String, author: Option<String>, now: Timestamp) -> DatasetRecord {
    let (source_type, source_id) = origin(new.source.as_ref());
    DatasetRecord {
        dataset: id.into(),
        id: new.id.clone(),
        inputs_digest,
        inputs,
        outputs: Some(new.outputs.as_ref().map_or_else(|| "{}".into(), text)),
        expectations: new.expectations.clone().map(|map| text(&Value::Object(map))),
        tags: Some(text(&Value::Object(new.tags.clone().unwrap_or_default()))),
        source: new.source.clone().map(|map| text(&Value::Object(map))),
        source_id,
        source_type,
        created: now,
        updated: now,
        created_by: author.clone(),
        updated_by: author,
    }
}

/// The kind of a source, and the id of what it was.
fn origin(source: Option<&Map<String, Value>>) -> (Option<String>, Option<String>) {
    let Some(source) = source else { return (None, None) };
    let kind = source.get("source_type").and_then(Value::as_str).map(str::to_owned);
    let key = if kind.as_deref() == Some("TRACE") { "trace_id" } else { "source_id" };
    let id = source.get("source_data").and_then(|data| data.get(key)?.as_str()).map(str::to_owned);
    (kind, id)
}

/// New expectations and tags are added to those that are there; outputs are replaced, and the first source stays.
fn merge(record: &mut DatasetRecord, new: &NewRecord, author: Option<String>, now: Timestamp) {
    if let Some(outputs) = &new.outputs {
        record.outputs = Some(text(outputs));
    }
    if let Some(expectations) = &new.expectations {
        record.expectations = Some(added(record.expectations.as_deref(), expectations));
    }
    if let Some(tags) = &new.tags {
        record.tags = Some(added(record.tags.as_deref(), tags));
    }
    if let (None, Some(source)) = (&record.source, &new.source) {
        (record.source_type, record.source_id) = origin(Some(source));
        record.source = Some(text(&Value::Object(source.clone())));
    }
    record.updated = now;
    record.updated_by = author.or(record.updated_by.take());
}

fn added(before: Option<&str>, more: &Map<String, Value>) -> String {
    let mut all: Map<String, Value> = before.and_then(|before| serde_json::from_str(before).ok()).unwrap_or_default();
    all.extend(more.clone());
    text(&Value::Object(all))
}

fn text(value: &Value) -> String {
    value.to_string()
}

/// The fields seen so far, each with the kind of its first value.
fn schema(before: Option<String>, given: &[NewRecord]) -> Option<String> {
    if before.is_none() && given.is_empty() {
        return None;
    }
    let fresh = || json!({"inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0"});
    let mut all: Value = before.and_then(|before| serde_json::from_str(&before).ok()).unwrap_or_else(fresh);
    for record in given {
        learn(&mut all["inputs"], &record.inputs);
        match &record.outputs {
            Some(Value::Object(outputs)) => learn(&mut all["outputs"], outputs),
            Some(other) if all["outputs"] == json!({}) && !other.is_null() => all["outputs"] = json!(kind(other)),
            _ => {}
        }
        if let Some(expectations) = &record.expectations {
            learn(&mut all["expectations"], expectations);
        }
    }
    Some(all.to_string())
}

fn learn(part: &mut Value, fields: &Map<String, Value>) {
    let Some(part) = part.as_object_mut() else { return };
    for (name, value) in fields {
        part.entry(name.clone()).or_insert_with(|| json!(kind(value)));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Deletes records by their ids, and tells how many of them were there.
pub fn delete_records(world: &World, id: &str, records: &[String], actor: &Actor, now: Timestamp) -> Decision<u64> {
    let mut dataset = find(world, id)?;
    let mut batch = Batch::new(actor.clone(), now);
    let mut deleted = 0;
    for record in world.scope::<DatasetRecord>(id)?.iter().filter(|record| records.contains(&record.id)) {
        batch.delete::<DatasetRecord>(key(record));
        deleted += 1;
    }
    if deleted > 0 {
        dataset.records = dataset.records.saturating_sub(deleted);
        (dataset.digest, dataset.updated) = (digest(&dataset.name, now), now);
        batch.write(&dataset);
    }
    Ok((batch, deleted))
}

/// A dataset that must be there.
pub fn find(world: &World, id: &str) -> Result<EvaluationDataset, CommitError> {
    let found = world.get::<EvaluationDataset>(id)?;
    found.ok_or_else(|| Refusal::not_found("dataset/not_found", format!("no evaluation dataset `{id}`")).into())
}

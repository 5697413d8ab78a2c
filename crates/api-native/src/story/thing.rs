//! What a story is asked about.

use super::scope::Scope;
use arrow::array::AsArray;
use arrow::record_batch::RecordBatch;
use domain::entity::{Deployment, Incident, IncidentState, ModelVersion, PipelineRun, RegisteredModel, RunState};
use domain::{EntityKey, Fault, ModelName, Refusal, Scalar, Timestamp, VersionNumber};
use indexmap::IndexMap;
use ports::{CommitError, MetadataStore, ROW_COLUMNS, RowLog, World, scalar_at};
use serde::Serialize;

/// What a story is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum Subject {
    Incident(String),
    /// `MODEL@VERSION`.
    ModelVersion(String),
    PipelineRun(String),
    Prediction(String),
}

/// A prediction as the row log has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PredictionRow {
    pub model: ModelName,
    pub entity: EntityKey,
    pub time: Timestamp,
    /// The version that answered. While the row is in no segment yet, it is the one that was champion at the row's time.
    pub version: Option<VersionNumber>,
    /// What the caller sent, what the model saw, what it answered; empty while the row is in no segment yet.
    pub fields: IndexMap<String, Scalar>,
}

pub(super) struct Found {
    pub(super) subject: Subject,
    pub(super) summary: String,
    pub(super) prediction: Option<PredictionRow>,
    pub(super) scope: Scope,
}

/// Looks for a thing of that name: incident, model version, pipeline run, prediction.
pub(super) async fn find(store: &dyn MetadataStore, rows: &dyn RowLog, thing: &str) -> Result<Found, CommitError> {
    if let Some(found) = in_metadata(&World::new(store.snapshot()?), thing)? {
        return Ok(found);
    }
    if let Some(row) = prediction(rows, thing).await? {
        return Ok(of_prediction(&World::new(store.snapshot()?), thing, row)?);
    }
    Err(Refusal::not_found("why/not_found", format!("there is no incident, model version, pipeline run or prediction `{thing}`"))
        .hint("give an incident's id, MODEL@VERSION, a pipeline run's id, or the id that a prediction came with; see trimtab status")
        .into())
}

fn in_metadata(world: &World, thing: &str) -> Result<Option<Found>, CommitError> {
    if let Some(incident) = world.list::<Incident>()?.into_iter().find(|incident| incident.id.as_str() == thing) {
        return Ok(Some(of_incident(world, &incident)?));
    }
    if let Some((model, number)) = version_named(world, thing)? {
        return Ok(Some(of_version(world, &model, number)?));
    }
    match world.get::<PipelineRun>(thing)? {
        Some(run) => Ok(Some(of_pipeline_run(world, &run)?)),
        None => Ok(None),
    }
}

fn of_incident(world: &World, incident: &Incident) -> Result<Found, Fault> {
    let state = match incident.state {
        IncidentState::Open => "open",
        IncidentState::Resolved => "resolved",
        IncidentState::Escalated => "escalated to people",
    };
    let waiting = incident.waiting.as_ref().map_or(String::new(), |waiting| format!("; {waiting}"));
    let summary = format!("incident {} of {} is {state}: {}{waiting}", incident.id, incident.model, incident.why);
    let subject = Subject::Incident(incident.id.to_string());
    Ok(Found { subject, summary, prediction: None, scope: Scope::incident(world, incident)? })
}

/// `MODEL@VERSION`, `MODEL/VERSION` or `MODEL@ALIAS` of a registered model; a version that is missing is refused.
fn version_named(world: &World, thing: &str) -> Result<Option<(ModelName, VersionNumber)>, CommitError> {
    let Some((name, version)) = thing.rsplit_once(['@', '/']) else { return Ok(None) };
    let Some(registered) = world.get::<RegisteredModel>(name)? else { return Ok(None) };
    let number = version.parse().ok().map(VersionNumber).or_else(|| registered.aliases.get(version).copied());
    let there = match number {
        Some(number) => world.get::<ModelVersion>(&format!("{name}/{number}"))?.is_some(),
        None => false,
    };
    match number.filter(|_| there) {
        Some(number) => Ok(Some((registered.name, number))),
        None => {
            let what = format!("model `{name}` has no version `{version}`");
            Err(Refusal::not_found("model_version/not_found", what).hint(format!("trimtab model show {name}")).into())
        }
    }
}

fn of_version(world: &World, model: &ModelName, number: VersionNumber) -> Result<Found, Fault> {
    let role = match world.get::<Deployment>(model.as_str())? {
        Some(deployment) if deployment.champion == Some(number) => "is champion",
        Some(deployment) if deployment.versions().contains(&number) => "is a shadow",
        Some(deployment) if deployment.history.iter().any(|promotion| promotion.version == number) => "was champion",
        _ => "is not deployed",
    };
    let subject = Subject::ModelVersion(format!("{model}@{number}"));
    let summary = format!("version {number} of {model} {role}");
    Ok(Found { subject, summary, prediction: None, scope: Scope::version(world, model, number)? })
}

fn of_pipeline_run(world: &World, run: &PipelineRun) -> Result<Found, Fault> {
    let state = match run.state {
        RunState::Queued => "is queued",
        RunState::Running => "is running",
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::Cancelled => "was cancelled",
    };
    let error = run.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    let summary = format!("pipeline run {} of {} version {} {state}{error}", run.id, run.pipeline, run.version);
    let scope = Scope::pipeline_run(world, &run.id)?;
    Ok(Found { subject: Subject::PipelineRun(run.id.to_string()), summary, prediction: None, scope })
}

fn of_prediction(world: &World, id: &str, mut row: PredictionRow) -> Result<Found, Fault> {
    if row.version.is_none() {
        let deployment = world.get::<Deployment>(row.model.as_str())?;
        let history = deployment.map(|deployment| deployment.history).unwrap_or_default();
        row.version = history.iter().rfind(|promotion| promotion.at <= row.time).map(|promotion| promotion.version);
    }
    let by = match row.version {
        Some(version) => format!("by version {version} of {}", row.model),
        None => format!("by a version of {} that is not known yet", row.model),
    };
    let answer = row.fields.get("prediction").map_or("not sealed yet".to_owned(), Scalar::to_string);
    let entity = if row.entity.0.is_empty() { String::new() } else { format!(" for {}", row.entity.text()) };
    let scope = match row.version {
        Some(version) => Scope::version(world, &row.model, version)?,
        None => Scope::default(),
    };
    let summary = format!("prediction {id}{entity} at {}: {answer}, {by}", row.time);
    Ok(Found { subject: Subject::Prediction(id.into()), summary, prediction: Some(row), scope })
}

/// A prediction by its id, whatever the model.
async fn prediction(rows: &dyn RowLog, id: &str) -> Result<Option<PredictionRow>, Fault> {
    for stream in rows.streams() {
        let Some(model) = stream.strip_prefix("prediction/") else { continue };
        let Some((entity, time)) = rows.find(&stream, id).await? else { continue };
        let fields = fields_of(rows, &stream, id, time).await?;
        let version = fields.get("version").and_then(Scalar::as_f64).map(|version| VersionNumber(version as u64));
        return Ok(Some(PredictionRow { model: ModelName::new(model), entity, time, version, fields }));
    }
    Ok(None)
}

/// The row's own columns from its segment; none while it is in the open part.
async fn fields_of(rows: &dyn RowLog, stream: &str, id: &str, time: Timestamp) -> Result<IndexMap<String, Scalar>, Fault> {
    let segments = rows.segments(stream)?;
    for segment in segments.iter().rev().filter(|segment| segment.time.contains(time)) {
        let batch = rows.read(segment).await?;
        if let Some(row) = row_of(&batch, id) {
            let schema = batch.schema();
            let named = schema.fields().iter().zip(batch.columns()).filter(|(field, _)| !ROW_COLUMNS.contains(&field.name().as_str()));
            return Ok(named.map(|(field, column)| (field.name().clone(), scalar_at(column, row))).collect());
        }
    }
    Ok(IndexMap::new())
}

fn row_of(batch: &RecordBatch, id: &str) -> Option<usize> {
    let ids = batch.column_by_name("_id")?.as_string_opt::<i32>()?;
    ids.iter().position(|known| known == Some(id))
}

//! Evaluation datasets. Their tags and records come and go as JSON inside text, as MLflow has them.

use super::page::{Search, limit};
use crate::caller::Caller;
use crate::message::{Done, Message, Reply, done, required};
use crate::{MlflowApi, dto, names};
use axum::extract::{Path, State};
use axum::routing::{delete as route_delete, get, patch, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::entity::{DatasetRecord, EvaluationDataset};
use domain::filter::Target;
use domain::{ExperimentId, Fault, Refusal};
use ports::refusals::bad_token;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tracking::datasets::{self, NewDataset, NewRecord};

/// Below `/api/3.0/mlflow`.
pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/datasets/create", post(create))
        .route("/datasets/search", post(search))
        .route("/datasets/{id}", get(one).delete(delete))
        .route("/datasets/{id}/tags", patch(set_tags))
        .route("/datasets/{id}/tags/{key}", route_delete(delete_tag))
        .route("/datasets/{id}/records", get(records).post(upsert).delete(delete_records))
        .route("/datasets/{id}/experiment-ids", get(experiment_ids))
        .route("/datasets/{id}/add-experiments", post(add_experiments))
        .route("/datasets/{id}/remove-experiments", post(remove_experiments))
}

/// JSON that comes as text.
fn inner<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Refusal> {
    serde_json::from_str(text)
        .map_err(|e| Refusal::invalid("request/malformed", format!("`{name}` cannot be read: {e}")).hint("send JSON as text"))
}

/// A tag's value; what is no text becomes its JSON.
fn tag_value(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn ids(given: Vec<String>) -> Vec<ExperimentId> {
    given.into_iter().map(ExperimentId::new).collect()
}

fn answer(dataset: EvaluationDataset) -> Reply<dto::OneDataset> {
    Ok(Json(dto::OneDataset { dataset: dataset.into() }))
}

async fn create(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::CreateDataset>) -> Reply<dto::OneDataset> {
    let tags: BTreeMap<String, Value> = m.tags.filter(|tags| !tags.is_empty()).map_or(Ok(BTreeMap::new()), |tags| inner(&tags, "tags"))?;
    let new = NewDataset {
        id: format!("d-{}", names::hex_id()),
        name: required(m.name, "name")?,
        tags: tags.into_iter().map(|(key, value)| (key, tag_value(value))).collect(),
        experiments: ids(m.experiment_ids),
    };
    answer(api.decide(&caller, |world, actor, now| datasets::create(world, new.clone(), actor, now)).await?)
}

async fn one(State(api): State<MlflowApi>, Path(id): Path<String>) -> Reply<dto::OneDataset> {
    answer(datasets::find(&api.world()?, &id)?)
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Path(id): Path<String>) -> Reply<Done> {
    api.decide(&caller, |world, actor, now| datasets::delete(world, &id, actor, now)).await?;
    done()
}

async fn search(State(api): State<MlflowApi>, Message(m): Message<dto::SearchEvaluationDatasets>) -> Reply<dto::EvaluationDatasets> {
    let limit = limit(m.max_results.filter(|asked| asked.0 != 0), 1000, 50_000)?;
    let about = m.experiment_ids.join(",");
    let (filter, token) = (m.filter_string.as_deref(), m.page_token.as_deref());
    let search = Search::parse::<EvaluationDataset>(&Target::DATASETS, filter, &m.order_by, token, limit, &about)?;
    let mut all = api.world()?.list::<EvaluationDataset>()?;
    let is_in =
        |dataset: &EvaluationDataset| dataset.experiments.iter().any(|id| m.experiment_ids.iter().any(|asked| asked == id.as_str()));
    all.retain(|dataset| m.experiment_ids.is_empty() || is_in(dataset));
    let (page, next_page_token) = search.page(all)?;
    Ok(Json(dto::EvaluationDatasets { datasets: page.into_iter().map(Into::into).collect(), next_page_token }))
}

async fn set_tags(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::DatasetTags>,
) -> Reply<Done> {
    let tags: BTreeMap<String, Value> = inner(&required(m.tags, "tags")?, "tags")?;
    let tags = tags.into_iter().map(|(key, value)| (key, (!value.is_null()).then(|| tag_value(value)))).collect();
    api.decide(&caller, |world, actor, now| datasets::set_tags(world, &id, &tags, actor, now)).await?;
    done()
}

async fn delete_tag(State(api): State<MlflowApi>, caller: Caller, Path((id, key)): Path<(String, String)>) -> Reply<Done> {
    api.decide(&caller, |world, actor, now| datasets::delete_tag(world, &id, &key, actor, now)).await?;
    done()
}

/// A record as a client writes it.
#[derive(Deserialize)]
struct GivenRecord {
    #[serde(default)]
    inputs: Map<String, Value>,
    outputs: Option<Value>,
    expectations: Option<Map<String, Value>>,
    tags: Option<Map<String, Value>>,
    source: Option<Map<String, Value>>,
}

async fn upsert(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::DatasetRecords>,
) -> Reply<dto::Upserted> {
    let given: Vec<GivenRecord> = inner(&required(m.records, "records")?, "records")?;
    let new = |given: GivenRecord| NewRecord {
        id: format!("dr-{}", names::hex_id()),
        inputs: given.inputs,
        outputs: given.outputs,
        expectations: given.expectations,
        tags: given.tags,
        source: given.source,
    };
    let given: Vec<NewRecord> = given.into_iter().map(new).collect();
    let counts = api.decide(&caller, |world, actor, now| datasets::upsert(world, &id, &given, actor, now)).await?;
    Ok(Json(dto::Upserted { inserted_count: counts.inserted, updated_count: counts.updated }))
}

/// Oldest first, and then by id; a token is the place of the last one.
async fn records(State(api): State<MlflowApi>, Path(id): Path<String>, Message(m): Message<dto::PageQuery>) -> Reply<dto::RecordsPage> {
    let limit = limit(m.max_results.filter(|asked| asked.0 != 0), 1000, 50_000)?;
    let after = m.page_token.filter(|token| !token.is_empty()).map(|token| place(&token)).transpose()?;
    let mut all = api.world()?.scope::<DatasetRecord>(&id)?;
    all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    if let Some((created, id)) = after {
        all.retain(|record| (record.created.ms(), &record.id) > (created, &id));
    }
    let is_more = all.len() > limit;
    all.truncate(limit);
    let next_page_token = all.last().filter(|_| is_more).map(|last| STANDARD.encode(format!("{}:{}", last.created.ms(), last.id)));
    let records = all.into_iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(dto::RecordsPage { records: Value::Array(records).to_string(), next_page_token }))
}

fn place(token: &str) -> Result<(i64, String), Refusal> {
    let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.split_once(':')).and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    place.ok_or_else(|| bad_token(token))
}

/// A record as clients read it: JSON where it was JSON, and only what is there.
fn shown(record: DatasetRecord) -> Result<Value, Fault> {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| Fault::because("reading a dataset's record", e));
    let mut all = Map::new();
    all.insert("dataset_record_id".into(), json!(record.id));
    all.insert("dataset_id".into(), json!(record.dataset));
    all.insert("inputs".into(), parsed(&record.inputs)?);
    let texts = [("outputs", &record.outputs), ("expectations", &record.expectations), ("tags", &record.tags), ("source", &record.source)];
    for (name, text) in texts {
        if let Some(text) = text {
            all.insert(name.into(), parsed(text)?);
        }
    }
    let words = [
        ("source_id", record.source_id),
        ("source_type", record.source_type),
        ("created_by", record.created_by),
        ("last_updated_by", record.updated_by),
    ];
    all.extend(words.into_iter().filter_map(|(name, word)| Some((name.to_owned(), json!(word?)))));
    all.insert("created_time".into(), json!(record.created.ms()));
    all.insert("last_update_time".into(), json!(record.updated.ms()));
    Ok(Value::Object(all))
}

async fn delete_records(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::RecordIds>,
) -> Reply<dto::Deleted> {
    let records = m.dataset_record_ids;
    let deleted_count = api.decide(&caller, |world, actor, now| datasets::delete_records(world, &id, &records, actor, now)).await?;
    Ok(Json(dto::Deleted { deleted_count }))
}

async fn experiment_ids(State(api): State<MlflowApi>, Path(id): Path<String>) -> Reply<dto::ExperimentIds> {
    let found = api.world()?.get::<EvaluationDataset>(&id)?;
    let experiment_ids = found.map(|dataset| dataset.experiments).unwrap_or_default();
    Ok(Json(dto::ExperimentIds { experiment_ids: experiment_ids.iter().map(ToString::to_string).collect() }))
}

async fn add_experiments(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::ExperimentIds>,
) -> Reply<dto::OneDataset> {
    let more = ids(m.experiment_ids);
    answer(api.decide(&caller, |world, actor, now| datasets::add_experiments(world, &id, &more, actor, now)).await?)
}

async fn remove_experiments(
    State(api): State<MlflowApi>,
    caller: Caller,
    Path(id): Path<String>,
    Message(m): Message<dto::ExperimentIds>,
) -> Reply<dto::OneDataset> {
    let less = ids(m.experiment_ids);
    answer(api.decide(&caller, |world, actor, now| datasets::remove_experiments(world, &id, &less, actor, now)).await?)
}

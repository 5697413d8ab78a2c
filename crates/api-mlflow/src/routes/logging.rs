//! What is logged to a run: one transaction a call, no event.

use crate::caller::Caller;
use crate::convert::{dataset, metric, model_output, params, run_id, tags};
use crate::message::{Done, Message, Reply, done, missing, required};
use crate::{MlflowApi, dto};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use domain::entity::{Metric, Tag};
use domain::{Refusal, RunId};
use ports::RunLog;
use std::collections::BTreeMap;
use tracking::check::batch_limits;
use tracking::runs::{self, RunChange};
use tracking::{RUN_NAME_TAG, checked_log, logged_models};

/// What a note about a model must say.
const MLMODEL_FIELDS: [&str; 4] = ["artifact_path", "flavors", "run_id", "utc_time_created"];

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new()
        .route("/runs/log-metric", post(log_metric))
        .route("/runs/log-parameter", post(log_param))
        .route("/runs/log-batch", post(log_batch))
        .route("/runs/set-tag", post(set_tag))
        .route("/runs/delete-tag", post(delete_tag))
        .route("/runs/log-inputs", post(log_inputs))
        .route("/runs/outputs", post(log_outputs))
        .route("/runs/log-model", post(log_model))
}

/// Checks and logs. A run's name follows its tag, and a logged model hears of the metrics that are about it.
async fn log(api: &MlflowApi, caller: &Caller, run: RunId, what: RunLog) -> Reply<Done> {
    let what = checked_log(what)?;
    let name = what.tags.iter().find(|tag| tag.key == RUN_NAME_TAG).map(|tag| tag.value.clone());
    let mut about: BTreeMap<String, Vec<Metric>> = BTreeMap::new();
    for metric in &what.metrics {
        if let Some(model) = &metric.model_id {
            about.entry(model.clone()).or_default().push(metric.clone());
        }
    }
    // Whoever names a model that is not there shall have logged nothing.
    if !about.is_empty() {
        let world = api.world()?;
        about.keys().try_for_each(|model| logged_models::find(&world, model).map(drop))?;
    }
    api.runs.log(&run, what).await?;
    if let Some(name) = name {
        let change = RunChange { name: Some(name), ..RunChange::default() };
        api.decide(caller, |world, actor, now| runs::update(world, &run, change.clone(), actor, now)).await?;
    }
    for (model, metrics) in about {
        api.decide(caller, |world, actor, now| logged_models::keep_metrics(world, &model, &run, metrics.clone(), actor, now)).await?;
    }
    done()
}

async fn log_metric(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::LogMetric>) -> Reply<Done> {
    let run = run_id(m.run_id, m.run_uuid)?;
    let point = metric(dto::Metric {
        key: m.key,
        value: m.value,
        timestamp: m.timestamp,
        step: m.step,
        dataset_name: m.dataset_name,
        dataset_digest: m.dataset_digest,
        model_id: m.model_id,
        run_id: None,
    })?;
    log(&api, &caller, run, RunLog { metrics: vec![point], ..RunLog::default() }).await
}

async fn log_param(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::RunKeyValue>) -> Reply<Done> {
    let run = run_id(m.run_id, m.run_uuid)?;
    let params = params(vec![dto::KeyValue { key: m.key, value: m.value }])?;
    log(&api, &caller, run, RunLog { params, ..RunLog::default() }).await
}

async fn log_batch(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::LogBatch>) -> Reply<Done> {
    let run = run_id(m.run_id, None)?;
    let metrics = m.metrics.into_iter().map(metric).collect::<Result<_, _>>()?;
    let what = RunLog { metrics, params: params(m.params)?, tags: tags(m.tags)?, ..RunLog::default() };
    batch_limits(&what)?;
    log(&api, &caller, run, what).await
}

async fn set_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::RunKeyValue>) -> Reply<Done> {
    let run = run_id(m.run_id, m.run_uuid)?;
    let tags = vec![Tag::new(required(m.key, "key")?, m.value.unwrap_or_default())];
    log(&api, &caller, run, RunLog { tags, ..RunLog::default() }).await
}

async fn delete_tag(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::RunKeyValue>) -> Reply<Done> {
    let (run, key) = (run_id(m.run_id, m.run_uuid)?, required(m.key, "key")?);
    api.decide(&caller, |world, actor, now| runs::delete_tag(world, &run, &key, actor, now)).await?;
    done()
}

async fn log_inputs(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::LogInputs>) -> Reply<Done> {
    let run = run_id(m.run_id, None)?;
    let inputs = m.datasets.into_iter().map(dataset).collect::<Result<_, _>>()?;
    let outputs = m.models.into_iter().map(|model| model_output(model, true)).collect::<Result<_, _>>()?;
    log(&api, &caller, run, RunLog { inputs, outputs, ..RunLog::default() }).await
}

async fn log_outputs(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::LogOutputs>) -> Reply<Done> {
    let run = run_id(m.run_id, None)?;
    if m.models.is_empty() {
        return Err(missing("models").into());
    }
    let outputs = m.models.into_iter().map(|model| model_output(model, false)).collect::<Result<_, _>>()?;
    log(&api, &caller, run, RunLog { outputs, ..RunLog::default() }).await
}

/// Clients before 3.0 note a model on its run this way; the note is a tag that grows.
async fn log_model(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::LogModel>) -> Reply<Done> {
    let (run, model) = (run_id(m.run_id, None)?, required(m.model_json, "model_json")?);
    let fields = serde_json::from_str::<BTreeMap<String, serde::de::IgnoredAny>>(&model).map_err(|e| {
        Refusal::invalid("request/malformed", format!("model_json is no JSON object: {e}")).hint("send the MLmodel as JSON")
    })?;
    if let Some(field) = MLMODEL_FIELDS.into_iter().find(|field| !fields.contains_key(*field)) {
        return Err(missing(&format!("model_json.{field}")).into());
    }
    api.decide(&caller, |world, actor, now| runs::note_model(world, &run, &model, actor, now)).await?;
    done()
}

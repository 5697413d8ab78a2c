//! Between the messages and the nouns.

use crate::dto;
use crate::message::{Int, Num, missing, required};
use domain::entity::{
    DatasetInput, Experiment, LoggedModel, LoggedModelStatus, Metric, ModelOutput, ModelVersion, Param, RegisteredModel, Run, RunStatus,
    Tag,
};
use domain::{Refusal, RunId, Timestamp, VersionNumber};
use ports::ViewType;

/// An empty text is how some clients say "none".
pub(crate) fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The run that a message is about: `run_uuid` is an older word for `run_id`.
pub(crate) fn run_id(run_id: Option<String>, run_uuid: Option<String>) -> Result<RunId, Refusal> {
    required(some(run_id).or(run_uuid), "run_id").map(RunId::new)
}

pub(crate) fn version(text: Option<String>) -> Result<VersionNumber, Refusal> {
    let text = required(text, "version")?;
    // A number below 1 is a version that is not there.
    let number = text.parse::<i64>().map(|number| VersionNumber(number.max(0).unsigned_abs()));
    number.map_err(|_| Refusal::invalid("version/number", format!("`{text}` is not a version")).hint("give its number"))
}

pub(crate) fn status(word: &str) -> Result<RunStatus, Refusal> {
    let known = || RunStatus::ALL.map(RunStatus::word).join(", ");
    RunStatus::of_word(word)
        .ok_or_else(|| Refusal::invalid("run/status", format!("`{word}` is not a status")).hint(format!("use {}", known())))
}

pub(crate) fn view(word: Option<String>) -> Result<ViewType, Refusal> {
    match word.as_deref() {
        None | Some("" | "ACTIVE_ONLY") => Ok(ViewType::Active),
        Some("DELETED_ONLY") => Ok(ViewType::Deleted),
        Some("ALL") => Ok(ViewType::All),
        Some(other) => {
            Err(Refusal::invalid("search/view", format!("`{other}` is not a view")).hint("use ACTIVE_ONLY, DELETED_ONLY or ALL"))
        }
    }
}

pub(crate) fn logged_status(word: &str) -> Result<LoggedModelStatus, Refusal> {
    match word {
        "LOGGED_MODEL_PENDING" | "1" => Ok(LoggedModelStatus::Pending),
        "LOGGED_MODEL_READY" | "2" => Ok(LoggedModelStatus::Ready),
        "LOGGED_MODEL_UPLOAD_FAILED" | "3" => Ok(LoggedModelStatus::Failed),
        _ => Err(Refusal::invalid("logged_model/status", format!("`{word}` is not a status"))
            .hint("use LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED")),
    }
}

pub(crate) fn tags(all: Vec<dto::KeyValue>) -> Result<Vec<Tag>, Refusal> {
    all.into_iter().map(|tag| Ok(Tag::new(required(tag.key, "key")?, tag.value.unwrap_or_default()))).collect()
}

pub(crate) fn params(all: Vec<dto::KeyValue>) -> Result<Vec<Param>, Refusal> {
    all.into_iter().map(|param| Ok(Param { key: required(param.key, "key")?, value: param.value.unwrap_or_default() })).collect()
}

pub(crate) fn metric(metric: dto::Metric) -> Result<Metric, Refusal> {
    Ok(Metric {
        key: required(metric.key, "key")?,
        value: metric.value.ok_or_else(|| missing("value"))?.0,
        time: Timestamp::from_ms(metric.timestamp.ok_or_else(|| missing("timestamp"))?.0),
        step: metric.step.map_or(0, |step| step.0),
        model_id: some(metric.model_id),
        dataset_name: some(metric.dataset_name),
        dataset_digest: some(metric.dataset_digest),
    })
}

pub(crate) fn dataset(input: dto::DatasetInput) -> Result<DatasetInput, Refusal> {
    let dataset = input.dataset.ok_or_else(|| missing("dataset"))?;
    Ok(DatasetInput {
        name: required(dataset.name, "name")?,
        digest: required(dataset.digest, "digest")?,
        source_type: required(dataset.source_type, "source_type")?,
        source: required(dataset.source, "source")?,
        schema: some(dataset.schema),
        profile: some(dataset.profile),
        tags: tags(input.tags)?,
    })
}

pub(crate) fn model_output(model: dto::ModelRef, input: bool) -> Result<ModelOutput, Refusal> {
    Ok(ModelOutput { model_id: required(model.model_id, "model_id")?, step: model.step.map_or(0, |step| step.0), input })
}

fn ms(at: Timestamp) -> Option<Int> {
    Some(Int(at.ms()))
}

fn key_value(key: String, value: String) -> dto::KeyValue {
    dto::KeyValue { key: Some(key), value: Some(value) }
}

fn tags_out(tags: Vec<Tag>) -> Vec<dto::KeyValue> {
    tags.into_iter().map(|tag| key_value(tag.key, tag.value)).collect()
}

fn params_out(params: Vec<Param>) -> Vec<dto::KeyValue> {
    params.into_iter().map(|param| key_value(param.key, param.value)).collect()
}

impl From<Metric> for dto::Metric {
    fn from(metric: Metric) -> Self {
        dto::Metric {
            key: Some(metric.key),
            value: Some(Num(metric.value)),
            timestamp: ms(metric.time),
            step: Some(Int(metric.step)),
            dataset_name: metric.dataset_name,
            dataset_digest: metric.dataset_digest,
            model_id: metric.model_id,
            run_id: None,
        }
    }
}

impl From<Experiment> for dto::Experiment {
    fn from(experiment: Experiment) -> Self {
        dto::Experiment {
            experiment_id: Some(experiment.id.to_string()),
            name: Some(experiment.name),
            artifact_location: Some(experiment.artifact_location),
            lifecycle_stage: Some(experiment.lifecycle_stage.word().into()),
            last_update_time: ms(experiment.updated),
            creation_time: ms(experiment.created),
            tags: tags_out(experiment.tags),
        }
    }
}

/// The row of a run, without what was logged to it.
pub(crate) fn run_info(run: &Run) -> dto::RunInfo {
    let id = Some(run.id.to_string());
    dto::RunInfo {
        run_id: id.clone(),
        run_uuid: id,
        run_name: Some(run.name.clone()),
        experiment_id: Some(run.experiment.to_string()),
        user_id: Some(run.user.clone()),
        status: Some(run.status.word().into()),
        start_time: ms(run.start),
        end_time: run.end.and_then(ms),
        artifact_uri: Some(run.artifact_uri.clone()),
        lifecycle_stage: Some(run.lifecycle_stage.word().into()),
    }
}

impl From<Run> for dto::Run {
    fn from(run: Run) -> Self {
        let info = run_info(&run);
        let (read, written): (Vec<_>, Vec<_>) = run.outputs.into_iter().partition(|model| model.input);
        dto::Run {
            info,
            data: dto::RunData {
                metrics: run.metrics.into_iter().map(Into::into).collect(),
                params: params_out(run.params),
                tags: tags_out(run.tags),
            },
            inputs: dto::RunInputs {
                dataset_inputs: run.inputs.into_iter().map(dataset_out).collect(),
                model_inputs: read.into_iter().map(|model| dto::ModelRef { model_id: Some(model.model_id), step: None }).collect(),
            },
            outputs: Some(dto::RunOutputs {
                model_outputs: written
                    .into_iter()
                    .map(|model| dto::ModelRef { model_id: Some(model.model_id), step: Some(Int(model.step)) })
                    .collect(),
            }),
        }
    }
}

fn dataset_out(input: DatasetInput) -> dto::DatasetInput {
    dto::DatasetInput {
        dataset: Some(dto::Dataset {
            name: Some(input.name),
            digest: Some(input.digest),
            source_type: Some(input.source_type),
            source: Some(input.source),
            schema: input.schema,
            profile: input.profile,
        }),
        tags: tags_out(input.tags),
    }
}

impl From<LoggedModel> for dto::LoggedModel {
    fn from(model: LoggedModel) -> Self {
        let metrics = model.all_metrics();
        let metrics = metrics.map(|(run, metric)| dto::Metric { run_id: run.map(ToString::to_string), ..metric.clone().into() }).collect();
        let status = match model.status {
            LoggedModelStatus::Pending => "LOGGED_MODEL_PENDING",
            LoggedModelStatus::Ready => "LOGGED_MODEL_READY",
            LoggedModelStatus::Failed => "LOGGED_MODEL_UPLOAD_FAILED",
        };
        dto::LoggedModel {
            info: dto::LoggedModelInfo {
                model_id: Some(model.id),
                experiment_id: Some(model.experiment.to_string()),
                name: Some(model.name),
                creation_timestamp_ms: ms(model.created),
                last_updated_timestamp_ms: ms(model.updated),
                artifact_uri: Some(model.artifact_uri),
                status: Some(status.into()),
                model_type: Some(model.model_type.unwrap_or_default()),
                source_run_id: Some(model.source_run.map(|run| run.to_string()).unwrap_or_default()),
                status_message: model.status_message,
                tags: tags_out(model.tags),
            },
            data: dto::LoggedModelData { params: params_out(model.params), metrics },
        }
    }
}

/// A version with the aliases that point to it.
pub(crate) fn model_version(version: ModelVersion, model: Option<&RegisteredModel>) -> dto::ModelVersion {
    let pointing =
        |model: &RegisteredModel| model.aliases.iter().filter(|(_, to)| **to == version.version).map(|(alias, _)| alias.clone()).collect();
    let aliases = model.map(pointing).unwrap_or_default();
    dto::ModelVersion {
        name: Some(version.model.to_string()),
        version: Some(version.version.to_string()),
        creation_timestamp: ms(version.created),
        last_updated_timestamp: ms(version.updated),
        current_stage: Some(version.stage),
        description: Some(version.description),
        source: Some(version.source),
        run_id: Some(version.run.map(|run| run.to_string()).unwrap_or_default()),
        status: Some(match version.status {
            domain::entity::VersionStatus::PendingRegistration => "PENDING_REGISTRATION".into(),
            domain::entity::VersionStatus::Ready => "READY".into(),
            domain::entity::VersionStatus::FailedRegistration => "FAILED_REGISTRATION".into(),
        }),
        model_id: version.model_id,
        tags: tags_out(version.tags),
        aliases,
    }
}

/// A model with the newest version of each stage.
pub(crate) fn registered_model(model: RegisteredModel, versions: Vec<ModelVersion>) -> dto::RegisteredModel {
    let latest = latest_versions(versions);
    dto::RegisteredModel {
        latest_versions: latest.into_iter().map(|version| model_version(version, Some(&model))).collect(),
        name: Some(model.name.to_string()),
        creation_timestamp: ms(model.created),
        last_updated_timestamp: ms(model.updated),
        description: some(Some(model.description)),
        tags: tags_out(model.tags),
        aliases: model.aliases.iter().map(|(alias, to)| dto::Alias { alias: Some(alias.clone()), version: Some(to.to_string()) }).collect(),
    }
}

/// The newest version of each stage, by stage.
pub(crate) fn latest_versions(mut versions: Vec<ModelVersion>) -> Vec<ModelVersion> {
    versions.sort_by(|a, b| a.stage.cmp(&b.stage).then(b.version.cmp(&a.version)));
    versions.dedup_by(|next, kept| next.stage == kept.stage);
    versions
}

impl From<ports::DatasetSummary> for dto::DatasetSummary {
    fn from(summary: ports::DatasetSummary) -> Self {
        dto::DatasetSummary {
            experiment_id: Some(summary.experiment.to_string()),
            name: Some(summary.name),
            digest: Some(summary.digest),
            context: summary.context,
        }
    }
}

impl From<domain::entity::EvaluationDataset> for dto::EvaluationDataset {
    fn from(dataset: domain::entity::EvaluationDataset) -> Self {
        dto::EvaluationDataset {
            dataset_id: Some(dataset.id),
            name: Some(dataset.name),
            tags: Some(serde_json::json!(dataset.tags).to_string()),
            schema: dataset.schema,
            profile: (dataset.records > 0).then(|| serde_json::json!({ "num_records": dataset.records }).to_string()),
            digest: Some(dataset.digest),
            created_time: ms(dataset.created),
            last_update_time: ms(dataset.updated),
            created_by: dataset.created_by,
            last_updated_by: dataset.updated_by,
            experiment_ids: dataset.experiments.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<domain::entity::Webhook> for dto::Webhook {
    fn from(webhook: domain::entity::Webhook) -> Self {
        let event = |event: domain::entity::WebhookEvent| dto::WebhookEvent {
            entity: Some(event.entity.to_ascii_uppercase()),
            action: Some(event.action.to_ascii_uppercase()),
        };
        dto::Webhook {
            webhook_id: Some(webhook.id),
            name: Some(webhook.name),
            description: webhook.description,
            url: Some(webhook.url),
            // What it is signed with is never told.
            secret: None,
            status: Some(if webhook.is_active { "ACTIVE" } else { "DISABLED" }.into()),
            creation_timestamp: ms(webhook.created),
            last_updated_timestamp: ms(webhook.updated),
            events: webhook.events.into_iter().map(event).collect(),
        }
    }
}

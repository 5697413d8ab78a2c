//! The messages of the API. A request's fields may all be absent; what must be there is checked where it is used.

use crate::message::{Flag, Int, Num, Word, list};
use serde::{Deserialize, Serialize};

/// A message both ways: fields that are not set and lists that are empty are absent.
macro_rules! messages {
    ($($name:ident { $($field:ident : $type:ty),* $(; $($many:ident : $of:ty),*)? })*) => {
        $(
            #[derive(Clone, Debug, Default, Serialize, Deserialize)]
            #[serde(default)]
            pub(crate) struct $name {
                $(#[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
                $($(#[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")] pub $many: Vec<$of>,)*)?
            }
        )*
    };
}

messages! {
    KeyValue { key: String, value: String }
    Metric {
        key: String, value: Num, timestamp: Int, step: Int,
        dataset_name: String, dataset_digest: String, model_id: String, run_id: String
    }
    RunInfo {
        run_id: String, run_uuid: String, run_name: String, experiment_id: String, user_id: String, status: String,
        start_time: Int, end_time: Int, artifact_uri: String, lifecycle_stage: String
    }
    Dataset { name: String, digest: String, source_type: String, source: String, schema: String, profile: String }
    ModelRef { model_id: String, step: Int }
    FileInfo { path: String, is_dir: bool, file_size: Int }
    Alias { alias: String, version: String }

    ById { experiment_id: String }
    ByName { experiment_name: String }
    UpdateExperiment { experiment_id: String, new_name: String }
    ExperimentTag { experiment_id: String, key: String, value: String }
    RunRef { run_id: String, run_uuid: String }
    UpdateRun { run_id: String, run_uuid: String, status: String, end_time: Int, run_name: String }
    LogMetric {
        run_id: String, run_uuid: String, key: String, value: Num, timestamp: Int, step: Int,
        model_id: String, dataset_name: String, dataset_digest: String
    }
    RunKeyValue { run_id: String, run_uuid: String, key: String, value: String }
    LogModel { run_id: String, model_json: String }
    GetHistory { run_id: String, run_uuid: String, metric_key: String, page_token: String, max_results: Int }
    ArtifactOfRun { run_id: String, run_uuid: String, path: String }
    ArtifactOfVersion { name: String, version: String, path: String }
    ArtifactOfModel { artifact_file_path: String }
    ListFolder { path: String }
    ListArtifacts { run_id: String, run_uuid: String, path: String }
    FinalizeModel { status: Word }
    ListModelArtifacts { artifact_directory_path: String }
    ModelOrder { field_name: String, ascending: bool, dataset_name: String, dataset_digest: String }
    DatasetRef { dataset_name: String, dataset_digest: String }
    LoggedModelQuery { allow_deleted: Flag }
    DatasetSummary { experiment_id: String, name: String, digest: String, context: String }

    Named { name: String }
    RenameModel { name: String, new_name: String }
    Describe { name: String, description: String }
    ModelTag { name: String, key: String, value: String }
    VersionRef { name: String, version: String }
    DescribeVersion { name: String, version: String, description: String }
    Transition { name: String, version: String, stage: String, archive_existing_versions: Flag }
    VersionTag { name: String, version: String, key: String, value: String }
    SetAlias { name: String, alias: String, version: String }
    AliasRef { name: String, alias: String }

    EvaluationDataset {
        dataset_id: String, name: String, tags: String, schema: String, profile: String, digest: String,
        created_time: Int, last_update_time: Int, created_by: String, last_updated_by: String;
        experiment_ids: String
    }
    WebhookEvent { entity: String, action: String }
    Webhook {
        webhook_id: String, name: String, description: String, url: String, secret: String, status: String,
        creation_timestamp: Int, last_updated_timestamp: Int;
        events: WebhookEvent
    }
    TestWebhook { event: WebhookEvent }
    WebhookTestResult { success: bool, response_status: Int, response_body: String, error_message: String }
    CreateDataset { name: String, tags: String; experiment_ids: String }
    SearchEvaluationDatasets { filter_string: String, max_results: Int, page_token: String; experiment_ids: String, order_by: String }
    DatasetTags { tags: String }
    DatasetRecords { records: String }
    RecordIds { ; dataset_record_ids: String }
    ExperimentIds { ; experiment_ids: String }
    PageQuery { max_results: Int, page_token: String }

    Experiment {
        experiment_id: String, name: String, artifact_location: String, lifecycle_stage: String,
        last_update_time: Int, creation_time: Int; tags: KeyValue
    }
    RunData { ; metrics: Metric, params: KeyValue, tags: KeyValue }
    DatasetInput { dataset: Dataset; tags: KeyValue }
    RunInputs { ; dataset_inputs: DatasetInput, model_inputs: ModelRef }
    RunOutputs { ; model_outputs: ModelRef }
    LoggedModelInfo {
        model_id: String, experiment_id: String, name: String, creation_timestamp_ms: Int, last_updated_timestamp_ms: Int,
        artifact_uri: String, status: String, model_type: String, source_run_id: String, status_message: String;
        tags: KeyValue
    }
    LoggedModelData { ; params: KeyValue, metrics: Metric }
    ModelVersion {
        name: String, version: String, creation_timestamp: Int, last_updated_timestamp: Int, current_stage: String,
        description: String, source: String, run_id: String, status: String, model_id: String;
        tags: KeyValue, aliases: String
    }
    RegisteredModel {
        name: String, creation_timestamp: Int, last_updated_timestamp: Int, description: String;
        latest_versions: ModelVersion, tags: KeyValue, aliases: Alias
    }

    CreateExperiment { name: String, artifact_location: String; tags: KeyValue }
    SearchExperiments { max_results: Int, page_token: String, filter: String, view_type: String; order_by: String }
    CreateRun { experiment_id: String, user_id: String, run_name: String, start_time: Int; tags: KeyValue }
    LogBatch { run_id: String; metrics: Metric, params: KeyValue, tags: KeyValue }
    LogInputs { run_id: String; datasets: DatasetInput, models: ModelRef }
    LogOutputs { run_id: String; models: ModelRef }
    SearchRuns {
        filter: String, run_view_type: String, max_results: Int, page_token: String;
        experiment_ids: String, order_by: String
    }
    CreateLoggedModel {
        experiment_id: String, name: String, model_type: String, source_run_id: String;
        params: KeyValue, tags: KeyValue
    }
    LoggedModelParams { ; params: KeyValue }
    LoggedModelTags { ; tags: KeyValue }
    SearchLoggedModels {
        filter: String, max_results: Int, page_token: String;
        experiment_ids: String, order_by: ModelOrder, datasets: DatasetRef
    }
    IntervalQuery { metric_key: String, start_step: Int, end_step: Int, max_results: Int; run_ids: String }
    BulkQuery { metric_key: String, max_results: Int; run_id: String }
    SearchDatasets { ; experiment_ids: String }
    CreateModel { name: String, description: String; tags: KeyValue }
    SearchModels { filter: String, max_results: Int, page_token: String; order_by: String }
    LatestVersions { name: String; stages: String }
    CreateVersion { name: String, source: String, run_id: String, model_id: String, description: String; tags: KeyValue }
}

/// A run, whole.
#[derive(Serialize)]
pub(crate) struct Run {
    pub info: RunInfo,
    pub data: RunData,
    pub inputs: RunInputs,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<RunOutputs>,
}

/// A logged model, whole.
#[derive(Serialize)]
pub(crate) struct LoggedModel {
    pub info: LoggedModelInfo,
    pub data: LoggedModelData,
}

/// An answer with one named part.
macro_rules! answers {
    ($($name:ident { $field:ident : $type:ty })*) => {
        $(
            #[derive(Serialize)]
            pub(crate) struct $name { pub $field: $type }
        )*
    };
}

answers! {
    ExperimentId { experiment_id: String }
    OneExperiment { experiment: Experiment }
    OneRun { run: Run }
    OneRunInfo { run_info: RunInfo }
    OneLoggedModel { model: LoggedModel }
    OneModel { registered_model: RegisteredModel }
    OneVersion { model_version: ModelVersion }
    ArtifactUri { artifact_uri: String }
    OneDataset { dataset: EvaluationDataset }
    Deleted { deleted_count: u64 }
    OneWebhook { webhook: Webhook }
    WebhookTested { result: WebhookTestResult }
}

/// An answer with a page of things; an empty list and a last page's token are absent.
macro_rules! pages {
    ($($name:ident { $field:ident : $type:ty })*) => {
        $(
            #[derive(Serialize)]
            pub(crate) struct $name {
                #[serde(skip_serializing_if = "Vec::is_empty")]
                pub $field: Vec<$type>,
                #[serde(skip_serializing_if = "Option::is_none")]
                pub next_page_token: Option<String>,
            }
        )*
    };
}

pages! {
    Experiments { experiments: Experiment }
    Runs { runs: Run }
    Metrics { metrics: Metric }
    LoggedModels { models: LoggedModel }
    Models { registered_models: RegisteredModel }
    Versions { model_versions: ModelVersion }
    Webhooks { webhooks: Webhook }
    EvaluationDatasets { datasets: EvaluationDataset }
}

/// Points of several runs; here an empty list is there.
#[derive(Serialize)]
pub(crate) struct BulkMetrics {
    pub metrics: Vec<Metric>,
}

/// A page of an evaluation dataset's records, as JSON in text.
#[derive(Serialize)]
pub(crate) struct RecordsPage {
    pub records: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// How many records were new, and how many were there.
#[derive(Serialize)]
pub(crate) struct Upserted {
    pub inserted_count: u64,
    pub updated_count: u64,
}

/// What runs of some experiments read.
#[derive(Serialize)]
pub(crate) struct DatasetSummaries {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dataset_summaries: Vec<DatasetSummary>,
}

/// The children of an artifact folder.
#[derive(Serialize)]
pub(crate) struct Files {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_uri: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileInfo>,
}

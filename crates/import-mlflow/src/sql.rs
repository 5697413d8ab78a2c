//! The tables of a server. Columns are probed, not demanded: servers of several years have some and lack others.

use crate::db::{Db, Row};
use crate::{ImportError, Item, Out, POINTS, Source, send, words};
use async_trait::async_trait;
use domain::entity::{DatasetInput, Experiment, LoggedModel, Metric, ModelOutput, ModelVersion, Param, RegisteredModel, Run, Tag};
use domain::{ExperimentId, ModelName, RunId, VersionNumber};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Runs whose rows are held at a time.
const RUNS: usize = 200;
/// The one workspace that is taken.
const WORKSPACE: &str = "default";
/// Tables whose rows have no home here, and what they are called.
const LEFT: [(&str, &str); 6] = [
    ("trace_info", "traces"),
    ("assessments", "assessments"),
    ("evaluation_datasets", "evaluation datasets"),
    ("scorers", "scorers"),
    ("webhooks", "webhooks (their secrets are encrypted with a key of that server)"),
    ("endpoints", "gateway endpoints"),
];

/// A server's database.
pub(crate) struct Database {
    db: Db,
    tables: HashSet<String>,
    left: Vec<String>,
}

impl Database {
    pub(crate) fn new(db: Db) -> Self {
        Database { db, tables: HashSet::new(), left: Vec::new() }
    }
}

#[async_trait]
impl Source for Database {
    async fn read(&mut self, out: &Out) -> Result<Vec<String>, ImportError> {
        self.tables = self.db.tables().await?.into_iter().collect();
        if !self.tables.contains("experiments") || !self.tables.contains("runs") {
            let refusal = domain::Refusal::invalid("import/no_tables", "that database has no tables `experiments` and `runs`");
            return Err(refusal.hint("give the address that `mlflow server --backend-store-uri` was started with").into());
        }
        self.experiments(out).await?;
        self.logged_models(out).await?;
        self.runs(out).await?;
        self.registry(out).await?;
        for (table, noun) in LEFT {
            let rows = self.every(&format!("SELECT count(*) AS n FROM {table}"), table).await?;
            let count = rows.first().and_then(|row| row.int("n")).unwrap_or(0);
            if count > 0 {
                self.left.push(format!("{count} {noun}"));
            }
        }
        Ok(std::mem::take(&mut self.left))
    }
}

impl Database {
    /// All rows of a table that may not be there.
    async fn every(&self, sql: &str, table: &str) -> Result<Vec<Row>, ImportError> {
        if self.tables.contains(table) { self.db.all(sql, &[]).await } else { Ok(Vec::new()) }
    }

    /// Rows of a table whose column is one of `keys`.
    async fn of(&self, table: &str, column: &str, keys: &[String]) -> Result<Vec<Row>, ImportError> {
        if !self.tables.contains(table) || keys.is_empty() {
            return Ok(Vec::new());
        }
        self.db.all(&format!("SELECT * FROM {table} WHERE {column} IN ({})", places(keys.len())), keys).await
    }

    fn is_here(&mut self, row: &Row, noun: &str) -> bool {
        let workspace = row.text("workspace").unwrap_or_else(|| WORKSPACE.into());
        let here = workspace == WORKSPACE;
        if !here {
            self.left.push(format!("{noun} `{}` of workspace `{workspace}`", row.word("name")));
        }
        here
    }

    async fn experiments(&mut self, out: &Out) -> Result<(), ImportError> {
        let mut tags = grouped(self.every("SELECT * FROM experiment_tags", "experiment_tags").await?, "experiment_id", tag);
        for row in self.every("SELECT * FROM experiments ORDER BY experiment_id", "experiments").await? {
            if !self.is_here(&row, "experiment") {
                continue;
            }
            let id = row.word("experiment_id");
            let experiment = Experiment {
                tags: tags.remove(&id).unwrap_or_default(),
                id: ExperimentId::new(id),
                name: row.word("name"),
                artifact_location: row.word("artifact_location"),
                lifecycle_stage: words::stage(&row.word("lifecycle_stage")),
                created: words::time(row.int("creation_time")),
                updated: words::time(row.int("last_update_time")),
            };
            send(out, Item::Experiment(experiment)).await?;
        }
        Ok(())
    }

    async fn runs(&self, out: &Out) -> Result<(), ImportError> {
        let ids = self.every("SELECT run_uuid FROM runs ORDER BY run_uuid", "runs").await?;
        let ids: Vec<String> = ids.iter().map(|row| row.word("run_uuid")).collect();
        for chunk in ids.chunks(RUNS) {
            let rows = self.of("runs", "run_uuid", chunk).await?;
            let mut params = grouped(self.of("params", "run_uuid", chunk).await?, "run_uuid", param);
            let mut tags = grouped(self.of("tags", "run_uuid", chunk).await?, "run_uuid", tag);
            let (mut inputs, mut outputs) = self.inputs(chunk).await?;
            for row in &rows {
                let id = row.word("run_uuid");
                let tags = tags.remove(&id).unwrap_or_default();
                let run = Run {
                    name: row.text("name").filter(|name| !name.is_empty()).unwrap_or_else(|| name_tag(&tags)),
                    params: params.remove(&id).unwrap_or_default(),
                    inputs: inputs.remove(&id).unwrap_or_default(),
                    outputs: outputs.remove(&id).unwrap_or_default(),
                    id: RunId::new(id),
                    tags,
                    experiment: ExperimentId::new(row.word("experiment_id")),
                    user: row.word("user_id"),
                    status: words::run_status(&row.word("status")),
                    start: words::time(row.int("start_time")),
                    end: row.int("end_time").map(|ms| words::time(Some(ms))),
                    lifecycle_stage: words::stage(&row.word("lifecycle_stage")),
                    artifact_uri: row.word("artifact_uri"),
                    metrics: Vec::new(),
                };
                send(out, Item::Run(run)).await?;
            }
            self.points(chunk, out).await?;
            for row in &rows {
                let stage = words::stage(&row.word("lifecycle_stage"));
                send(out, Item::RunEnd { run: RunId::new(row.word("run_uuid")), stage }).await?;
            }
        }
        Ok(())
    }

    /// Datasets that runs read, and models that they read and wrote.
    async fn inputs(
        &self,
        runs: &[String],
    ) -> Result<(HashMap<String, Vec<DatasetInput>>, HashMap<String, Vec<ModelOutput>>), ImportError> {
        let mut inputs: HashMap<String, Vec<DatasetInput>> = HashMap::new();
        let mut outputs: HashMap<String, Vec<ModelOutput>> = HashMap::new();
        let read = self.of("inputs", "destination_id", runs).await?;
        let written = self.of("inputs", "source_id", runs).await?;
        for row in written.iter().filter(|row| row.word("source_type") == "RUN_OUTPUT") {
            let output = ModelOutput { model_id: row.word("destination_id"), step: row.int("step").unwrap_or(0), input: false };
            outputs.entry(row.word("source_id")).or_default().push(output);
        }
        for row in written.iter().filter(|row| row.word("source_type") == "RUN_INPUT") {
            let input = ModelOutput { model_id: row.word("destination_id"), step: 0, input: true };
            outputs.entry(row.word("source_id")).or_default().push(input);
        }
        let read: Vec<&Row> = read.iter().filter(|row| row.word("source_type") == "DATASET").collect();
        let datasets: Vec<String> = read.iter().map(|row| row.word("source_id")).collect();
        let datasets: HashMap<String, Row> =
            self.of("datasets", "dataset_uuid", &datasets).await?.into_iter().map(|row| (row.word("dataset_uuid"), row)).collect();
        let keys: Vec<String> = read.iter().map(|row| row.word("input_uuid")).collect();
        let name_tag = |row: &Row| Tag::new(row.word("name"), row.word("value"));
        let mut tags = grouped(self.of("input_tags", "input_uuid", &keys).await?, "input_uuid", name_tag);
        for row in read {
            let Some(dataset) = datasets.get(&row.word("source_id")) else { continue };
            let input = DatasetInput {
                name: dataset.word("name"),
                digest: dataset.word("digest"),
                source_type: dataset.word("dataset_source_type"),
                source: dataset.word("dataset_source"),
                schema: dataset.text("dataset_schema"),
                profile: dataset.text("dataset_profile"),
                tags: tags.remove(&row.word("input_uuid")).unwrap_or_default(),
            };
            inputs.entry(row.word("destination_id")).or_default().push(input);
        }
        Ok((inputs, outputs))
    }

    /// Metric points, in pieces; those of a logged model know it.
    async fn points(&self, runs: &[String], out: &Out) -> Result<(), ImportError> {
        let of_models = self.of("logged_model_metrics", "run_id", runs).await?;
        let about: HashMap<PointKey, &Row> = of_models.iter().map(|row| (model_point_key(row), row)).collect();
        let sql = format!("SELECT * FROM metrics WHERE run_uuid IN ({}) ORDER BY run_uuid", places(runs.len()));
        let mut rows = self.db.rows(&sql, runs).await?;
        let mut points: Vec<Metric> = Vec::new();
        let mut run = String::new();
        while let Some(piece) = rows.recv().await {
            for row in piece? {
                let of = row.word("run_uuid");
                if (of != run || points.len() == POINTS) && !points.is_empty() {
                    send(out, Item::Points { run: RunId::new(run.as_str()), points: std::mem::take(&mut points) }).await?;
                }
                let (ms, step) = (row.int("timestamp"), row.int("step").unwrap_or(0));
                let key = row.word("key");
                let model = about.get(&(of.clone(), key.clone(), ms.unwrap_or(0), step));
                points.push(Metric {
                    key,
                    value: words::stored_value(row.real("value"), row.flag("is_nan")),
                    time: words::time(ms),
                    step,
                    model_id: model.map(|row| row.word("model_id")),
                    dataset_name: model.and_then(|row| row.text("dataset_name")),
                    dataset_digest: model.and_then(|row| row.text("dataset_digest")),
                });
                run = of;
            }
        }
        if !points.is_empty() {
            send(out, Item::Points { run: RunId::new(run), points }).await?;
        }
        Ok(())
    }

    async fn logged_models(&mut self, out: &Out) -> Result<(), ImportError> {
        let ids = self.every("SELECT model_id FROM logged_models ORDER BY model_id", "logged_models").await?;
        let ids: Vec<String> = ids.iter().map(|row| row.word("model_id")).collect();
        let mut deleted = 0;
        for chunk in ids.chunks(RUNS) {
            let mut params = grouped(self.of("logged_model_params", "model_id", chunk).await?, "model_id", |row| Param {
                key: row.word("param_key"),
                value: row.word("param_value"),
            });
            let mut tags = grouped(self.of("logged_model_tags", "model_id", chunk).await?, "model_id", |row| {
                Tag::new(row.word("tag_key"), row.word("tag_value"))
            });
            let mut metrics = grouped(self.of("logged_model_metrics", "model_id", chunk).await?, "model_id", model_metric);
            for row in self.of("logged_models", "model_id", chunk).await? {
                if words::stage(&row.word("lifecycle_stage")) == domain::entity::LifecycleStage::Deleted {
                    deleted += 1;
                    continue;
                }
                let id = row.word("model_id");
                let model = LoggedModel {
                    experiment: ExperimentId::new(row.word("experiment_id")),
                    name: row.word("name"),
                    artifact_uri: row.word("artifact_location"),
                    model_type: row.text("model_type").filter(|kind| !kind.is_empty()),
                    source_run: row.text("source_run_id").map(RunId::new),
                    status: words::model_status(&row.word("status")),
                    status_message: row.text("status_message"),
                    created: words::time(row.int("creation_timestamp_ms")),
                    updated: words::time(row.int("last_updated_timestamp_ms")),
                    lifecycle_stage: domain::entity::LifecycleStage::Active,
                    by_others: std::collections::BTreeMap::new(),
                    tags: tags.remove(&id).unwrap_or_default(),
                    params: params.remove(&id).unwrap_or_default(),
                    metrics: latest(metrics.remove(&id).unwrap_or_default()),
                    id,
                };
                send(out, Item::LoggedModel(model)).await?;
            }
        }
        if deleted > 0 {
            self.left.push(format!("{deleted} deleted logged models"));
        }
        Ok(())
    }

    async fn registry(&mut self, out: &Out) -> Result<(), ImportError> {
        let mut model_tags = grouped(self.every("SELECT * FROM registered_model_tags", "registered_model_tags").await?, "name", tag);
        let mut version_tags: HashMap<(String, i64), Vec<Tag>> = HashMap::new();
        for row in self.every("SELECT * FROM model_version_tags", "model_version_tags").await? {
            version_tags.entry((row.word("name"), row.int("version").unwrap_or(0))).or_default().push(tag(&row));
        }
        let mut versions: HashMap<String, Vec<Row>> = HashMap::new();
        for row in self.every("SELECT * FROM model_versions ORDER BY version", "model_versions").await? {
            versions.entry(row.word("name")).or_default().push(row);
        }
        for row in self.every("SELECT * FROM registered_models ORDER BY name", "registered_models").await? {
            if !self.is_here(&row, "registered model") {
                continue;
            }
            let name = row.word("name");
            let rows = versions.remove(&name).unwrap_or_default();
            // A deleted version's row keeps its number from being given again.
            let highest = rows.iter().filter_map(|row| row.int("version")).max().unwrap_or(0);
            let model = RegisteredModel {
                name: ModelName::new(name.as_str()),
                description: row.word("description"),
                tags: model_tags.remove(&name).unwrap_or_default(),
                aliases: BTreeMap::new(),
                created: words::time(row.int("creation_time")),
                updated: words::time(row.int("last_updated_time")),
                next_version: highest.unsigned_abs() + 1,
            };
            send(out, Item::Model(model)).await?;
            for row in rows.iter().filter(|row| row.word("current_stage") != "Deleted_Internal") {
                let number = row.int("version").unwrap_or(0);
                let source = row.word("source");
                let version = ModelVersion {
                    model: ModelName::new(name.as_str()),
                    version: VersionNumber(number.unsigned_abs()),
                    run: row.text("run_id").filter(|run| !run.is_empty()).map(RunId::new),
                    model_id: source.strip_prefix("models:/").filter(|id| id.starts_with("m-")).map(str::to_owned),
                    artifact_path: String::new(),
                    source,
                    status: words::version_status(&row.word("status")),
                    stage: row.text("current_stage").unwrap_or_else(|| "None".into()),
                    description: row.word("description"),
                    tags: version_tags.remove(&(name.clone(), number)).unwrap_or_default(),
                    created: words::time(row.int("creation_time")),
                    updated: words::time(row.int("last_updated_time")),
                    pipeline_run: None,
                    training_set: None,
                    trained_until: None,
                };
                send(out, Item::Version(version)).await?;
            }
        }
        for row in self.every("SELECT * FROM registered_model_aliases", "registered_model_aliases").await? {
            if row.text("workspace").is_some_and(|workspace| workspace != WORKSPACE) {
                continue;
            }
            let version = VersionNumber(row.int("version").unwrap_or(0).unsigned_abs());
            send(out, Item::Alias { model: ModelName::new(row.word("name")), alias: row.word("alias"), version }).await?;
        }
        Ok(())
    }
}

/// `$1, $2, ...`, which both databases understand.
fn places(n: usize) -> String {
    (1..=n).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
}

fn grouped<T>(rows: Vec<Row>, column: &str, make: impl Fn(&Row) -> T) -> HashMap<String, Vec<T>> {
    let mut groups: HashMap<String, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(row.word(column)).or_default().push(make(&row));
    }
    groups
}

fn tag(row: &Row) -> Tag {
    Tag::new(row.word("key"), row.word("value"))
}

fn param(row: &Row) -> Param {
    Param { key: row.word("key"), value: row.word("value") }
}

/// The name of a run in servers that kept it only as a tag.
fn name_tag(tags: &[Tag]) -> String {
    tags.iter().find(|tag| tag.key == tracking::RUN_NAME_TAG).map(|tag| tag.value.clone()).unwrap_or_default()
}

/// Run, key, time, step.
type PointKey = (String, String, i64, i64);

fn model_point_key(row: &Row) -> PointKey {
    (row.word("run_id"), row.word("metric_name"), row.int("metric_timestamp_ms").unwrap_or(0), row.int("metric_step").unwrap_or(0))
}

fn model_metric(row: &Row) -> Metric {
    Metric {
        key: row.word("metric_name"),
        value: words::stored_value(row.real("metric_value"), false),
        time: words::time(row.int("metric_timestamp_ms")),
        step: row.int("metric_step").unwrap_or(0),
        model_id: row.text("model_id"),
        dataset_name: row.text("dataset_name"),
        dataset_digest: row.text("dataset_digest"),
    }
}

/// A logged model holds the latest value of each key.
pub(crate) fn latest(metrics: Vec<Metric>) -> Vec<Metric> {
    let mut latest: BTreeMap<(String, Option<String>, Option<String>), Metric> = BTreeMap::new();
    for metric in metrics {
        let key = (metric.key.clone(), metric.dataset_name.clone(), metric.dataset_digest.clone());
        match latest.get(&key) {
            Some(known) if known.rank() >= metric.rank() => {}
            _ => {
                latest.insert(key, metric);
            }
        }
    }
    latest.into_values().collect()
}

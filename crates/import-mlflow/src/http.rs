//! A running server, asked page by page.

use crate::{ImportError, Item, Out, POINTS, Source, send, sql, words};
use async_trait::async_trait;
use domain::entity::{DatasetInput, Experiment, LoggedModel, Metric, ModelOutput, ModelVersion, Param, RegisteredModel, Run, Tag};
use domain::{ExperimentId, ModelName, RunId, VersionNumber};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs a page: small, because each comes with all its params and tags.
const PAGE: usize = 200;
/// Points a page of a history.
const HISTORY: usize = 25_000;

/// A server that answers the MLflow REST API.
pub(crate) struct Server {
    url: String,
    http: reqwest::Client,
    left: Vec<String>,
}

impl Server {
    pub(crate) fn new(address: &str) -> Result<Self, ImportError> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(300)).build();
        let http = http.map_err(|error| ImportError::reading("the server", error))?;
        Ok(Server { url: address.trim_end_matches('/').to_owned(), http, left: Vec::new() })
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value, ImportError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let request = match (variable("MLFLOW_TRACKING_USERNAME"), variable("MLFLOW_TRACKING_TOKEN")) {
            (Some(user), _) => request.basic_auth(user, variable("MLFLOW_TRACKING_PASSWORD")),
            (None, Some(token)) => request.bearer_auth(token),
            (None, None) => request,
        };
        let failed = |error: reqwest::Error| ImportError::reading(&self.url, error.without_url());
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if !status.is_success() {
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let said = body.get("message").and_then(Value::as_str).unwrap_or("no reason given");
            return Err(ImportError::reading(&self.url, format!("it answered {status}: {said}")));
        }
        serde_json::from_str(&text).map_err(|error| ImportError::reading(&self.url, error))
    }

    fn pages(&self, ask: Ask) -> Pages<'_> {
        Pages { server: self, ask, token: Some(String::new()) }
    }

    async fn experiments(&self, out: &Out) -> Result<Vec<String>, ImportError> {
        let mut ids = Vec::new();
        let mut pages = self.pages(Ask::Post("experiments/search", json!({ "view_type": "ALL", "max_results": 1000 })));
        while let Some(page) = pages.next().await? {
            for given in list(&page, "experiments") {
                let id = word(given, "experiment_id");
                let experiment = Experiment {
                    id: ExperimentId::new(id.as_str()),
                    name: word(given, "name"),
                    artifact_location: word(given, "artifact_location"),
                    lifecycle_stage: words::stage(&word(given, "lifecycle_stage")),
                    created: words::time(int(given, "creation_time")),
                    updated: words::time(int(given, "last_update_time")),
                    tags: tags(given),
                };
                send(out, Item::Experiment(experiment)).await?;
                ids.push(id);
            }
        }
        Ok(ids)
    }

    async fn runs(&self, experiment: &str, out: &Out) -> Result<(), ImportError> {
        let body = json!({ "experiment_ids": [experiment], "run_view_type": "ALL", "max_results": PAGE,
            "order_by": ["attributes.start_time ASC"] });
        let mut pages = self.pages(Ask::Post("runs/search", body));
        while let Some(page) = pages.next().await? {
            for given in list(&page, "runs") {
                let run = run(given);
                let (id, stage) = (run.id.clone(), run.lifecycle_stage);
                let keys: Vec<String> = list(&given["data"], "metrics").map(|metric| word(metric, "key")).collect();
                send(out, Item::Run(run)).await?;
                for key in keys {
                    self.history(&id, key, out).await?;
                }
                send(out, Item::RunEnd { run: id, stage }).await?;
            }
        }
        Ok(())
    }

    async fn history(&self, run: &RunId, key: String, out: &Out) -> Result<(), ImportError> {
        let query = vec![("run_id", run.to_string()), ("metric_key", key), ("max_results", HISTORY.to_string())];
        let mut pages = self.pages(Ask::Get("metrics/get-history", query));
        while let Some(page) = pages.next().await? {
            let points: Vec<Metric> = list(&page, "metrics").map(metric).collect();
            for piece in points.chunks(POINTS) {
                send(out, Item::Points { run: run.clone(), points: piece.to_vec() }).await?;
            }
        }
        Ok(())
    }

    /// Older servers know no logged models.
    async fn logged_models(&self, experiments: &[String], out: &Out) -> Result<(), ImportError> {
        for chunk in experiments.chunks(100) {
            let mut pages = self.pages(Ask::Post("logged-models/search", json!({ "experiment_ids": chunk })));
            loop {
                let page = match pages.next().await {
                    Ok(Some(page)) => page,
                    Ok(None) => break,
                    Err(ImportError::Refused(refusal)) if refusal.what.contains("404") => return Ok(()),
                    Err(other) => return Err(other),
                };
                for given in list(&page, "models") {
                    send(out, Item::LoggedModel(logged_model(given))).await?;
                }
            }
        }
        Ok(())
    }

    async fn registry(&self, out: &Out) -> Result<(), ImportError> {
        let mut pages = self.pages(Ask::Get("registered-models/search", vec![("max_results", "100".into())]));
        while let Some(page) = pages.next().await? {
            for given in list(&page, "registered_models") {
                self.model(given, out).await?;
            }
        }
        Ok(())
    }

    async fn model(&self, given: &Value, out: &Out) -> Result<(), ImportError> {
        let name = word(given, "name");
        let mut versions = Vec::new();
        let filter = format!("name = '{}'", name.replace('\'', "''"));
        let mut pages = self.pages(Ask::Get("model-versions/search", vec![("filter", filter), ("max_results", "1000".into())]));
        while let Some(page) = pages.next().await? {
            versions.extend(list(&page, "model_versions").map(version));
        }
        versions.sort_by_key(|version| version.version);
        let model = RegisteredModel {
            name: ModelName::new(name.as_str()),
            description: word(given, "description"),
            tags: tags(given),
            aliases: BTreeMap::new(),
            created: words::time(int(given, "creation_timestamp")),
            updated: words::time(int(given, "last_updated_timestamp")),
            next_version: versions.last().map_or(1, |last| last.version.0 + 1),
        };
        send(out, Item::Model(model)).await?;
        for version in versions {
            send(out, Item::Version(version)).await?;
        }
        for alias in list(given, "aliases") {
            let version = VersionNumber(int(alias, "version").unwrap_or(0).unsigned_abs());
            send(out, Item::Alias { model: ModelName::new(name.as_str()), alias: word(alias, "alias"), version }).await?;
        }
        Ok(())
    }
}

/// A question whose answer comes in pages.
enum Ask {
    Post(&'static str, Value),
    Get(&'static str, Vec<(&'static str, String)>),
}

/// The pages of an answer, one after the other.
struct Pages<'a> {
    server: &'a Server,
    ask: Ask,
    /// Asks for the next page, the first one with no text; `None`: that was the last.
    token: Option<String>,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Value>, ImportError> {
        let Some(token) = self.token.take() else { return Ok(None) };
        let url = |path: &str| format!("{}/api/2.0/mlflow/{path}", self.server.url);
        let http = &self.server.http;
        let request = match &mut self.ask {
            Ask::Post(path, body) => {
                body["page_token"] = token.into();
                http.post(url(path)).json(body)
            }
            Ask::Get(path, query) => {
                let mut address = reqwest::Url::parse(&url(path)).map_err(|error| ImportError::reading(&self.server.url, error))?;
                address.query_pairs_mut().extend_pairs(query.iter());
                if !token.is_empty() {
                    address.query_pairs_mut().append_pair("page_token", &token);
                }
                http.get(address)
            }
        };
        let page = self.server.ask(request).await?;
        self.token = Some(word(&page, "next_page_token")).filter(|next| !next.is_empty());
        Ok(Some(page))
    }
}

#[async_trait]
impl Source for Server {
    async fn read(&mut self, out: &Out) -> Result<Vec<String>, ImportError> {
        let experiments = self.experiments(out).await?;
        self.logged_models(&experiments, out).await?;
        for experiment in &experiments {
            self.runs(experiment, out).await?;
        }
        self.registry(out).await?;
        self.left.push("the numbers of deleted model versions: a server does not tell them".into());
        Ok(std::mem::take(&mut self.left))
    }
}

fn run(given: &Value) -> Run {
    let (info, data) = (&given["info"], &given["data"]);
    let param = |param: &Value| Param { key: word(param, "key"), value: word(param, "value") };
    let output = |output: &Value| ModelOutput { model_id: word(output, "model_id"), step: int(output, "step").unwrap_or(0), input: false };
    let input = |input: &Value| ModelOutput { model_id: word(input, "model_id"), step: 0, input: true };
    Run {
        id: RunId::new(word(info, "run_id")),
        experiment: ExperimentId::new(word(info, "experiment_id")),
        name: word(info, "run_name"),
        user: word(info, "user_id"),
        status: words::run_status(&word(info, "status")),
        start: words::time(int(info, "start_time")),
        end: int(info, "end_time").map(|ms| words::time(Some(ms))),
        lifecycle_stage: words::stage(&word(info, "lifecycle_stage")),
        artifact_uri: word(info, "artifact_uri"),
        params: list(data, "params").map(param).collect(),
        tags: tags(data),
        metrics: Vec::new(),
        inputs: list(&given["inputs"], "dataset_inputs").map(dataset).collect(),
        outputs: list(&given["outputs"], "model_outputs").map(output).chain(list(&given["inputs"], "model_inputs").map(input)).collect(),
    }
}

fn dataset(given: &Value) -> DatasetInput {
    let dataset = &given["dataset"];
    let some = |key: &str| Some(word(dataset, key)).filter(|text| !text.is_empty());
    DatasetInput {
        name: word(dataset, "name"),
        digest: word(dataset, "digest"),
        source_type: word(dataset, "source_type"),
        source: word(dataset, "source"),
        schema: some("schema"),
        profile: some("profile"),
        tags: tags(given),
    }
}

fn metric(given: &Value) -> Metric {
    let some = |key: &str| Some(word(given, key)).filter(|text| !text.is_empty());
    let value = given.get("value").and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()));
    Metric {
        key: word(given, "key"),
        value: words::stored_value(value.unwrap_or(0.0), false),
        time: words::time(int(given, "timestamp")),
        step: int(given, "step").unwrap_or(0),
        model_id: some("model_id"),
        dataset_name: some("dataset_name"),
        dataset_digest: some("dataset_digest"),
    }
}

fn logged_model(given: &Value) -> LoggedModel {
    let (info, data) = (&given["info"], &given["data"]);
    let some = |key: &str| Some(word(info, key)).filter(|text| !text.is_empty());
    LoggedModel {
        id: word(info, "model_id"),
        experiment: ExperimentId::new(word(info, "experiment_id")),
        name: word(info, "name"),
        artifact_uri: word(info, "artifact_uri"),
        model_type: some("model_type"),
        source_run: some("source_run_id").map(RunId::new),
        status: words::model_status(&word(info, "status")),
        status_message: some("status_message"),
        created: words::time(int(info, "creation_timestamp_ms")),
        updated: words::time(int(info, "last_updated_timestamp_ms")),
        lifecycle_stage: domain::entity::LifecycleStage::Active,
        by_others: std::collections::BTreeMap::new(),
        tags: tags(info),
        params: list(data, "params").map(|param| Param { key: word(param, "key"), value: word(param, "value") }).collect(),
        metrics: sql::latest(list(data, "metrics").map(metric).collect()),
    }
}

fn version(given: &Value) -> ModelVersion {
    let source = word(given, "source");
    ModelVersion {
        model: ModelName::new(word(given, "name")),
        version: VersionNumber(int(given, "version").unwrap_or(0).unsigned_abs()),
        run: Some(word(given, "run_id")).filter(|run| !run.is_empty()).map(RunId::new),
        model_id: source.strip_prefix("models:/").filter(|id| id.starts_with("m-")).map(str::to_owned),
        artifact_path: String::new(),
        source,
        status: words::version_status(&word(given, "status")),
        stage: Some(word(given, "current_stage")).filter(|stage| !stage.is_empty()).unwrap_or_else(|| "None".into()),
        description: word(given, "description"),
        tags: tags(given),
        created: words::time(int(given, "creation_timestamp")),
        updated: words::time(int(given, "last_updated_timestamp")),
        pipeline_run: None,
        training_set: None,
        trained_until: None,
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn tags(value: &Value) -> Vec<Tag> {
    list(value, "tags").map(|tag| Tag::new(word(tag, "key"), word(tag, "value"))).collect()
}

fn word(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn int(value: &Value, key: &str) -> Option<i64> {
    let value = value.get(key)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

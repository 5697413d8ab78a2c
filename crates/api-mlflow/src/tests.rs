//! The router on the in-memory stores: what only the API can get wrong.
#![allow(clippy::unwrap_used)]

use super::*;
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use domain::entity::{AppliedProject, Metric, Run};
use domain::{Batch, Event, ExperimentId, RunId};
use futures::StreamExt;
use ports::memory::{ManualClock, MemoryArtifacts, MemoryStore};
use ports::{ArtifactExt, CommitError, Curve, DatasetSummary, HistoryPage, Keys, Page, RunLog, RunSearch, SearchError, TextHit};
use serde_json::{Value, json};
use tower::ServiceExt;

mod answers;
mod fuzz;

struct House {
    store: Arc<MemoryStore>,
    artifacts: Arc<MemoryArtifacts>,
    router: Router,
}

impl House {
    async fn new() -> Self {
        let store = MemoryStore::new();
        Self::with_runs(store.clone(), store).await
    }

    async fn with_runs(store: Arc<MemoryStore>, runs: Arc<dyn RunStore>) -> Self {
        let artifacts = MemoryArtifacts::new();
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1_300_000_000_000)));
        let api = MlflowApi { store: store.clone(), runs, artifacts: artifacts.clone(), clock };
        prepare(&api).await.unwrap();
        House { store, artifacts, router: router(api) }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/api/2.0/mlflow/{path}") };
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn run(&self) -> String {
        let (_, answer) = self.post("runs/create", json!({"experiment_id": "0"})).await;
        answer["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn an_unknown_route_is_not_a_missing_thing() {
    let house = House::new().await;
    for path in [
        "/api/2.0/mlflow/none",
        "/api/2.0/mlflow/runs/create",
        "/api/3.0/mlflow/traces/x",
        "/ajax-api/2.0/mlflow/none",
        "/api/2.0/mlflow-artifacts/none",
    ] {
        let (status, body) = house.get(path).await;
        assert_eq!((status.as_u16(), &body["error_code"]), (404, &json!("ENDPOINT_NOT_FOUND")), "{path}");
    }
    let (status, body) = house.get("/api/2.0/mlflow/runs/get?run_id=none").await;
    assert_eq!((status.as_u16(), &body["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")));
}

#[tokio::test]
async fn what_is_not_set_is_absent() {
    let house = House::new().await;
    assert_eq!(house.post("runs/search", json!({"experiment_ids": ["0"]})).await.1, json!({}));
    let run = house.run().await;
    let (_, answer) = house.get(&format!("/ajax-api/2.0/mlflow/runs/get?run_id={run}")).await;
    assert!(answer["run"]["info"].get("end_time").is_none() && answer["run"]["data"].get("metrics").is_none());
    assert!(answer["run"]["info"]["start_time"].is_i64(), "whole numbers are numbers");
}

#[tokio::test]
async fn numbers_may_be_text_and_nan_is() {
    let house = House::new().await;
    let run = house.run().await;
    for (value, step) in [(json!("NaN"), json!("1")), (json!("-Infinity"), json!(2)), (json!(3), json!(3.0)), (json!("0.1"), json!(null))] {
        let (status, body) =
            house.post("runs/log-metric", json!({"run_id": run, "key": "m", "value": value, "step": step, "timestamp": "7"})).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let (_, answer) = house.get(&format!("/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m")).await;
    let values: Vec<&Value> = answer["metrics"].as_array().unwrap().iter().map(|metric| &metric["value"]).collect();
    assert_eq!(values, [&json!(0.1), &json!("NaN"), &json!("-Infinity"), &json!(3.0)]);
    for (value, step) in [(json!("x"), json!(1)), (json!(1), json!(1.5)), (json!([1]), json!(1)), (json!(null), json!(1))] {
        let (status, _) =
            house.post("runs/log-metric", json!({"run_id": run, "key": "m", "value": value, "step": step, "timestamp": 7})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{value} {step}");
    }
}

#[tokio::test]
async fn the_actor_is_the_user_of_the_request() {
    let house = House::new().await;
    // ada:secret
    let request = Request::post("/api/2.0/mlflow/experiments/create")
        .header("content-type", "application/json")
        .header("authorization", "Basic YWRhOnNlY3JldA==");
    house.send(request.body(Body::from(r#"{"name": "x"}"#)).unwrap()).await;
    let last = house.store.events(0, 9).unwrap().pop().unwrap();
    assert_eq!((last.actor, last.event.name()), (Actor::User("ada".into()), "ExperimentCreated"));
}

#[tokio::test]
async fn a_protected_champion_cannot_be_moved() {
    let house = House::new().await;
    house.post("registered-models/create", json!({"name": "demand"})).await;
    let version = json!({"name": "demand", "source": "mlflow-artifacts:/0/x"});
    assert_eq!(house.post("model-versions/create", version).await.1["model_version"]["version"], json!("1"));
    let spec: domain::spec::Project =
        serde_json::from_value(json!({"model": {"demand": {"task": "regression", "metric": "mae", "protected": true}}})).unwrap();
    let applied = AppliedProject { hash: spec.hash(), spec, root: String::new(), applied: Timestamp::from_ms(0) };
    house.store.commit(Batch::new(Actor::User("x".into()), Timestamp::from_ms(0)).put(&applied)).await.unwrap();
    let (status, body) = house.post("registered-models/alias", json!({"name": "demand", "alias": "champion", "version": "1"})).await;
    assert_eq!((status.as_u16(), &body["error_code"]), (403, &json!("PERMISSION_DENIED")));
    let (status, _) = house.post("registered-models/alias", json!({"name": "demand", "alias": "other", "version": "1"})).await;
    assert_eq!(status, StatusCode::OK);
    assert!(matches!(house.store.events(0, 99).unwrap().pop().unwrap().event, Event::AliasSet { alias, .. } if alias == "other"));
}

#[tokio::test]
async fn artifacts_stream_both_ways() {
    let house = House::new().await;
    let path = "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/gr%C3%B6%C3%9Fe%20a.html";
    let pieces = futures::stream::iter((0..3).map(|n| Ok::<_, std::io::Error>(vec![n; 1000])));
    let (status, body) = house.send(Request::put(path).body(Body::from_stream(pieces)).unwrap()).await;
    assert_eq!((status, body), (StatusCode::OK, Value::Null));
    let response = house.router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(
        (&response.headers()["content-length"], &response.headers()["content-disposition"]),
        (&"3000".parse().unwrap(), &"attachment; filename=\"gre a.html\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20a.html".parse().unwrap())
    );
    assert_eq!(to_bytes(response.into_body(), 9999).await.unwrap().len(), 3000);
    let (_, list) = house.get("/api/2.0/mlflow-artifacts/artifacts?path=0/r/artifacts").await;
    assert_eq!(list, json!({"files": [{"path": "größe a.html", "is_dir": false, "file_size": 3000}]}));

    let broken = futures::stream::iter([Ok(vec![1]), Err(std::io::Error::other("gone"))]).boxed();
    let (status, _) =
        house.send(Request::put("/api/2.0/mlflow-artifacts/artifacts/0/broken").body(Body::from_stream(broken)).unwrap()).await;
    assert!(status.is_server_error());
    assert_eq!(house.artifacts.get_bytes("0/broken").await.unwrap(), None, "nothing half-written");
}

/// A run store whose disk is full.
struct Full(Arc<MemoryStore>);

#[async_trait]
impl RunStore for Full {
    async fn log(&self, _: &RunId, _: RunLog) -> Result<(), CommitError> {
        Err(Fault::Full("test".into()).into())
    }

    fn run(&self, id: &RunId) -> Result<Option<Run>, Fault> {
        RunStore::run(&*self.0, id)
    }

    fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        self.0.search(search)
    }

    fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError> {
        self.0.history(run, key, limit, token)
    }

    fn count(&self, search: &RunSearch) -> Result<u64, SearchError> {
        self.0.count(search)
    }

    fn interval(&self, runs: &[RunId], key: &str, steps: Option<(i64, i64)>, max: usize) -> Result<Vec<(RunId, Metric)>, SearchError> {
        self.0.interval(runs, key, steps, max)
    }

    fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError> {
        self.0.curve(run, key, buckets)
    }

    fn keys(&self, experiments: &[ExperimentId]) -> Result<Keys, Fault> {
        self.0.keys(experiments)
    }

    fn datasets(&self, experiments: &[ExperimentId]) -> Result<Vec<DatasetSummary>, Fault> {
        self.0.datasets(experiments)
    }

    fn find_text(&self, query: &str, experiments: &[ExperimentId], limit: usize) -> Result<Vec<TextHit>, Fault> {
        self.0.find_text(query, experiments, limit)
    }

    fn deleted_runs(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Result<Vec<RunId>, Fault> {
        self.0.deleted_runs(before, after, limit)
    }
}

/// Clients retry 503 and its like for minutes and then lose the message.
#[tokio::test]
async fn a_full_disk_is_said_at_once() {
    let store = MemoryStore::new();
    let house = House::with_runs(store.clone(), Arc::new(Full(store))).await;
    let run = house.run().await;
    let (status, body) = house.post("runs/log-parameter", json!({"run_id": run, "key": "a", "value": "b"})).await;
    assert_eq!((status.as_u16(), &body["error_code"]), (507, &json!("RESOURCE_EXHAUSTED")));
    assert!(body["message"].as_str().unwrap().contains("full"));
}

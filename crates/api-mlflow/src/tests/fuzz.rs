//! Requests that nobody would send: each is answered, and never with what a client would retry.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// What clients post, and what they get with a query.
const POSTED: [&str; 40] = [
    "experiments/create",
    "experiments/search",
    "experiments/update",
    "experiments/delete",
    "experiments/set-experiment-tag",
    "experiments/delete-experiment-tag",
    "experiments/search-datasets",
    "runs/create",
    "runs/update",
    "runs/delete",
    "runs/restore",
    "runs/search",
    "runs/log-metric",
    "runs/log-parameter",
    "runs/log-batch",
    "runs/log-inputs",
    "runs/outputs",
    "runs/log-model",
    "runs/set-tag",
    "runs/delete-tag",
    "logged-models",
    "logged-models/search",
    "logged-models/m-1/params",
    "registered-models/create",
    "registered-models/rename",
    "registered-models/set-tag",
    "registered-models/alias",
    "registered-models/get-latest-versions",
    "model-versions/create",
    "model-versions/set-tag",
    "model-versions/transition-stage",
    "webhooks",
    "webhooks/w/test",
    "/api/3.0/mlflow/datasets/create",
    "/api/3.0/mlflow/datasets/search",
    "/api/3.0/mlflow/datasets/d-1/records",
    "/api/3.0/mlflow/datasets/d-1/add-experiments",
    "upload-artifact",
    "none",
    "logged-models/%00/params",
];
const ASKED: [&str; 12] = [
    "experiments/get",
    "runs/get",
    "artifacts/list",
    "metrics/get-history",
    "metrics/get-history-bulk",
    "metrics/get-history-bulk-interval",
    "registered-models/search",
    "registered-models/alias",
    "model-versions/search",
    "model-versions/get-download-uri",
    "logged-models/m-1/artifacts/directories",
    "webhooks",
];
const FIELDS: [&str; 40] = [
    "name",
    "experiment_id",
    "experiment_ids",
    "run_id",
    "run_uuid",
    "key",
    "value",
    "timestamp",
    "step",
    "tags",
    "params",
    "metrics",
    "filter",
    "order_by",
    "max_results",
    "page_token",
    "view_type",
    "run_view_type",
    "status",
    "end_time",
    "source",
    "version",
    "alias",
    "stage",
    "datasets",
    "models",
    "model_id",
    "events",
    "url",
    "records",
    "path",
    "metric_key",
    "run_ids",
    "start_step",
    "end_step",
    "artifact_location",
    "model_json",
    "dataset",
    "new_name",
    "filterString",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("0".to_owned()),
        Just("demand".to_owned()),
        Just("metrics.a < 1 AND tags.b LIKE '%'".to_owned()),
        Just("name DESC".to_owned()),
        Just("models:/demand@x".to_owned()),
        Just("[{\"inputs\": {\"a\": 1}}]".to_owned()),
        Just("eyJxIjoiMCIsImsiOltdLCJpIjoiIn0".to_owned()),
        Just("..%2f../etc".to_owned()),
        Just("\u{0}\u{202e}😀".to_owned()),
        "[a-z0-9.`'\"%=<>!() ]{0,30}",
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3i64..5).prop_map(Value::from),
        text().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let field = proptest::sample::select(FIELDS.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(field.clone(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Value> {
    let field = proptest::sample::select(FIELDS.to_vec()).prop_map(str::to_owned);
    prop_oneof![
        8 => proptest::collection::btree_map(field, value(), 0..10).prop_map(|map| Value::Object(map.into_iter().collect())),
        1 => value(),
    ]
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn whatever_is_asked_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let house = runtime.block_on(House::new());
    let run = runtime.block_on(house.run());
    runtime.block_on(house.post("registered-models/create", json!({"name": "demand"})));
    let posted = proptest::sample::select(POSTED.to_vec());
    let asked = proptest::sample::select(ASKED.to_vec());
    let query = proptest::collection::vec((proptest::sample::select(FIELDS.to_vec()), text()), 0..5);
    let mut runner = TestRunner::new(Config { cases: 3_000, rng_seed: RngSeed::Fixed(8), failure_persistence: None, ..Config::default() });
    let cases = runner.run(&(posted, body(), asked, query), |(to, mut body, from, query)| {
        // Half of them are about a run that is there, so that what follows is reached too.
        if let Some(given) = body.as_object_mut().filter(|given| given.contains_key("run_id")) {
            given.insert("run_id".into(), json!(run));
        }
        let (status, answer) = runtime.block_on(house.post(to, body));
        prop_assert!(status.as_u16() < 500 || status.as_u16() == 501, "{to}: {status} {answer}");
        let query: Vec<String> = query.into_iter().map(|(key, value)| format!("{key}={}", encoded(&value))).collect();
        let (status, answer) = runtime.block_on(house.get(&format!("/api/2.0/mlflow/{from}?{}", query.join("&"))));
        prop_assert!(status.as_u16() < 500, "{from}: {status} {answer}");
        Ok(())
    });
    cases.unwrap();
}

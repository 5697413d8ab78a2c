#![allow(clippy::unwrap_used)]
//! Requests through the router, on in-memory ports.

use super::*;
use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use domain::entity::{AppliedProject, Deployment, ModelVersion, VersionStatus};
use domain::{Actor, Batch, Fault, PredictionId, Timestamp, VersionNumber};
use parking_lot::Mutex;
use ports::memory::{ManualClock, MemoryRowLog, MemoryRuntime, MemoryStore};
use ports::{MetadataStore, PredictError, RowLog, Sealer};
use serde_json::{Value as Json, json};
use serving::{FeatureRequest, FeatureSource, GatewayConfig, ModelPool, ServeError};
use tower::ServiceExt;

const FILE: &str = r#"{ "model": {
    "plain":  { "task": "regression", "metric": "mae" },
    "looked": { "task": "regression", "metric": "mae", "serve": { "features": ["view"] } },
    "down":   { "task": "regression", "metric": "mae" },
    "slow":   { "task": "regression", "metric": "mae" },
    "broken": { "task": "regression", "metric": "mae", "serve": { "features": ["view"] } },
    "table": { "task": "regression", "metric": "mae" },
    "signed": { "task": "regression", "metric": "mae" },
    "silent": { "task": "regression", "metric": "mae" } } }"#;

/// Looks features up by `city`: the length of its name. Keeps what it was asked.
#[derive(Default)]
struct Cities(Mutex<Vec<FeatureRequest>>);

#[async_trait]
impl FeatureSource for Cities {
    fn entity_columns(&self, _: &ModelName) -> Result<Vec<String>, Refusal> {
        Ok(vec!["city".into()])
    }

    async fn features(&self, model: &ModelName, rows: &[FeatureRequest]) -> Result<RecordBatch, ServeError> {
        if model.as_str() == "broken" {
            return Err(Fault::broken("password of the database: s3cret").into());
        }
        self.0.lock().extend(rows.iter().cloned());
        let lengths = Float64Array::from_iter_values(rows.iter().map(|row| row.key.0["city"].len() as f64));
        Ok(RecordBatch::try_from_iter([("x", Arc::new(lengths) as ArrayRef)]).unwrap())
    }
}

struct House {
    router: Router,
    cities: Arc<Cities>,
    rows: Arc<MemoryRowLog>,
}

fn version(model: &str, number: u64) -> ModelVersion {
    ModelVersion {
        model: ModelName::new(model),
        version: VersionNumber(number),
        run: None,
        source: String::new(),
        artifact_path: String::new(),
        model_id: None,
        status: VersionStatus::Ready,
        stage: "None".into(),
        description: String::new(),
        tags: vec![],
        created: Timestamp::from_ms(0),
        updated: Timestamp::from_ms(0),
        pipeline_run: None,
        training_set: None,
        trained_until: None,
    }
}

/// Version 1 answers `10 * x`; 2 is down, 3 is too slow.
fn runtime() -> MemoryRuntime {
    let runtime = MemoryRuntime::default();
    runtime.install(VersionNumber(1), |rows| {
        let column = rows.column_by_name("x").ok_or_else(|| Refusal::invalid("model/input", "no column `x`"))?;
        let x = arrow::compute::cast(column, &arrow::datatypes::DataType::Float64).unwrap();
        let x = arrow::array::AsArray::as_primitive::<Float64Type>(&x);
        Ok(x.iter().map(|x| x.map_or(Scalar::Float(f64::NAN), |x| Scalar::Float(x * 10.0))).collect())
    });
    runtime.install(VersionNumber(2), |_| Err(PredictError::Unavailable("the worker crashed".into())));
    runtime.install(VersionNumber(3), |_| Err(PredictError::Timeout));
    // 4 has a signature, and answers `10 * a + b`.
    let signature = r#"signature: {inputs: '[{"type": "double", "name": "a", "required": true}, {"type": "long", "name": "b", "required": true}, {"type": "string", "name": "c", "required": false}]', outputs: null}"#;
    runtime.sign(VersionNumber(4), ports::Signature::parse(signature));
    runtime.install(VersionNumber(4), |rows| {
        assert_eq!(rows.num_columns(), 3, "in the model's order, and only its own");
        let number = |at: usize, row: usize| ports::scalar_at(rows.column(at), row).as_f64().unwrap_or(f64::NAN);
        Ok((0..rows.num_rows()).map(|row| Scalar::Float(number(0, row) * 10.0 + number(1, row))).collect())
    });
    // 5 takes a table without names, and answers the sum of each value times its place.
    let table = r#"signature: {inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 12]}}]'}"#;
    runtime.sign(VersionNumber(5), ports::Signature::parse(table));
    runtime.install(VersionNumber(5), |rows| {
        let value = |place: usize, row: usize| ports::scalar_at(rows.column(place), row).as_f64().unwrap_or(f64::NAN) * place as f64;
        Ok((0..rows.num_rows()).map(|row| Scalar::Float((0..rows.num_columns()).map(|place| value(place, row)).sum())).collect())
    });
    runtime
}

/// A gateway that serves the models of [`FILE`], those that are asked for.
async fn house(served: &[(&str, u64)]) -> House {
    let store = MemoryStore::new();
    let spec: domain::spec::Project = serde_json::from_str(FILE).unwrap();
    let project = AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: Timestamp::from_ms(0) };
    let mut batch = Batch::new(Actor::User("ann".into()), Timestamp::from_ms(0)).put(&project);
    for (model, number) in served {
        batch.write(&version(model, *number));
        batch.write(&Deployment { champion: Some(VersionNumber(*number)), ..Deployment::new(ModelName::new(*model)) });
    }
    store.commit(batch).await.unwrap();
    let rows = Arc::new(MemoryRowLog::default());
    let (cities, clock) = (Arc::new(Cities::default()), Arc::new(ManualClock::new(Timestamp::from_ms(1_000))));
    let sealer = Arc::new(Sealer::new(store.clone(), rows.clone()).unwrap());
    let pool = Arc::new(ModelPool::new(store.clone(), Arc::new(runtime())));
    let made = Mutex::new(0);
    let new_id = move |_| {
        *made.lock() += 1;
        PredictionId::new(format!("p{}", made.lock()))
    };
    let config = GatewayConfig { new_id: Arc::new(new_id), wait_for_shadows: false };
    let gateway = Gateway::new(store, rows.clone(), clock, reactor::Activity::default(), sealer, pool, cities.clone(), config);
    gateway.follow_all().await.unwrap();
    House { router: router(InferenceApi { gateway }), cities, rows }
}

impl House {
    async fn send(&self, path: &str, content_type: Option<&str>, body: impl Into<Body>) -> Response<Body> {
        let mut request = Request::post(path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
    }

    async fn post(&self, path: &str, body: Json) -> (u16, Json) {
        read(self.send(path, Some("application/json; charset=utf-8"), body.to_string()).await).await
    }
}

async fn read(response: Response<Body>) -> (u16, Json) {
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
}

#[tokio::test]
async fn all_four_shapes_give_the_same_answer() {
    let house = house(&[("plain", 1)]).await;
    let shapes = [
        json!({"dataframe_split": {"index": [7, 9], "columns": ["x", "y"], "data": [[1, "a"], [null, "b"]]}}),
        json!({"dataframe_records": [{"x": 1, "y": "a"}, {"y": "b", "x": null}]}),
        json!({"instances": [{"x": 1, "y": "a"}, {"x": null, "y": "b"}], "params": {}}),
        json!({"inputs": {"x": [1, null], "y": ["a", "b"]}, "a key that nobody knows": 1}),
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let path = if number % 2 == 0 { "/invocations" } else { "/serve/plain/invocations" };
        let (status, answer) = house.post(path, shape).await;
        let ids = [format!("p{}", number * 2 + 1), format!("p{}", number * 2 + 2)];
        let expected = json!({"predictions": [10.0, "NaN"], "prediction_ids": ids, "model": "plain", "model_version": 1, "logged": true});
        assert_eq!((status, answer), (200, expected), "shape {number}");
    }
    assert_eq!(house.rows.open_part("prediction/plain").rows, 8, "every row is logged");
}

#[tokio::test]
async fn own_columns_are_taken_out_and_features_looked_up() {
    let house = house(&[("looked", 1)]).await;
    let ts = [json!("2011-03-01T01:00:00+01:00"), json!(1_298_937_600_000i64), json!(1_298_937_600_000.0), json!(null)];
    let rows: Vec<Json> =
        ts.iter().zip(0..).map(|(ts, n)| json!({"city": "dc", "ts": ts, "prediction_id": format!("mine-{n}"), "temp": 0.5})).collect();
    let (status, answer) = house.post("/invocations", json!({"instances": rows})).await;
    assert_eq!((status, &answer["predictions"]), (200, &json!([20.0, 20.0, 20.0, 20.0])));
    assert_eq!(answer["prediction_ids"], json!(["mine-0", "mine-1", "mine-2", "mine-3"]));
    let march = Timestamp::parse("2011-03-01").unwrap();
    let asked = house.cities.0.lock().clone();
    assert_eq!(asked.iter().map(|row| row.time).collect::<Vec<_>>(), [march, march, march, Timestamp::from_ms(1_000)]);
    assert!(asked.iter().all(|row| row.request.keys().eq(["temp"]) && row.key.text() == "city=dc"));
    let found = house.rows.find("prediction/looked", "mine-1").await.unwrap();
    assert_eq!(found.map(|(_, time)| time), Some(march));
}

#[tokio::test]
async fn a_bad_body_is_refused_with_its_place() {
    let house = house(&[("plain", 1)]).await;
    let split = |columns: Json, data: Json| json!({"dataframe_split": {"columns": columns, "data": data}}).to_string();
    let one = |value: Json| json!({"instances": [{"x": 1}, {"x": value}]}).to_string();
    let ids = |a: Json, b: Json| json!({"instances": [{"x": 1, "prediction_id": a}, {"x": 1, "prediction_id": b}]}).to_string();
    let ts = |value: Json| json!({"instances": [{"x": 1, "ts": value}]}).to_string();
    let cases = [
        ("{".to_owned(), "request/json", "line 1 column 1"),
        ("".to_owned(), "request/json", "line 1 column 0"),
        ("{\"instances\":\n[NaN]}".to_owned(), "request/json", "line 2 column 2"),
        ("[1]".to_owned(), "request/json", "line 1"),
        (json!({"instances": [1]}).to_string(), "request/names", "instances"),
        (json!({"inputs": [[1, 2]]}).to_string(), "request/names", "inputs"),
        (json!({"dataframe_split": {"data": [[1]]}}).to_string(), "request/names", "dataframe_split.data"),
        (json!({"inputs": 5}).to_string(), "request/json", "line 1"),
        (json!({}).to_string(), "request/shape", ""),
        (json!({"instances": [{"x": 1}], "inputs": {"x": [1]}}).to_string(), "request/shape", ""),
        (json!({"instances": [{"x": 1}], "params": {"seed": 1}}).to_string(), "serve/params", "params"),
        (json!({"instances": []}).to_string(), "serve/rows", ""),
        (json!({"inputs": {}}).to_string(), "serve/rows", ""),
        (split(json!(["x"]), json!([])), "serve/rows", ""),
        (split(json!(["x", "x"]), json!([[1, 2]])), "request/columns", "dataframe_split.columns"),
        (split(json!(["x", "y"]), json!([[1, 2], [1]])), "request/ragged", "dataframe_split.data, row 1"),
        (json!({"inputs": {"x": [1, 2], "y": [1]}}).to_string(), "request/ragged", "inputs.y"),
        (json!({"instances": [{"x": 1}, {}]}).to_string(), "request/ragged", "instances, row 1"),
        (json!({"dataframe_records": [{"x": 1}, {"x": 1, "z": 1}]}).to_string(), "request/ragged", "dataframe_records, row 1"),
        (one(json!([1, 2])), "request/value", "row 1, column `x`"),
        (one(json!({"number": "NaN"})), "request/value", "row 1, column `x`"),
        (ids(json!("a"), json!("a")), "serve/prediction_id", "row 1, column `prediction_id`"),
        (ids(json!("a"), json!("")), "serve/prediction_id", "row 1, column `prediction_id`"),
        (ids(json!("a#1"), json!("a")), "serve/prediction_id", "row 0, column `prediction_id`"),
        (ids(json!(1.5), json!("a")), "serve/prediction_id", "row 0, column `prediction_id`"),
        (ids(json!("a"), json!("a".repeat(257))), "serve/prediction_id", "row 1, column `prediction_id`"),
        (ts(json!("yesterday")), "serve/time", "row 0, column `ts`"),
        (ts(json!(0.5)), "serve/time", "row 0, column `ts`"),
        (ts(json!(true)), "serve/time", "row 0, column `ts`"),
        (ts(json!(i64::MAX)), "serve/time", "row 0, column `ts`"),
        (json!({"instances": [{"y": 1}]}).to_string(), "model/input", ""),
        (json!({"inputs": {"x": vec![1; 10_001]}}).to_string(), "serve/rows", ""),
    ];
    for (body, code, place) in cases {
        let shown: String = body.chars().take(100).collect();
        let (status, answer) = read(house.send("/invocations", Some("application/json"), body).await).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{shown}: {answer}");
        assert_eq!(answer["error_code"], "BAD_REQUEST");
        assert!(answer["place"].as_str().unwrap_or("").starts_with(place), "{shown}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(place), "{shown}: {answer}");
    }
    assert_eq!(house.rows.open_part("prediction/plain").rows, 0, "nothing of a refused request is logged");
}

#[tokio::test]
async fn a_request_that_is_no_json_or_too_large_is_refused() {
    let house = house(&[("plain", 1)]).await;
    for content_type in [None, Some("text/plain"), Some("application/jsonp"), Some("")] {
        let (status, answer) = read(house.send("/invocations", content_type, r#"{"instances": [{"x": 1}]}"#).await).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("request/content_type")), "{content_type:?}");
    }
    let large = vec![b' '; BODY_LIMIT + 1];
    let (status, answer) = read(house.send("/invocations", Some("application/json"), large).await).await;
    assert_eq!((status, answer["code"].as_str()), (413, Some("request/too_large")));
}

#[tokio::test]
async fn what_cannot_be_served_has_its_own_answer() {
    let house = house(&[("plain", 1), ("looked", 1), ("broken", 1), ("down", 2), ("slow", 3)]).await;
    let row = json!({"instances": [{"x": 1, "city": "dc"}]});
    let cases = [
        ("/invocations", 400, "serve/which"),
        ("/serve/nobody/invocations", 404, "serve/no_champion"),
        ("/serve/silent/invocations", 404, "serve/no_champion"),
        ("/serve/a:b/invocations", 400, "model/name"),
        ("/serve/down/invocations", 503, "serve/worker_down"),
        ("/serve/slow/invocations", 504, "serve/deadline"),
        ("/serve/broken/invocations", 500, "server/fault"),
    ];
    for (path, expected, code) in cases {
        let response = house.send(path, Some("application/json"), row.to_string()).await;
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(retry.as_deref(), (expected == 503).then_some("1"), "{path}");
        let (status, answer) = read(response).await;
        assert_eq!((status, answer["code"].as_str()), (expected, Some(code)), "{path}: {answer}");
        assert!(!answer.to_string().contains("s3cret"), "a fault is not shown");
    }
    let (status, answer) = house.post("/serve/looked/invocations", json!({"instances": [{"x": 1}]})).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("serve/no_entity")));
}

#[tokio::test]
async fn ping_says_whether_anything_is_served() {
    for (served, expected) in [(&[][..], 404), (&[("plain", 1), ("looked", 1)], 200)] {
        let house = house(served).await;
        let response = house.router.clone().oneshot(Request::get("/ping").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), expected);
    }
    let (status, answer) = house(&[]).await.post("/invocations", json!({"instances": [{"x": 1}]})).await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("serve/none")));
}

mod over_grpc;
mod protocols;

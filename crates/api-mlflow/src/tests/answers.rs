//! What the newer routes answer; the differential test compares all of it with a genuine server.

use super::*;
use axum::http::Method;
use ports::memory::MemoryPoster;
use ports::{Posted, Poster};

impl House {
    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn logged_model(&self, run: &str) -> String {
        let (_, answer) = self.post("logged-models", json!({"experiment_id": "0", "name": "model", "source_run_id": run})).await;
        answer["model"]["info"]["model_id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_part_of_an_artifact_is_sent() {
    let house = House::new().await;
    house.artifacts.put_bytes("0/a.txt", "0123456789".into()).await.unwrap();
    for (range, status, part, told) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=10-", 416, "the artifact ends before the range", Some("bytes */10")),
        ("lines=1-2", 200, "0123456789", None),
    ] {
        let request = Request::get("/api/2.0/mlflow-artifacts/artifacts/0/a.txt").header("range", range).body(Body::empty()).unwrap();
        let response = house.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{range}");
        assert_eq!(response.headers().get("content-range").map(|told| told.to_str().unwrap().to_owned()).as_deref(), told, "{range}");
        assert_eq!(to_bytes(response.into_body(), 99).await.unwrap(), part.as_bytes(), "{range}");
    }
    let (status, _) = house.get("/api/2.0/mlflow-artifacts/artifacts/0").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a folder is no file");
}

#[tokio::test]
async fn artifacts_come_in_parts_whole_or_not_at_all() {
    let house = House::new().await;
    let mpu = |verb: &str| format!("/api/2.0/mlflow-artifacts/mpu/{verb}/0/run");
    let create = Request::post(mpu("create")).header("host", "there:5055").header("content-type", "application/json");
    let create = create.body(Body::from(json!({"path": "some dir/big.bin", "num_parts": 3}).to_string())).unwrap();
    let answer = house.router.clone().oneshot(create).await.unwrap();
    let began: serde_json::Value = serde_json::from_slice(&to_bytes(answer.into_body(), 9999).await.unwrap()).unwrap();
    let id = began["upload_id"].as_str().unwrap().to_owned();
    let paths: Vec<String> = (0..3).map(|n| began["credentials"][n]["url"].as_str().unwrap().replace("http://there:5055", "")).collect();
    assert_eq!(paths[2], format!("/api/2.0/mlflow-artifacts/mpu/parts/{id}/3"));
    let mut parts = Vec::new();
    for (number, bytes) in [(3, "cc"), (1, "a"), (2, "old"), (2, "bbb")] {
        let answer = house.router.clone().oneshot(Request::put(&paths[number - 1]).body(Body::from(bytes)).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        parts.push(json!({"part_number": number, "etag": answer.headers()["etag"].to_str().unwrap()}));
    }
    let complete = |parts: &[serde_json::Value], path: &str| json!({"path": path, "upload_id": id, "parts": parts});
    for (bad, path) in
        [(vec![], "big.bin"), (parts[..3].to_vec(), "big.bin"), (parts.clone(), "big.bin"), (vec![parts[3].clone()], "other.bin")]
    {
        let (status, answer) = house.call(Method::POST, &mpu("complete"), complete(&bad, path)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        let (status, _) = house.get("/api/2.0/mlflow-artifacts/artifacts/0/run/big.bin").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    parts.remove(2);
    let (status, answer) = house.call(Method::POST, &mpu("complete"), complete(&parts, "big.bin")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let whole =
        house.router.clone().oneshot(Request::get("/api/2.0/mlflow-artifacts/artifacts/0/run/big.bin").body(Body::empty()).unwrap());
    assert_eq!(&to_bytes(whole.await.unwrap().into_body(), 99).await.unwrap()[..], b"abbbcc");
    let (status, _) = house.call(Method::POST, &mpu("complete"), complete(&parts, "big.bin")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is there once");
    let address =
        Request::get("/api/2.0/mlflow-artifacts/presigned/0/run/big.bin").header("host", "there:5055").body(Body::empty()).unwrap();
    let address = house.router.clone().oneshot(address).await.unwrap();
    let address: serde_json::Value = serde_json::from_slice(&to_bytes(address.into_body(), 9999).await.unwrap()).unwrap();
    assert_eq!(address["url"], json!("http://there:5055/api/2.0/mlflow-artifacts/artifacts/0/run/big.bin"));
    assert_eq!(address["file_size"], json!(6));
    for (to, message) in [
        (mpu("create"), json!({"path": "../x", "num_parts": 0})),
        (mpu("create"), json!({"path": "..", "num_parts": 1})),
        (mpu("complete"), json!({"path": "x", "upload_id": "../../0", "parts": []})),
        (mpu("abort"), json!({"path": "x", "upload_id": "../../0"})),
    ] {
        let (status, answer) = house.call(Method::POST, &to, message).await;
        assert!(status.is_client_error(), "{to}: {answer}");
    }
}

#[tokio::test]
async fn names_may_be_written_the_other_way_but_not_both() {
    let house = House::new().await;
    let (status, _) = house.post("experiments/create", json!({"name": "a", "artifactLocation": "s3://b"})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(house.get("/api/2.0/mlflow/experiments/get?experiment_id=1").await.1["experiment"]["artifact_location"], json!("s3://b"));
    let (status, _) =
        house.post("experiments/create", json!({"name": "b", "artifactLocation": "s3://b", "artifact_location": "s3://c"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(house.post("experiments/create", json!("{\"name\": \"twice\"}")).await.0, StatusCode::OK, "text that holds the message");
    assert_eq!(house.post("experiments/create", json!(null)).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn histories_of_several_runs() {
    let house = House::new().await;
    let runs = [house.run().await, house.run().await];
    for run in &runs {
        let metrics: Vec<Value> = (0..10).map(|n| json!({"key": "m", "value": n, "timestamp": n, "step": n})).collect();
        house.post("runs/log-batch", json!({"run_id": run, "metrics": metrics})).await;
    }
    let base = "/ajax-api/2.0/mlflow/metrics/get-history-bulk";
    let (_, bulk) = house.get(&format!("{base}?run_id={}&run_id={}&metric_key=m&max_results=15", runs[0], runs[1])).await;
    assert_eq!(bulk["metrics"].as_array().unwrap().len(), 15);
    let (_, few) = house.get(&format!("{base}-interval?run_ids={}&metric_key=m&start_step=2&end_step=8&max_results=3", runs[0])).await;
    let steps: Vec<_> = few["metrics"].as_array().unwrap().iter().map(|metric| metric["step"].as_i64().unwrap()).collect();
    assert_eq!((steps.len(), steps[0], steps[2], &few["metrics"][0]["run_id"]), (3, 2, 8, &json!(runs[0])));
    for bad in ["max_results=0", "max_results=2501", "start_step=1", "start_step=5&end_step=1"] {
        assert_eq!(house.get(&format!("{base}-interval?run_ids={}&metric_key=m&{bad}", runs[0])).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn a_model_hears_of_every_run_that_judged_it() {
    let house = House::new().await;
    let (own, other) = (house.run().await, house.run().await);
    let model = house.logged_model(&own).await;
    for (run, value) in [(&own, 1.0), (&other, 2.0)] {
        house.post("runs/log-metric", json!({"run_id": run, "key": "mae", "value": value, "timestamp": 1, "model_id": model})).await;
    }
    let (status, _) =
        house.post("runs/log-metric", json!({"run_id": own, "key": "lost", "value": 1, "timestamp": 1, "model_id": "m-none"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, run) = house.get(&format!("/api/2.0/mlflow/runs/get?run_id={own}")).await;
    assert_eq!(run["run"]["data"]["metrics"].as_array().unwrap().len(), 1, "what is refused is not half logged");
    let (_, read) = house.get(&format!("/api/2.0/mlflow/logged-models/{model}")).await;
    let metrics = read["model"]["data"]["metrics"].as_array().unwrap();
    assert_eq!(metrics.iter().map(|metric| metric["run_id"].as_str().unwrap()).collect::<Vec<_>>(), [&own, &other]);
    house.call(Method::DELETE, &format!("/api/2.0/mlflow/logged-models/{model}"), json!({})).await;
    assert_eq!(house.get(&format!("/api/2.0/mlflow/logged-models/{model}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(house.get(&format!("/api/2.0/mlflow/logged-models/{model}?allow_deleted=true")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn prompts_are_no_models_unless_asked_for() {
    let house = House::new().await;
    let tags = json!([{"key": "mlflow.prompt.is_prompt", "value": "true"}]);
    house.post("registered-models/create", json!({"name": "greet", "tags": tags})).await;
    house.post("registered-models/create", json!({"name": "demand"})).await;
    let names = |answer: Value| answer["registered_models"].as_array().unwrap().iter().map(|m| m["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(house.get("/api/2.0/mlflow/registered-models/search").await.1), [json!("demand")]);
    let asked = "/api/2.0/mlflow/registered-models/search?filter=tags.%60mlflow.prompt.is_prompt%60%20%3D%20%27true%27";
    assert_eq!(names(house.get(asked).await.1), [json!("greet")]);
}

#[tokio::test]
async fn records_with_the_same_inputs_are_one() {
    let house = House::new().await;
    let base = "/api/3.0/mlflow/datasets";
    let (_, made) = house.post(&format!("{base}/create"), json!({"name": "qa", "experiment_ids": ["0"]})).await;
    let id = made["dataset"]["dataset_id"].as_str().unwrap().to_owned();
    let records = |text: &str| json!({ "records": text });
    let first = records(r#"[{"inputs": {"q": 1, "r": 2}, "expectations": {"a": 1}}, {"inputs": {"q": 2}}]"#);
    assert_eq!(house.post(&format!("{base}/{id}/records"), first).await.1, json!({"inserted_count": 2, "updated_count": 0}));
    let again = records(r#"[{"inputs": {"r": 2, "q": 1}, "expectations": {"b": true}}]"#);
    assert_eq!(house.post(&format!("{base}/{id}/records"), again).await.1, json!({"inserted_count": 0, "updated_count": 1}));
    let (_, page) = house.get(&format!("{base}/{id}/records")).await;
    let read: Vec<Value> = serde_json::from_str(page["records"].as_str().unwrap()).unwrap();
    assert!(read.len() == 2 && read.iter().any(|record| record["expectations"] == json!({"a": 1, "b": true})));
    assert_eq!(house.post(&format!("{base}/{id}/records"), records("[{\"inputs\": 5}]")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(house.post(&format!("{base}/d-none/records"), records("[]")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_webhook_is_tested_and_keeps_its_secret() {
    let mut house = House::new().await;
    let poster = Arc::new(MemoryPoster::default());
    house.router = with_webhooks(house.router.clone(), poster.clone() as Arc<dyn Poster>);
    let hook = json!({
        "name": "hook", "url": "https://hooks.example/x", "secret": "s3cret",
        "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
    });
    let (status, made) = house.post("webhooks", hook).await;
    assert!(status == StatusCode::OK && !made.to_string().contains("s3cret"), "{made}");
    let test = format!("webhooks/{}/test", made["webhook"]["webhook_id"].as_str().unwrap());
    assert_eq!(house.post(&test, json!({})).await.1["result"]["response_status"], json!(200));
    poster.next(Posted::Unreachable("nobody there".into()));
    let (_, failed) = house.post(&test, json!({"event": {"entity": "PROMPT", "action": "CREATED"}})).await;
    assert_eq!(failed["result"], json!({"success": false, "error_message": "nobody there"}));
    let posts = poster.posts();
    assert!(posts[0].headers.iter().any(|(name, value)| name == "X-MLflow-Signature" && value.starts_with("v1,")));
    assert!(posts[1].body.contains("example_prompt"), "{}", posts[1].body);
}

#![allow(clippy::unwrap_used)]
//! Requests through the router, on in-memory ports.

mod doubles;
mod gates;
mod house;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::entity::Incident;
use domain::{Actor, Batch, IncidentId, ModelName, Scalar, Timestamp};
use house::{House, house};
use ports::{MetadataStore, World};
use serde_json::{Value as Json, json};
use serving::PredictRequest;

#[tokio::test]
async fn rows_are_pushed_by_path_or_by_body() {
    let house = house().await;
    let rows = json!([{"city_id": "dc", "temp": 0.5, "note": null, "hot": false, "n": 3}]);
    let expected = json!({"rows": 1, "online": 1, "late": 0});
    assert_eq!(house.post("/api/v1/push/weather", json!({"rows": rows})).await, (200, expected.clone()));
    assert_eq!(house.post("/api/v1/push", json!({"source": "weather", "rows": rows})).await, (200, expected));
    let row = r#"[{"city_id": Text("dc"), "hot": Bool(false), "n": Int(3), "note": Null, "temp": Float(0.5)}]"#;
    assert_eq!(house.features.asked(), [format!("push weather {row}"), format!("push weather {row}")]);
}

#[tokio::test]
async fn values_are_read_and_brought_up_to_date() {
    let house = house().await;
    let request = json!({"features": ["weather_hourly"], "entities": [{"city_id": "dc"}], "at": "2011-03-01"});
    let (status, answer) = house.post("/api/v1/features/online", request).await;
    let expected = json!({"columns": ["temp"], "rows": [[0.5]], "statuses": [["present"]], "times": [["2011-03-01T00:00:00Z"]]});
    assert_eq!((status, answer), (200, expected));
    let (status, answer) = house.post("/api/v1/features/materialize", json!({"features": ["weather_hourly"]})).await;
    assert_eq!((status, answer), (200, json!({"rows": {"weather_hourly": 7}})));
}

#[tokio::test]
async fn a_file_is_planned_and_applied_by_its_actor() {
    let house = house().await;
    let file = json!({"root": "/p", "toml": "[project]"});
    let change = json!({"changes": [{"action": "add", "what": "model demand", "keys": []}]});
    assert_eq!(house.post("/api/v1/plan", file.clone()).await, (200, change.clone()));
    assert_eq!(house.post("/api/v1/apply", file.clone()).await, (200, change.clone()));
    let request = Request::post("/api/v1/apply").header("x-trimtab-actor", "Zoë").header("content-type", "application/json");
    assert_eq!(house.send(request.body(file.to_string().into()).unwrap()).await, (200, change));
    assert_eq!(house.features.asked(), ["plan trimtab.toml", "apply trimtab.toml by api", "apply trimtab.toml by Zoë"]);
}

#[tokio::test]
async fn labels_come_by_prediction_or_by_entity_and_time() {
    let house = house().await;
    let labels = json!([
        {"prediction_id": "sealed-1", "label": 40},
        {"prediction_id": "open-1", "label": 41.5},
        {"entity": {"city_id": "dc"}, "ts": "2011-03-02T05:00:00Z", "label": 1},
        {"entity": {"city_id": "dc"}, "ts": 1_299_042_000_000i64, "label": true},
    ]);
    assert_eq!(house.post("/api/v1/labels/demand", json!({"labels": labels})).await, (200, json!({"labels": 4})));
    assert_eq!(house.rows_of("label/demand"), 4);
    let one = |label: Json| json!({"labels": [{"prediction_id": "sealed-1", "label": 1}, label]});
    let cases = [
        ("demand", one(json!({"prediction_id": "nobody", "label": 1})), 404, "label/unknown_prediction"),
        ("demand", one(json!({"label": 1})), 400, "label/about"),
        ("demand", one(json!({"entity": {"city_id": "dc"}, "label": 1})), 400, "label/about"),
        ("demand", one(json!({"entity": {}, "ts": 0, "label": 1})), 400, "label/about"),
        ("demand", one(json!({"prediction_id": "sealed-1"})), 400, "label/value"),
        ("demand", one(json!({"prediction_id": "sealed-1", "label": null})), 400, "label/value"),
        ("demand", one(json!({"prediction_id": "sealed-1", "label": [1]})), 400, "request/value"),
        ("demand", one(json!({"entity": {"city_id": null}, "ts": 0, "label": 1})), 400, "label/entity"),
        ("demand", one(json!({"entity": {"city_id": {}}, "ts": 0, "label": 1})), 400, "request/value"),
        ("demand", one(json!({"entity": {"city_id": "dc"}, "ts": "noon", "label": 1})), 400, "request/time"),
        ("demand", one(json!({"entity": "dc", "ts": 0, "label": 1})), 400, "request/json"),
        ("demand", one(json!(1)), 400, "request/json"),
        ("demand", json!({"labels": []}), 400, "label/count"),
        ("demand", json!({}), 400, "request/json"),
        ("nobody", one(json!({"prediction_id": "sealed-1", "label": 1})), 404, "model/not_found"),
        ("a:b", one(json!({"prediction_id": "sealed-1", "label": 1})), 400, "model/name"),
    ];
    for (model, body, status, code) in cases {
        house.refuses(Request::post(format!("/api/v1/labels/{model}")), body.to_string(), status, code).await;
    }
    assert_eq!(house.rows_of("label/demand"), 4, "all labels of a request or none");
}

#[tokio::test]
async fn a_bad_request_is_a_problem_with_its_place() {
    let house = house().await;
    let (push, online) = ("/api/v1/push/weather", "/api/v1/features/online");
    let cases = [
        (push, "{".to_owned(), "request/json", "line 1 column 1"),
        (push, "[]".to_owned(), "request/json", "line 1"),
        (push, "".to_owned(), "request/json", "line 1"),
        (push, json!({"rows": [1]}).to_string(), "request/json", "line 1"),
        (push, json!({"rows": [{"a": 1}, {"a": [1]}]}).to_string(), "request/value", "rows, row 1, column `a`"),
        ("/api/v1/push", json!({"rows": []}).to_string(), "request/json", "line 1"),
        (online, json!({"features": [], "entities": []}).to_string(), "features/none", "features"),
        (online, json!({"features": ["v"], "entities": [{"k": {}}]}).to_string(), "request/value", "entities, row 0, column `k`"),
        (online, json!({"features": ["v"], "entities": [], "at": "noon"}).to_string(), "request/time", "at"),
        (online, json!({"features": ["v"], "entities": [], "at": 1.5}).to_string(), "request/time", "at"),
        ("/api/v1/apply", json!({"root": "/"}).to_string(), "request/json", "line 1"),
        ("/api/v1/pipelines/retrain/runs", json!({"params": {"max_iter": [1]}}).to_string(), "pipeline/param", "params.max_iter"),
        ("/api/v1/pipelines/retrain/runs", json!({"params": {"max_iter": [[1]]}}).to_string(), "request/value", "params.max_iter"),
        ("/api/v1/pipelines/retrain/runs", json!({"trigger": "cron"}).to_string(), "request/json", "line 1"),
    ];
    for (path, body, code, place) in cases {
        let problem = house.refuses(Request::post(path), body, 400, code).await;
        assert!(problem["place"].as_str().unwrap().starts_with(place), "{path}: {problem}");
    }
    let plain = Request::post(push).header("content-type", "text/csv").body(Body::from("a,b")).unwrap();
    assert_eq!(house.send(plain).await.1["code"], "request/content_type");
    let problem = house.refuses(Request::post(push), " ".repeat((16 << 20) + 1), 413, "request/too_large").await;
    assert_eq!((&problem["status"], &problem["type"]), (&json!(413), &json!("urn:trimtab:request/too_large")));
    assert!(house.features.asked().is_empty(), "nothing of this reaches the block");
    for path in [
        "events?limit=0",
        "events?after=x",
        "incidents?limit=1001",
        "incidents?limit=many",
        "pipeline-runs?after=nobody",
        "windows/demand?kind=x",
    ] {
        let (status, problem) = house.get(&format!("/api/v1/{path}")).await;
        assert_eq!(status, 400, "{path}: {problem}");
        assert!(problem["detail"].is_string(), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_status_and_a_fault_its_secrets() {
    let house = house().await;
    let rows = json!({"rows": [{"a": 1}]}).to_string();
    for (source, status, code) in
        [("nobody", 404, "source/not_found"), ("busy", 429, "push/busy"), ("broken", 500, "server/fault"), ("full", 507, "server/full")]
    {
        let problem = house.refuses(Request::post(format!("/api/v1/push/{source}")), rows.clone(), status, code).await;
        assert!(!problem.to_string().contains("s3cret"), "{problem}");
    }
    let request = Request::post("/api/v1/push/busy").header("content-type", "application/json").body(Body::from(rows)).unwrap();
    let response = house.raw(request).await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_pipeline_is_asked_for_watched_cancelled_and_resumed() {
    let house = house().await;
    let (status, answer) = house.post("/api/v1/pipelines/retrain/runs", json!({"params": {"max_iter": 200}})).await;
    assert_eq!((status, &answer), (202, &json!({"pipeline_run": "retrain-2"})));
    let (_, shown) = house.get("/api/v1/pipeline-runs/retrain-2").await;
    assert_eq!((&shown["params"]["max_iter"], &shown["trigger"]["kind"]), (&json!(200), &json!("api")));
    let names: Vec<&str> = shown["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["training_set", "train"], "in the order of the file");

    let (status, shown) = house.post("/api/v1/pipeline-runs/retrain-2/cancel", json!({})).await;
    assert_eq!((status, &shown["cancel_asked"]), (202, &json!(true)));
    house.refuses(Request::post("/api/v1/pipeline-runs/retrain-2/resume"), String::new(), 409, "pipeline_run/not_failed").await;
    let (status, shown) = house.post("/api/v1/pipeline-runs/retrain-1/resume", json!({})).await;
    assert_eq!((status, &shown["state"]), (202, &json!("queued")));

    house.refuses(Request::post("/api/v1/pipelines/nightly/runs"), String::new(), 403, "pipeline/trigger").await;
    let (status, answer) = house.post("/api/v1/pipelines/nightly/runs", json!({"trigger": "command"})).await;
    assert_eq!((status, answer), (202, json!({"pipeline_run": "nightly-1"})));
    house.refuses(Request::post("/api/v1/pipelines/nobody/runs"), String::new(), 404, "pipeline/not_found").await;
    let unknown = json!({"params": {"depth": 1}}).to_string();
    house.refuses(Request::post("/api/v1/pipelines/retrain/runs"), unknown, 400, "pipeline/param").await;
    for action in ["cancel", "resume"] {
        house.refuses(Request::post(format!("/api/v1/pipeline-runs/nobody/{action}")), String::new(), 404, "pipeline_run/not_found").await;
    }

    let (_, pipelines) = house.get("/api/v1/pipelines").await;
    let names: Vec<&Json> = pipelines["items"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["retrain", "nightly"]);
    assert_eq!(pipelines["items"][0]["last_run"]["id"], "retrain-2");
    let (_, versions) = house.get("/api/v1/pipelines/retrain/versions").await;
    assert_eq!(versions["items"][0]["number"], 2, "another hash than version 1, newest first");
    assert_eq!(house.get("/api/v1/pipelines/nobody/versions").await.0, 404);
    let (_, runs) = house.get("/api/v1/pipeline-runs?pipeline=retrain&limit=1").await;
    assert_eq!((&runs["items"][0]["id"], &runs["next"]), (&json!("retrain-2"), &json!("retrain-2")));
    let (_, runs) = house.get("/api/v1/pipeline-runs?pipeline=retrain&limit=1&after=retrain-2").await;
    assert_eq!((&runs["items"][0]["id"], &runs["next"]), (&json!("retrain-1"), &json!(null)));
}

#[tokio::test]
async fn a_steps_log_is_read_in_pieces() {
    let house = house().await;
    let log = "/api/v1/pipeline-runs/retrain-1/steps/train/log";
    let get = |path: String| house.raw(Request::get(path).body(Body::empty()).unwrap());
    for (from, text) in [(0, "epoch 1\nValueError\n"), (8, "ValueError\n"), (19, ""), (500, "")] {
        let response = get(format!("{log}?from={from}")).await;
        assert_eq!(response.headers()["x-trimtab-next"], (from + text.len()).to_string());
        assert_eq!(house::text(response).await, text);
    }
    let silent = get("/api/v1/pipeline-runs/retrain-1/steps/silent/log".into()).await;
    assert_eq!((silent.status(), house::text(silent).await.as_str()), (StatusCode::OK, ""), "it has said nothing");
    for (path, code) in [
        ("retrain-1/steps/training_set", "step/no_log"),
        ("retrain-1/steps/nobody", "step/not_found"),
        ("nobody/steps/train", "pipeline_run/not_found"),
    ] {
        let (status, problem) = house.get(&format!("/api/v1/pipeline-runs/{path}/log")).await;
        assert_eq!((status, &problem["code"]), (404, &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn a_model_is_shown_with_how_it_was_judged_and_rolled_back() {
    let house = house().await;
    let (_, models) = house.get("/api/v1/models").await;
    assert_eq!((&models["items"][0]["name"], &models["items"][0]["champion"]), (&json!("demand"), &json!(2)));
    let (_, shown) = house.get("/api/v1/models/demand?limit=2").await;
    let versions = shown["versions"]["items"].as_array().unwrap();
    assert_eq!(versions.iter().map(|version| &version["version"]).collect::<Vec<_>>(), [3, 2]);
    assert_eq!((&versions[1]["gate"]["verdict"], &versions[1]["monitor"]["version"]), (&json!("pass"), &json!(2)));
    assert_eq!((&versions[1]["metrics"][0]["value"], &shown["versions"]["next"]), (&json!(31.5), &json!("demand/2")));
    assert_eq!((&shown["declared"]["metric"], &shown["deployment"]["champion"]), (&json!("mae"), &json!(2)));
    assert_eq!(house.get("/api/v1/models/nobody").await.1["code"], "model/not_found");

    let rolled = house.post("/api/v1/models/demand/rollback", json!({})).await;
    assert_eq!(rolled, (200, json!({"model": "demand", "version": 1})));
    let (_, events) = house.get("/api/v1/events?after=0&limit=1000").await;
    let promoted = events["items"].as_array().unwrap().iter().rfind(|event| event["event"]["type"] == "ChampionPromoted").unwrap();
    assert_eq!((&promoted["event"]["by"], &promoted["actor"]["name"]), (&json!("api"), &json!("api")));
    house.refuses(Request::post("/api/v1/models/fresh/rollback"), String::new(), 409, "rollback/none").await;
    house.refuses(Request::post("/api/v1/models/nobody/rollback"), String::new(), 404, "model/not_found").await;
}

#[tokio::test]
async fn incidents_windows_and_training_sets_are_read() {
    let house = house().await;
    let (_, incidents) = house.get("/api/v1/incidents?model=demand").await;
    let ids: Vec<&Json> = incidents["items"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, ["demand-2", "demand-1"], "newest first");
    assert_eq!(house.get("/api/v1/incidents?model=nobody").await.1, json!({"items": [], "next": null}));
    assert_eq!(house.get("/api/v1/incidents/demand-1").await.1["state"], "resolved");
    assert_eq!(house.get("/api/v1/incidents/nobody").await.1["code"], "incident/not_found");
    house.refuses(Request::post("/api/v1/incidents/demand-1/retrain"), String::new(), 409, "incident/closed").await;
    house.refuses(Request::post("/api/v1/incidents/nobody/retrain"), String::new(), 404, "incident/not_found").await;
    let (status, asked) = house.post("/api/v1/incidents/demand-2/retrain", json!({})).await;
    assert_eq!((status, asked), (202, json!({"pipeline_run": "retrain-demand-2-1"})));

    let (_, windows) = house.get("/api/v1/windows/demand?kind=performance").await;
    let verdicts: Vec<&Json> = windows["items"].as_array().unwrap().iter().map(|one| &one["verdict"]).collect();
    assert_eq!(verdicts, ["pass", "fail", "fail"], "newest first");
    assert_eq!(house.get("/api/v1/windows/nobody").await.0, 404);
    assert_eq!(house.get("/api/v1/training-sets").await.1["items"][0]["id"], "set-2");
    assert_eq!(house.get("/api/v1/training-sets/set-2").await.1["rows"], 1204);
    assert_eq!(house.get("/api/v1/training-sets/nobody").await.1["code"], "training_set/not_found");
}

#[tokio::test]
async fn events_come_in_pages_and_by_thread() {
    let house = house().await;
    let (_, first) = house.get("/api/v1/events?limit=2").await;
    assert_eq!((&first["items"][1]["seq"], &first["next"]), (&json!(2), &json!(2)));
    assert!(first["items"][0]["sentence"].is_string());
    let mut seen = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let (_, page) = house.get(&format!("/api/v1/events?limit=3&thread=demand-1&after={after}")).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|event| event["thread"].clone()));
        after = page["next"].clone();
    }
    assert_eq!(seen.len(), house.events().iter().filter(|event| event.thread.as_deref() == Some("demand-1")).count());
    assert!(seen.iter().all(|thread| thread == "demand-1"));
    let head = house.events().last().unwrap().seq;
    // Nobody waits for what is there, and whoever waits in vain gets an empty page.
    assert!(house.get("/api/v1/events?wait=30s").await.1["items"].is_array());
    assert_eq!(house.get("/api/v1/events?after=100000&wait=20ms").await.1, json!({"items": [], "next": null, "head": head}));
}

/// The events of a story's chain, by name.
fn chain(story: &Json) -> Vec<&str> {
    story["chain"].as_array().unwrap().iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn why_tells_an_incident_from_its_first_sign_to_its_end() {
    let house = house().await;
    let (status, story) = house.get("/api/v1/why/demand-1").await;
    assert_eq!(status, 200, "{story}");
    assert_eq!(story["subject"], json!({"kind": "incident", "id": "demand-1"}));
    let expected = [
        "DriftFound",
        "WindowJudged",
        "SegmentSealed",
        "WindowClosed",
        "WindowJudged",
        "IncidentOpened",
        "RetrainRequested",
        "PipelineRunRequested",
        "TrainingSetRecorded",
        "RunStarted",
        "ModelVersionRegistered",
        "RunFinished",
        "StepFinished",
        "PipelineRunFinished",
        "GateDecided",
        "ChampionPromoted",
        "WindowJudged",
        "IncidentResolved",
    ];
    assert_eq!(chain(&story), expected);
    let lines = story["chain"].as_array().unwrap();
    assert_eq!(lines[5]["sentence"], "incident demand-1 opened over demand version 1: mae > 1.5 * best.mae for 2 windows");
    assert_eq!(
        lines[4]["sentence"],
        "the performance window 2011-03-08 to 2011-03-15 of demand version 1 fails with 60.25 where 33.6 is allowed: mae fell"
    );
    assert_eq!((&lines[5]["cause"], &lines[5]["thread"]), (&lines[4]["seq"], &json!("demand-1")));
    let seqs: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted());
}

#[tokio::test]
async fn why_tells_how_a_version_was_made_and_what_became_of_it() {
    let house = house().await;
    let (_, story) = house.get("/api/v1/why/demand@2").await;
    assert_eq!((&story["subject"]["id"], &story["summary"]), (&json!("demand@2"), &json!("version 2 of demand is champion")));
    let told = chain(&story);
    for event in [
        "IncidentOpened",
        "RetrainRequested",
        "TrainingSetRecorded",
        "RunFinished",
        "ModelVersionRegistered",
        "GateDecided",
        "ChampionPromoted",
    ] {
        assert!(told.contains(&event), "{event} is missing in {told:?}");
    }
    assert!(!told.contains(&"IncidentResolved") && !told.contains(&"AlertRaised"), "{told:?}");
    for same in ["/api/v1/why/demand/2", "/api/v1/why/demand@champion", "/api/v1/why/demand%402"] {
        assert_eq!(house.get(same).await.1, story, "{same}");
    }
    let (_, first) = house.get("/api/v1/why/demand@1").await;
    let told = chain(&first);
    assert_eq!(first["summary"], "version 1 of demand is a shadow");
    assert!(told.ends_with(&["IncidentOpened", "GateDecided", "ChampionPromoted"]), "it did harm and was replaced: {told:?}");
    for (thing, code) in [
        ("demand@9", "model_version/not_found"),
        ("demand@staging", "model_version/not_found"),
        ("nobody@1", "why/not_found"),
        ("nobody", "why/not_found"),
    ] {
        let (status, problem) = house.get(&format!("/api/v1/why/{thing}")).await;
        assert_eq!((status, &problem["code"]), (404, &json!(code)), "{thing}");
        assert!(problem["hint"].is_string());
    }
    let (_, run) = house.get("/api/v1/why/retrain-1").await;
    assert_eq!(run["subject"]["kind"], "pipeline_run");
    assert_eq!(run["summary"], "pipeline run retrain-1 of retrain version 1 failed: step train: exit 1");
}

#[tokio::test]
async fn why_tells_what_a_prediction_saw_and_who_made_it() {
    let house = house().await;
    let (_, story) = house.get("/api/v1/why/sealed-1").await;
    assert_eq!(story["subject"], json!({"kind": "prediction", "id": "sealed-1"}));
    assert_eq!(story["summary"], "prediction sealed-1 for city_id=dc at 2011-03-02T00:00:00Z: 31.5, by version 1 of demand");
    let row = &story["prediction"];
    assert_eq!((&row["version"], &row["fields"]["temp"], &row["entity"]["city_id"]), (&json!(1), &json!(0.5), &json!("dc")));
    assert!(chain(&story).contains(&"ModelVersionRegistered"));
    let (_, story) = house.get("/api/v1/why/open-1").await;
    assert_eq!(story["prediction"]["version"], 2, "the champion at its time");
    assert_eq!(story["summary"], "prediction open-1 for city_id=dc at 2011-03-20T00:00:00Z: not sealed yet, by version 2 of demand");
}

#[tokio::test]
async fn status_shows_the_loop() {
    let house = house().await;
    let (status, answer) = house.get("/api/v1/status").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["project"]["name"], &answer["now"]), (&json!("bikes"), &json!(Timestamp::parse("2011-04-01"))));
    assert_eq!(answer["stations"]["pipelines"], json!({"pipelines": 2, "pipeline_runs": 2, "under_way": 0}));
    assert_eq!(answer["stations"]["monitoring"], json!({"windows": 4, "open_incidents": 1, "escalated": 0}));
    let demand = &answer["models"][0];
    assert_eq!((&demand["model"], &demand["champion"], &demand["open_incident"]), (&json!("demand"), &json!(2), &json!("demand-2")));
    assert_eq!(demand["last_performance_window"]["verdict"], "pass");
    assert_eq!(answer["readers"], json!([{"name": "test.reader", "at": house.events().len(), "lag": 0}]));
    assert_eq!((&answer["head"], &answer["notifications_waiting"]), (&json!(house.events().len()), &json!(1)));
    assert_eq!(answer["serving"][0]["model"], "demand");

    // An incident of how it is served does not hide the model's own.
    let incidents = World::new(house.store.snapshot().unwrap()).scope::<Incident>("demand").unwrap();
    let own = incidents.into_iter().find(|incident| incident.id.as_str() == "demand-2").unwrap();
    let served = Incident { id: IncidentId::new("demand-0"), system: true, ..own };
    house.store.commit(Batch::new(Actor::System("test".into()), served.opened).put(&served)).await.unwrap();
    let (_, answer) = house.get("/api/v1/status").await;
    assert_eq!(answer["stations"]["monitoring"]["open_incidents"], 2);
    assert_eq!(answer["models"][0]["open_incident"], "demand-2");

    let empty = House::empty().await;
    let (status, answer) = empty.get("/api/v1/status").await;
    assert_eq!((status, &answer["project"], &answer["models"]), (200, &json!(null), &json!([])));
}

#[tokio::test]
async fn probes_and_metrics_answer() {
    let house = house().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(house.get(path).await, (200, json!("ok\n")));
    }
    let response = house.raw(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = house::text(response).await;
    let head = house.events().len();
    for line in [
        "# TYPE trimtab_predictions counter",
        "trimtab_predictions_total{model=\"demand\"} 0",
        "trimtab_predictions_unlogged_total{model=\"demand\"} 0",
        "trimtab_shadow_drops_total{model=\"demand\",version=\"1\"} 0",
        "trimtab_notifications_waiting 1",
        &format!("trimtab_event_head {head}"),
        "trimtab_reader_lag{reader=\"test.reader\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    // The champion's own time, without a canary beside it.
    let request = PredictRequest { id: None, time: None, columns: [("temp".to_owned(), Scalar::Float(0.5))].into() };
    house.gateway.predict(&ModelName::new("demand"), vec![request]).await.unwrap();
    let text = house::text(house.raw(Request::get("/metrics").body(Body::empty()).unwrap()).await).await;
    for line in [
        "trimtab_version_seconds_bucket{model=\"demand\",version=\"2\",role=\"champion\",le=\"+Inf\"} 1",
        "trimtab_version_seconds_count{model=\"demand\",version=\"2\",role=\"champion\"} 1",
        "trimtab_request_seconds_count{model=\"demand\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

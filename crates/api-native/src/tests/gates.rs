//! Gates, approvals, rollouts and the audit over HTTP.

use super::house::{house, text};
use axum::http::{Request, header};
use serde_json::json;

#[tokio::test]
async fn a_report_comes_in_every_form() {
    let house = house().await;
    let (status, page) = house.get("/api/v1/gates").await;
    assert_eq!((status, page["items"][0]["challenger"].as_u64()), (200, Some(2)));
    let (status, report) = house.get("/api/v1/gates/demand/2").await;
    assert_eq!((status, report["verdict"].as_str(), report.get("overrides")), (200, Some("pass"), None));
    for (format, kind, start) in [
        ("junit", "application/xml; charset=utf-8", "<?xml"),
        ("md", "text/markdown; charset=utf-8", "## Gate passes"),
        ("html", "text/html; charset=utf-8", "<!doctype html>"),
    ] {
        let request = Request::get(format!("/api/v1/gates/demand/2?format={format}")).body("".into()).unwrap();
        let answer = house.raw(request).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], kind);
        assert!(text(answer).await.starts_with(start), "{format}");
    }
    for (path, status, code) in [
        ("/api/v1/gates/demand/2?format=pdf", 400, "gate/format"),
        ("/api/v1/gates/demand/1", 404, "gate/not_judged"),
        ("/api/v1/gates/nothing/1", 404, "model/not_found"),
    ] {
        house.refuses(Request::get(path), String::new(), status, code).await;
    }
}

#[tokio::test]
async fn who_let_what_out_is_told_and_nothing_is_rolled_out() {
    let house = house().await;
    let (status, audit) = house.get("/api/v1/models/demand/audit").await;
    let events: Vec<&str> = audit["items"].as_array().unwrap().iter().filter_map(|item| item["event"].as_str()).collect();
    assert_eq!(status, 200);
    assert!(events.contains(&"GateDecided") && events.contains(&"ChampionPromoted") && !events.contains(&"WindowJudged"), "{events:?}");
    let (status, rollout) = house.get("/api/v1/models/demand/rollout").await;
    assert_eq!((status, rollout["state"].as_str(), rollout["champion"].as_u64()), (200, Some("none"), Some(2)));
    let post = |path: &str| Request::post(path.to_owned()).header(header::CONTENT_TYPE, "application/json");
    let vote = |version: u64, reason: &str| json!({ "version": version, "reason": reason }).to_string();
    let named = |path: &str| post(path).header("x-trimtab-actor", "ann");
    house.refuses(post("/api/v1/models/demand/rollout/resume"), "{}".into(), 409, "rollout/not_paused").await;
    house.refuses(post("/api/v1/models/demand/rollout/abort"), "{}".into(), 409, "rollout/none").await;
    house.refuses(post("/api/v1/models/demand/approve"), vote(2, "fine"), 400, "approval/identity").await;
    house.refuses(named("/api/v1/models/demand/approve"), vote(2, ""), 400, "approval/reason").await;
    house.refuses(named("/api/v1/models/demand/approve"), vote(2, "fine"), 409, "approval/champion").await;
    house.refuses(named("/api/v1/models/demand/approve"), vote(1, "fine"), 404, "gate/not_judged").await;
    house.refuses(named("/api/v1/models/demand/reject"), vote(2, "no"), 409, "approval/not_needed").await;
}

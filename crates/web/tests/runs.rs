//! The pages about runs and models over many made-up runs.
#![allow(clippy::unwrap_used)]

mod ask;
mod story;

use ask::{get, page};
use axum::http::{StatusCode, header};
use domain::IncidentId;
use domain::entity::Incident;
use ports::{MetadataStore, World};
use story::files::HOSTILE_HTML;
use story::many::id;
use story::{RUN, Story};

async fn many(n: usize) -> Story {
    let story = story::told().await;
    story.many(n).await;
    story
}

/// The names of runs in the order of a page.
fn names(html: &str) -> Vec<String> {
    let rows = html.split("<a class=\"open\" href=\"").skip(1);
    rows.filter_map(|rest| rest.split_once('>')?.1.split_once('<')).map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn a_filter_narrows_a_sort_orders_and_the_counts_are_true() {
    let story = many(400).await;
    let all = page(&story, "/runs?experiment=2", &["<b id=\"total\">400 runs</b>", "205 rows, parts in groups", "lowest val_mae"]).await;
    assert_eq!(names(&all).len(), 50, "a page of rows that may head groups");
    let few = "/runs?experiment=2&filter=metrics.val_mae+%3C+30+and+params.optimiser+%3D+%27adam%27&sort=metrics.val_mae";
    let body = page(&story, few, &["that fit", "aria-sort=\"ascending\""]).await;
    let values: Vec<f64> = body.split("<b>").skip(1).filter_map(|rest| rest.split_once('<')?.0.parse().ok()).collect();
    assert!(values.len() > 3 && values.iter().all(|value| *value < 30.0), "{values:?}");
    let column: Vec<f64> =
        body.split("class=\"n main").skip(1).filter_map(|rest| rest.split_once("<b>")?.1.split_once('<')?.0.parse().ok()).collect();
    assert!(column.windows(2).all(|pair| pair[0] <= pair[1]), "{column:?}");
    let words = page(&story, "/runs?q=heron+mild", &["that fit"]).await;
    assert!(names(&words).iter().all(|name| name.contains("heron") && name.contains("mild")), "{:?}", names(&words));
}

#[tokio::test]
async fn a_filter_that_is_wrong_is_shown_where_it_is_wrong() {
    let story = many(40).await;
    let answer = get(&story, "/runs?filter=metrics.mae+%3C+%27low%27").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("&#x27;low&#x27;\n              ^"), "{}", answer.body);
    assert!(answer.body.contains("column 15") && answer.body.contains("value=\"metrics.mae &lt; &#x27;low&#x27;\""));
    for wrong in ["/runs?sort=colour", "/runs?after=nonsense", "/runs.csv?filter=x", "/runs/rows?filter=%3C"] {
        assert_eq!(get(&story, wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn rows_that_follow_are_the_rows_that_follow() {
    let story = many(330).await;
    let path = "/runs?experiment=2&group=off&sort=metrics.val_mae";
    let mut body = get(&story, path).await.body;
    let mut seen = names(&body);
    let rows = body.split("data-rows=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/").replace("&amp;", "&");
    let mut next = body.split("data-next=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    while !next.is_empty() {
        let token = next.replace("&#x2f;", "%2F").replace('+', "%2B").replace('=', "%3D");
        let answer = get(&story, &format!("{rows}&after={token}&n=100")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        next = answer.headers.get("x-trimtab-next").map_or(String::new(), |next| next.to_str().unwrap().to_owned());
        body = answer.body;
        seen.extend(names(&body));
    }
    let unique: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), unique.len()), (330, 330));
}

#[tokio::test]
async fn parts_are_one_group_with_their_best() {
    let story = many(80).await;
    let parent = id(40);
    let closed = page(&story, "/runs?experiment=2", &["39 parts", "best part", "aria-expanded=\"false\""]).await;
    assert!(!names(&closed).iter().any(|name| name.starts_with("sweep-1-")));
    let open = page(&story, &format!("/runs?experiment=2&open={parent}"), &["aria-expanded=\"true\""]).await;
    assert_eq!(names(&open).iter().filter(|name| name.starts_with("sweep-1-")).count(), 39);
    let flat = page(&story, "/runs?experiment=2&group=off", &["part of another run"]).await;
    assert_eq!(names(&flat).len(), 80);
    page(&story, &format!("/runs/{parent}"), &["39 parts", "compare them"]).await;
    let compared = page(&story, &format!("/compare?parent={parent}"), &["39 runs side by side", "learning_rate", "class=\"star\""]).await;
    assert_eq!(compared.matches("class=\"strand").count(), 39);
}

#[tokio::test]
async fn an_export_holds_every_run_and_every_key() {
    let story = many(600).await;
    let answer = get(&story, "/runs.csv?experiment=2").await;
    assert!(answer.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/csv"));
    let lines: Vec<&str> = answer.body.lines().collect();
    assert_eq!(lines.len(), 601);
    assert!(lines[0].starts_with("run_id,run_name,status") && lines[0].contains("metrics.val_mae") && lines[0].contains("params.depth"));
    let one = get(&story, "/runs.csv?experiment=2&col=params.depth&filter=params.depth+%3D+%274%27").await;
    assert!(one.body.lines().skip(1).all(|line| line.ends_with(",4")) && one.body.lines().count() > 10);
}

#[tokio::test]
async fn what_differs_comes_first_and_missing_runs_are_named() {
    let story = many(80).await;
    let runs = format!("/compare?runs={},{}&runs=nope", id(1), id(2));
    let body = page(&story, &runs, &["2 runs side by side", "<code>nope</code>", "What is the same", "params.depth"]).await;
    let differ = body.split("What is the same").next().unwrap();
    assert!(differ.contains(">val_mae</th>") && !differ.contains(">model</th>"), "model is gbt in both");
    let against =
        page(&story, &format!("{runs}&sx=metrics.val_r2&sy=metrics.train_mae"), &["across: metrics.val_r2", "up: metrics.train_mae"]).await;
    assert_eq!(against.matches("<circle class=\"dot").count(), 2);
    page(&story, "/compare", &["No run to compare", "/compare?runs=RUN_ID,RUN_ID"]).await;
}

#[tokio::test]
async fn curves_are_told_to_scripts_with_their_peaks() {
    let story = many(40).await;
    let answer = get(&story, &format!("/runs/{RUN}/curves?key=loss&key=val_mae&key=broken")).await;
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((told["status"].as_str(), told["is_live"].as_bool()), (Some("FINISHED"), Some(false)));
    let curves = told["curves"].as_array().unwrap();
    assert_eq!(curves.len(), 2, "one point is no curve");
    let loss = &curves[0];
    assert_eq!(loss["points"].as_u64(), Some(3_000));
    let lengths: Vec<usize> = ["step", "time", "last", "min", "max"].iter().map(|name| loss[name].as_array().unwrap().len()).collect();
    assert!(lengths.iter().all(|length| *length == lengths[0] && *length > 300 && *length <= 500), "{lengths:?}");
    assert!(answer.body.len() < 60_000, "{} bytes", answer.body.len());
    page(&story, &format!("/runs/{RUN}?log=1&smooth=0.6&x=relative"), &["value=\"0.6\"", "value=\"1\" checked", "selected>relative"]).await;
    assert_eq!(get(&story, "/runs/zz/curves?key=loss").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_hostile_file_is_shown_as_text_and_kept_as_bytes() {
    let story = many(0).await;
    let body = page(&story, &format!("/runs/{RUN}?file=report.html"), &["&lt;script&gt;document.title"]).await;
    assert!(!body.contains("<script>document"));
    let file = get(&story, &format!("/runs/{RUN}/file?path=report.html")).await;
    assert_eq!(file.body, HOSTILE_HTML);
    let of = |name: &str| file.headers[name].to_str().unwrap().to_owned();
    assert_eq!((of("content-type").as_str(), of("x-content-type-options").as_str()), ("application/octet-stream", "nosniff"));
    assert!(of("content-disposition").starts_with("attachment") && of("content-security-policy").contains("sandbox"));
    let picture = get(&story, &format!("/runs/{RUN}/file?path=plots/residuals.svg")).await;
    assert_eq!(picture.headers["content-type"], "image/svg+xml");
    assert!(picture.headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
    page(&story, &format!("/runs/{RUN}?file=tables/residuals.csv"), &["<th>residual</th>", "quiet, mostly"]).await;
    page(&story, &format!("/runs/{RUN}?file=config.json"), &["&quot;max_iter&quot;: 100"]).await;
    for path in ["..%2F..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "nothing", ""] {
        assert_eq!(get(&story, &format!("/runs/{RUN}/file?path={path}")).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(get(&story, &format!("/runs/{RUN}?file={path}")).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_model_shows_who_serves_and_how_to_go_back() {
    let story = many(0).await;
    // An incident of how it is served does not hide the model's own.
    let incidents = World::new(story.store.snapshot().unwrap()).scope::<Incident>("demand").unwrap();
    let own = incidents.into_iter().find(|incident| incident.id.as_str() == "demand-3").unwrap();
    let served = Incident { id: IncidentId::new("demand-0"), system: true, ..own };
    story.commit("2011-06-16", None, |batch| batch.write(&served)).await;
    page(&story, "/models", &["demand", "version 4", "b-pass", "demand-3"]).await;
    page(&story, "/models/demand", &["trimtab model rollback demand", "version 2", "b-fail", "class=\"rival\""]).await;
    let version = ["windspeed <small>optional</small>", "tensor float64 [-1]", "trimtab model promote demand 2", "card.md"];
    page(&story, "/models/demand/versions/2", &version).await;
    page(&story, "/models/demand/versions/4", &["trimtab model rollback demand", "POST &#x2f;serve&#x2f;demand&#x2f;invocations"]).await;
    let card = get(&story, "/models/demand/versions/2/card.md").await;
    assert!(card.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/markdown"));
    for text in ["# demand version 2", "Training set `ts-2`", "Gate: **pass**", "| in | hr | long |", "\\<script\\>"] {
        assert!(card.body.contains(text), "the card lacks {text}:\n{}", card.body);
    }
    assert_eq!(get(&story, "/models/nope").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn one_box_finds_runs_models_and_incidents() {
    let story = many(80).await;
    page(&story, "/search?q=demand", &["Models", "Incidents", "demand-2"]).await;
    page(&story, "/search?q=otter", &["Runs", "as a table"]).await;
    page(&story, "/search?q=zzzz", &["Nothing is found"]).await;
    page(&story, "/search", &["Find anything"]).await;
    page(&story, "/experiments", &["sweeps", "80", "lowest val_mae"]).await;
}

//! The pages over a made-up story.
#![allow(clippy::unwrap_used)]

mod ask;
mod story;

use ask::{ask, get, page};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use domain::{Event, ModelName};
use futures::StreamExt;
use ports::MetadataStore as _;
use story::{HOSTILE, RUN, Story};
use tower::ServiceExt;

const PAGES: [&str; 22] = [
    "/",
    "/runs",
    "/runs/00000000000000000000000000000002",
    "/experiments",
    "/models",
    "/models/demand",
    "/compare?runs=00000000000000000000000000000002,00000000000000000000000000000004",
    "/runs?experiment=1",
    "/incidents",
    "/incidents/demand-1",
    "/incidents/demand-2",
    "/incidents/demand-3",
    "/models/demand/versions/2",
    "/pipeline-runs/retrain-demand-1-1",
    "/pipeline-runs/retrain-demand-1-1?step=train",
    "/pipelines",
    "/gates",
    "/serving",
    "/serving?model=demand",
    "/compute",
    "/compute?by=team",
    "/pipelines/retrain",
];

#[tokio::test]
async fn no_page_lets_a_name_become_markup_or_runs_inline_script() {
    let story = story::told().await;
    for path in PAGES {
        let answer = get(&story, path).await;
        assert!(!answer.body.contains("<script>"), "{path}");
        assert!(!answer.body.contains("<b>bikes"), "{path}");
        assert!(!answer.body.contains("style=\"") && !answer.body.contains(" onclick"), "{path} is not for the policy");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        for host in ["http://", "https://", "//cdn"] {
            let shown = answer.body.replace("http://www.w3.org", "");
            assert!(!shown.contains(&format!("src=\"{host}")) && !shown.contains(&format!("href=\"{host}")), "{path} asks {host}");
        }
    }
    page(&story, &format!("/runs/{RUN}"), &["&lt;script&gt;alert(1)&lt;&#x2f;script&gt; &amp; &quot;friends&quot;"]).await;
    assert!(HOSTILE.contains("<script>"));
}

#[tokio::test]
async fn every_link_of_the_story_leads_somewhere() {
    let story = story::told().await;
    let mut seen = vec!["/".to_owned()];
    let mut at = 0;
    while at < seen.len() {
        let path = seen[at].clone();
        let answer = get(&story, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        for link in answer.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let link = link.replace("&amp;", "&").replace("&#x2f;", "/");
            let link = link.split('#').next().unwrap().to_owned();
            if link.starts_with('/') && !seen.contains(&link) && seen.len() < 400 {
                seen.push(link);
            }
        }
        at += 1;
    }
    for path in PAGES.into_iter().filter(|path| !path.starts_with("/compare")) {
        assert!(seen.iter().any(|link| link == path), "no way leads from the loop to {path}: {seen:?}");
    }
}

#[tokio::test]
async fn the_loop_shows_stations_and_the_river() {
    let story = story::told().await;
    let holds = [
        "<svg class=\"ring\"",
        "incident demand-3 is open",
        "demand: version 4 is champion",
        "href=\"&#x2f;incidents&#x2f;demand-2\"",
        "data-thread=\"demand-1\"",
        "assets&#x2f;home.js?v=",
    ];
    let all = page(&story, "/", &holds).await;
    assert!(!all.contains("Three ways to begin"));
    let only = page(&story, "/?topics=delivery", &["became champion", "data-topics=\"delivery\""]).await;
    assert!(!only.contains("class=\"said\" title=\"event 1,"), "the filter holds");
    let older = page(&story, "/?before=20", &["the project was applied"]).await;
    assert!(!older.contains("data-live"), "an older part of the river does not move");
}

#[tokio::test]
async fn an_empty_server_says_how_to_begin() {
    let story = story::empty();
    let holds = [
        "export MLFLOW_TRACKING_URI=http:&#x2f;&#x2f;bikes.example:5055",
        "trimtab init",
        "trimtab demo",
        "no champion yet",
        "No event yet",
    ];
    page(&story, "/", &holds).await;
    page(&story, "/runs", &["MLFLOW_TRACKING_URI"]).await;
    page(&story, "/incidents", &["incident_if"]).await;
}

#[tokio::test]
async fn a_run_shows_its_curves_and_where_it_belongs() {
    let story = story::told().await;
    let holds = [
        "3,000 points in 94 stretches",
        "100 points in 50 stretches",
        "&#x2f;pipeline-runs&#x2f;retrain-demand-1-1",
        "&#x2f;incidents&#x2f;demand-1",
        "&#x2f;models&#x2f;demand&#x2f;versions&#x2f;2",
        "plots%2Fresid%26al.png",
        "NaN",
        "learning_rate",
        "train.parquet",
        "<path class=\"trace\"",
        "step <b>train</b>",
    ];
    page(&story, &format!("/runs/{RUN}"), &holds).await;
    let one = page(&story, &format!("/runs/{RUN}?metric=loss"), &["3,000 points in 94 stretches", "all metrics"]).await;
    assert!(!one.contains("class=\"curve\" data-key=\"val_mae\""));
}

#[tokio::test]
async fn an_incident_is_told_from_its_first_sign_to_its_end() {
    let story = story::told().await;
    let healed = [
        "Resolved after 14d and 1 retraining",
        "<b>First sign:</b> input window 2011-03-15 to 2011-03-22, 22d before the incident opened",
        "incident</a> opened",
        "2,180 rows",
        "mae &lt;= champion.mae on holdout",
        "[−28.69, −20.69] at 95 %",
        "class=\"zero\"",
        "became champion in place of version 1",
        "is resolved",
        "champion now",
    ];
    let healed = healed.map(|text| text.replace("incident</a>", "demand-1</a>"));
    let healed: Vec<&str> = healed.iter().map(String::as_str).collect();
    page(&story, "/incidents/demand-1", &healed).await;
    let given_up = [
        "Handed to people after 28d and 2 retrainings",
        "b-refused",
        "b-unhelpful",
        "Retraining 2",
        "was handed to people",
        "Somebody has to look now",
    ];
    let other = page(&story, "/incidents/demand-2", &given_up).await;
    assert!(!other.contains("How it ended</h2>\n<p>It has not"));
    page(
        &story,
        "/incidents/demand-3",
        &["Open since 2011-06-15: retraining retrain-demand-3-1 is under way", "It has not.", "No gate has judged it yet"],
    )
    .await;
}

#[tokio::test]
async fn a_version_leads_back_to_where_it_came_from() {
    let story = story::told().await;
    let holds =
        ["Was champion from 2011-04-14 02:00 to 2011-05-26 02:00", "&#x2f;incidents&#x2f;demand-1", "2,180 rows", "Gate ", "trained until"];
    page(&story, "/models/demand/versions/2", &holds).await;
    page(&story, "/models/demand/versions/4", &["Champion since 2011-05-26 02:00", "b-champion"]).await;
    page(&story, "/models/demand/versions/3", &["Does not serve"]).await;
}

#[tokio::test]
async fn what_is_not_there_is_a_404_with_next_steps() {
    let story = story::told().await;
    let lost = [
        "/nope",
        "/runs/zz",
        "/runs?experiment=77",
        "/incidents/zz",
        "/models/demand/versions/9",
        "/models/demand/versions/x",
        "/models/x/versions/1",
        "/pipeline-runs/zz",
        "/assets/zz.js",
    ];
    for path in lost {
        let answer = get(&story, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.body.contains("trimtab status"), "{path}");
    }
    assert!(get(&story, "/runs/%3Cscript%3E").await.body.contains("No run `&lt;script&gt;`"));
}

#[tokio::test]
async fn a_page_is_light() {
    let story = story::told().await;
    for path in PAGES {
        let body = get(&story, path).await.body;
        let assets: Vec<&str> = body.split('"').filter(|text| text.contains("assets") && text.contains("?v=")).collect();
        assert!(assets.len() <= 4, "{path}: {assets:?}");
    }
    let css = get(&story, "/assets/app.css").await.body;
    assert!(css.len() < 32 * 1024, "{} bytes", css.len());
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_their_own_address() {
    let story = story::empty();
    let home = get(&story, "/").await.body;
    let address =
        home.split("href=\"").find(|rest| rest.contains("app.css")).and_then(|rest| rest.split('"').next()).unwrap().replace("&#x2f;", "/");
    let answer = get(&story, &address).await;
    assert!(answer.headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/css");
    let plain = get(&story, "/assets/app.css?v=old").await;
    assert_eq!(plain.headers[header::CACHE_CONTROL], "no-cache");
    let again = Request::get(&address).header(header::IF_NONE_MATCH, answer.headers[header::ETAG].clone()).body(Body::empty()).unwrap();
    assert_eq!(ask(&story, again).await.status, StatusCode::NOT_MODIFIED);
}

/// The messages that are there at once, after those events.
async fn first_message(story: &Story, path: &str, last_id: Option<&str>) -> String {
    let mut request = Request::get(path);
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    let response = web::router(story.state()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let first = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    String::from_utf8(first.to_vec()).unwrap()
}

fn seqs(message: &str) -> Vec<u64> {
    let data = message.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let events: Vec<serde_json::Value> = serde_json::from_str(data).unwrap();
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_stream_resumes_where_the_reader_left_it() {
    let story = story::told().await;
    let head = *story.store.head().borrow();
    let message = first_message(&story, &format!("/events?after={}", head - 3), None).await;
    assert_eq!(seqs(&message), [head - 2, head - 1, head]);
    assert!(message.contains(&format!("id: {head}")) && message.contains("event: events"), "{message}");
    // The header has the last word: a browser sends it when it reconnects.
    let message = first_message(&story, "/events?after=1", Some(&(head - 1).to_string())).await;
    assert_eq!(seqs(&message), [head]);
    // Topics that are not asked for are left out, and passed over.
    let message = first_message(&story, "/events?after=0&topics=delivery,serving", None).await;
    assert!(message.contains("GateDecided") && message.contains("ShadowServed") && !message.contains("WindowJudged"));
    let patch = first_message(&story, "/events?view=home&after=0", None).await;
    assert!(patch.contains("event: home") && patch.contains("stations") && !patch.contains("<script>"));
}

#[tokio::test]
async fn a_new_event_wakes_the_stream_and_closing_ends_it() {
    let story = story::told().await;
    let state = story.state();
    let request = Request::get("/events").body(Body::empty()).unwrap();
    let response = web::router(state.clone()).oneshot(request).await.unwrap();
    let mut stream = response.into_body().into_data_stream();
    let (message, seq) = tokio::join!(stream.next(), async {
        let event = Event::AlertRaised { topic: "t".into(), model: Some(ModelName::new("demand")), title: "wake".into() };
        story.say("2011-06-20", None, event).await
    });
    let message = String::from_utf8(message.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(seqs(&message), [seq]);
    state.closing.cancel();
    assert!(stream.next().await.is_none());
}

#![allow(clippy::unwrap_used)]
//! Deliveries to a receiver on the loopback interface.

use super::*;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use domain::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Default)]
struct Seen(Mutex<Vec<(String, String, String)>>);

/// A receiver that answers `/STATUS` with that status.
async fn receiver() -> (Arc<Seen>, String) {
    let seen = Arc::new(Seen::default());
    let answer = |Path(status): Path<u16>, State(seen): State<Arc<Seen>>, headers: HeaderMap, body: String| async move {
        let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        seen.0.lock().push((header("content-type"), header("x-trimtab-id"), body));
        StatusCode::from_u16(status).unwrap()
    };
    let router = Router::new().route("/{status}", post(answer)).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (seen, address)
}

fn notification() -> Notification {
    Notification {
        id: "team/7".into(),
        target: "team".into(),
        topic: "incident".into(),
        title: "demand-1".into(),
        body: r#"{"text":"größe"}"#.into(),
        created: Timestamp::from_ms(0),
        attempts: 0,
        last_error: None,
        next_try: None,
        delivered: None,
    }
}

#[tokio::test]
async fn the_status_says_whether_it_is_tried_again() {
    let (seen, address) = receiver().await;
    let webhook = Webhook::new("/");
    let cases = [
        (200, 'd'),
        (204, 'd'),
        (302, 'f'),
        (400, 'r'),
        (401, 'r'),
        (404, 'r'),
        (408, 'f'),
        (410, 'r'),
        (429, 'f'),
        (500, 'f'),
        (503, 'f'),
    ];
    for (status, expected) in cases {
        let outcome = webhook.deliver(&format!("{address}/{status}"), &notification()).await;
        let found = match &outcome {
            Delivery::Delivered => 'd',
            Delivery::Failed(_) => 'f',
            Delivery::Rejected(_) => 'r',
        };
        assert_eq!(found, expected, "{status}: {outcome:?}");
    }
    let seen = seen.0.lock();
    assert_eq!(seen.len(), cases.len(), "one request an attempt");
    assert!(seen.iter().all(|one| *one == ("application/json".into(), "team/7".into(), r#"{"text":"größe"}"#.into())));
}

#[tokio::test]
async fn an_address_is_looked_up_at_each_attempt() {
    let (seen, address) = receiver().await;
    let folder = tempfile::tempdir().unwrap();
    let webhook = Webhook::new(folder.path());
    let missing = webhook.deliver("file:secrets/hook", &notification()).await;
    assert!(matches!(&missing, Delivery::Rejected(why) if why.starts_with("file secrets/hook cannot be read")), "{missing:?}");
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(folder.path().join("secrets/hook"), format!("{address}/200\n")).unwrap();
    assert_eq!(webhook.deliver("file:secrets/hook", &notification()).await, Delivery::Delivered);
    assert_eq!(seen.0.lock().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_used_is_rejected_without_telling_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hook"), "s3cret-token").unwrap();
    let webhook = Webhook::new(folder.path());
    // Cargo sets this one for every test: a value that is no address.
    for (target, named) in [
        ("env:TRIMTAB_TEST_NO_SUCH_VARIABLE", "TRIMTAB_TEST_NO_SUCH_VARIABLE is not set"),
        ("env:CARGO_PKG_NAME", "variable CARGO_PKG_NAME holds no address"),
        ("file:hook", "file hook holds no address"),
        ("ftp://s3cret-token/x", "the webhook in the project file holds no address"),
        ("s3cret-token", "the webhook in the project file holds no address"),
        ("", "holds no address"),
    ] {
        let Delivery::Rejected(why) = webhook.deliver(target, &notification()).await else { panic!("{target} was taken") };
        assert!(why.contains(named), "{target}: {why}");
        assert!(!why.contains("s3cret") && !why.contains("back-notify"), "{why}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_again_and_its_address_is_not_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/s3cret", listener.local_addr().unwrap());
    drop(listener);
    let outcome = Webhook::new("/").deliver(&address, &notification()).await;
    assert_eq!(outcome, Delivery::Failed("the receiver cannot be reached".into()));
}

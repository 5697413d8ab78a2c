//! Asks the pages, without a socket.
#![allow(clippy::unwrap_used, dead_code)]

use crate::story::Story;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use tower::ServiceExt;

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

pub async fn get(story: &Story, path: &str) -> Answer {
    ask(story, Request::get(path).header(header::HOST, "bikes.example:5055").body(Body::empty()).unwrap()).await
}

pub async fn ask(story: &Story, request: Request<Body>) -> Answer {
    let response = web::router(story.state()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8_lossy(&to_bytes(body, 10_000_000).await.unwrap()).into_owned();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Checks that everything is there, and gives the page.
pub async fn page(story: &Story, path: &str, holds: &[&str]) -> String {
    let answer = get(story, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    for text in holds {
        assert!(answer.body.contains(text), "{path} lacks {text}:\n{}", answer.body);
    }
    answer.body
}

//! Webhooks of git hosts: who signed is asked before anything of the content is looked at.

use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use domain::{Digest, Kind, Refusal};
use pipelines::commands::declared;
use pipelines::hooks::{self, Heard, Outcome, Sender};
use serde::Serialize;
use std::path::Path as Folder;

/// What a host is answered: that a pipeline run will come of it, or why not.
#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<String>,
}

fn ignored(why: impl Into<String>) -> (StatusCode, Json<Answer>) {
    (StatusCode::OK, Json(Answer { taken: None, ignored: Some(why.into()) }))
}

pub(super) async fn git(
    State(api): State<Api>,
    Path(pipeline): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    let sender = Sender::of(|name| headers.get(name).and_then(|value| value.to_str().ok()))?;
    let world = api.world()?;
    let project = world.project()?;
    let git = project.as_ref().and_then(|project| project.spec.git.clone().zip(Some(project.root.clone())));
    let (git, root) = git.ok_or_else(|| {
        Refusal::not_found("git/none", "the applied project file has no [git]").hint("[git]\nsecret = \"env:NAME\" or \"file:PATH\"")
    })?;
    let secret = (api.secrets)(Folder::new(&root), &git.secret).map_err(|why| {
        tracing::error!(why, "a webhook's secret");
        Refusal::new(Kind::Unavailable, "hook/secret", "this server has no secret to check the webhook with").hint("its log says why")
    })?;
    hooks::verify(&sender, &body, &secret)?;
    // Nobody who did not sign learns which pipelines there are.
    declared(&world, &pipeline)?;
    drop(world);
    let content = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json = if content.starts_with("application/x-www-form-urlencoded") {
        let payload = form_urlencoded::parse(&body).find(|(name, _)| name == "payload");
        payload.map(|(_, text)| text.into_owned().into_bytes()).unwrap_or_default()
    } else {
        body.to_vec()
    };
    let arrival = match hooks::read(&sender, &json)? {
        Heard::Ping => return Ok((StatusCode::OK, Json(Answer { taken: Some("the webhook works".into()), ignored: None }))),
        Heard::Ignored(why) => return Ok(ignored(why)),
        Heard::Commit(arrival) => arrival,
    };
    let digest = Digest::of_parts([pipeline.as_bytes(), body.as_ref()]);
    let id = sender.delivery(&digest);
    let now = api.clock.event_now();
    let outcome = ports::decide(&*api.store, |world| hooks::receive(world, &pipeline, &id, &digest, &arrival, now)).await?;
    Ok(match outcome {
        Outcome::Taken => {
            let what = format!("{} {}", arrival.event.word(), arrival.reference);
            (StatusCode::ACCEPTED, Json(Answer { taken: Some(format!("{what} is for pipeline {pipeline}")), ignored: None }))
        }
        Outcome::Ignored(why) => ignored(why),
    })
}

//! The event log, and stories from it.

use crate::Api;
use crate::error::ApiError;
use crate::page::{MOST, limit};
use crate::request::Asked;
use crate::story::{self, Story};
use axum::Json;
use axum::extract::{Path, State};
use domain::{Fault, Recorded};
use serde::{Deserialize, Serialize};

/// Events that one request looks at in search of a thread's; `next` goes on from there.
const LOOKED_AT: u64 = 100_000;

#[derive(Clone, Deserialize)]
pub(super) struct EventQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    /// Only events of this thread.
    thread: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    recorded: Recorded,
    sentence: String,
}

#[derive(Serialize)]
pub(super) struct Events {
    items: Vec<Told>,
    /// To be asked for as `after`; `None` at the end of the log.
    next: Option<u64>,
}

pub(super) async fn events(State(api): State<Api>, Asked(query): Asked<EventQuery>) -> Result<Json<Events>, ApiError> {
    let limit = limit(query.limit)?;
    api.apart(move |api| search(&api, &query, limit).map(Json)).await
}

fn search(api: &Api, query: &EventQuery, limit: usize) -> Result<Events, Fault> {
    let mut items = Vec::new();
    let mut seen = query.after;
    while seen - query.after < LOOKED_AT {
        let page = api.store.events(seen, MOST)?;
        if page.is_empty() {
            return Ok(Events { items, next: None });
        }
        for recorded in page {
            let fits = query.thread.is_none() || recorded.thread == query.thread;
            if fits && items.len() == limit {
                return Ok(Events { items, next: Some(seen) });
            }
            seen = recorded.seq;
            if fits {
                items.push(Told { sentence: recorded.event.sentence().to_string(), recorded });
            }
        }
    }
    Ok(Events { items, next: Some(seen) })
}

pub(super) async fn why(State(api): State<Api>, Path(thing): Path<String>) -> Result<Json<Story>, ApiError> {
    Ok(Json(story::why(api.store, api.rows, &thing).await?))
}

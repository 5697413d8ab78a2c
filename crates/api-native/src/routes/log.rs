//! The event log, and stories from it.

use crate::Api;
use crate::error::ApiError;
use crate::page::{MOST, limit};
use crate::request::Asked;
use crate::story::{self, Story};
use axum::Json;
use axum::extract::{Path, State};
use domain::{Fault, Recorded, Span};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits for an event at most.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Events that one request looks at in search of a thread's; `next` goes on from there.
const LOOKED_AT: u64 = 100_000;

#[derive(Clone, Deserialize)]
pub(super) struct EventQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    /// Only events of this thread.
    thread: Option<String>,
    /// How long to wait for one if there is none yet, a minute at most: `10s`.
    #[serde(default)]
    wait: Option<Span>,
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
    /// The number of the last event of the whole log.
    head: u64,
}

pub(super) async fn events(State(api): State<Api>, Asked(mut query): Asked<EventQuery>) -> Result<Json<Events>, ApiError> {
    let limit = limit(query.limit)?;
    let until = Instant::now() + query.wait.unwrap_or_default().duration().min(LONGEST_WAIT);
    let mut head = api.store.head();
    loop {
        let asked = query.clone();
        let found = api.apart(move |api| search(&api, &asked, limit)).await?;
        if !found.items.is_empty() || found.next.is_some() || Instant::now() >= until {
            return Ok(Json(found));
        }
        query.after = query.after.max(found.head);
        // The log goes on, or the time is over: either way it is looked at once more.
        let _ = tokio::time::timeout_at(until, head.wait_for(|head| *head > query.after)).await;
    }
}

fn search(api: &Api, query: &EventQuery, limit: usize) -> Result<Events, Fault> {
    let mut items = Vec::new();
    let mut seen = query.after;
    let head = *api.store.head().borrow();
    while seen - query.after < LOOKED_AT {
        let page = api.store.events(seen, MOST)?;
        if page.is_empty() {
            return Ok(Events { items, next: None, head });
        }
        for recorded in page {
            let fits = query.thread.is_none() || recorded.thread == query.thread;
            if fits && items.len() == limit {
                return Ok(Events { items, next: Some(seen), head });
            }
            seen = recorded.seq;
            if fits {
                items.push(Told { sentence: recorded.event.sentence().to_string(), recorded });
            }
        }
    }
    Ok(Events { items, next: Some(seen), head })
}

pub(super) async fn why(State(api): State<Api>, Path(thing): Path<String>) -> Result<Json<Story>, ApiError> {
    Ok(Json(story::why(api.store, api.rows, &thing).await?))
}

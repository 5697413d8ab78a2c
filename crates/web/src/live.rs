//! The event log as server-sent events.

use crate::line::{Line, heading};
use crate::page::{PageError, render};
use crate::ring::ring;
use crate::{WebState, log};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use domain::entity::Incident;
use domain::{Fault, Recorded, Topic};
use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

/// Least time between two messages: what happens meanwhile comes in one.
const PACE: Duration = Duration::from_millis(250);
/// Events in one message at most.
const MOST: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Asked {
    topics: Option<String>,
    /// The last event that the reader has; without it and without `Last-Event-ID`, only new ones come.
    after: Option<u64>,
    /// `home`: rendered lines and stations instead of events.
    view: Option<String>,
}

/// What the loop's page is patched with.
#[derive(Serialize)]
struct Patch {
    lines: Vec<Fresh>,
    stations: String,
}

/// A new line of the river, rendered.
#[derive(Serialize)]
struct Fresh {
    thread: Option<String>,
    heading: String,
    line: String,
    topic: &'static str,
}

/// `GET /events`: messages `events` with a list of recorded events, or `home` with a patch; the id is the newest event's number.
pub(crate) async fn stream(
    State(state): State<WebState>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let head = state.store.head();
    let newest = *head.borrow();
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let follower = Follower {
        // A number from another log, or from before this one was made anew, is not waited for.
        after: resumed.or(asked.after).unwrap_or(newest).min(newest),
        topics: log::topics(asked.topics.as_deref()),
        is_home: asked.view.as_deref() == Some("home"),
        is_first: true,
        state,
        head,
    };
    Sse::new(stream::unfold(follower, Follower::next)).keep_alive(KeepAlive::default())
}

struct Follower {
    state: WebState,
    head: watch::Receiver<u64>,
    after: u64,
    topics: Vec<Topic>,
    is_home: bool,
    is_first: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        let closing = self.state.closing.clone();
        let message = tokio::select! {
            () = closing.cancelled() => None,
            message = self.message() => message,
        }?;
        self.is_first = false;
        Some((Ok(message), self))
    }

    /// The next message; `None` ends the stream.
    async fn message(&mut self) -> Option<sse::Event> {
        if !self.is_first {
            tokio::time::sleep(PACE).await;
        }
        loop {
            let after = self.after;
            self.head.wait_for(|head| *head > after).await.ok()?;
            match self.read().await {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(?error, "the event stream ends");
                    return None;
                }
            }
        }
    }

    /// What is new; `None` if no topic that is asked for has anything.
    async fn read(&mut self) -> Result<Option<sse::Event>, PageError> {
        let (after, topics, is_home) = (self.after, self.topics.clone(), self.is_home);
        let (last, message) = self
            .state
            .read(move |state| {
                let mut events = state.store.events(after, MOST)?;
                let last = events.last().map_or(after, |recorded| recorded.seq);
                events.retain(|recorded| topics.contains(&recorded.event.topic()));
                let message = match events.is_empty() {
                    true => None,
                    false if is_home => Some(json("home", last, &patch(state, &events)?)?),
                    false => Some(json("events", last, &events)?),
                };
                Ok((last, message))
            })
            .await?;
        self.after = last;
        Ok(message)
    }
}

fn json(name: &str, id: u64, data: &impl Serialize) -> Result<sse::Event, Fault> {
    let message = sse::Event::default().event(name).id(id.to_string()).json_data(data);
    message.map_err(|e| Fault::because("writing an event message", e))
}

fn patch(state: &WebState, events: &[Recorded]) -> Result<Patch, PageError> {
    let incidents = state.world()?.list::<Incident>()?;
    let fresh = |recorded: &Recorded| -> Result<Fresh, PageError> {
        Ok(Fresh {
            thread: recorded.thread.clone(),
            heading: render("heading.html", "", "", &heading(recorded.thread.as_deref(), &incidents))?,
            line: render("line.html", "", "", &Line::from(recorded))?,
            topic: log::word(recorded.event.topic()),
        })
    };
    Ok(Patch { lines: events.iter().map(fresh).collect::<Result<_, _>>()?, stations: render("stations.html", "", "", &ring(state)?)? })
}

//! The story of a thing from the log alone: what led to it, what it led to, and who decided it.
//!
//! [`why`] finds the thing, [`Scope`] says which events belong to its story, and the events that caused those are added, one
//! cause after another. [`Event::sentence`](domain::Event::sentence) says an event in words.

mod scope;
mod thing;

pub use thing::{PredictionRow, Subject};

use domain::{Fault, Recorded, Timestamp};
use ports::{CommitError, MetadataStore, RowLog};
use scope::Scope;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events read at once.
const PAGE: usize = 1000;

/// A thing and its chain of events, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Story {
    pub subject: Subject,
    /// What it is and how it stands, in one sentence.
    pub summary: String,
    /// The row of a prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PredictionRow>,
    pub chain: Vec<Line>,
}

/// One event of a story.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub seq: u64,
    pub at: Timestamp,
    /// The event's name, as in the log.
    pub event: &'static str,
    pub sentence: String,
    pub actor: String,
    /// The event that led to this.
    pub cause: Option<u64>,
    /// The incident or request that it belongs to.
    pub thread: Option<String>,
}

impl Line {
    /// The line of an event.
    pub fn of(recorded: &Recorded) -> Line {
        Line {
            seq: recorded.seq,
            at: recorded.at,
            event: recorded.event.name(),
            sentence: recorded.event.sentence().to_string(),
            actor: recorded.actor.to_string(),
            cause: recorded.cause,
            thread: recorded.thread.clone(),
        }
    }
}

/// The story of `thing`: an incident's id, `MODEL@VERSION`, `MODEL@ALIAS`, `MODEL/VERSION`, a pipeline run's id, or a
/// prediction's id. Refused if there is none of that name.
pub async fn why(store: Arc<dyn MetadataStore>, rows: Arc<dyn RowLog>, thing: &str) -> Result<Story, CommitError> {
    let found = thing::find(&*store, &*rows, thing).await?;
    let scope = found.scope;
    let chain = tokio::task::spawn_blocking(move || chain(&*store, &scope)).await;
    let chain = chain.map_err(|e| Fault::because("reading the log", e))??;
    Ok(Story { subject: found.subject, summary: found.summary, prediction: found.prediction, chain })
}

/// The events of a scope and all that caused them, by sequence number.
fn chain(store: &dyn MetadataStore, scope: &Scope) -> Result<Vec<Line>, Fault> {
    let mut chain = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = store.events(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        chain.extend(page.into_iter().filter(|recorded| scope.holds(recorded)).map(|recorded| (recorded.seq, recorded)));
    }
    let mut causes: Vec<u64> = chain.values().filter_map(|recorded| recorded.cause).collect();
    while let Some(seq) = causes.pop() {
        if seq == 0 || chain.contains_key(&seq) {
            continue;
        }
        for recorded in store.events(seq - 1, 1)? {
            causes.extend(recorded.cause);
            chain.insert(recorded.seq, recorded);
        }
    }
    Ok(chain.values().map(Line::of).collect())
}

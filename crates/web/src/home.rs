//! The loop's page: the ring of stations, and the river of events below it.

use crate::facts::ServerFacts;
use crate::line::{Group, group};
use crate::page::{PageError, show};
use crate::ring::{Ring, ring};
use crate::{WebState, format, log};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use domain::entity::Incident;
use domain::{Fault, Span};
use ports::{RunSearch, ViewType, World};
use serde::{Deserialize, Serialize};

/// Lines of the river on one page.
const LINES: usize = 120;

#[derive(Deserialize)]
pub(crate) struct Asked {
    topics: Option<String>,
    before: Option<u64>,
}

#[derive(Serialize)]
struct Home {
    ring: Ring,
    server: Server,
    chips: Vec<Chip>,
    groups: Vec<Group>,
    /// Nothing is declared and nothing was logged: the page says how to begin.
    is_new: bool,
    url: String,
    head: u64,
    /// The filter, as in addresses; empty for all topics.
    topics: String,
    /// An older part of the river does not move.
    is_live: bool,
    older: Option<String>,
}

#[derive(Serialize)]
struct Server {
    version: String,
    home: String,
    listen: String,
    uptime: String,
    memory: Option<String>,
    readers: Vec<(String, String)>,
}

/// A topic that the river can be narrowed to.
#[derive(Serialize)]
struct Chip {
    text: &'static str,
    href: String,
    is_on: bool,
}

/// `GET /`.
pub(crate) async fn page(State(state): State<WebState>, Query(asked): Query<Asked>, headers: HeaderMap) -> Result<Response, PageError> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let home = state.read(move |state| read(state, &asked, host)).await?;
    show("home.html", "Loop", "loop", &home)
}

fn read(state: &WebState, asked: &Asked, host: Option<String>) -> Result<Home, PageError> {
    let head = *state.store.head().borrow();
    let named = log::topics(asked.topics.as_deref());
    let before = asked.before.unwrap_or(head + 1);
    let (events, is_more) = log::newest(state, before, LINES, |recorded| named.contains(&recorded.event.topic()))?;
    let world = state.world()?;
    let facts = state.facts.server()?;
    let filter = if named.len() == log::TOPICS.len() {
        String::new()
    } else {
        named.iter().map(|topic| log::word(*topic)).collect::<Vec<_>>().join(",")
    };
    let older = events.last().filter(|_| is_more).map(|last| {
        let filter = if filter.is_empty() { String::new() } else { format!("&topics={filter}") };
        format!("/?before={}{filter}#river", last.seq)
    });
    Ok(Home {
        ring: ring(state)?,
        chips: chips(&filter),
        groups: group(&events, &world.list::<Incident>()?),
        is_new: is_new(state, &world)?,
        url: format!("http://{}", host.unwrap_or_else(|| facts.listen.clone())),
        server: server(facts),
        head,
        topics: filter,
        is_live: asked.before.is_none(),
        older,
    })
}

fn chips(filter: &str) -> Vec<Chip> {
    let all = Chip { text: "everything", href: "/#river".into(), is_on: filter.is_empty() };
    let one = |text: &'static str| Chip { text, href: format!("/?topics={text}#river"), is_on: filter.split(',').any(|on| on == text) };
    std::iter::once(all).chain(log::TOPICS.into_iter().map(log::word).map(one)).collect()
}

fn server(facts: ServerFacts) -> Server {
    Server {
        version: facts.version,
        home: facts.home,
        listen: facts.listen,
        uptime: format::span(Span::from_ms(i64::try_from(facts.uptime_s).unwrap_or(i64::MAX / 1000) * 1000)),
        memory: facts.resident_mib.map(|mib| format!("{mib:.0} MiB")),
        readers: facts.readers.into_iter().map(|(name, seq)| (name, format::count(seq))).collect(),
    }
}

fn is_new(state: &WebState, world: &World) -> Result<bool, PageError> {
    if world.project()?.is_some() {
        return Ok(false);
    }
    let experiments = world.experiments()?.into_iter().map(|experiment| experiment.id).collect();
    let any = RunSearch { experiments, view: ViewType::All, limit: 1, ..RunSearch::default() };
    let found = state.runs.search(&any).map_err(|e| Fault::because("looking for a run", e))?;
    Ok(found.items.is_empty())
}

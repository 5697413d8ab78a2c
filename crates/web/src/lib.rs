//! The pages: the loop, a run, an incident, and what they link to.
//!
//! Server-rendered from the stores, useful without JavaScript, no outside host. A page reads one snapshot and the event log;
//! it decides nothing and writes nothing. The loop's page is kept up to date by the event stream, which scripts may follow too.
//!
//! | path | what |
//! |---|---|
//! | `/` | six stations of the loop and the river of events; `?topics=monitoring,delivery`, `?before=SEQ` |
//! | `/runs`, `/runs/ID` | tracking runs; `?experiment=ID`, `?metric=KEY` |
//! | `/incidents`, `/incidents/ID` | incidents, from the first sign to the end |
//! | `/models/NAME/versions/N` | a model version: where it came from and how it was judged |
//! | `/pipeline-runs/ID` | a pipeline run with its steps |
//! | `/events` | the event log as server-sent events; `?topics=`, `?after=SEQ` or `Last-Event-ID` |
//! | `/assets/NAME` | styles and scripts |
//!
//! Invariants: names are hostile, so every template escapes; no inline script, so the content security policy forbids them;
//! a number that is a sample says of how many.

mod assets;
mod chart;
mod curve;
mod facts;
mod format;
mod gate;
mod home;
mod incident;
mod line;
mod link;
mod live;
mod log;
mod made;
mod page;
mod ring;
mod run;
mod sentence;
mod stations;
mod version;

pub use facts::{Facts, ServerFacts, Station, StationState, StoreFacts};
pub use sentence::{Piece, Tone, sentence, tone};

use axum::Router;
use axum::routing::get;
use domain::Fault;
use page::PageError;
use ports::{ArtifactStore, MetadataStore, RunStore, World};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the pages are made from. Both stores must be sides of one store.
#[derive(Clone)]
pub struct WebState {
    pub store: Arc<dyn MetadataStore>,
    pub runs: Arc<dyn RunStore>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub facts: Arc<dyn Facts>,
    /// Ends open event streams when it is cancelled, so that a server can drain.
    pub closing: CancellationToken,
}

/// Every page. The fallback is the 404 page: merge this with routers that have none.
pub fn router(state: WebState) -> Router {
    Router::new()
        .route("/", get(home::page))
        .route("/events", get(live::stream))
        .route("/runs", get(run::list))
        .route("/runs/{id}", get(run::page))
        .route("/incidents", get(incident::list))
        .route("/incidents/{id}", get(incident::page))
        .route("/models/{model}/versions/{number}", get(version::page))
        .route("/pipeline-runs/{id}", get(made::page))
        .route("/assets/{name}", get(assets::serve))
        .fallback(page::not_found)
        .with_state(state)
}

impl WebState {
    /// The newest state.
    fn world(&self) -> Result<World, Fault> {
        Ok(World::new(self.store.snapshot()?))
    }

    /// Reads off the async threads: the stores' reads are synchronous.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&WebState) -> Result<T, PageError> + Send + 'static) -> Result<T, PageError> {
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&state)).await;
        done.map_err(|e| Fault::because("making a page", e))?
    }
}

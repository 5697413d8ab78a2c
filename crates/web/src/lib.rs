//! The pages: the loop, runs, models, incidents, and what they link to.
//!
//! Server-rendered from the stores, useful without JavaScript, no outside host. A page reads one snapshot and the event log;
//! it decides nothing and writes nothing. All state of a page is in its address. Every picture is drawn by the server and has its
//! table beside it; scripts redraw some of them finer, keep the loop and a running run up to date, and take the keyboard.
//!
//! | path | what |
//! |---|---|
//! | `/` | six stations of the loop and the river of events; `?topics=monitoring,delivery`, `?before=SEQ` |
//! | `/runs` | the table of runs; `?experiment=ID`, `?filter=`, `?q=`, `?sort=-metrics.mae`, `?col=params.lr`, `?metric=KEY`, `?group=on`, `?open=ID`, `?view=deleted` |
//! | `/runs/rows`, `/runs.csv` | rows that follow, for its script; the same runs as a file |
//! | `/runs/ID` | a run; `?metric=KEY`, `?keys=PART`, `?x=step`, `time` or `relative`, `?log=1`, `?smooth=0.6`, `?file=PATH` |
//! | `/runs/ID/curves`, `/runs/ID/file`, `/runs/ID/log` | points of curves, bytes of an artifact, the end of its step's log |
//! | `/compare` | runs side by side; `?runs=A,B` or `?parent=ID`, `?metric=KEY`, `?sx=params.lr&sy=metrics.mae` |
//! | `/experiments`, `/search?q=` | experiments at a glance; anything by its words |
//! | `/models`, `/models/NAME`, `/models/NAME/versions/N`, `.../card.md` | models, the ladder of versions, a version and its card, also at `/api/v1/models/NAME/versions/N/card` |
//! | `/incidents`, `/incidents/ID` | incidents, from the first sign to the end |
//! | `/compute` | the pool, what runs and waits, what was used; `?by=run` |
//! | `/gates` | what gates found, newest first; `?model=NAME`, `?verdict=pass` |
//! | `/pipelines`, `/pipelines/NAME` | pipelines with their last runs; one with its graph and versions |
//! | `/pipeline-runs/ID`, `.../log` | a pipeline run: its graph, its steps over time, one step's log; `?step=NAME`, `?attempt=N` |
//! | `/events` | the event log as server-sent events; `?topics=`, `?after=SEQ` or `Last-Event-ID` |
//! | `/badge/PIPELINE.svg`, `/badge/model/MODEL.svg` | how the last run ended, which version is champion; `?branch=NAME` |
//! | `/assets/NAME` | styles and scripts |
//!
//! Invariants: names are hostile, so every template escapes; no inline script, so the content security policy forbids them;
//! a number that is a sample says of how many.

mod address;
mod assets;
mod badge;
mod chart;
mod compare;
mod compute;
mod experiments;
mod facts;
mod format;
mod gantt;
mod gate;
mod gates;
mod graph;
mod home;
mod incident;
mod line;
mod link;
mod live;
mod log;
mod made;
mod models;
mod page;
mod pipelines;
mod plot;
mod ring;
mod run;
mod runs;
mod search;
mod sentence;
mod serving;
mod spark;
mod stations;
mod versions;

pub use facts::{Facts, ServerFacts, Station, StationState, StoreFacts};
pub use sentence::{Piece, sentence};
pub use serving::{RECENT, ServedModel};

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
        .route("/runs", get(runs::page))
        .route("/runs/rows", get(runs::rows))
        .route("/runs.csv", get(runs::export))
        .route("/runs/{id}", get(run::page))
        .route("/runs/{id}/curves", get(run::curves))
        .route("/runs/{id}/file", get(run::file))
        .route("/runs/{id}/log", get(run::log))
        .route("/compare", get(compare::page))
        .route("/experiments", get(experiments::page))
        .route("/search", get(search::page))
        .route("/incidents", get(incident::list))
        .route("/incidents/{id}", get(incident::page))
        .route("/models", get(models::list))
        .route("/models/{model}", get(models::page))
        .route("/models/{model}/versions/{number}", get(models::version))
        .route("/models/{model}/versions/{number}/card.md", get(models::card))
        .route("/api/v1/models/{name}/versions/{number}/card", get(models::card))
        .route("/gates", get(gates::page))
        .route("/serving", get(serving::page))
        .route("/compute", get(compute::page))
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/{name}", get(pipelines::page))
        .route("/pipeline-runs/{id}", get(pipelines::run_page))
        .route("/pipeline-runs/{id}/log", get(pipelines::run_log))
        .route("/badge/{file}", get(badge::pipeline))
        .route("/badge/model/{file}", get(badge::model))
        .route("/assets/{name}", get(assets::serve))
        .fallback(page::not_found)
        .with_state(state)
}

impl WebState {
    /// The newest state.
    fn world(&self) -> Result<World<'static>, Fault> {
        Ok(World::new(self.store.snapshot()?))
    }

    /// Reads off the async threads: the stores' reads are synchronous.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&WebState) -> Result<T, PageError> + Send + 'static) -> Result<T, PageError> {
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&state)).await;
        done.map_err(|e| Fault::because("making a page", e))?
    }
}

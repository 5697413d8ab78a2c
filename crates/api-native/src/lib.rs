//! Trimtab's own API, under `/api/v1`; and `/livez`, `/readyz`, `/metrics`.
//!
//! Thin: a route reads its request ([`request`]), asks a block for a decision or a store for an answer, and says it as JSON.
//! What goes wrong is an RFC 9457 problem with a stable code and a hint ([`error`]). Lists are pages of `items` with `next`,
//! which is asked for as `after`. The actor of a change is the header `x-trimtab-actor`, else `api`.
//!
//! | path | what |
//! |---|---|
//! | `POST push`, `POST push/SOURCE` | rows of a source |
//! | `POST labels/MODEL` | what really happened |
//! | `POST features/online`, `POST features/materialize` | values now; bring them up to date |
//! | `POST plan`, `POST apply` | what a project file would change; make it so |
//! | `GET status`, `GET events`, `GET why/THING` | how things stand, what happened, and why ([`story`]) |
//! | `GET pipelines`, `GET pipelines/NAME/versions`, `GET pipelines/NAME/diff?from=1&to=2`, `POST pipelines/NAME/runs` | pipelines |
//! | `GET compute`, `GET compute/usage?by=run` | the pool, what was used and what it cost |
//! | `GET pipeline-runs`, `GET pipeline-runs/ID`, `POST pipeline-runs/ID/cancel`, `.../resume`, `.../rerun`, `GET .../changes`, `GET .../steps/STEP/log`, `GET .../steps/STEP/checks?attempt=N` | pipeline runs |
//! | `POST hooks/git/PIPELINE` | webhooks of GitHub and GitLab, signed |
//! | `GET models`, `GET models/NAME`, `POST models/NAME/rollback`, `POST models/NAME/promote`, `GET windows/NAME` | models |
//! | `POST models/NAME/approve`, `.../reject`, `GET models/NAME/audit` | people let versions out, and who did |
//! | `GET models/NAME/rollout`, `POST .../rollout/resume`, `.../rollout/abort` | shadow and canary |
//! | `GET gates`, `GET gates/MODEL/VERSION?format=json,junit,md,html`, `POST gates/MODEL/run` | gates |
//! | `GET incidents`, `GET incidents/ID`, `POST incidents/ID/retrain` | incidents |
//! | `GET runs`, `GET runs/ID`, `GET runs/ID/history`, `GET experiments` | tracking runs, by MLflow's filter grammar |
//! | `POST import`, `POST gc` | what another tracking server knew; free what is deleted |
//! | `GET training-sets`, `GET training-sets/ID` | training sets |

mod error;
mod features_api;
mod page;
mod request;
mod routes;
pub mod story;

pub use features_api::{FeaturesApi, OnlineAnswer, ProjectFile};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use domain::{Actor, Batch, Fault, Timestamp};
use error::ApiError;
use ports::{ArtifactStore, Clock, CommitError, ComputeBackend, MetadataStore, RowLog, RunStore, World};
use reactor::Reactor;
use serving::{Gateway, LabelDesk};
use std::sync::Arc;

/// The largest body that is read.
const BODY_LIMIT: usize = 16 << 20;

/// What the API needs. Both stores must be sides of one store.
#[derive(Clone)]
pub struct Api {
    pub store: Arc<dyn MetadataStore>,
    pub runs: Arc<dyn RunStore>,
    pub rows: Arc<dyn RowLog>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub clock: Arc<dyn Clock>,
    pub compute: Arc<dyn ComputeBackend>,
    pub gateway: Arc<Gateway>,
    pub labels: Arc<LabelDesk>,
    pub features: Arc<dyn FeaturesApi>,
    pub reactor: Arc<Reactor>,
    /// Where the secrets of webhooks are looked up.
    pub secrets: pipelines::work::statuses::Secrets,
}

/// Every route of this API.
pub fn router(api: Api) -> Router {
    routes::all().layer(DefaultBodyLimit::max(BODY_LIMIT)).with_state(api)
}

impl Api {
    /// The newest state, for a read.
    fn world(&self) -> Result<World<'static>, Fault> {
        Ok(World::new(self.store.snapshot()?))
    }

    /// Decides as the caller, commits, and gives what was decided.
    async fn decide<T>(
        &self,
        actor: &Actor,
        decision: impl Fn(&World, &Actor, Timestamp) -> Result<(Batch, T), CommitError>,
    ) -> Result<T, ApiError> {
        let now = self.clock.event_now();
        Ok(ports::decide(&*self.store, |world| decision(world, actor, now)).await?)
    }

    /// Does what takes long where it holds up nobody.
    async fn apart<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce(Api) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApiError>
    where
        ApiError: From<E>,
    {
        let api = self.clone();
        let done = tokio::task::spawn_blocking(move || work(api)).await;
        Ok(done.map_err(|e| Fault::because("answering a request", e))??)
    }
}

#[cfg(test)]
mod tests;

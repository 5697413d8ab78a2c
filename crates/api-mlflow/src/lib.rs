//! The MLflow REST API, so that an unmodified MLflow client works.
//!
//! Thin: a route reads its message ([`dto`]), asks `tracking` for a decision or a store for an answer, and converts the
//! result ([`convert`]). JSON is protobuf's, as MLflow writes it: unset fields and empty lists are absent, whole numbers may
//! come as text, NaN and infinities are text. What goes wrong is said in MLflow's words ([`error`]); an unknown route is told
//! apart from a missing thing, because clients fall back to older APIs on the one and not on the other.
//!
//! | path | what |
//! |---|---|
//! | `/api/2.0/mlflow`, `/ajax-api/2.0/mlflow` | experiments, runs, metrics, logged models, registry, webhooks |
//! | `/api/2.0/mlflow-artifacts`, `/ajax-api/2.0/mlflow-artifacts` | artifacts, streamed both ways |
//! | `/api/3.0/mlflow/datasets`, and its `/ajax-api` | evaluation datasets and their records |
//! | `/get-artifact`, `/model-versions/get-artifact` | artifacts by their run or version, for pages |
//! | `/api/3.0/mlflow/server-info`, `/version`, `/health` | what the server is |
//!
//! Artifacts come and go in one stream, or in parts, several at once, where the client wants that.

mod caller;
mod convert;
mod dto;
mod error;
mod message;
mod names;
mod path;
mod routes;

use axum::{Extension, Router};
use caller::Caller;
use domain::{Actor, Fault, Timestamp};
use error::ApiError;
use ports::{ArtifactStore, Clock, MetadataStore, Poster, RunStore, World};
use std::sync::Arc;
use tracking::Decision;

/// What the API needs. Both stores must be sides of one store.
#[derive(Clone)]
pub struct MlflowApi {
    pub store: Arc<dyn MetadataStore>,
    pub runs: Arc<dyn RunStore>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub clock: Arc<dyn Clock>,
}

/// Every MLflow route. Serve it with connection info, so that actors without a user name are known by their address.
pub fn router(state: MlflowApi) -> Router {
    routes::all().with_state(state)
}

/// The routes of [`router`], with what sends a webhook's test call. Deliveries are sent by `tracking`'s worker.
pub fn with_webhooks(router: Router, poster: Arc<dyn Poster>) -> Router {
    router.layer(Extension(poster))
}

/// Makes the default experiment if it is not there; to be called once before serving.
pub async fn prepare(state: &MlflowApi) -> Result<(), ports::CommitError> {
    let (actor, now) = (Actor::System("server".into()), state.clock.event_now());
    ports::decide(&*state.store, |world| tracking::experiments::ensure_default(world, &actor, now)).await
}

impl MlflowApi {
    /// Decides as the caller, commits, and gives what was decided.
    async fn decide<T>(&self, caller: &Caller, decision: impl Fn(&World, &Actor, Timestamp) -> Decision<T>) -> Result<T, ApiError> {
        let now = self.clock.event_now();
        Ok(ports::decide(&*self.store, |world| decision(world, &caller.0, now)).await?)
    }

    /// The newest state, for a read.
    fn world(&self) -> Result<World<'static>, Fault> {
        Ok(World::new(self.store.snapshot()?))
    }

    /// Runs a long read where it holds up nobody.
    async fn apart<T: Send + 'static, E: Send + 'static>(
        &self,
        read: impl FnOnce(MlflowApi) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApiError>
    where
        ApiError: From<E>,
    {
        let api = self.clone();
        let done = tokio::task::spawn_blocking(move || read(api)).await;
        Ok(done.map_err(|e| Fault::because("reading", e))??)
    }
}

#[cfg(test)]
mod tests;

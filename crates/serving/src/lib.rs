//! The serving gateway: features looked up inside predict, answers logged before they go out, shadows beside the champion.
//!
//! Why: a prediction that is not logged with what the model saw cannot be monitored, explained or trained on later.
//!
//! Invariants: the request path makes no metadata call (routes follow the event log); an answer is written to the row log
//! before it goes out, or is marked as unlogged and counted; a swap of versions drops no request, because a request holds
//! the model that it began with; only shadow copies may be dropped, and are counted; what a canary fails, the champion answers.

mod batch;
mod behaviour;
mod canary;
mod deadline;
mod environments;
mod follow;
mod gateway;
mod labels;
mod pool;
mod route;
mod shadow;
mod signature;
mod status;

/// Refuses a `[model.NAME.serve]` that cannot work; the place is within the model's table.
pub fn check(spec: &domain::spec::ServeSpec) -> Result<(), domain::Refusal> {
    spec.batch.as_ref().map_or(Ok(()), batch::check)
}

pub use behaviour::{Lane, MINUTES, Minute, Seen, WorkerCount};
pub use gateway::{Answer, Call, FeatureRequest, FeatureSource, Gateway, GatewayConfig, PredictRequest, ServeError, Served};
pub use labels::{Label, LabelDesk};
pub use pool::ModelPool;
pub use route::{ModelStatus, VersionStatus};

#[cfg(test)]
mod tests;

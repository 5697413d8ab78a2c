//! Tracking: experiments, runs, logged models and the model registry.
//!
//! Why: what was tried, with which data and to what effect, is the memory of the loop; the registry is where a training
//! ends and delivery begins.
//!
//! Every command is a pure decision over a [`ports::World`]: it reads, checks, and returns a batch with what it will have
//! done. What is logged at a high rate (metrics, params, tags) goes to the run store by itself, writes no event, and is only
//! checked here ([`checked_log`]).
//!
//! - [`experiments`], [`runs`], [`logged_models`], [`registry`], [`aliases`], [`datasets`], [`webhooks`]: the commands, by noun.
//! - [`gc`]: frees what is deleted.
//! - [`import`]: what another server knew.
//! - [`check`]: names, keys and limits, which are MLflow's.
//! - [`place`]: where a URI's files are in the artifact store; [`uploads`]: files that come in parts.
//!
//! Invariants: an experiment's name is unique, deleted ones included; ids and version numbers are never given twice; a
//! version knows the pipeline run and the training cut-off that it came from, or says that it does not; an alias that moves
//! leaves an event with its actor; nobody moves the champion of a protected model by hand.

pub mod aliases;
pub mod check;
pub mod datasets;
pub mod experiments;
pub mod gc;
pub mod import;
pub mod logged_models;
pub mod place;
pub mod registry;
pub mod runs;
pub mod uploads;
pub mod webhooks;

pub use check::checked_log;

use domain::Batch;
use ports::CommitError;

/// What a command decides: the batch, and what the caller is told once it is committed.
pub type Decision<T> = Result<(Batch, T), CommitError>;

/// The tag by which a run says which pipeline run it belongs to.
pub const PIPELINE_RUN_TAG: &str = "trimtab.pipeline_run";
/// The tag by which a run says up to when (RFC 3339, exclusive) its training rows go.
pub const TRAINED_UNTIL_TAG: &str = "trimtab.trained_until";
/// MLflow's tag that mirrors a run's name.
pub const RUN_NAME_TAG: &str = "mlflow.runName";
/// The alias of the version that serves.
pub const CHAMPION: &str = "champion";

#[cfg(test)]
mod tests;

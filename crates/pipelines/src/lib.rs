//! Pipelines: steps as commands and built-in steps, edges from artifacts, a content-addressed cache, retries, resume.
//!
//! Why: a flow must be versioned, every run of it logged, and a failure must say what broke and how to go on.
//!
//! - [`check`] says what is wrong with a definition before anything runs.
//! - [`commands`] decides about whole pipeline runs: request, resume, cancel.
//! - [`triggers`] decides what starts a pipeline besides a person; [`cron`] knows when an expression fires.
//! - [`graph`] tells which steps wait for which, [`when`] evaluates conditions.
//! - [`schedule`] decides which step is next; pure, so that it can be tested over random graphs.
//! - [`key`] makes cache keys and tells why a step runs again.
//! - [`diff`] tells what is different between two versions.
//! - [`hooks`] decides on webhooks of git hosts and on what they are told back.
//! - [`index`] knows which runs are under way, without reading all that ever were.
//! - [`junit`] reads the reports of checks, [`checks`] judges them.
//! - [`lineage`] tells what happened as OpenLineage run events.
//! - [`sweep`] makes the trials of a hyper-parameter search.
//! - [`work`] runs steps: the only part that touches processes and files.
//!
//! Invariants: a step that finished is never run again within its pipeline run unless somebody resumes from it; a step runs only when all that it needs is
//! done; the outputs of a step are content-addressed before the step counts as done; a pipeline run names the version
//! (definition, code, environment) that it ran.

pub mod check;
pub mod checks;
pub mod commands;
pub mod cron;
pub mod diff;
pub mod graph;
pub mod hooks;
pub mod index;
pub mod junit;
pub mod key;
pub mod lineage;
pub mod schedule;
pub mod sweep;
pub mod template;
pub mod triggers;
pub mod when;
pub mod work;

pub use commands::Fingerprint;
pub use graph::{Edge, edges};
pub use work::{BuiltIn, BuiltInStep, Engine, EngineConfig, StepFailure};

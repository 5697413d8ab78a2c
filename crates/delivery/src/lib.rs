//! Model CI/CD: a gate judges a challenger against the champion on the same rows, a rollout lets it out, a person can roll back.
//!
//! Why: a version that scored well once, on other rows, is no better than the one it replaces until both were judged on the
//! same rows, now, and the difference is more than chance.
//!
//! - [`gate`] reads the checks of the file and judges; pure.
//! - [`commands`] decides: request a gate, record its report, roll out, promote, roll back.
//! - [`approval`] has people let a version out; [`rollout`] lets it answer more and more.
//! - [`report`] writes what a gate found as JUnit, Markdown and HTML.
//! - [`react`] ties these to events.
//! - [`work`] gets rows and scores for a gate: the only part that touches the outside.
//!
//! Invariants: both versions are scored on the same rows, whose hash is kept; only rows later than both training cut-offs
//! count; no evidence refuses; the version that was gated is the one deployed; the alias `champion` moves by
//! compare-and-set; the best gated figure never gets worse.

pub mod approval;
pub mod commands;
pub mod gate;
pub mod react;
pub mod report;
pub mod rollout;
pub mod work;

pub use react::reactions;

#[cfg(test)]
mod tests;

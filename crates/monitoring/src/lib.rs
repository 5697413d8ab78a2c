//! Monitoring: windows in event time over what a champion answered, drift and performance in each, incidents, retraining
//! requests, escalation, alerts.
//!
//! Why: inputs that move are not yet harm, and harm is not yet a reason to retrain for ever. So each window is judged in
//! both respects, only performance opens incidents, and a retraining that does not help calls people.
//!
//! - [`rule`] reads `incident_if`; [`check`] says what is wrong with a declared monitor.
//! - [`windows`] is the calendar: which windows a watermark closes.
//! - [`reference`] learns from the training rows what is normal; [`judge`] compares a window with it.
//! - [`incident`] is the state machine from the first bad window to the end.
//! - [`system`] watches serving itself: latencies, errors, missing features, restarts.
//! - [`commands`], [`react`] tie these to people and events; [`work`] reads rows and writes references; [`notify`] tells people.
//!
//! What the verdict of a `WindowJudged` means: of an input window, pass "as in the reference", fail "moved"; of a
//! performance window, pass "holds", fail "fell". Only the latter counts for or against a version. Inconclusive windows
//! (too few rows or labels, lost rows, cut short) count neither way.
//!
//! Invariants: a monitor and its reference belong to a model version; a window counts only for the version that served the
//! whole of it as champion; no evidence is never healthy; an alert is never lost.

mod case;
mod check;
pub mod commands;
mod declared;
pub mod incident;
pub mod judge;
pub mod notify;
pub mod react;
pub mod reference;
mod rows;
pub mod rule;
pub mod system;
pub mod windows;
pub mod work;

pub use check::{check, check_notify};
pub use react::reactions;

#[cfg(test)]
mod tests;

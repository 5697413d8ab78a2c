//! The gate: what it must hold, and whether it does.

mod check;
mod judge;

pub use check::{Check, Gate, Relation, parse_check, parse_gate, parse_holdout};
pub use judge::{Evidence, Judged, judge};

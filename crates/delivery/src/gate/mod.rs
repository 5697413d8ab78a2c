//! The gate: what it must hold, and whether it does.

mod check;
mod compare;
mod facts;
mod judge;
mod limits;
mod quantity;
mod slices;
#[cfg(test)]
mod tests;
mod words;

pub use check::{By, Check, Gate, Probe, Relation, parse_check, parse_gate, parse_holdout};
pub(crate) use facts::values;
pub use facts::{Answered, Facts, Latency, Needs, Signature, SignatureColumn, Signatures, Training};
pub use judge::{Evidence, Judged, judge};
pub use quantity::{Quantity, Share};

//! Compute: who gets what of the pool, and what it costs. Decisions alone; back ends carry them out.
//!
//! Why: training takes what it asked for and no more, an urgent job goes first, no team takes everything, a large job is not overtaken for
//! ever, and serving keeps its own.
//!
//! - [`queue`] decides which waiting job starts next.
//! - [`scale`] says how many workers a model needs.
//! - [`usage`] adds up what was used, and says what it costs at the file's prices.
//! - [`check`] says what is wrong with `[compute]`, and which step can never run.
//!
//! Invariants: what runs never holds more than the pool has, nor a team more than its quota; a GPU is held by one job at a time; a job that
//! fits the pool and its team's quota starts, whatever else is asked for.

pub mod check;
pub mod queue;
pub mod scale;
pub mod usage;

pub use queue::{Amount, Ask, Grant, Pool, Queue, Waiting};

//! The vocabulary of Trimtab: ids, names, times, rows, specs, entities, events, verdicts.
//!
//! Everything here is a value. No IO, no clock, no async, no HTTP, no SQL: a block decides with these words and returns
//! a [`Batch`], and whoever called it makes the batch durable. One word means one thing in code, API, CLI and UI; `run`
//! alone always means a tracking run, the other one is a [`entity::PipelineRun`].
//!
//! Invariants: an id is a newtype and a name is validated where it enters; a time is UTC in milliseconds and a range is
//! half-open; a spec (declared, hashed) is never mixed with an entity (observed); a verdict has three values.

mod batch;
mod digest;
pub mod entity;
mod error;
mod event;
pub mod filter;
mod id;
mod number;
mod row;
mod sentence;
pub mod spec;
mod time;
mod verdict;

pub use batch::{Actor, Batch, Collection, Entity, Expect, Put, Recorded, RunWrite};
pub use digest::Digest;
pub use error::{Fault, Kind, Refusal};
pub use event::{Event, Topic};
pub use id::{ExperimentId, IncidentId, ModelName, Name, PipelineRunId, PredictionId, RunId, TrainingSetId, VersionNumber};
pub use number::{OrderedNumber, any_number};
pub use row::{EntityKey, Row, Scalar};
pub use sentence::{Piece, Sentence, Thing, Tone};
pub use time::{Range, Span, Timestamp};
pub use verdict::Verdict;

//! What touches rows, models and artifacts: references are built, windows are judged.

mod judge;
mod reference;

pub use judge::JudgeWorker;
pub use reference::{ReferenceShelf, ReferenceWorker, References};

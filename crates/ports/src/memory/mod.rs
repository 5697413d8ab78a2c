//! In-memory twins of the ports, for tests and scenarios.

mod clock;
mod halting;
mod metadata;
mod runs;

pub use clock::ManualClock;
pub use halting::{Halt, Halting};
pub use metadata::MemoryStore;

//! In-memory twins of the ports, for tests and scenarios.

mod artifacts;
mod clock;
mod compute;
mod halting;
mod metadata;
mod model;
mod notifier;
mod online;
mod rowlog;
mod runs;

pub use artifacts::MemoryArtifacts;
pub use clock::ManualClock;
pub use compute::MemoryCompute;
pub use halting::{Halt, Halting};
pub use metadata::MemoryStore;
pub use model::MemoryRuntime;
pub use notifier::MemoryNotifier;
pub use online::MemoryOnline;
pub use rowlog::MemoryRowLog;

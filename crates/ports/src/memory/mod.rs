//! In-memory twins of the ports, for tests and scenarios.

mod artifacts;
mod clock;
mod code;
mod compute;
mod expr;
mod halting;
mod metadata;
mod model;
mod notifier;
mod offline;
mod online;
mod poster;
mod rowlog;
mod runs;
mod sql;

pub use artifacts::MemoryArtifacts;
pub use clock::ManualClock;
pub use code::MemoryCode;
pub use compute::MemoryCompute;
pub use expr::MemoryExprs;
pub use halting::{Halt, Halting};
pub use metadata::MemoryStore;
pub use model::MemoryRuntime;
pub use notifier::MemoryNotifier;
pub use offline::MemoryOffline;
pub use online::MemoryOnline;
pub use poster::MemoryPoster;
pub use rowlog::MemoryRowLog;

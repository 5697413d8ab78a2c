//! In-memory twins of the ports, for tests and scenarios.

mod clock;

pub use clock::ManualClock;

//! One suite a port; every back end runs it.

pub mod artifacts;
pub mod metadata;
pub mod online;
pub mod rowlog;
pub mod runs;

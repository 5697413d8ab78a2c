//! One suite a port; every back end runs it.

pub mod artifacts;
pub mod expr;
pub mod metadata;
pub mod offline;
pub mod online;
pub mod rowlog;
pub mod runs;
mod surveys;

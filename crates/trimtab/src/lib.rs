//! Trimtab: light-weight MLOps that closes the loop. This crate pairs every port with a back end and every block with the
//! others; the binary is its command line.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
mod demo;
pub mod home;
pub mod memory;

//! The pool that steps run in.

use super::client::Client;
use super::show;
use clap::{Subcommand, ValueEnum};

#[derive(Subcommand)]
pub enum ComputeCommand {
    /// How full the pool is, and what runs in it.
    Status,
    /// What waits, in the order in which it is looked at, and for what.
    Queue,
    /// What was used and what it cost at the project file's prices.
    Usage {
        #[arg(long, value_enum, default_value_t = By::Pipeline)]
        by: By,
        /// Leave out pipeline runs that were asked for before: an instant such as 2026-11-01; 30 days back without it.
        #[arg(long)]
        since: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum By {
    Run,
    Pipeline,
    Model,
    Team,
}

/// Asks the server.
pub async fn compute(client: &Client, command: ComputeCommand, json: bool) -> anyhow::Result<u8> {
    let answer = match command {
        ComputeCommand::Status => {
            let mut state = client.get("/api/v1/compute").await?;
            if !json && let Some(state) = state.as_object_mut() {
                state.remove("waiting");
            }
            state
        }
        ComputeCommand::Queue => client.get("/api/v1/compute").await?["waiting"].take(),
        ComputeCommand::Usage { by, since } => {
            let by = by.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            let since = since.map_or_else(String::new, |since| format!("&since={}", super::encode(&since)));
            client.get(&format!("/api/v1/compute/usage?by={by}{since}")).await?
        }
    };
    show::print(&answer, json)?;
    Ok(0)
}

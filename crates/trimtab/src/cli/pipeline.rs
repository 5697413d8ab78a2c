//! Pipelines and their runs.

use super::ProjectArgs;
use super::client::Client;
use super::{encode, follow, pairs, show};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum PipelineCommand {
    /// Pipelines and their runs.
    Ls,
    /// Run a pipeline and wait for its end.
    Run {
        pipeline: String,
        /// NAME=VALUE.
        #[arg(long = "param", short = 'p')]
        params: Vec<String>,
        /// Do not wait.
        #[arg(long)]
        detach: bool,
    },
    /// Versions: definition, code, parameters and environment by hash.
    Versions { pipeline: String },
    /// One pipeline run with its steps.
    Show { id: String },
    /// What a step printed.
    Logs { id: String, step: String },
    /// Stop a pipeline run and all its processes.
    Cancel { id: String },
    /// Go on with a failed pipeline run; finished steps are not repeated.
    #[command(visible_alias = "retry")]
    Resume {
        id: String,
        /// This step runs again though it may be done, and what depends on it.
        #[arg(long)]
        from: Option<String>,
    },
    /// Run a pipeline for each instant of a past range: `trigger.time` is that instant.
    Backfill {
        pipeline: String,
        /// The first instant: a date or RFC 3339.
        #[arg(long)]
        from: String,
        /// The end; it does not belong to the range.
        #[arg(long)]
        to: String,
        #[arg(long, default_value = "1d")]
        every: String,
        /// Pipeline runs at a time.
        #[arg(long, default_value_t = 1)]
        parallel: u32,
        /// NAME=VALUE.
        #[arg(long = "param", short = 'p')]
        params: Vec<String>,
        /// Do not wait.
        #[arg(long)]
        detach: bool,
    },
    /// Backfills and how far they are.
    Backfills,
    /// Stop a backfill and what it has under way.
    CancelBackfill { id: String },
    /// Run a pipeline run's version again, with its parameters and trigger time.
    Rerun {
        id: String,
        /// One step alone, with the inputs that it had.
        #[arg(long)]
        step: Option<String>,
    },
    /// Look for mistakes in the project file's pipelines.
    Check {
        #[command(flatten)]
        file: ProjectArgs,
    },
}

/// Asks the server.
pub async fn pipeline(client: &Client, command: PipelineCommand, json: bool) -> anyhow::Result<u8> {
    let answer = match command {
        PipelineCommand::Ls => client.get("/api/v1/pipelines").await?,
        PipelineCommand::Run { pipeline, params, detach } => {
            let body = json!({ "params": pairs(&params)?, "trigger": "command" });
            let from_here = follow::head(client).await?;
            let asked = client.post(&format!("/api/v1/pipelines/{}/runs", encode(&pipeline)), &body).await?;
            return follow::follow(client, asked, from_here, detach && client.own().is_none(), json).await;
        }
        PipelineCommand::Resume { id, from } => {
            let from_here = follow::head(client).await?;
            let asked = client.post(&format!("/api/v1/pipeline-runs/{}/resume", encode(&id)), &json!({ "from": from })).await?;
            return follow::follow(client, asked, from_here, false, json).await;
        }
        PipelineCommand::Versions { pipeline } => client.get(&format!("/api/v1/pipelines/{}/versions", encode(&pipeline))).await?,
        PipelineCommand::Show { id } => client.get(&format!("/api/v1/pipeline-runs/{}", encode(&id))).await?,
        PipelineCommand::Logs { id, step } => {
            client.get(&format!("/api/v1/pipeline-runs/{}/steps/{}/log", encode(&id), encode(&step))).await?
        }
        PipelineCommand::Cancel { id } => client.post(&format!("/api/v1/pipeline-runs/{}/cancel", encode(&id)), &json!({})).await?,
        PipelineCommand::Backfill { pipeline, from, to, every, parallel, params, detach } => {
            let body = json!({ "from": from, "to": to, "every": every, "parallel": parallel, "params": pairs(&params)? });
            let begun = client.post(&format!("/api/v1/pipelines/{}/backfill", encode(&pipeline)), &body).await?;
            return follow::backfill(client, begun, detach && client.own().is_none(), json).await;
        }
        PipelineCommand::Backfills => client.get("/api/v1/backfills").await?,
        PipelineCommand::CancelBackfill { id } => client.post(&format!("/api/v1/backfills/{}/cancel", encode(&id)), &json!({})).await?,
        PipelineCommand::Rerun { id, step } => {
            let from_here = follow::head(client).await?;
            let asked = client.post(&format!("/api/v1/pipeline-runs/{}/rerun", encode(&id)), &json!({ "step": step })).await?;
            return follow::follow(client, asked, from_here, false, json).await;
        }
        PipelineCommand::Check { .. } => Value::Null,
    };
    show::print(&answer, json)?;
    Ok(0)
}

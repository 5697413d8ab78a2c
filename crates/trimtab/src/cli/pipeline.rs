//! Pipelines and their runs.

use super::ProjectArgs;
use super::client::Client;
use super::{encode, follow, pairs, show};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;

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
    /// What a check found, case by case: those that fail first.
    Cases {
        id: String,
        step: String,
        #[arg(long)]
        attempt: Option<u32>,
    },
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
        /// Of its search, only this trial, counted from 0.
        #[arg(long, requires = "step")]
        trial: Option<u32>,
        /// The version that the run ran, or the pipeline as the project declares it today.
        #[arg(long, value_parser = ["old", "today"], default_value = "old")]
        version: String,
        /// With the code of the old version, in a folder of its own; what cannot be brought back is said.
        #[arg(long)]
        exact: bool,
    },
    /// Show what is different between two versions of a pipeline: definition, graph, code, environment.
    Diff {
        pipeline: String,
        /// The older version; without it the one before.
        from: Option<u64>,
        /// The newer version; without it the newest.
        to: Option<u64>,
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
        PipelineCommand::Cases { id, step, attempt } => {
            let asked = attempt.map_or(String::new(), |attempt| format!("?attempt={attempt}"));
            client.get(&format!("/api/v1/pipeline-runs/{}/steps/{}/checks{asked}", encode(&id), encode(&step))).await?
        }
        PipelineCommand::Cancel { id } => client.post(&format!("/api/v1/pipeline-runs/{}/cancel", encode(&id)), &json!({})).await?,
        PipelineCommand::Backfill { pipeline, from, to, every, parallel, params, detach } => {
            let body = json!({ "from": from, "to": to, "every": every, "parallel": parallel, "params": pairs(&params)? });
            let begun = client.post(&format!("/api/v1/pipelines/{}/backfill", encode(&pipeline)), &body).await?;
            return follow::backfill(client, begun, detach && client.own().is_none(), json).await;
        }
        PipelineCommand::Backfills => client.get("/api/v1/backfills").await?,
        PipelineCommand::CancelBackfill { id } => client.post(&format!("/api/v1/backfills/{}/cancel", encode(&id)), &json!({})).await?,
        PipelineCommand::Diff { pipeline, from, to } => {
            let part = |name: &str, number: Option<u64>| number.map_or(String::new(), |number| format!("{name}={number}&"));
            let path = format!("/api/v1/pipelines/{}/diff?{}{}", encode(&pipeline), part("from", from), part("to", to));
            let diff = client.get(path.trim_end_matches(['?', '&'])).await?;
            if !json && let Some(patch) = diff["definition"].as_str() {
                // A patch is read as a patch, and what follows as a table.
                write!(std::io::stdout().lock(), "{patch}")?;
            }
            let mut rest = diff.clone();
            if !json && let Some(rest) = rest.as_object_mut() {
                rest.remove("definition");
            }
            rest
        }
        PipelineCommand::Rerun { id, step, trial, version, exact } => {
            let body = json!({ "step": step, "trial": trial, "version": version, "exact": exact });
            let from_here = follow::head(client).await?;
            let asked = client.post(&format!("/api/v1/pipeline-runs/{}/rerun", encode(&id)), &body).await?;
            for lost in asked["not_restored"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                writeln!(std::io::stderr(), "not restored: {lost}")?;
            }
            return follow::follow(client, asked, from_here, false, json).await;
        }
        PipelineCommand::Check { .. } => Value::Null,
    };
    show::print(&answer, json)?;
    Ok(0)
}

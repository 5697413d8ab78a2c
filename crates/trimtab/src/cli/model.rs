//! `trimtab model`.

use super::client::Client;
use super::{encode, gate, run, show, table};
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Models with their champions.
    Ls,
    /// A model: versions, gates, deployment.
    Show { model: String },
    /// Make the champion before this one champion again.
    Rollback { model: String },
    /// Make a version champion by hand; the override is recorded with who did it. A protected model refuses.
    Promote { model: String, version: u64 },
    /// Let a version out that waits for people; with --override one that its gate did not pass.
    Approve {
        /// MODEL@VERSION.
        version: String,
        #[arg(long)]
        reason: String,
        /// Although the gate did not pass: recorded with name and reason.
        #[arg(long = "override")]
        set_aside: bool,
    },
    /// Refuse a version that waits for people.
    Reject {
        /// MODEL@VERSION.
        version: String,
        #[arg(long)]
        reason: String,
    },
    /// Who let what out, and why.
    Audit { model: String },
    /// What is different between two versions: the runs that made them.
    Diff {
        model: String,
        a: u64,
        b: u64,
        #[arg(short, long, value_enum, default_value = "table")]
        output: table::Output,
    },
}

/// Runs the command; the exit code.
pub async fn model(client: &Client, command: ModelCommand, json: bool) -> anyhow::Result<u8> {
    let answer = match command {
        ModelCommand::Ls => client.get("/api/v1/models").await?,
        ModelCommand::Show { model } => client.get(&format!("/api/v1/models/{}", encode(&model))).await?,
        ModelCommand::Rollback { model } => client.post(&format!("/api/v1/models/{}/rollback", encode(&model)), &json!({})).await?,
        ModelCommand::Promote { model, version } => {
            client.post(&format!("/api/v1/models/{}/promote", encode(&model)), &json!({ "version": version })).await?
        }
        ModelCommand::Approve { version, reason, set_aside } => {
            gate::vote(client, "approve", &version, json!({ "reason": reason, "override": set_aside })).await?
        }
        ModelCommand::Reject { version, reason } => gate::vote(client, "reject", &version, json!({ "reason": reason })).await?,
        ModelCommand::Audit { model } => client.get(&format!("/api/v1/models/{}/audit", encode(&model))).await?,
        ModelCommand::Diff { model, a, b, output } => {
            return run::diff_versions(client, &model, [a, b], if json { table::Output::Json } else { output }).await;
        }
    };
    show::print(&answer, json)?;
    Ok(0)
}

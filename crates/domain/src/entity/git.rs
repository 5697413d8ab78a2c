//! Commits of a git host: what it told, and what it is told back.

use crate::{Digest, PipelineRunId, Timestamp};
use serde::{Deserialize, Serialize};

/// What happened at the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitEvent {
    Push,
    PullRequest,
    Tag,
}

impl GitEvent {
    /// As in a pipeline's `on`.
    pub fn word(self) -> &'static str {
        match self {
            GitEvent::Push => "push",
            GitEvent::PullRequest => "pull_request",
            GitEvent::Tag => "tag",
        }
    }
}

/// A commit that a host told of. All texts are the host's, checked to be names of git and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub event: GitEvent,
    /// The branch, the tag, or the branch that a pull request comes from.
    pub reference: String,
    /// The branch that a pull request goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// A pull request's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// 40 or 64 hexadecimal digits; a host that tells of a new tag does not say which commit it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// It comes from another repository.
    #[serde(default)]
    pub fork: bool,
    /// Who did it, by the host's word.
    pub by: String,
}

/// What a webhook brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookDelivery {
    pub pipeline: String,
    /// Of the signed content: the same content is the same delivery, whatever it is called.
    pub digest: Digest,
    /// The host's id of it.
    pub id: String,
    pub at: Timestamp,
    pub arrival: Arrival,
    /// The pipeline run that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_run: Option<PipelineRunId>,
    /// Why none came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a commit is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitState {
    Pending,
    Success,
    Failure,
    /// It was not brought to its end.
    Error,
}

impl CommitState {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            CommitState::Pending => "pending",
            CommitState::Success => "success",
            CommitState::Failure => "failure",
            CommitState::Error => "error",
        }
    }
}

/// What the host is to be told of a pipeline run's commit, and how far it has been told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitStatus {
    pub pipeline_run: PipelineRunId,
    pub pipeline: String,
    pub commit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    pub wanted: CommitState,
    pub description: String,
    /// What the host has taken: told again, it is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<CommitState>,
    /// Whether the report was posted; it is posted once nothing more will change.
    #[serde(default)]
    pub reported: bool,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// Why the last attempt did not go well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Nobody tries any more.
    #[serde(default)]
    pub given_up: bool,
}

/// How lineage events went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineageState {
    pub told: u64,
    /// Nobody took them, or too many waited.
    pub dropped: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

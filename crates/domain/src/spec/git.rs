//! A git host, as declared: who may say that a commit has come, where its files are, and who is told what became of it.

use serde::{Deserialize, Serialize};

/// `[git]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitSpec {
    /// What the host signs its webhooks with: `env:NAME` or `file:PATH`.
    pub secret: String,
    /// Where commits are fetched from; none means the repository that the project's folder is in. Nothing of a webhook's content
    /// changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The project file's folder within the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whose API is spoken.
    #[serde(default)]
    pub host: GitHost,
    /// The repository's address in that API: `https://api.github.com/repos/OWNER/NAME`, `https://gitlab.com/api/v4/projects/ID`. None:
    /// nothing is posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// The token for it: `env:NAME` or `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where people reach this server: statuses link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Pull requests of other repositories run too. Their code is anybody's, and runs as this server's user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forks: bool,
    /// Where the report is posted as a comment.
    #[serde(default)]
    pub report: ReportOn,
}

/// The shapes of an API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GitHost {
    #[default]
    Github,
    Gitlab,
}

/// When a report becomes a comment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportOn {
    #[default]
    PullRequest,
    /// Commits of pushes and tags too.
    Always,
    Never,
}

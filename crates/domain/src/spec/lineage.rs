//! Where lineage is told, as declared.

use serde::{Deserialize, Serialize};

/// `[lineage]`: run events of pipelines and steps, as OpenLineage has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineageSpec {
    /// `file:PATH`, relative to the project's folder, one event a line; or the address that takes events by POST.
    pub to: String,
    /// The namespace of jobs and data sets; none means the project's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The token for the address: `env:NAME` or `file:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

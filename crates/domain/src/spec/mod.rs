//! What a user declares: the project file as types. Every block is optional; an unknown key is an error.
//!
//! A spec is declared and hashed; what was observed of it is an [`crate::entity`]. Rules that one key alone cannot tell
//! (a pipeline's cycle, a feature's missing entity) are checked by the block that owns the noun, before anything runs.

mod compute;
mod features;
mod git;
mod lineage;
mod model;
mod param;
mod pipeline;

pub use compute::{ComputeSpec, Gpus, Price, QueueSpec, Reserve, TeamSpec};
pub use features::{EntitySpec, FeatureSpec, SourceSpec};
pub use git::{GitHost, GitSpec, ReportOn};
pub use lineage::LineageSpec;
pub use model::{
    Approve, ApproveRule, ApproveWord, BatchSpec, DriftSpec, EachSpec, EnvironmentSpec, GateSpec, IncidentAction, LogSpec, ModelSpec,
    MonitorSpec, NotifySpec, OutputSpec, RolloutSpec, RuntimeSpec, ScaleSpec, ServeSpec, ShadowSpec, Task,
};
pub use param::{ParamRule, ParamSpec, ParamType, ParamValue};
pub use pipeline::{
    Draw, DrawRange, Goal, Items, Need, Overlap, PipelineSpec, RetrySpec, StepSpec, SweepSpec, TrainingSetSpec, bytes_of, step_of,
};

use crate::Digest;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A whole `trimtab.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    #[serde(default)]
    pub project: ProjectSpec,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub source: IndexMap<String, SourceSpec>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub entity: IndexMap<String, EntitySpec>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub feature: IndexMap<String, FeatureSpec>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub pipeline: IndexMap<String, PipelineSpec>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub model: IndexMap<String, ModelSpec>,
    #[serde(default, skip_serializing_if = "ComputeSpec::is_default")]
    pub compute: ComputeSpec,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub notify: IndexMap<String, NotifySpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<LineageSpec>,
    /// `[profile.NAME]`: tables to be laid over the others where a profile is named; no part of what is applied.
    #[serde(default, skip_serializing)]
    pub profile: IndexMap<String, serde_json::Value>,
}

impl Project {
    /// The hash that names this definition.
    pub fn hash(&self) -> Digest {
        Digest::of_json(self)
    }
}

/// `[project]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    #[serde(default = "default_name")]
    pub name: String,
    /// The interpreter of Python steps and model workers, relative to the project file or found on the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

impl Default for ProjectSpec {
    fn default() -> Self {
        ProjectSpec { name: default_name(), python: None }
    }
}

fn default_name() -> String {
    "project".into()
}

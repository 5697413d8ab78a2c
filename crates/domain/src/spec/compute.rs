//! Compute, as declared: what the pool has, who may use how much of it, and what it costs.

use super::bytes_of;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// `[compute]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeSpec {
    /// Cpus for jobs; none: all of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Memory for jobs; none: three quarters of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<String>,
    /// How many GPUs there are, or their names as `CUDA_VISIBLE_DEVICES` takes them; none: those that the machine shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpus>,
    /// What jobs leave to serving.
    #[serde(default, skip_serializing_if = "Reserve::is_default")]
    pub reserve: Reserve,
    #[serde(default, skip_serializing_if = "Price::is_default")]
    pub price: Price,
    /// Queues; a step that names none is in `default`, of priority 0.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub queue: IndexMap<String, QueueSpec>,
    /// Teams; a pipeline says whose it is.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub team: IndexMap<String, TeamSpec>,
}

impl ComputeSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == ComputeSpec::default()
    }
}

/// `gpu = 2`, or `gpu = ["0", "GPU-5f3c"]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of GPUs, or a list of their names")]
pub enum Gpus {
    Count(u32),
    Named(Vec<String>),
}

/// `reserve = { cpu = 1, mem = "1GiB" }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    #[serde(default)]
    pub cpu: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<String>,
}

impl Reserve {
    fn is_default(&self) -> bool {
        *self == Reserve::default()
    }

    /// The memory in bytes.
    pub fn mem_bytes(&self) -> Result<u64, String> {
        self.mem.as_deref().map_or(Ok(0), bytes_of)
    }
}

/// `price = { cpu_hour = 0.04, gib_hour = 0.005, gpu_hour = 2.5, currency = "EUR" }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of a cpu that a job holds, for an hour.
    #[serde(default)]
    pub cpu_hour: f64,
    /// Of a GiB of memory that a job holds, for an hour.
    #[serde(default)]
    pub gib_hour: f64,
    #[serde(default)]
    pub gpu_hour: f64,
    #[serde(default)]
    pub currency: String,
}

impl Price {
    fn is_default(&self) -> bool {
        *self == Price::default()
    }
}

/// `[compute.queue.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// Jobs of a greater one go first.
    #[serde(default)]
    pub priority: i32,
}

/// `[compute.team.NAME]`: what its jobs may hold at a time; none: all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamSpec {
    /// Among jobs of one priority, the team that holds least of the pool for its share goes first.
    #[serde(default = "one")]
    pub share: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
}

fn one() -> f64 {
    1.0
}

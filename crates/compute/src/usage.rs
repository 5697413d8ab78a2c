//! What step attempts used and what it cost, by pipeline run, pipeline, model or team.

use crate::cost;
use domain::entity::{AppliedProject, ModelVersion, PipelineRun, PipelineStep, PipelineVersion};
use domain::spec::Price;
use domain::{Fault, Timestamp};
use indexmap::IndexMap;
use ports::World;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the lines are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A pipeline run.
    Run,
    #[default]
    Pipeline,
    /// The models that a pipeline run registered versions of; `(none)` for a run that registered none.
    Model,
    /// The team of the pipeline; `(none)` for a pipeline that names none.
    Team,
}

/// What the step attempts of one line used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Used {
    pub name: String,
    pub attempts: u64,
    pub cpu_seconds: f64,
    pub gpu_seconds: f64,
    /// Of the attempt that had the most.
    pub peak_memory_bytes: u64,
    /// For how long attempts held their places, together.
    pub held_seconds: f64,
    /// At the prices of today's project file: of cpus and GPUs asked for, and of memory asked for or used, whichever is more, for as long as
    /// it was held.
    pub cost: f64,
}

/// Usage since an instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Usage {
    pub by: By,
    pub since: Timestamp,
    pub currency: String,
    /// The dearest first, then those that held their places longest.
    pub items: Vec<Used>,
    pub total: Used,
}

/// What the pipeline runs that were asked for since then have used.
pub fn usage(world: &World, by: By, since: Timestamp) -> Result<Usage, Fault> {
    let price = world.get::<AppliedProject>("project")?.map(|project| project.spec.compute.price).unwrap_or_default();
    let models = if by == By::Model { models(world)? } else { BTreeMap::new() };
    let mut versions: BTreeMap<String, Option<PipelineVersion>> = BTreeMap::new();
    let mut lines: IndexMap<String, Used> = IndexMap::new();
    let mut total = Used { name: "total".into(), ..Used::default() };
    for run in world.list::<PipelineRun>()?.into_iter().filter(|run| run.requested >= since) {
        let key = format!("{}/{}", run.pipeline, run.version);
        if !versions.contains_key(&key) {
            versions.insert(key.clone(), world.get::<PipelineVersion>(&key)?);
        }
        let Some(version) = &versions[&key] else { continue };
        let none = || "(none)".to_owned();
        let name = match by {
            By::Run => run.id.to_string(),
            By::Pipeline => run.pipeline.clone(),
            By::Team => version.spec.team.clone().unwrap_or_else(none),
            By::Model => models.get(run.id.as_str()).map_or_else(none, |made| made.iter().cloned().collect::<Vec<_>>().join(", ")),
        };
        let line = lines.entry(name.clone()).or_insert_with(|| Used { name, ..Used::default() });
        for step in world.scope::<PipelineStep>(run.id.as_str())? {
            add(line, &step, version, &price);
            add(&mut total, &step, version, &price);
        }
    }
    let mut items: Vec<Used> = lines.into_values().filter(|used| used.attempts > 0).collect();
    items.sort_by(|a, b| b.cost.total_cmp(&a.cost).then(b.held_seconds.total_cmp(&a.held_seconds)).then(a.name.cmp(&b.name)));
    Ok(Usage { by, since, currency: price.currency, items, total })
}

/// The models that each pipeline run registered versions of.
fn models(world: &World) -> Result<BTreeMap<String, BTreeSet<String>>, Fault> {
    let mut models: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for version in world.list::<ModelVersion>()? {
        if let Some(run) = version.pipeline_run {
            models.entry(run.to_string()).or_default().insert(version.model.to_string());
        }
    }
    Ok(models)
}

fn add(used: &mut Used, step: &PipelineStep, version: &PipelineVersion, price: &Price) {
    let Some(need) = version.spec.find(&step.name).map(|spec| &spec.need) else { return };
    let asked = need.mem_bytes().ok().flatten().unwrap_or(0);
    for attempt in &step.attempts {
        let Some(held) = attempt.ran else { continue };
        let (seconds, peak) = (held.ms() as f64 / 1000.0, attempt.peak_memory_bytes.unwrap_or(0));
        used.attempts += 1;
        used.cpu_seconds += attempt.cpu_ms.unwrap_or(0) as f64 / 1000.0;
        used.gpu_seconds += attempt.gpus.len() as f64 * seconds;
        used.peak_memory_bytes = used.peak_memory_bytes.max(peak);
        used.held_seconds += seconds;
        used.cost += cost::of(price, held, need.cpu, asked.max(peak), attempt.gpus.len() as u32);
    }
}

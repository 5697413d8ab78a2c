//! What step attempts and model workers used and what it cost, by pipeline run, pipeline, model or team.
//!
//! Runs that are over left their sums behind ([`UsedByRun`], by day); only those under way are added up here.

use domain::entity::{Consumed, ModelVersion, OpenRun, PipelineRun, PipelineStep, PipelineVersion, UsedByModel, UsedByRun, usage_days};
use domain::spec::Price;
use domain::{Entity, Fault, Timestamp};
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
    /// The models that a pipeline run registered versions of, `(none)` for a run that registered none; and each model's workers.
    Model,
    /// The team of the pipeline, and of the pipeline that made the model; `(none)` where none is named.
    Team,
}

/// What one line used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Used {
    pub name: String,
    /// By the workers that answer for models, not by steps. They hold no place in the pool: what they cost is of the cpu time that they used
    /// and the memory that they had.
    pub serving: bool,
    /// Of steps; of serving, the processes that were started.
    pub attempts: u64,
    pub cpu_seconds: f64,
    pub gpu_seconds: f64,
    /// Of the attempt that had the most.
    pub peak_memory_bytes: u64,
    /// For how long attempts held their places, together; how long workers were there.
    pub held_seconds: f64,
    /// At the prices of today's project file: of cpus and GPUs asked for, and of memory asked for or used, whichever is more, for as long as
    /// it was held.
    pub cost: f64,
}

impl Used {
    fn of(name: String, serving: bool, sum: &Consumed, price: &Price) -> Used {
        Used {
            name,
            serving,
            attempts: sum.attempts,
            cpu_seconds: sum.cpu_seconds,
            gpu_seconds: sum.gpu_seconds,
            peak_memory_bytes: sum.peak_memory_bytes,
            held_seconds: sum.held_seconds,
            cost: sum.cost(price),
        }
    }
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

/// More days than this are read as a whole.
const DAYS: i64 = 400;
const DAY_MS: i64 = 86_400_000;
const NONE: &str = "(none)";
const SERVING: &str = "(serving)";

/// What was used by the pipeline runs that were asked for since then, and by models' workers since the beginning of that day. `now`: the event clock.
pub fn usage(world: &World, by: By, since: Timestamp, now: Timestamp) -> Result<Usage, Fault> {
    let price = world.project()?.map(|project| project.spec.compute.price.clone()).unwrap_or_default();
    let models = if by == By::Model { models(world)? } else { BTreeMap::new() };
    let mut lines: IndexMap<(String, bool), Consumed> = IndexMap::new();
    for run in runs(world, since, now)? {
        let none = || NONE.to_owned();
        let name = match by {
            By::Run => run.pipeline_run.to_string(),
            By::Pipeline => run.pipeline,
            By::Team => run.team.unwrap_or_else(none),
            By::Model => {
                models.get(run.pipeline_run.as_str()).map_or_else(none, |made| made.iter().cloned().collect::<Vec<_>>().join(", "))
            }
        };
        lines.entry((name, false)).or_default().add(&run.used);
    }
    for model in since_then::<UsedByModel>(world, since, now)? {
        let name = match by {
            By::Run | By::Pipeline => SERVING.into(),
            By::Model => model.model.to_string(),
            By::Team => model.team.unwrap_or_else(|| NONE.into()),
        };
        lines.entry((name, true)).or_default().add(&model.used);
    }
    let mut total = Consumed::default();
    lines.values().for_each(|line| total.add(line));
    let used = lines.into_iter().filter(|(_, sum)| sum.attempts > 0 || sum.held_seconds > 0.0);
    let mut items: Vec<Used> = used.map(|((name, serving), sum)| Used::of(name, serving, &sum, &price)).collect();
    items.sort_by(|a, b| b.cost.total_cmp(&a.cost).then(b.held_seconds.total_cmp(&a.held_seconds)).then(a.name.cmp(&b.name)));
    let total = Used::of("total".into(), false, &total, &price);
    Ok(Usage { by, since, currency: price.currency, items, total })
}

/// The sums of the runs that are over, and of those under way as far as they have come.
fn runs(world: &World, since: Timestamp, now: Timestamp) -> Result<Vec<UsedByRun>, Fault> {
    let mut open = Vec::new();
    for run in world.list::<OpenRun>()? {
        let Some(run) = world.get::<PipelineRun>(run.pipeline_run.as_str())? else { continue };
        let Some(version) = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))? else { continue };
        open.push(UsedByRun::of(&run, &version, &world.scope::<PipelineStep>(run.id.as_str())?));
    }
    let under_way: BTreeSet<String> = open.iter().map(|run| run.pipeline_run.to_string()).collect();
    // One that goes on has the sums of when it stopped, too.
    let over = since_then::<UsedByRun>(world, since, now)?.into_iter().filter(|run| !under_way.contains(run.pipeline_run.as_str()));
    Ok(over.chain(open).filter(|run| run.requested >= since).collect())
}

/// All of a kind that is kept by day.
fn since_then<E: Entity>(world: &World, since: Timestamp, now: Timestamp) -> Result<Vec<E>, Fault> {
    if now.ms().saturating_sub(since.ms()) > DAYS * DAY_MS {
        return world.list::<E>();
    }
    let mut found = Vec::new();
    for day in usage_days(since, now) {
        found.extend(world.scope::<E>(&day)?);
    }
    Ok(found)
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

//! What model workers use, written down every few minutes beside what steps used.

use domain::entity::{Consumed, ModelVersion, PipelineRun, UsedByModel, usage_day};
use domain::{Actor, Batch, Fault, ModelName, Timestamp};
use parking_lot::Mutex;
use ports::{MetadataStore, World, decide};
use serving::ModelPool;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often it is written down; the last minutes of a killed server are not counted.
const EVERY: Duration = Duration::from_secs(300);

/// Sums that are not written down yet.
#[derive(Default)]
pub(super) struct Account(Mutex<(BTreeMap<ModelName, Consumed>, Option<Instant>)>);

impl Account {
    /// Adds what was used since the last look.
    pub(super) fn look(&self, pool: &ModelPool) {
        let mut kept = self.0.lock();
        for (model, used) in pool.take_usage() {
            kept.0.entry(model).or_default().add(&Consumed {
                attempts: used.started,
                cpu_seconds: used.cpu_seconds,
                gpu_seconds: 0.0,
                peak_memory_bytes: used.peak_memory_bytes,
                held_seconds: used.held_seconds,
                // They hold no cpus: those that they used are what they cost.
                held_cpu_seconds: used.cpu_seconds,
                held_gib_seconds: used.held_gib_seconds,
            });
        }
    }

    /// Writes the sums down, by day, when it is time.
    pub(super) async fn write(&self, store: &dyn MetadataStore, now: Timestamp, at_once: bool) -> Result<(), Fault> {
        let sums = {
            let mut kept = self.0.lock();
            let last = *kept.1.get_or_insert_with(Instant::now);
            if kept.0.is_empty() || (!at_once && last.elapsed() < EVERY) {
                return Ok(());
            }
            kept.1 = Some(Instant::now());
            std::mem::take(&mut kept.0)
        };
        let written = decide(store, |world| {
            let mut batch = Batch::new(Actor::System("serving.usage".into()), now);
            for (model, sum) in &sums {
                let before = world.get::<UsedByModel>(&format!("{}/{model}", usage_day(now)))?;
                let mut used = before.map(|before| before.used).unwrap_or_default();
                used.add(sum);
                batch.write(&UsedByModel { model: model.clone(), team: team(world, model)?, at: now, used });
            }
            Ok((batch, ()))
        });
        written.await.map_err(|error| {
            let mut kept = self.0.lock();
            for (model, sum) in &sums {
                kept.0.entry(model.clone()).or_default().add(sum);
            }
            Fault::because("writing down what model workers used", error)
        })
    }
}

/// The team of the pipeline that made the newest version which a pipeline made.
fn team(world: &World, model: &ModelName) -> Result<Option<String>, Fault> {
    let versions = world.scope::<ModelVersion>(model.as_str())?;
    let made =
        versions.iter().filter_map(|version| Some((version.version, version.pipeline_run.as_ref()?))).max_by_key(|(version, _)| *version);
    let Some((_, run)) = made else { return Ok(None) };
    let (Some(run), Some(project)) = (world.get::<PipelineRun>(run.as_str())?, world.project()?) else {
        return Ok(None);
    };
    Ok(project.spec.pipeline.get(&run.pipeline).and_then(|pipeline| pipeline.team.clone()))
}

//! What was used, added up as it ends, and which pipeline runs are under way: nobody needs to read all that ever ran.

use super::{PipelineRun, PipelineStep, PipelineVersion};
use crate::spec::Price;
use crate::{ModelName, PipelineRunId, Span, Timestamp};
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;

/// A pipeline run that is not over; taken away when it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    pub pipeline: String,
    pub pipeline_run: PipelineRunId,
}

impl OpenRun {
    /// Its key.
    pub fn key_of(pipeline: &str, run: &PipelineRunId) -> String {
        format!("{pipeline}/{run}")
    }

    /// That this run is under way.
    pub fn of(run: &PipelineRun) -> Self {
        OpenRun { pipeline: run.pipeline.clone(), pipeline_run: run.id.clone() }
    }
}

/// How many runs a pipeline has had: the next one's number is one more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunCount {
    pub pipeline: String,
    pub runs: u64,
}

/// That [`OpenRun`]s and [`UsedByRun`]s are there for all pipeline runs; a home of before has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunIndex {
    pub since: Timestamp,
}

/// Sums of what was used. What it cost follows from them at any prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Consumed {
    /// Step attempts; of a model's workers, the processes that were started.
    pub attempts: u64,
    pub cpu_seconds: f64,
    pub gpu_seconds: f64,
    /// Of the one that had the most.
    pub peak_memory_bytes: u64,
    /// For how long places were held, together.
    pub held_seconds: f64,
    /// Held time by the cpus asked for.
    pub held_cpu_seconds: f64,
    /// Held time by the GiB asked for or used, whichever is more.
    pub held_gib_seconds: f64,
}

impl Consumed {
    /// Both together.
    pub fn add(&mut self, other: &Consumed) {
        self.attempts += other.attempts;
        self.cpu_seconds += other.cpu_seconds;
        self.gpu_seconds += other.gpu_seconds;
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self.held_seconds += other.held_seconds;
        self.held_cpu_seconds += other.held_cpu_seconds;
        self.held_gib_seconds += other.held_gib_seconds;
    }

    /// What the attempts of a run's steps used so far.
    pub fn of<'a>(version: &PipelineVersion, steps: impl IntoIterator<Item = &'a PipelineStep>) -> Consumed {
        let mut sum = Consumed::default();
        for step in steps {
            let Some(need) = version.spec.find(&step.name).map(|spec| &spec.need) else { continue };
            let asked = need.mem_bytes().ok().flatten().unwrap_or(0);
            for attempt in &step.attempts {
                let Some(held) = attempt.ran else { continue };
                let peak = attempt.peak_memory_bytes.unwrap_or(0);
                let cpu_seconds = attempt.cpu_ms.unwrap_or(0) as f64 / 1000.0;
                sum.add(&Consumed::held(held, need.cpu, asked.max(peak), attempt.gpus.len() as u32, cpu_seconds, peak));
            }
        }
        sum
    }

    /// Of one place that was held for so long.
    pub fn held(held: Span, cpu: u32, mem_bytes: u64, gpus: u32, cpu_seconds: f64, peak_memory_bytes: u64) -> Consumed {
        let seconds = held.ms().max(0) as f64 / 1000.0;
        Consumed {
            attempts: 1,
            cpu_seconds,
            gpu_seconds: f64::from(gpus) * seconds,
            peak_memory_bytes,
            held_seconds: seconds,
            held_cpu_seconds: f64::from(cpu) * seconds,
            held_gib_seconds: mem_bytes as f64 / f64::from(1 << 30) * seconds,
        }
    }

    /// At these prices: `cpus * cpu_hour + GiB * gib_hour + gpus * gpu_hour` for each hour held, in the currency of the prices.
    ///
    /// ```
    /// use domain::{Span, entity::Consumed, spec::Price};
    /// let price = Price { cpu_hour: 0.04, gib_hour: 0.005, gpu_hour: 2.5, currency: "EUR".into() };
    /// let half_an_hour = Consumed::held(Span::from_ms(1_800_000), 2, 4 << 30, 1, 0.0, 0);
    /// assert!((half_an_hour.cost(&price) - 0.5 * (2.0 * 0.04 + 4.0 * 0.005 + 2.5)).abs() < 1e-12);
    /// ```
    pub fn cost(&self, price: &Price) -> f64 {
        (self.held_cpu_seconds * price.cpu_hour + self.held_gib_seconds * price.gib_hour + self.gpu_seconds * price.gpu_hour) / 3600.0
    }
}

/// The day of an instant, for keys: days since 1970, with leading zeros.
pub fn usage_day(at: Timestamp) -> String {
    format!("{:07}", at.ms().div_euclid(DAY_MS).max(0))
}

/// The days from one instant to another, both included.
pub fn usage_days(from: Timestamp, to: Timestamp) -> impl Iterator<Item = String> {
    let day = |at: Timestamp| at.ms().div_euclid(DAY_MS).max(0);
    (day(from)..=day(to)).map(|day| format!("{day:07}"))
}

/// What a pipeline run that is over has used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsedByRun {
    pub pipeline_run: PipelineRunId,
    pub pipeline: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    pub requested: Timestamp,
    pub used: Consumed,
}

impl UsedByRun {
    /// The sums of a run's steps.
    pub fn of<'a>(run: &PipelineRun, version: &PipelineVersion, steps: impl IntoIterator<Item = &'a PipelineStep>) -> Self {
        UsedByRun {
            pipeline_run: run.id.clone(),
            pipeline: run.pipeline.clone(),
            team: version.spec.team.clone(),
            requested: run.requested,
            used: Consumed::of(version, steps),
        }
    }
}

/// What the worker processes of a model have used on one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsedByModel {
    pub model: ModelName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The last look at them.
    pub at: Timestamp,
    pub used: Consumed,
}

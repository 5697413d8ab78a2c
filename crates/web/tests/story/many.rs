//! As many made-up runs as one likes: sweeps with their parts, single runs, some that failed, one that goes on.

use super::{Story, day};
use domain::entity::*;
use domain::*;

/// Runs written at once.
const PIECE: usize = 500;
/// Every so many runs are a sweep and its parts.
const SWEEP: usize = 40;

impl Story {
    /// An experiment of `n` runs, the newest in the summer of 2011.
    pub async fn many(&self, n: usize) {
        self.commit("2011-03-01", None, |batch| {
            batch.run_writes.push(RunWrite::Experiment(Experiment {
                id: ExperimentId::new("2"),
                name: "sweeps".into(),
                artifact_location: "mlflow-artifacts:/2".into(),
                lifecycle_stage: LifecycleStage::Active,
                created: day("2011-03-01"),
                updated: day("2011-03-01"),
                tags: vec![Tag::new("mlflow.note.content", "learning rate, depth and optimiser of the demand model")],
            }));
        })
        .await;
        let all: Vec<usize> = (0..n).collect();
        for piece in all.chunks(PIECE) {
            self.commit("2011-03-01", None, |batch| batch.run_writes.extend(piece.iter().map(|at| RunWrite::CreateRun(made(*at))))).await;
        }
    }
}

pub fn id(at: usize) -> RunId {
    RunId::new(format!("{:032x}", 0x5000_0000 + at))
}

/// The same numbers for the same place, evenly spread over 0 to 1.
fn spread(at: usize, salt: usize) -> f64 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (salt as u64 * 0x1234_5677));
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / (1u64 << 24) as f64
}

fn made(at: usize) -> Run {
    let start = day("2011-03-01") + Span::from_ms(at as i64 * 900_000);
    let (sweep, part) = (at / SWEEP, at % SWEEP);
    let is_sweep = sweep % 2 == 1;
    let is_parent = is_sweep && part == 0;
    let lr = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3][(spread(at, 1) * 6.0) as usize];
    let depth = 2 + (spread(at, 2) * 9.0) as usize;
    let optimiser = ["adam", "sgd", "lion"][(spread(at, 3) * 3.0) as usize];
    let status = match at % 29 {
        7 => RunStatus::Failed,
        11 if at.is_multiple_of(3) => RunStatus::Killed,
        _ => RunStatus::Finished,
    };
    let goal = 26.0 + 9.0 * (f64::log10(lr) + 1.6).abs() + 1.3 * (depth as f64 - 6.0).abs() + 3.0 * spread(at, 4);
    let metric = |key: &str, step: i64, value: f64| Metric {
        key: key.into(),
        value,
        time: start + Span::from_ms(step * 4_000),
        step,
        model_id: None,
        dataset_name: None,
        dataset_digest: None,
    };
    let mut metrics = Vec::new();
    if !is_parent {
        for step in 0..12 {
            let rest = f64::exp(-f64::from(step) / (2.0 + 4.0 * spread(at, 5)));
            metrics.push(metric("val_mae", i64::from(step), goal + 40.0 * rest + 2.0 * spread(at * 13 + step as usize, 6) * rest));
        }
        metrics.push(metric("val_r2", 11, 1.0 - goal / 120.0));
        metrics.push(metric("train_mae", 11, goal * (0.7 + 0.2 * spread(at, 7))));
        metrics.push(metric("epoch_seconds", 11, 1.0 + depth as f64 * 0.4 + spread(at, 8)));
    }
    let mut params = vec![("model", "gbt".to_owned()), ("learning_rate", lr.to_string()), ("depth", depth.to_string())];
    params.extend([("optimiser", optimiser.to_owned()), ("seed", (at % 5).to_string())]);
    let mut tags = vec![Tag::new("mlflow.user", "ana"), Tag::new("team", if at.is_multiple_of(4) { "bikes" } else { "scooters" })];
    if is_sweep && !is_parent {
        tags.push(Tag::new("mlflow.parentRunId", id(sweep * SWEEP).as_str()));
    }
    let name = match (is_parent, is_sweep) {
        (true, _) => format!("sweep-{sweep}"),
        (_, true) => format!("sweep-{sweep}-{part}"),
        _ => format!("{}-{}-{at}", ["calm", "brisk", "mild", "keen"][at % 4], ["heron", "otter", "finch", "vole", "newt"][at % 5]),
    };
    Run {
        id: id(at),
        experiment: ExperimentId::new("2"),
        name,
        user: if at.is_multiple_of(3) { "ana" } else { "bo" }.into(),
        status,
        start,
        end: Some(start + Span::from_ms(40_000 + (spread(at, 9) * 90_000.0) as i64)),
        lifecycle_stage: LifecycleStage::Active,
        artifact_uri: format!("mlflow-artifacts:/2/{}/artifacts", id(at)),
        params: if is_parent { Vec::new() } else { params.into_iter().map(|(key, value)| Param { key: key.into(), value }).collect() },
        tags,
        metrics,
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

/// A run that is not over yet.
pub fn going(start: Timestamp) -> Run {
    Run {
        id: RunId::new("0".repeat(28) + "11fe"),
        name: "still-training".into(),
        status: RunStatus::Running,
        start,
        end: None,
        metrics: Vec::new(),
        ..made(3)
    }
}

//! log-batch through the run store against the floor: the same points into the same kind of table by hand, one transaction a
//! batch, synced as strictly. Prints CPU and the ratio: `cargo run --release -p back-sqlite --example log_batch_bench`.
#![allow(clippy::print_stdout)]

use back_sqlite::Sqlite;
use domain::entity::{Experiment, LifecycleStage, Metric, Run, RunStatus};
use domain::{Actor, Batch, ExperimentId, RunId, RunWrite, Timestamp};
use ports::{MetadataStore, RunLog, RunStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Points of one call.
const SIZES: [usize; 3] = [1, 100, 1000];
/// Callers at a time.
const CALLERS: usize = 8;

/// User and system time of this process, in milliseconds.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)) * 10
}

fn run() -> Run {
    Run {
        id: RunId::new("0123456789abcdef0123456789abcdef"),
        experiment: ExperimentId::new("0"),
        name: "bench".into(),
        user: String::new(),
        status: RunStatus::Running,
        start: Timestamp::from_ms(1),
        end: None,
        lifecycle_stage: LifecycleStage::Active,
        artifact_uri: "mlflow-artifacts:/0/bench/artifacts".into(),
        params: Vec::new(),
        tags: Vec::new(),
        metrics: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

fn experiment(run: &Run) -> Experiment {
    Experiment {
        id: run.experiment.clone(),
        name: "Default".into(),
        artifact_location: "mlflow-artifacts:/0".into(),
        lifecycle_stage: LifecycleStage::Active,
        created: run.start,
        updated: run.start,
        tags: Vec::new(),
    }
}

async fn ours(store: &Arc<Sqlite>, run: &RunId, size: usize, calls: usize) -> Result<(u64, f64), Box<dyn std::error::Error>> {
    let (before, began) = (cpu_ms(), Instant::now());
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (store, run) = (store.clone(), run.clone());
            tokio::spawn(async move {
                for call in 0..calls / CALLERS {
                    let point = |i: usize| Metric {
                        key: format!("m{caller}"),
                        value: (call * size + i) as f64 + 0.5,
                        time: Timestamp::from_ms(1_700_000_000_000),
                        step: (call * size + i) as i64,
                        model_id: None,
                        dataset_name: None,
                        dataset_digest: None,
                    };
                    let what = RunLog { metrics: (0..size).map(point).collect(), ..RunLog::default() };
                    store.log(&run, what).await.map_err(|e| e.to_string())?;
                }
                Ok::<_, String>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((cpu_ms() - before, began.elapsed().as_secs_f64()))
}

fn floor(path: &Path, size: usize, calls: usize) -> Result<(u64, f64), Box<dyn std::error::Error>> {
    let db = rusqlite::Connection::open(path)?;
    db.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full;
         create table metric (run integer, key integer, step integer, time integer, value real, primary key (run, key, step, time, value)) without rowid;",
    )?;
    let (before, began) = (cpu_ms(), Instant::now());
    for call in 0..calls {
        db.execute_batch("begin")?;
        let mut insert = db.prepare_cached("insert into metric values (1, ?1, ?2, 1700000000000, ?3)")?;
        for i in 0..size {
            let step = (call / CALLERS * size + i) as i64;
            insert.execute((call as i64 % CALLERS as i64, step, step as f64 + 0.5))?;
        }
        drop(insert);
        db.execute_batch("commit")?;
    }
    Ok((cpu_ms() - before, began.elapsed().as_secs_f64()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("points a call  calls  ours: CPU-ms a call, calls/s   SQLite's floor: CPU-ms a call, calls/s   CPU ratio");
    for size in SIZES {
        let calls = (40_000 / size).clamp(200, 4000);
        let home = tempfile::tempdir()?;
        let store = Sqlite::open(&home.path().join("meta.db"))?;
        let run = run();
        let mut batch = Batch::new(Actor::User("bench".into()), run.start);
        batch.run_writes = vec![RunWrite::Experiment(experiment(&run)), RunWrite::CreateRun(run.clone())];
        store.commit(batch).await?;
        let (our_cpu, our_wall) = ours(&store, &run.id, size, calls).await?;
        let (floor_cpu, floor_wall) = floor(&home.path().join("floor.db"), size, calls)?;
        let each = |cpu: u64| cpu as f64 / calls as f64;
        let rate = |wall: f64| calls as f64 / wall;
        let (ours, floor) = (each(our_cpu), each(floor_cpu));
        println!(
            "{size:>13}  {calls:>5}  {ours:>22.3}, {:>7.0}   {floor:>28.3}, {:>7.0}   {:>9.1}",
            rate(our_wall),
            rate(floor_wall),
            ours / floor
        );
    }
    Ok(())
}

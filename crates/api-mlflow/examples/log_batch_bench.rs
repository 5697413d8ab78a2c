//! log-batch through the whole API against the floor: the same points into the same kind of table by hand, one transaction a
//! batch, synced as strictly. Prints CPU and the ratio: `cargo run --release -p api-mlflow --example log_batch_bench`.
#![allow(clippy::print_stdout)]

use api_mlflow::{MlflowApi, prepare, router};
use axum::body::Body;
use axum::http::Request;
use back_objects::Objects;
use back_sqlite::Sqlite;
use domain::Timestamp;
use ports::Clock;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tower::ServiceExt;

/// Points of one call.
const SIZES: [usize; 3] = [1, 100, 1000];
/// Callers at a time.
const CALLERS: usize = 8;

struct NoClock;

impl Clock for NoClock {
    fn event_now(&self) -> Timestamp {
        Timestamp::from_ms(1_700_000_000_000)
    }

    fn wall_now(&self) -> Timestamp {
        self.event_now()
    }
}

/// User and system time of this process, in milliseconds.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)) * 10
}

async fn ask(api: &axum::Router, path: &str, body: String) -> Result<String, Box<dyn std::error::Error>> {
    let request = Request::post(format!("/api/2.0/mlflow/{path}")).header("content-type", "application/json").body(Body::from(body))?;
    let answer = api.clone().oneshot(request).await?;
    let status = answer.status();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}").into()) }
}

async fn ours(api: &axum::Router, run: &str, size: usize, calls: usize) -> Result<(u64, f64), Box<dyn std::error::Error>> {
    let (before, began) = (cpu_ms(), Instant::now());
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (api, run) = (api.clone(), run.to_owned());
            tokio::spawn(async move {
                for call in 0..calls / CALLERS {
                    let points: Vec<String> = (0..size)
                        .map(|i| {
                            let step = call * size + i;
                            format!(r#"{{"key":"m{caller}","value":{step}.5,"timestamp":1700000000000,"step":{step}}}"#)
                        })
                        .collect();
                    let body = format!(r#"{{"run_id":"{run}","metrics":[{}]}}"#, points.join(","));
                    ask(&api, "runs/log-batch", body).await.map_err(|e| e.to_string())?;
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
        let api = MlflowApi { store: store.clone(), runs: store, artifacts: Objects::local(&home.path().join("a"))?, clock: Arc::new(NoClock) };
        prepare(&api).await?;
        let api = router(api);
        let made = ask(&api, "runs/create", r#"{"experiment_id":"0","start_time":1}"#.into()).await?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let run = made["run"]["info"]["run_id"].as_str().ok_or("no run id")?.to_owned();
        let (our_cpu, our_wall) = ours(&api, &run, size, calls).await?;
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

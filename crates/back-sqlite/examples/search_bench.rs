//! Searches over many runs, a long curve, and what both cost writers: `cargo run --release -p back-sqlite --example search_bench`
//! builds 100,000 runs of 20 params and 20 metrics in a folder of its own; `search_bench RUNS FOLDER` takes another number and keeps
//! the database for the next time. Prints the median and the slowest of some turns, warm, and what CPU the median turn took: on a
//! machine that has other work that is the time to look at. Exits with 1 if a median is over the budget.
#![allow(clippy::print_stdout)]

use back_sqlite::Sqlite;
use domain::entity::{DatasetInput, Experiment, LifecycleStage, Metric, Param, Run, RunStatus, Tag};
use domain::filter::{Clause, Expr, Field, Op, OrderBy, Value};
use domain::{Actor, Batch, ExperimentId, RunId, RunWrite, Timestamp};
use ports::{MetadataStore, RunLog, RunSearch, RunStore, ViewType};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// DESIGN section 8.
const BUDGET: Duration = Duration::from_millis(100);
const TURNS: usize = 7;
const KEYS: usize = 20;
const POINTS: i64 = 1_000_000;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let runs: u32 = args.next().map_or(Ok(100_000), |text| text.parse())?;
    let kept = args.next().map(PathBuf::from);
    let scratch = tempfile::tempdir()?;
    let folder = kept.unwrap_or_else(|| scratch.path().to_owned());
    let path = folder.join("search_bench.db");
    let is_new = !path.exists();
    let began = Instant::now();
    let store = Sqlite::open(&path)?;
    println!("opened in {:.0} ms, resident {} MB", began.elapsed().as_secs_f64() * 1e3, resident_mb());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if is_new {
        let began = Instant::now();
        runtime.block_on(fill(&store, runs))?;
        let size = std::fs::metadata(&path)?.len() >> 20;
        println!(
            "{runs} runs x {KEYS} params x {KEYS} metrics, {POINTS} points: filled in {:.0} s, {size} MB",
            began.elapsed().as_secs_f64()
        );
    }
    let mut over = Vec::new();
    println!("{:58}{:>8}{:>11}{:>10}{:>10}", "", "rows", "median ms", "worst ms", "CPU ms");
    for (name, search) in searches(runs) {
        measure(name, &mut over, || Ok(store.search(&search)?.items.len()))?;
    }
    for (name, search) in searches(runs).into_iter().take(6) {
        measure(&format!("count: {name}"), &mut over, || Ok(store.count(&search)? as usize))?;
    }
    let one = [ExperimentId::new("1")];
    let long = id(0);
    measure("curve of 1,000,000 points in 1000 buckets", &mut over, || Ok(store.curve(&long, "long", 1000)?.buckets.len()))?;
    measure("interval of 1,000,000 points, 2500", &mut over, || Ok(store.interval(&[id(0)], "long", None, 2500)?.len()))?;
    measure("interval of 100 runs, 320", &mut over, || {
        let hundred: Vec<_> = (1..101.min(runs)).map(id).collect();
        Ok(store.interval(&hundred, "m01", None, 320)?.len())
    })?;
    measure("keys", &mut over, || Ok(store.keys(&one)?.metrics.len()))?;
    measure("keys of a small experiment", &mut over, || Ok(store.keys(&[ExperimentId::new("2")])?.metrics.len()))?;
    measure("datasets", &mut over, || Ok(store.datasets(&one)?.len()))?;
    for text in ["forest", "note 77", "adam 0", "nowhere"] {
        measure(&format!("text `{text}`"), &mut over, || Ok(store.find_text(text, &one, 100)?.len()))?;
    }
    println!("resident {} MB", resident_mb());
    runtime.block_on(writers(&store, runs))?;
    println!("resident {} MB", resident_mb());
    if over.is_empty() { Ok(()) } else { Err(format!("over {} ms: {}", BUDGET.as_millis(), over.join(", ")).into()) }
}

fn measure(name: &str, over: &mut Vec<String>, mut turn: impl FnMut() -> Outcome<usize>) -> Outcome<()> {
    let mut rows = turn()?;
    let mut times = Vec::new();
    for _ in 0..TURNS {
        let (began, cpu) = (Instant::now(), cpu_ms());
        rows = turn()?;
        times.push((began.elapsed(), cpu_ms() - cpu));
    }
    times.sort_by_key(|(wall, _)| *wall);
    let ((median, cpu), (worst, _)) = (times[TURNS / 2], times[TURNS - 1]);
    println!("{name:58}{rows:>8}{:>11.1}{:>10.1}{cpu:>10.1}", median.as_secs_f64() * 1e3, worst.as_secs_f64() * 1e3);
    if median > BUDGET {
        over.push(name.to_owned());
    }
    Ok(())
}

/// Eight loggers, first alone, then beside two readers that search without a pause.
async fn writers(store: &Arc<Sqlite>, runs: u32) -> Outcome<()> {
    for readers in [0, 2] {
        let end = Arc::new(AtomicBool::new(false));
        let reading: Vec<_> = (0..readers)
            .map(|_| {
                let (store, end) = (store.clone(), end.clone());
                std::thread::spawn(move || {
                    let mut searches_done = 0;
                    while !end.load(Ordering::Relaxed) {
                        for (_, search) in searches(runs) {
                            searches_done += usize::from(store.search(&search).is_ok());
                        }
                    }
                    searches_done
                })
            })
            .collect();
        let tasks: Vec<_> = (0..8)
            .map(|writer: u32| {
                let store = store.clone();
                tokio::spawn(async move {
                    let (run, began, mut waits) = (id(runs - 1 - writer), Instant::now(), Vec::new());
                    while began.elapsed() < Duration::from_secs(5) {
                        let at = Instant::now();
                        let step = waits.len() as i64 + 10;
                        let metrics = (0..KEYS).map(|k| metric(&format!("m{k:02}"), step as f64, step)).collect();
                        store.log(&run, RunLog { metrics, ..RunLog::default() }).await.map_err(|e| e.to_string())?;
                        waits.push(at.elapsed());
                    }
                    Ok::<_, String>(waits)
                })
            })
            .collect();
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await??);
        }
        end.store(true, Ordering::Relaxed);
        let read: usize = reading.into_iter().map(|reader| reader.join().unwrap_or(0)).sum();
        waits.sort();
        let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!(
            "8 writers of {KEYS} metrics beside {readers} readers: {:.0} calls/s, p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms, {read} searches",
            waits.len() as f64 / 5.0,
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    Ok(())
}

fn searches(runs: u32) -> Vec<(&'static str, RunSearch)> {
    let metric = |n: usize| Field::Metric(format!("m{n:02}"));
    let param = |n: usize| Field::Param(format!("p{n:02}"));
    let attribute = |name: &str| Field::Attribute(name.into());
    let number = |field: Field, op: Op, value: f64| Clause { field, op, value: Value::Number(value) };
    let text = |field: Field, op: Op, value: &str| Clause { field, op, value: Value::Text(value.into()) };
    let by = |field: Field, descending: bool| vec![OrderBy { field, descending }];
    let of = |filter: Vec<Clause>, order: Vec<OrderBy>, limit: usize| RunSearch {
        experiments: vec![ExperimentId::new("1")],
        filter: Expr(filter),
        view: ViewType::Active,
        order,
        limit,
        token: None,
    };
    let narrow: Vec<Clause> = (0..8).map(|n| number(metric(n), Op::Lt, 0.9)).collect();
    let params: Vec<Clause> = (0..5).map(|n| text(param(n + 10), Op::Ne, "v3")).collect();
    vec![
        ("newest 100", of(vec![], vec![], 100)),
        ("metric < 0.5, by a metric, 100", of(vec![number(metric(1), Op::Lt, 0.5)], by(metric(2), true), 100)),
        ("metric < 0.5, by a metric, 1000", of(vec![number(metric(1), Op::Lt, 0.5)], by(metric(2), false), 1000)),
        ("a param =", of(vec![text(param(1), Op::Eq, "v7")], vec![], 100)),
        ("a param LIKE", of(vec![text(param(0), Op::Like, "%adam%")], vec![], 100)),
        ("a param ILIKE, nothing fits", of(vec![text(param(0), Op::Ilike, "%nowhere%")], vec![], 100)),
        ("8 metrics <, by a param", of(narrow, by(param(3), false), 100)),
        ("5 params !=, by a metric", of(params, by(metric(19), false), 100)),
        ("by a param of 100,000 values", of(vec![], by(param(19), true), 100)),
        ("by 3 keys", of(vec![], [by(param(3), true), by(metric(4), false), by(attribute("end_time"), true)].concat(), 100)),
        ("by name", of(vec![], by(attribute("run_name"), false), 100)),
        ("by status", of(vec![], by(attribute("status"), true), 100)),
        (
            "status =, start_time >",
            of(vec![text(attribute("status"), Op::Eq, "FAILED"), number(attribute("start_time"), Op::Gt, 2e4)], vec![], 100),
        ),
        ("run_name LIKE", of(vec![text(attribute("run_name"), Op::Like, "%77%")], vec![], 100)),
        ("artifact_uri LIKE", of(vec![text(attribute("artifact_uri"), Op::Like, "%/12345/%")], vec![], 100)),
        ("a tag =, by start", of(vec![text(Field::Tag("team".into()), Op::Eq, "blue")], by(attribute("start_time"), false), 100)),
        ("a tag IS NULL", of(vec![Clause { field: Field::Tag("rare".into()), op: Op::IsNull, value: Value::Nothing }], vec![], 100)),
        (
            "a metric few runs have, IS NOT NULL",
            of(
                vec![Clause { field: Field::Metric("rare".into()), op: Op::IsNotNull, value: Value::Nothing }],
                by(Field::Metric("rare".into()), false),
                100,
            ),
        ),
        ("dataset.name =, by a metric", of(vec![text(Field::Dataset("name".into()), Op::Eq, "train-3")], by(metric(5), true), 100)),
        ("one run of its metric", of(vec![number(metric(7), Op::Eq, value(7, runs / 2))], vec![], 100)),
    ]
}

fn id(n: u32) -> RunId {
    RunId::new(format!("{n:032x}"))
}

/// A number that looks random and is the same each time.
fn value(key: u32, run: u32) -> f64 {
    f64::from((run.wrapping_mul(2_654_435_761) ^ key.wrapping_mul(40_503)).wrapping_mul(2_246_822_519) >> 8) / f64::from(1 << 24)
}

fn metric(key: &str, value: f64, step: i64) -> Metric {
    let time = Timestamp::from_ms(1_700_000_000_000 + step);
    Metric { key: key.into(), value, time, step, model_id: None, dataset_name: None, dataset_digest: None }
}

fn made(n: u32) -> Run {
    let optimizer = ["adam", "sgd", "adamw, decoupled", "lion"][(n % 4) as usize];
    let mut params: Vec<Param> =
        (1..KEYS as u32 - 1).map(|k| Param { key: format!("p{k:02}"), value: format!("v{}", (n / k) % 10) }).collect();
    params.push(Param { key: "p00".into(), value: optimizer.into() });
    params.push(Param { key: "p19".into(), value: value(19, n).to_string() });
    let mut tags = vec![Tag::new("mlflow.user", "ada"), Tag::new("team", ["blue", "red", "green"][(n % 3) as usize])];
    tags.push(Tag::new("mlflow.source.name", "train.py"));
    if n % 1000 == 7 {
        tags.extend([Tag::new("rare", "yes"), Tag::new("mlflow.note.content", format!("a note on forest {n}"))]);
    }
    let mut metrics: Vec<Metric> = (0..KEYS).map(|k| metric(&format!("m{k:02}"), value(k as u32, n), 1)).collect();
    if n % 1000 == 3 {
        metrics.push(metric("rare", value(99, n), 1));
    }
    let input = DatasetInput {
        name: format!("train-{}", n % 10),
        digest: "d".into(),
        source_type: "local".into(),
        source: "{}".into(),
        schema: None,
        profile: None,
        tags: vec![Tag::new(DatasetInput::CONTEXT_TAG, "training")],
    };
    let small = n % 100 == 99;
    Run {
        id: id(n),
        experiment: ExperimentId::new(if small { "2" } else { "1" }),
        name: format!("run {n}"),
        user: "ada".into(),
        status: if n.is_multiple_of(50) { RunStatus::Failed } else { RunStatus::Finished },
        start: Timestamp::from_ms(i64::from(n) * 1000),
        end: Some(Timestamp::from_ms(i64::from(n) * 1000 + i64::from(n % 977))),
        lifecycle_stage: LifecycleStage::Active,
        artifact_uri: format!("mlflow-artifacts:/1/{n}/artifacts"),
        params,
        tags,
        metrics,
        inputs: vec![input],
        outputs: Vec::new(),
    }
}

async fn fill(store: &Arc<Sqlite>, runs: u32) -> Outcome<()> {
    let at = Timestamp::from_ms(0);
    for experiment in ["1", "2"] {
        let (id, name) = (ExperimentId::new(experiment), format!("experiment {experiment}"));
        let stage = LifecycleStage::Active;
        let new = Experiment { id, name, artifact_location: String::new(), lifecycle_stage: stage, created: at, updated: at, tags: vec![] };
        let mut batch = Batch::new(Actor::User("bench".into()), at);
        batch.run_writes.push(RunWrite::Experiment(new));
        store.commit(batch).await?;
    }
    let numbers: Vec<u32> = (0..runs).collect();
    for some in numbers.chunks(500) {
        let mut batch = Batch::new(Actor::User("bench".into()), at);
        batch.run_writes = some.iter().map(|n| RunWrite::CreateRun(made(*n))).collect();
        store.commit(batch).await?;
    }
    for from in (0..POINTS).step_by(10_000) {
        let metrics = (from..from + 10_000).map(|step| metric("long", (step as f64 / 1e4).sin(), step)).collect();
        store.log(&id(0), RunLog { metrics, ..RunLog::default() }).await?;
    }
    Ok(())
}

/// CPU time of this thread.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 10
}

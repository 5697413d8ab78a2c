//! Compute: how full the pool is, what waits and for what, what was used and what it cost.

use crate::WebState;
use crate::format::{bytes, span};
use crate::link;
use crate::page::{PageError, show};
use ::compute::usage::{By, Used, usage};
use axum::extract::{Query, State};
use axum::response::Response;
use domain::{PipelineRunId, Span};
use ports::{LimitsBy, PoolJob, PoolState};
use serde::{Deserialize, Serialize};

/// How far back usage goes.
const DAYS: i64 = 30;
/// Lines of usage.
const LINES: usize = 50;
/// Width of a gauge.
const WIDTH: f64 = 320.0;

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    by: By,
}

#[derive(Serialize)]
struct Page {
    gauges: Vec<Gauge>,
    limits: String,
    running: Vec<Job>,
    waiting: Vec<Job>,
    by: Vec<(&'static str, bool)>,
    days: i64,
    currency: String,
    has_prices: bool,
    usage: Vec<Line>,
    total: Line,
    more: usize,
}

/// How much of something is held.
#[derive(Serialize)]
struct Gauge {
    what: &'static str,
    text: String,
    width: f64,
    /// Where each holder's part begins and how long it is, with whose it is.
    parts: Vec<(String, String, String)>,
}

#[derive(Serialize)]
struct Job {
    what: String,
    href: Option<String>,
    queue: String,
    team: String,
    asks: String,
    since: String,
    why: String,
}

#[derive(Serialize)]
struct Line {
    name: String,
    href: Option<String>,
    serving: bool,
    attempts: u64,
    cpu: String,
    gpu: String,
    peak: String,
    held: String,
    cost: String,
    /// Length of its bar: its part of the dearest.
    bar: String,
}

/// `GET /compute`.
pub(crate) async fn page(State(state): State<WebState>, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, &asked)).await?;
    show("compute.html", "Compute", "compute", &page)
}

fn read(state: &WebState, asked: &Asked) -> Result<Page, PageError> {
    let pool = state.facts.pool();
    let now = state.facts.now()?;
    let since = now - Span::from_ms(DAYS * 86_400_000);
    let found = usage(&state.world()?, asked.by, since, now)?;
    let weight = |used: &Used| if found.total.cost > 0.0 { used.cost } else { used.held_seconds };
    let most = found.items.iter().map(weight).fold(0.0, f64::max);
    let line = |used: &Used| Line {
        href: (asked.by == By::Run && !used.serving).then(|| link::pipeline_run(&PipelineRunId::new(used.name.as_str()))),
        name: used.name.clone(),
        serving: used.serving,
        attempts: used.attempts,
        cpu: seconds(used.cpu_seconds),
        gpu: if used.gpu_seconds > 0.0 { seconds(used.gpu_seconds) } else { "–".into() },
        peak: if used.peak_memory_bytes > 0 { bytes(used.peak_memory_bytes) } else { "–".into() },
        held: seconds(used.held_seconds),
        cost: money(used.cost),
        bar: format!("{:.1}", if most > 0.0 { weight(used) / most * 160.0 } else { 0.0 }),
    };
    let words = [(By::Pipeline, "pipeline"), (By::Run, "run"), (By::Model, "model"), (By::Team, "team")];
    Ok(Page {
        gauges: gauges(&pool),
        limits: limits(&pool),
        running: pool.running.iter().map(job).collect(),
        waiting: pool.waiting.iter().map(job).collect(),
        by: words.iter().map(|(by, word)| (*word, *by == asked.by)).collect(),
        days: DAYS,
        has_prices: found.total.cost > 0.0,
        more: found.items.len().saturating_sub(LINES),
        usage: found.items.iter().take(LINES).map(line).collect(),
        total: line(&found.total),
        currency: found.currency.clone(),
    })
}

fn seconds(seconds: f64) -> String {
    span(Span::from_ms((seconds * 1000.0).round() as i64))
}

/// With as many places as tell small prices apart.
fn money(cost: f64) -> String {
    match cost {
        0.0 => "0".into(),
        cost if cost < 0.0001 => "< 0.0001".into(),
        cost if cost < 0.01 => format!("{cost:.4}"),
        cost => format!("{cost:.2}"),
    }
}

/// What holds jobs to what they asked for.
fn limits(pool: &PoolState) -> String {
    match pool.limits.by {
        LimitsBy::ControlGroups => format!("The kernel holds jobs to what they asked for: {}.", pool.limits.why),
        LimitsBy::Watching => {
            format!("Jobs are watched, and killed when they hold more memory than they asked for: {}.", pool.limits.why)
        }
    }
}

fn gauges(pool: &PoolState) -> Vec<Gauge> {
    let gauge = |what, text, total: f64, held: &dyn Fn(&PoolJob) -> f64| {
        let mut at = 0.0;
        let parts = pool.running.iter().filter(|job| held(job) > 0.0).map(|job| {
            let length = held(job) / f64::max(total, 1.0) * WIDTH;
            let part = (format!("{at:.1}"), format!("{:.1}", (length - 1.5).max(1.0)), job.what.clone());
            at += length;
            part
        });
        Gauge { what, text, width: WIDTH, parts: parts.collect() }
    };
    let mut all = vec![
        gauge("cpu", format!("{} of {}", pool.cpu_used, pool.cpu), pool.cpu.into(), &|job| job.cpu.into()),
        gauge("memory", format!("{} of {} asked for", bytes(pool.mem_bytes_used), bytes(pool.mem_bytes)), pool.mem_bytes as f64, &|job| {
            job.mem_bytes as f64
        }),
    ];
    if !pool.gpus.is_empty() {
        let text = format!("{} of {}", pool.gpu_used, pool.gpus.len());
        all.push(gauge("gpu", text, pool.gpus.len() as f64, &|job| job.gpu.into()));
    }
    all
}

fn job(job: &PoolJob) -> Job {
    let mut asks = vec![format!("{} cpu", job.cpu)];
    asks.extend((job.mem_bytes > 0).then(|| bytes(job.mem_bytes)));
    asks.extend(
        (job.gpu > 0).then(|| if job.gpus.is_empty() { format!("{} gpu", job.gpu) } else { format!("gpu {}", job.gpus.join(", ")) }),
    );
    Job {
        href: job.what.rsplit_once(" of ").map(|(_, run)| link::pipeline_run(&PipelineRunId::new(run))),
        what: job.what.clone(),
        queue: job.queue.clone(),
        team: job.team.clone().unwrap_or_default(),
        asks: asks.join(", "),
        since: span(job.since),
        why: job.why.clone().unwrap_or_default(),
    }
}

//! The steps of a pipeline run over time.

use crate::format::{span, time};
use crate::made::step_word;
use domain::Span;
use domain::entity::{PipelineRun, PipelineStep};
use serde::Serialize;

/// Width of the picture, of the names at its left, and height of a row.
const WIDTH: f64 = 900.0;
const NAMES: f64 = 170.0;
const ROW: f64 = 24.0;
const TOP: f64 = 22.0;
/// Rows that are drawn.
const MOST: usize = 300;

/// The picture.
#[derive(Debug, Serialize)]
pub(crate) struct Gantt {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub rows: Vec<Row>,
    /// Place and word of each mark of time.
    pub ticks: Vec<(f64, String)>,
    pub began: String,
    /// Steps that are not drawn.
    pub more: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub name: String,
    pub shown: String,
    pub href: String,
    pub state: &'static str,
    pub y: f64,
    pub title: String,
    /// Begin and length of each attempt, and whether it was the last.
    pub bars: Vec<(String, String, bool)>,
}

/// The picture of a run that has begun; the steps in the order of their begin, those that never began behind them.
pub(crate) fn gantt(run: &PipelineRun, steps: &[PipelineStep], href: impl Fn(&str) -> String) -> Option<Gantt> {
    let began = run.started?;
    let ends = steps.iter().flat_map(|step| &step.attempts).flat_map(|attempt| [Some(attempt.started), attempt.ended]).flatten();
    let end = ends.chain(run.ended).max().unwrap_or(began);
    let whole = ((end - began).ms() as f64).max(1.0);
    let x = |at: domain::Timestamp| NAMES + ((at - began).ms() as f64 / whole).clamp(0.0, 1.0) * (WIDTH - NAMES - 8.0);
    let mut order: Vec<&PipelineStep> = steps.iter().collect();
    order.sort_by_key(|step| step.attempts.first().map_or((1, 0), |first| (0, first.started.ms())));
    let rows: Vec<Row> = order.iter().take(MOST).enumerate().map(|(at, step)| row(step, TOP + at as f64 * ROW, end, &x, &href)).collect();
    let tick = |n: u32| {
        let ms = whole * f64::from(n) / 4.0;
        (NAMES + f64::from(n) / 4.0 * (WIDTH - NAMES - 8.0), span(Span::from_ms(ms as i64)))
    };
    Some(Gantt {
        width: WIDTH,
        height: TOP + rows.len() as f64 * ROW + 4.0,
        left: NAMES,
        more: steps.len() - rows.len(),
        rows,
        ticks: (0..=4).map(tick).collect(),
        began: time(began),
    })
}

fn row(step: &PipelineStep, y: f64, end: domain::Timestamp, x: &impl Fn(domain::Timestamp) -> f64, href: &impl Fn(&str) -> String) -> Row {
    let last = step.attempts.len();
    let bars = step.attempts.iter().enumerate().map(|(at, attempt)| {
        let (from, to) = (x(attempt.started), x(attempt.ended.unwrap_or(end)));
        (format!("{from:.1}"), format!("{:.1}", (to - from).max(3.0)), at + 1 == last)
    });
    let name = &step.name;
    let shown = if name.chars().count() > 24 { name.chars().take(23).chain(['…']).collect() } else { name.clone() };
    let why = step.why.as_ref().map_or(String::new(), |why| format!(", {why}"));
    Row {
        shown,
        href: href(name),
        state: step_word(step.state),
        y,
        title: format!("{name}: {}{why}", step_word(step.state)),
        bars: bars.collect(),
        name: name.clone(),
    }
}

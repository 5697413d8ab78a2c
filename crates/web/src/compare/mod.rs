//! Runs side by side: what differs first, then pictures of all of them at once.

mod diff;
mod parallel;
mod scatter;

use crate::WebState;
use crate::address::Asked;
use crate::link;
use crate::page::{PageError, show};
use crate::plot::{Scale, Tick, line, smooth};
use crate::run::{Course, Look};
use crate::runs::{Choice, MainMetric, PARENT_TAG};
use axum::extract::{Query, State};
use axum::response::Response;
use diff::Diff;
use domain::entity::Run;
use domain::filter::{Clause, Expr, Field, Op, Value};
use domain::{Fault, RunId};
use parallel::Parallel;
use ports::{RunSearch, World};
use scatter::Scatter;
use serde::Serialize;

/// Runs that are compared at most: more lines than this are a colour, not a picture.
pub(crate) const MOST: usize = 100;
/// Runs that have a colour of their own, in order; the others are grey.
pub(crate) const COLOURS: usize = 8;
/// Runs whose curves are laid over one another, and places of one of them.
const OVERLAID: usize = 16;
const PLACES: usize = 120;
const SIZE: (f64, f64) = (1_080.0, 300.0);
/// top, right, bottom, left
const ROOM: (f64, f64, f64, f64) = (10.0, 14.0, 24.0, 58.0);

#[derive(Serialize)]
struct Page {
    heads: Vec<Head>,
    /// Runs that were asked for and are not there.
    missing: Vec<String>,
    /// How many there would be without the limit.
    left_out: u64,
    diff: Diff,
    parallel: Option<Parallel>,
    scatter: Option<Scatter>,
    overlay: Option<Overlay>,
    /// What else the address says, for the forms.
    kept: Vec<(String, String)>,
    kept_by_overlay: Vec<(String, String)>,
    metrics: Vec<Choice>,
    look: Look,
    url: String,
}

/// A run at the head of its column.
#[derive(Serialize)]
struct Head {
    id: String,
    name: String,
    href: String,
    status: &'static str,
    colour: usize,
    /// The comparison without it.
    without: String,
}

/// The same metric of several runs.
#[derive(Serialize)]
struct Overlay {
    key: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
    lines: Vec<Line>,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    /// Runs without this metric, or beyond the limit.
    absent: usize,
}

#[derive(Serialize)]
struct Line {
    name: String,
    href: String,
    /// Where a script gets more points.
    curves: String,
    colour: usize,
    path: String,
    /// First, least, greatest and last value, and points: the table twin.
    figures: [String; 5],
}

/// `GET /compare?runs=A,B,C` or `?parent=ID`.
pub(crate) async fn page(State(state): State<WebState>, Query(pairs): Query<Vec<(String, String)>>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, &Asked::new(pairs))).await?;
    let title = format!("Compare {}", crate::format::counted(page.heads.len() as u64, "run"));
    show("compare.html", &title, "runs", &page)
}

fn read(state: &WebState, asked: &Asked) -> Result<Page, PageError> {
    let world = state.world()?;
    let (mut runs, missing, left_out) = runs(state, &world, asked)?;
    let look = Look::read(asked);
    let main = main_metric(&world, asked, &runs)?;
    if let Some(main) = main.as_ref().filter(|_| asked.one("parent").is_some()) {
        best_first(&mut runs, main);
    }
    let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    let without = |id: &str| {
        let rest: Vec<&str> = ids.iter().copied().filter(|other| *other != id).collect();
        asked.without(&["parent"]).with("runs", &rest.join(",")).address("/compare")
    };
    let head = |(at, run): (usize, &Run)| Head {
        id: run.id.to_string(),
        name: name(run),
        href: link::run(&run.id),
        status: run.status.word(),
        colour: colour(at),
        without: without(run.id.as_str()),
    };
    let overlay = main.as_ref().map(|main| overlay(state, &runs, &main.key, look)).transpose()?.flatten();
    let mut keys: Vec<&str> = runs.iter().flat_map(|run| &run.metrics).map(|metric| metric.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let is_on = |key: &str| main.as_ref().is_some_and(|main| main.key == key);
    Ok(Page {
        heads: runs.iter().enumerate().map(head).collect(),
        diff: diff::diff(&runs, main.as_ref()),
        parallel: parallel::parallel(&runs, main.as_ref()),
        scatter: scatter::scatter(&runs, asked, main.as_ref()),
        overlay,
        kept: asked.without(&["sx", "sy"]).pairs(),
        kept_by_overlay: asked.without(&["metric", "x", "log", "smooth"]).pairs(),
        metrics: keys.into_iter().map(|key| Choice { value: key.into(), text: key.into(), is_on: is_on(key) }).collect(),
        missing,
        left_out,
        look,
        url: format!("http://{}", state.facts.server()?.listen),
    })
}

/// The runs that are compared, the ids that were not found, and how many more there are.
fn runs(state: &WebState, world: &World, asked: &Asked) -> Result<(Vec<Run>, Vec<String>, u64), PageError> {
    if let Some(parent) = asked.one("parent") {
        let of = Clause { field: Field::Tag(PARENT_TAG.into()), op: Op::Eq, value: Value::Text(parent.into()) };
        let experiments = world.experiments()?.into_iter().map(|experiment| experiment.id).collect();
        let search = RunSearch { experiments, filter: Expr(vec![of]), limit: MOST, ..RunSearch::default() };
        let found = state.runs.search(&search)?.items;
        let left_out = state.runs.count(&search)?.saturating_sub(found.len() as u64);
        return Ok((found, Vec::new(), left_out));
    }
    let asked = asked.listed("runs");
    let left_out = asked.len().saturating_sub(MOST) as u64;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for id in asked.into_iter().take(MOST) {
        match state.runs.run(&RunId::new(id.as_str()))? {
            Some(run) => found.push(run),
            None => missing.push(id),
        }
    }
    Ok((found, missing, left_out))
}

/// The parts of a sweep, the best first; what has no figure comes last.
fn best_first(runs: &mut [Run], main: &MainMetric) {
    let value =
        |run: &Run| run.metrics.iter().find(|metric| metric.key == main.key).map(|metric| metric.value).filter(|value| value.is_finite());
    let sign = if main.is_less_better { 1.0 } else { -1.0 };
    runs.sort_by(|a, b| {
        value(a).map_or(f64::INFINITY, |value| sign * value).total_cmp(&value(b).map_or(f64::INFINITY, |value| sign * value))
    });
}

fn main_metric(world: &World, asked: &Asked, runs: &[Run]) -> Result<Option<MainMetric>, Fault> {
    let experiments: Vec<_> =
        world.experiments()?.into_iter().filter(|experiment| runs.iter().any(|run| run.experiment == experiment.id)).collect();
    let project = world.project()?;
    Ok(MainMetric::find(asked.one("metric"), &experiments, project.as_deref(), runs))
}

pub(crate) fn name(run: &Run) -> String {
    if run.name.is_empty() { run.id.as_str().chars().take(8).collect() } else { run.name.clone() }
}

/// Colours 1 to 8; 0 is grey.
pub(crate) fn colour(at: usize) -> usize {
    if at < COLOURS { at + 1 } else { 0 }
}

fn overlay(state: &WebState, runs: &[Run], key: &str, look: Look) -> Result<Option<Overlay>, PageError> {
    let mut courses: Vec<(usize, &Run, Course)> = Vec::new();
    for (at, run) in runs.iter().enumerate().take(OVERLAID) {
        if let Some(course) = Course::read(state, &run.id, key, PLACES)? {
            courses.push((at, run, course));
        }
    }
    // Runs begin at different times: laid over one another, each counts from its own beginning.
    let axis = if look.x == crate::run::Axis::Time { crate::run::Axis::Relative } else { look.x };
    let (top, right, bottom, left) = (ROOM.0, SIZE.0 - ROOM.1, SIZE.1 - ROOM.2, ROOM.3);
    let xs = courses.iter().flat_map(|(_, run, course)| course.dots.iter().map(move |dot| course.x(dot, axis, run.start)));
    let ys = courses.iter().flat_map(|(_, _, course)| course.dots.iter().map(|dot| dot.last));
    let (Some(x), Some(y)) = (Scale::new(xs, false, (left, right)), Scale::new(ys, look.is_log, (bottom, top))) else { return Ok(None) };
    let draw = |(at, run, course): &(usize, &Run, Course)| {
        let lasts: Vec<f64> = course.dots.iter().map(|dot| dot.last).collect();
        let smoothed = smooth(&lasts, look.smooth);
        let places = course.dots.iter().zip(&smoothed).map(|(dot, value)| Some((x.at(course.x(dot, axis, run.start))?, y.at(*value)?)));
        let least = course.dots.iter().map(|dot| dot.min).fold(f64::INFINITY, f64::min);
        let most = course.dots.iter().map(|dot| dot.max).fold(f64::NEG_INFINITY, f64::max);
        let text = |value: Option<&f64>| value.map_or(String::new(), |value| crate::format::figure(*value));
        Line {
            name: name(run),
            href: link::run(&run.id),
            curves: format!("{}/curves?key={}", link::run(&run.id), link::part(key)),
            colour: colour(*at),
            path: line(places),
            figures: [text(lasts.first()), text(Some(&least)), text(Some(&most)), text(lasts.last()), crate::format::count(course.points)],
        }
    };
    Ok(Some(Overlay {
        key: key.into(),
        width: SIZE.0,
        height: SIZE.1,
        left,
        right,
        bottom,
        lines: courses.iter().map(draw).collect(),
        x_ticks: x.ticks(8),
        y_ticks: y.ticks(5),
        absent: runs.len() - courses.len(),
    }))
}

//! The curves of a run: pictures and tables for every reader, and the points that scripts draw them from.

use crate::WebState;
use crate::format::{count, counted, figure, time};
use crate::page::PageError;
use crate::plot::{Scale, Tick, line, place, smooth};
use crate::run::thin::thin;
use axum::Json;
use axum::extract::{Path, Query, State};
use domain::entity::{Run, RunStatus};
use domain::{RunId, Timestamp};
use ports::Curve;
use serde::Serialize;

/// Curves on a page; others are a link away.
pub(crate) const CURVES: usize = 24;
/// Keys that are looked at for one page of curves.
const LOOKED_AT: usize = 400;
/// Points of all pictures of a page together, and the least and the most of one; and of the answers that scripts draw from.
const STILL: (usize, usize, usize) = (900, 12, 96);
const DRAWN: (usize, usize, usize) = (2_500, 60, 500);
/// Points of a metric whose steps are all the same.
const TIMED: usize = 2_000;
/// Keys that one answer holds.
const KEYS: usize = 60;
const SIZE: (f64, f64) = (420.0, 170.0);
/// top, right, bottom, left
const ROOM: (f64, f64, f64, f64) = (8.0, 10.0, 22.0, 52.0);

/// How curves are to be drawn: all of it is in the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Look {
    pub x: Axis,
    pub is_log: bool,
    /// 0 to 0.99.
    pub smooth: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    #[default]
    Step,
    Time,
    /// Since the run began.
    Relative,
}

impl Look {
    pub(crate) fn read(asked: &crate::address::Asked) -> Self {
        let x = match asked.one("x") {
            Some("time") => Axis::Time,
            Some("relative") => Axis::Relative,
            _ => Axis::Step,
        };
        let smooth: f64 = asked.one("smooth").and_then(|text| text.parse().ok()).unwrap_or(0.0);
        Look { x, is_log: asked.one("log").is_some(), smooth: if smooth.is_finite() { smooth.clamp(0.0, 0.99) } else { 0.0 } }
    }
}

/// One place of a curve, with what lies around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dot {
    pub step: i64,
    pub at: Timestamp,
    pub last: f64,
    pub min: f64,
    pub max: f64,
    pub count: u64,
}

/// A metric's course.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    pub dots: Vec<Dot>,
    pub points: u64,
    pub nans: u64,
    /// All steps are the same: it can only be drawn over time.
    pub by_time: bool,
}

impl Course {
    /// Of one metric, in about `most` places; `None` if there are fewer than two points to draw.
    pub(crate) fn read(state: &WebState, run: &RunId, key: &str, most: usize) -> Result<Option<Self>, PageError> {
        let curve = state.runs.curve(run, key, most)?;
        if curve.points < 2 {
            return Ok(None);
        }
        let by_time = curve.width == 1 && curve.buckets.len() == 1;
        let course = if by_time { Course::timed(state, run, key, most, &curve)? } else { Course::stepped(&curve) };
        Ok(Some(course).filter(|course| course.dots.iter().filter(|dot| dot.last.is_finite()).count() > 1))
    }

    fn stepped(curve: &Curve) -> Self {
        let dot = |bucket: &ports::Bucket| Dot {
            step: bucket.last.step,
            at: bucket.last.time,
            last: bucket.last.value,
            min: bucket.min.value,
            max: bucket.max.value,
            count: bucket.count,
        };
        let nans = curve.buckets.iter().map(|bucket| bucket.nans).sum();
        Course { dots: curve.buckets.iter().map(dot).collect(), points: curve.points, nans, by_time: false }
    }

    fn timed(state: &WebState, run: &RunId, key: &str, most: usize, curve: &Curve) -> Result<Self, PageError> {
        let history = state.runs.history(run, key, Some(TIMED), None)?.points;
        let finite = history.iter().filter(|point| point.value.is_finite());
        let places: Vec<(f64, f64)> = finite.map(|point| (point.time.ms() as f64, point.value)).collect();
        let step = history.first().map_or(0, |point| point.step);
        let dot = |(at, value): (f64, f64)| Dot { step, at: Timestamp::from_ms(at as i64), last: value, min: value, max: value, count: 1 };
        let dots = thin(&places, most.max(4)).into_iter().map(dot).collect();
        Ok(Course { dots, points: curve.points, nans: curve.buckets.iter().map(|bucket| bucket.nans).sum(), by_time: true })
    }

    pub(crate) fn x(&self, dot: &Dot, axis: Axis, start: Timestamp) -> f64 {
        match axis {
            Axis::Step if !self.by_time => dot.step as f64,
            Axis::Relative => (dot.at - start).ms() as f64 / 1000.0,
            _ => dot.at.ms() as f64 / 1000.0,
        }
    }

    fn note(&self) -> String {
        let mut note = match self.dots.len() as u64 == self.points {
            true => format!("all {}", counted(self.points, "point")),
            false => {
                format!("{} in {} stretches, none of their peaks left out", counted(self.points, "point"), count(self.dots.len() as u64))
            }
        };
        if self.nans > 0 {
            note.push_str(&format!("; {} not a number and not drawn", count(self.nans)));
        }
        note
    }
}

/// A curve as the page holds it.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub key: String,
    pub note: String,
    pub picture: Option<Picture>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Picture {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
    band: String,
    line: String,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    step: String,
    at: String,
    last: String,
    min: String,
    max: String,
    count: String,
}

/// Figures of a page, and how many metrics have one before and after it.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub shown: Vec<Figure>,
    pub before: usize,
    pub after: usize,
}

/// The figures of those metrics, from the `from`th on.
pub(crate) fn figures(state: &WebState, run: &Run, keys: &[&str], from: usize, look: Look) -> Result<Figures, PageError> {
    let mut shown = Vec::new();
    let most = (STILL.0 / keys.len().clamp(1, CURVES)).clamp(STILL.1, STILL.2);
    let mut looked_at = from.min(keys.len());
    for key in keys.iter().skip(from).take(LOOKED_AT) {
        if shown.len() == CURVES {
            break;
        }
        looked_at += 1;
        if let Some(course) = Course::read(state, &run.id, key, most)? {
            shown.push(draw(key, &course, run.start, look));
        }
    }
    Ok(Figures { shown, before: from.min(keys.len()), after: keys.len() - looked_at })
}

fn draw(key: &str, course: &Course, start: Timestamp, look: Look) -> Figure {
    let step = |dot: &Dot| if course.by_time { "–".into() } else { dot.step.to_string() };
    let row = |dot: &Dot| Row {
        step: step(dot),
        at: time(dot.at),
        last: figure(dot.last),
        min: figure(dot.min),
        max: figure(dot.max),
        count: count(dot.count),
    };
    Figure { key: key.into(), note: course.note(), picture: picture(course, start, look), rows: course.dots.iter().map(row).collect() }
}

fn picture(course: &Course, start: Timestamp, look: Look) -> Option<Picture> {
    let (top, right, bottom, left) = (ROOM.0, SIZE.0 - ROOM.1, SIZE.1 - ROOM.2, ROOM.3);
    let xs: Vec<f64> = course.dots.iter().map(|dot| course.x(dot, look.x, start)).collect();
    let x = Scale::new(xs.iter().copied(), false, (left, right))?;
    let y = Scale::new(course.dots.iter().flat_map(|dot| [dot.min, dot.max, dot.last]), look.is_log, (bottom, top))?;
    let place_of = |at: f64, value: f64| Some((x.at(at)?, y.at(value)?));
    let lasts: Vec<f64> = course.dots.iter().map(|dot| dot.last).collect();
    let smoothed = smooth(&lasts, look.smooth);
    let line_path = line(xs.iter().zip(&smoothed).map(|(at, value)| place_of(*at, *value)));
    let upper = xs.iter().zip(&course.dots).map(|(at, dot)| place_of(*at, dot.max));
    let lower = xs.iter().zip(&course.dots).rev().map(|(at, dot)| place_of(*at, dot.min));
    let around: Vec<(f64, f64)> = upper.chain(lower).flatten().collect();
    let has_band = course.dots.iter().any(|dot| dot.min < dot.max);
    let band = if has_band { line(around.into_iter().map(Some)) + "Z" } else { String::new() };
    let x_ticks = match look.x {
        Axis::Time => times(&x, &xs),
        _ if course.by_time && look.x == Axis::Step => times(&x, &xs),
        _ => x.ticks(5),
    };
    Some(Picture { width: SIZE.0, height: SIZE.1, left, right, bottom, band, line: line_path, x_ticks, y_ticks: y.ticks(4) })
}

/// The first and the last instant.
fn times(scale: &Scale, xs: &[f64]) -> Vec<Tick> {
    let ends = [xs.first(), xs.last()].into_iter().flatten();
    ends.filter_map(|at| Some(Tick { at: place(scale.at(*at)?), text: time(Timestamp::from_ms((*at * 1000.0) as i64)) })).collect()
}

/// What scripts draw from.
#[derive(Serialize)]
pub(crate) struct Answer {
    status: &'static str,
    is_live: bool,
    start: i64,
    curves: Vec<Points>,
    /// Key, value as shown, value, step.
    latest: Vec<(String, String, String, i64)>,
}

#[derive(Serialize)]
struct Points {
    key: String,
    points: u64,
    by_time: bool,
    step: Vec<i64>,
    /// Milliseconds since the run began.
    time: Vec<i64>,
    last: Vec<f64>,
    /// Empty if every place is one point.
    min: Vec<f64>,
    max: Vec<f64>,
}

/// `GET /runs/ID/curves?key=…`: the points of those metrics.
pub(crate) async fn answer(
    State(state): State<WebState>,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Answer>, PageError> {
    let asked = crate::address::Asked::new(pairs);
    let keys: Vec<String> = asked.all("key").take(KEYS).map(str::to_owned).collect();
    Ok(Json(state.read(move |state| read(state, &RunId::new(id), &keys)).await?))
}

fn read(state: &WebState, id: &RunId, keys: &[String]) -> Result<Answer, PageError> {
    let run = state.runs.run(id)?.ok_or_else(|| PageError::missing("run", id))?;
    let most = (DRAWN.0 / keys.len().max(1)).clamp(DRAWN.1, DRAWN.2);
    let mut curves = Vec::new();
    for key in keys {
        if let Some(course) = Course::read(state, id, key, most)? {
            curves.push(points(key, &course, run.start));
        }
    }
    Ok(Answer {
        status: run.status.word(),
        is_live: run.status == RunStatus::Running,
        start: run.start.ms(),
        curves,
        latest: run
            .metrics
            .iter()
            .map(|metric| (metric.key.clone(), figure(metric.value), metric.value.to_string(), metric.step))
            .collect(),
    })
}

fn points(key: &str, course: &Course, start: Timestamp) -> Points {
    let of = |value: fn(&Dot) -> f64| course.dots.iter().map(|dot| short(value(dot))).collect::<Vec<f64>>();
    let is_plain = course.dots.iter().all(|dot| dot.count == 1);
    Points {
        key: key.into(),
        points: course.points,
        by_time: course.by_time,
        step: course.dots.iter().map(|dot| dot.step).collect(),
        time: course.dots.iter().map(|dot| (dot.at - start).ms()).collect(),
        last: of(|dot| dot.last),
        min: if is_plain { Vec::new() } else { of(|dot| dot.min) },
        max: if is_plain { Vec::new() } else { of(|dot| dot.max) },
    }
}

/// Six digits: more cannot be seen, and weigh.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

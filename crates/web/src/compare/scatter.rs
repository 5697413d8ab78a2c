//! Any param or metric against any other.

use crate::address::Asked;
use crate::compare::diff::shown;
use crate::compare::{colour, name};
use crate::link;
use crate::plot::{Scale, Tick, place};
use crate::runs::{Choice, MainMetric};
use domain::entity::Run;
use serde::Serialize;

const SIZE: (f64, f64) = (640.0, 320.0);
/// top, right, bottom, left
const ROOM: (f64, f64, f64, f64) = (12.0, 16.0, 26.0, 60.0);

/// The picture.
#[derive(Debug, Serialize)]
pub(crate) struct Scatter {
    x: String,
    y: String,
    xs: Vec<Choice>,
    ys: Vec<Choice>,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    dots: Vec<Dot>,
    /// Runs without one of the two numbers.
    absent: usize,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: String,
    y: String,
    colour: usize,
    name: String,
    href: String,
    x_text: String,
    y_text: String,
}

fn number(run: &Run, name: &str) -> Option<f64> {
    let value = match name.split_once('.')? {
        ("metrics", key) => run.metrics.iter().find(|metric| metric.key == key)?.value,
        ("params", key) => run.params.iter().find(|param| param.key == key)?.value.parse().ok()?,
        _ => return None,
    };
    value.is_finite().then_some(value)
}

/// Of the two that the address names, else of the first param that differs and the main metric.
pub(crate) fn scatter(runs: &[Run], asked: &Asked, main: Option<&MainMetric>) -> Option<Scatter> {
    let params = runs.iter().flat_map(|run| &run.params).map(|param| format!("params.{}", param.key));
    let metrics = runs.iter().flat_map(|run| &run.metrics).map(|metric| format!("metrics.{}", metric.key));
    let mut names: Vec<String> = params.chain(metrics).collect();
    names.sort_by_key(|name| (name.starts_with("metrics."), name.clone()));
    names.dedup();
    names.retain(|name| runs.iter().any(|run| number(run, name).is_some()));
    let differs = |name: &&String| {
        let mut known = runs.iter().filter_map(|run| number(run, name));
        known.next().is_some_and(|first| known.any(|other| other != first))
    };
    let main = main.map(|main| format!("metrics.{}", main.key)).filter(|main| names.contains(main));
    let pick = |asked: Option<&str>| asked.and_then(|asked| names.iter().find(|name| *name == asked)).cloned();
    let y = pick(asked.one("sy")).or(main).or_else(|| names.iter().rev().find(differs).cloned())?;
    let x = pick(asked.one("sx")).or_else(|| names.iter().filter(|name| **name != y).find(differs).cloned())?;
    let (top, right, bottom, left) = (ROOM.0, SIZE.0 - ROOM.1, SIZE.1 - ROOM.2, ROOM.3);
    let across = Scale::new(runs.iter().filter_map(|run| number(run, &x)), false, (left + 8.0, right - 8.0))?;
    let up = Scale::new(runs.iter().filter_map(|run| number(run, &y)), false, (bottom - 8.0, top + 8.0))?;
    let dot = |(at, run): (usize, &Run)| {
        let (right, high) = (number(run, &x)?, number(run, &y)?);
        Some(Dot {
            x: place(across.at(right)?),
            y: place(up.at(high)?),
            colour: colour(at),
            name: name(run),
            href: link::run(&run.id),
            x_text: shown(right),
            y_text: shown(high),
        })
    };
    let dots: Vec<Dot> = runs.iter().enumerate().filter_map(dot).collect();
    let choices =
        |chosen: &str| names.iter().map(|name| Choice { value: name.clone(), text: name.clone(), is_on: name == chosen }).collect();
    Some(Scatter {
        xs: choices(&x),
        ys: choices(&y),
        width: SIZE.0,
        height: SIZE.1,
        left,
        right,
        bottom,
        x_ticks: across.ticks(6),
        y_ticks: up.ticks(5),
        absent: runs.len() - dots.len(),
        dots,
        x,
        y,
    })
}

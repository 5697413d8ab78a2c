//! Parallel coordinates: a line a run, an axis a param or metric that differs, the main metric last.

use crate::compare::{colour, name};
use crate::format::figure;
use crate::link;
use crate::plot::{Scale, Tick, line, place};
use crate::runs::MainMetric;
use domain::entity::Run;
use serde::Serialize;

/// Axes at most, and different words on one.
const AXES: usize = 10;
const WORDS: usize = 24;
const SIZE: (f64, f64) = (1_080.0, 320.0);
/// top, right, bottom, left
const ROOM: (f64, f64, f64, f64) = (40.0, 60.0, 16.0, 60.0);
/// Steps of the ramp that the main metric is shown in.
const RAMP: usize = 8;

/// The picture.
#[derive(Debug, Serialize)]
pub(crate) struct Parallel {
    width: f64,
    height: f64,
    axes: Vec<Axis>,
    lines: Vec<Line>,
    /// The lines are coloured by it.
    main: Option<String>,
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct Axis {
    title: String,
    kind: &'static str,
    x: String,
    top: f64,
    bottom: f64,
    ticks: Vec<Tick>,
}

#[derive(Debug, Serialize)]
struct Line {
    id: String,
    href: String,
    name: String,
    path: String,
    /// 0 to 7 of the ramp, where the main metric is known.
    shade: Option<usize>,
    colour: usize,
    title: String,
}

/// What an axis is made of: a number or a word of each run.
struct Side {
    title: String,
    kind: &'static str,
    texts: Vec<Option<String>>,
    numbers: Option<Vec<Option<f64>>>,
}

impl Side {
    fn params(runs: &[Run], key: &str) -> Self {
        let texts: Vec<Option<String>> =
            runs.iter().map(|run| run.params.iter().find(|param| param.key == key).map(|param| param.value.clone())).collect();
        let numbers: Vec<Option<f64>> =
            texts.iter().map(|text| text.as_ref()?.parse::<f64>().ok().filter(|value| value.is_finite())).collect();
        let is_number = texts.iter().zip(&numbers).all(|(text, number)| text.is_some() == number.is_some());
        Side { title: key.into(), kind: "param", texts, numbers: is_number.then_some(numbers) }
    }

    fn metric(runs: &[Run], key: &str) -> Self {
        let value = |run: &Run| run.metrics.iter().find(|metric| metric.key == key).map(|metric| metric.value);
        let numbers: Vec<Option<f64>> = runs.iter().map(|run| value(run).filter(|value| value.is_finite())).collect();
        Side { title: key.into(), kind: "metric", texts: numbers.iter().map(|value| value.map(figure)).collect(), numbers: Some(numbers) }
    }

    fn differs(&self) -> bool {
        self.texts.windows(2).any(|pair| pair[0] != pair[1])
    }

    /// The different words, in order.
    fn words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = self.texts.iter().flatten().map(String::as_str).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    fn is_drawn(&self) -> bool {
        self.differs() && (self.numbers.is_some() || self.words().len() <= WORDS)
    }

    /// The place of every run on the axis, and its ticks.
    fn places(&self, top: f64, bottom: f64) -> Option<(Vec<Option<f64>>, Vec<Tick>)> {
        if let Some(numbers) = &self.numbers {
            let known = || numbers.iter().flatten().copied();
            let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
            let is_log = self.kind == "param" && least > 0.0 && most / least >= 100.0;
            let scale = Scale::new(known(), is_log, (bottom, top))?;
            return Some((numbers.iter().map(|value| scale.at((*value)?)).collect(), scale.ticks(5)));
        }
        let words = self.words();
        let at = |n: usize| {
            if words.len() < 2 { f64::midpoint(top, bottom) } else { bottom - (bottom - top) * n as f64 / (words.len() - 1) as f64 }
        };
        let ticks = words.iter().enumerate().map(|(n, word)| Tick { at: place(at(n)), text: word.chars().take(16).collect() }).collect();
        let places = self.texts.iter().map(|text| Some(at(words.iter().position(|word| Some(*word) == text.as_deref())?)));
        Some((places.collect(), ticks))
    }
}

pub(crate) fn parallel(runs: &[Run], main: Option<&MainMetric>) -> Option<Parallel> {
    if runs.len() < 2 {
        return None;
    }
    let mut keys: Vec<&str> = runs.iter().flat_map(|run| &run.params).map(|param| param.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut sides: Vec<Side> = keys.into_iter().map(|key| Side::params(runs, key)).filter(Side::is_drawn).collect();
    let room = AXES - 1;
    let left_out = sides.len().saturating_sub(room);
    sides.truncate(room);
    let mut metrics: Vec<&str> = runs.iter().flat_map(|run| &run.metrics).map(|metric| metric.key.as_str()).collect();
    metrics.sort_unstable();
    metrics.dedup();
    metrics.retain(|key| !key.starts_with("system/") && main.is_none_or(|main| main.key != *key));
    let more = metrics.into_iter().map(|key| Side::metric(runs, key)).filter(Side::is_drawn).take(room.saturating_sub(sides.len()).min(3));
    sides.extend(more.collect::<Vec<_>>());
    let last = main.map(|main| Side::metric(runs, &main.key)).filter(Side::is_drawn);
    let shades = main.zip(last.as_ref()).map(|(main, side)| shades(side, main));
    sides.extend(last);
    if sides.len() < 2 {
        return None;
    }
    let (top, bottom) = (ROOM.0, SIZE.1 - ROOM.2);
    let gap = (SIZE.0 - ROOM.1 - ROOM.3) / (sides.len() - 1) as f64;
    let placed: Vec<_> =
        sides.iter().enumerate().filter_map(|(at, side)| Some((ROOM.3 + at as f64 * gap, side, side.places(top, bottom)?))).collect();
    let axes = placed.iter().map(|(x, side, (_, ticks))| Axis {
        title: side.title.chars().take(22).collect(),
        kind: side.kind,
        x: place(*x),
        top,
        bottom,
        ticks: ticks.clone(),
    });
    let drawn = |(at, run): (usize, &Run)| Line {
        id: run.id.to_string(),
        href: link::run(&run.id),
        name: name(run),
        path: line(placed.iter().map(|(x, _, (places, _))| Some((*x, places[at]?)))),
        shade: shades.as_ref().and_then(|shades| shades[at]),
        colour: colour(at),
        title: sides
            .iter()
            .map(|side| format!("{} {}", side.title, side.texts[at].as_deref().unwrap_or("–")))
            .collect::<Vec<_>>()
            .join(", "),
    };
    Some(Parallel {
        width: SIZE.0,
        height: SIZE.1,
        axes: axes.collect(),
        lines: runs.iter().enumerate().map(drawn).collect(),
        main: main.map(|main| main.key.clone()),
        left_out,
    })
}

/// By rank, so that one run far off does not make the others alike; the best is the last shade.
fn shades(side: &Side, main: &MainMetric) -> Vec<Option<usize>> {
    let numbers = side.numbers.clone().unwrap_or_default();
    let mut sorted: Vec<f64> = numbers.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    if main.is_less_better {
        sorted.reverse();
    }
    let rank = |value: f64| sorted.iter().position(|known| *known == value).unwrap_or(0);
    numbers.iter().map(|value| value.map(|value| rank(value) * (RAMP - 1) / (sorted.len() - 1).max(1))).collect()
}

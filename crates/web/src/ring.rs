//! The ring of stations: where each stands, and the arrows between them.

use crate::facts::Station;
use crate::line::Line;
use crate::{WebState, log};
use domain::Fault;
use serde::Serialize;

/// The ring's radius and middle, in units of a 400 x 400 picture.
const RADIUS: f64 = 148.0;
const MIDDLE: f64 = 200.0;
/// Degrees that an arrow keeps away from the station that it leaves and the one that it reaches.
const LEAVE: f64 = 14.0;
const REACH: f64 = 19.0;

/// A station with its place.
#[derive(Debug, Serialize)]
pub(crate) struct Spot {
    pub key: &'static str,
    pub title: String,
    pub state: &'static str,
    pub headline: String,
    pub detail: Vec<(String, String)>,
    /// The newest event of its topic.
    pub last: Option<Line>,
    pub x: String,
    pub y: String,
    /// The title stands outside the ring.
    pub label_x: i32,
    pub label_anchor: &'static str,
    /// The arrow to the next station.
    pub arrow: String,
}

/// The loop at a glance.
#[derive(Debug, Serialize)]
pub(crate) struct Ring {
    pub spots: Vec<Spot>,
    /// The worst that a station says.
    pub overall: &'static str,
    pub head: String,
}

/// Reads the stations and places them.
pub(crate) fn ring(state: &WebState) -> Result<Ring, Fault> {
    let stations = state.facts.stations()?;
    let mut last = log::last_of_each(state)?;
    let overall = ["warn", "busy", "ok"].into_iter().find(|word| stations.iter().any(|station| station.state.word() == *word));
    let all = stations.len().max(1) as f64;
    let spots = stations.into_iter().enumerate().map(|(at, station)| {
        let newest = last.remove(&station.topic).map(|recorded| Line::from(&recorded));
        place(station, newest, 30.0 + at as f64 * 360.0 / all, 360.0 / all)
    });
    let spots = spots.collect();
    Ok(Ring { spots, overall: overall.unwrap_or("idle"), head: crate::format::count(*state.store.head().borrow()) })
}

/// `angle`: degrees, clockwise from the top; `step`: to the next station.
fn place(station: Station, last: Option<Line>, angle: f64, step: f64) -> Spot {
    let point = |degrees: f64| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        (format!("{:.1}", MIDDLE + RADIUS * sin), format!("{:.1}", MIDDLE - RADIUS * cos))
    };
    let (x, y) = point(angle);
    let is_right = angle < 180.0;
    let (from, to) = (point(angle + LEAVE), point(angle + step - REACH));
    Spot {
        key: log::word(station.topic),
        title: station.title,
        state: station.state.word(),
        headline: station.headline,
        detail: station.detail,
        last,
        x,
        y,
        label_x: if is_right { 37 } else { -37 },
        label_anchor: if is_right { "start" } else { "end" },
        arrow: format!("M{} {}A{RADIUS} {RADIUS} 0 0 1 {} {}", from.0, from.1, to.0, to.1),
    }
}

//! Windows of a model over time, as a picture and as its table.

use crate::format::{figure, maybe, range, time};
use crate::plot::{nice, place};
use domain::entity::{FeatureDrift, Promotion, Window, WindowKind};
use domain::{Range, Timestamp, Verdict};
use serde::Serialize;

/// The picture's size, and the room around the plot.
const SIZE: (f64, f64) = (920.0, 300.0);
const ROOM: (f64, f64, f64, f64) = (26.0, 14.0, 34.0, 54.0); // top, right, bottom, left
/// A date's width.
const DATE_WIDTH: f64 = 72.0;
/// Columns of the drift table.
const COLUMNS: usize = 14;

/// The main metric, window by window, beside the bar that it is judged by.
#[derive(Debug, Serialize)]
pub(crate) struct WindowChart {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    metric: String,
    marks: Vec<Mark>,
    champions: Vec<Flag>,
    /// From the opening of the incident to its end.
    shade: Option<(String, String)>,
    y_ticks: Vec<(String, String)>,
    x_ticks: Vec<(String, String)>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Mark {
    x1: String,
    x2: String,
    x: String,
    /// `None`: there is no figure.
    y: Option<String>,
    /// The bar.
    bar_y: Option<String>,
    verdict: &'static str,
    is_whole: bool,
    title: String,
}

/// A change of champion.
#[derive(Debug, Serialize)]
struct Flag {
    x: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct Row {
    window: String,
    version: u64,
    value: String,
    bar: String,
    labelled: u64,
    verdict: &'static str,
    why: String,
    is_evidence: bool,
}

/// What a chart is drawn from.
pub(crate) struct Scene<'a> {
    pub windows: &'a [Window],
    pub promotions: &'a [Promotion],
    /// What is looked at.
    pub span: Range,
    /// The time of the incident; one that is open has no end.
    pub shade: Option<(Timestamp, Option<Timestamp>)>,
    pub evidence: &'a [Range],
}

impl Scene<'_> {
    /// The judged performance windows within the span, in order.
    fn performance(&self) -> Vec<&Window> {
        let mut shown: Vec<_> = self.windows.iter().filter(|window| window.kind == WindowKind::Performance && self.shows(window)).collect();
        shown.sort_by_key(|window| (window.range.from, window.version));
        shown
    }

    fn shows(&self, window: &Window) -> bool {
        window.range.from < self.span.to && window.range.to > self.span.from && window.verdict.is_some()
    }

    fn x(&self, at: Timestamp) -> f64 {
        let share = (at - self.span.from).ms() as f64 / ((self.span.to - self.span.from).ms() as f64).max(1.0);
        ROOM.3 + share.clamp(0.0, 1.0) * (SIZE.0 - ROOM.3 - ROOM.1)
    }

    /// `None` when no performance window is in sight.
    pub(crate) fn chart(&self) -> Option<WindowChart> {
        let shown = self.performance();
        let metric = shown.iter().find_map(|window| window.performance.as_ref())?.metric.clone();
        let figures =
            shown.iter().filter_map(|window| window.performance.as_ref()).flat_map(|found| [found.value, found.threshold]).flatten();
        let top = figures.filter(|figure| figure.is_finite()).fold(0.0, f64::max);
        let step = nice(top / 4.0);
        let most = (top / step).ceil().max(1.0) * step;
        let bottom = SIZE.1 - ROOM.2;
        let y = |value: f64| bottom - (value / most).clamp(0.0, 1.0) * (bottom - ROOM.0);
        let ticks = (0..=(most / step).round() as u32).map(|at| f64::from(at) * step);
        let shade = self.shade.map(|(from, to)| {
            let (from, to) = (self.x(from), self.x(to.unwrap_or(self.span.to)));
            (place(from), place((to - from).max(1.0)))
        });
        Some(WindowChart {
            width: SIZE.0,
            height: SIZE.1,
            left: ROOM.3,
            right: SIZE.0 - ROOM.1,
            top: ROOM.0,
            bottom,
            metric,
            marks: shown.iter().map(|window| self.mark(window, &y)).collect(),
            champions: self.flags(),
            shade,
            y_ticks: ticks.map(|value| (place(y(value)), figure(value))).collect(),
            x_ticks: self.dates(&shown),
            rows: shown.iter().map(|window| self.row(window)).collect(),
        })
    }

    fn mark(&self, window: &Window, y: &impl Fn(f64) -> f64) -> Mark {
        let (x1, x2) = (self.x(window.range.from), self.x(window.range.to));
        let found = window.performance.as_ref();
        let value = found.and_then(|found| found.value).filter(|value| value.is_finite());
        let said = window.why.as_deref().unwrap_or_default();
        Mark {
            x1: place(x1 + 1.0),
            x2: place(x2 - 1.0),
            x: place(f64::midpoint(x1, x2)),
            y: value.map(|value| place(y(value))),
            bar_y: found.and_then(|found| found.threshold).map(|bar| place(y(bar))),
            verdict: window.verdict.map_or("inconclusive", Verdict::word),
            is_whole: window.whole,
            title: format!("{}, version {}: {}. {said}", range(window.range), window.version, maybe(value)),
        }
    }

    fn flags(&self) -> Vec<Flag> {
        let seen = self.promotions.iter().filter(|promotion| self.span.contains(promotion.at));
        seen.map(|promotion| Flag { x: place(self.x(promotion.at)), text: format!("v{}", promotion.version) }).collect()
    }

    /// At most eight dates, at the windows' beginnings.
    fn dates(&self, shown: &[&Window]) -> Vec<(String, String)> {
        let mut starts: Vec<Timestamp> = shown.iter().map(|window| window.range.from).filter(|from| *from >= self.span.from).collect();
        starts.dedup();
        let every = starts.len().div_ceil(8).max(1);
        let fits = |at: &f64| *at < SIZE.0 - DATE_WIDTH;
        starts
            .into_iter()
            .step_by(every)
            .map(|from| (self.x(from), time(from)))
            .filter(|(at, _)| fits(at))
            .map(|(at, text)| (place(at), text))
            .collect()
    }

    fn row(&self, window: &Window) -> Row {
        let found = window.performance.as_ref();
        Row {
            window: range(window.range),
            version: window.version.0,
            value: maybe(found.and_then(|found| found.value)),
            bar: maybe(found.and_then(|found| found.threshold)),
            labelled: found.map_or(0, |found| found.labelled),
            verdict: window.verdict.map_or("inconclusive", Verdict::word),
            why: window.why.clone().unwrap_or_default(),
            is_evidence: self.evidence.contains(&window.range),
        }
    }

    /// What drifted: a row a feature, a column a window; only features that moved beyond their threshold at least once.
    pub(crate) fn drift(&self) -> Option<DriftTable> {
        let mut shown: Vec<_> = self.windows.iter().filter(|window| window.kind == WindowKind::Input && self.shows(window)).collect();
        shown.sort_by_key(|window| (window.range.from, window.version));
        let shown = &shown[shown.len().saturating_sub(COLUMNS)..];
        let mut moved: Vec<&FeatureDrift> = Vec::new();
        let told = shown.iter().filter(|window| window.verdict != Some(Verdict::Inconclusive));
        for drift in told.flat_map(|window| &window.drift).filter(|drift| drift.verdict == Verdict::Fail) {
            if !moved.iter().any(|known| known.feature == drift.feature) {
                moved.push(drift);
            }
        }
        if moved.is_empty() {
            return None;
        }
        let rows = moved.iter().map(|drift| DriftRow {
            feature: drift.feature.clone(),
            statistic: drift.statistic.clone(),
            cells: shown.iter().map(|window| cell(window, &drift.feature)).collect(),
        });
        let heads = shown.iter().map(|window| Head {
            from: short(window.range.from),
            version: window.version.0,
            title: format!("{}: {}", range(window.range), window.why.as_deref().unwrap_or_default()),
        });
        Some(DriftTable { windows: heads.collect(), rows: rows.collect() })
    }
}

/// What a window says of a feature; one that is no evidence convicts nobody.
fn cell(window: &Window, feature: &str) -> Cell {
    let Some(drift) = window.drift.iter().find(|drift| drift.feature == feature) else {
        return Cell { verdict: "none", value: maybe(None), title: "not compared".into() };
    };
    let is_evidence = window.verdict != Some(Verdict::Inconclusive);
    Cell {
        verdict: if is_evidence { drift.verdict.word() } else { Verdict::Inconclusive.word() },
        value: maybe(drift.value),
        title: format!("at most {}, {}", figure(drift.threshold), drift.threshold_what),
    }
}

/// Month and day of a midnight.
fn short(at: Timestamp) -> String {
    let text = time(at);
    if text.len() == "2011-04-12".len() { text[5..].to_owned() } else { text }
}

/// Drift by feature and window.
#[derive(Debug, Serialize)]
pub(crate) struct DriftTable {
    windows: Vec<Head>,
    rows: Vec<DriftRow>,
}

#[derive(Debug, Serialize)]
struct Head {
    from: String,
    version: u64,
    title: String,
}

#[derive(Debug, Serialize)]
struct DriftRow {
    feature: String,
    statistic: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
struct Cell {
    verdict: &'static str,
    value: String,
    title: String,
}

//! Latencies over time as a heat map, and what failed below it.

use super::latency;
use crate::format::time;
use ::serving::{MINUTES, Minute};
use domain::Timestamp;
use ports::{Behaviour, Failure};
use serde::Serialize;
use stats::latency::{BUCKETS, end_us};

/// Columns: a minute each, or three where there are more minutes than columns.
const COLUMNS: usize = 60;
/// Buckets of a row: a latency doubles.
const DOUBLING: usize = 4;
const CELL: f64 = 14.0;
const ROW: f64 = 16.0;
const LEFT: f64 = 64.0;
/// Height of the strip of errors.
const STRIP: f64 = 26.0;
const GAP: f64 = 10.0;

/// The picture.
#[derive(Serialize)]
pub(super) struct Heat {
    width: f64,
    height: f64,
    left: f64,
    cell: f64,
    row: f64,
    rows: Vec<Tick>,
    columns: Vec<Tick>,
    cells: Vec<Cell>,
    errors: Vec<Bar>,
    /// Where the strip begins and ends.
    strip: (f64, f64),
    text: String,
}

#[derive(Serialize)]
struct Tick {
    at: f64,
    text: String,
}

#[derive(Serialize)]
struct Cell {
    x: f64,
    y: f64,
    /// 0.1 to 1: the count, on a scale of logarithms.
    shade: String,
    title: String,
}

#[derive(Serialize)]
struct Bar {
    x: f64,
    y: String,
    height: String,
    title: String,
}

/// Up to `now`; `None` where nothing was asked.
pub(super) fn of(minutes: &[Minute], now: Timestamp) -> Option<Heat> {
    // A clock that was set back may have left newer minutes.
    let newest = minutes.last()?.at.max(now).ms().div_euclid(60_000);
    let oldest = minutes[0].at.ms().div_euclid(60_000);
    let step = if newest - oldest < COLUMNS as i64 { 1 } else { MINUTES / COLUMNS };
    let first = newest - (COLUMNS * step) as i64 + 1;
    let mut columns: Vec<Behaviour> = vec![Behaviour::default(); COLUMNS];
    for minute in minutes {
        let place = minute.at.ms().div_euclid(60_000) - first;
        if let Some(column) = usize::try_from(place).ok().and_then(|place| columns.get_mut(place / step)) {
            column.add(&minute.seen);
        }
    }
    let rows: Vec<[u64; BUCKETS.div_ceil(DOUBLING)]> = columns.iter().map(by_doubling).collect();
    let used = |row: &usize| rows.iter().any(|column| column[*row] > 0);
    let all = 0..BUCKETS.div_ceil(DOUBLING);
    let low = all.clone().find(used).unwrap_or(0);
    let high = all.rev().find(used).unwrap_or(low);
    let most = rows.iter().flatten().copied().max().unwrap_or(0).max(1) as f64;
    let x = |column: usize| LEFT + column as f64 * CELL;
    let y = |row: usize| (high - row) as f64 * ROW;
    let at = |column: usize| time(Timestamp::from_ms((first + (column * step) as i64) * 60_000));
    let mut cells = Vec::new();
    for (column, counts) in rows.iter().enumerate() {
        for row in (low..=high).filter(|row| counts[*row] > 0) {
            let shade = 0.12 + 0.88 * (counts[row] as f64).ln_1p() / most.ln_1p();
            let title = format!("{}: {} up to {}", at(column), counts[row], latency(end(row)));
            cells.push(Cell { x: x(column), y: y(row), shade: format!("{shade:.2}"), title });
        }
    }
    let bottom = y(low) + ROW;
    let strip = (bottom + GAP, bottom + GAP + STRIP);
    let failed = columns.iter().enumerate().filter(|(_, column)| column.errors() > 0);
    let errors = failed.map(|(column, seen)| {
        let height = (STRIP * seen.error_rate().unwrap_or(0.0)).max(3.0);
        let kinds = Failure::ALL.into_iter().filter(|failure| *failure != Failure::Refused && seen.failures[*failure as usize] > 0);
        let kinds: Vec<String> = kinds.map(|failure| format!("{} {}", seen.failures[failure as usize], failure.word())).collect();
        let title = format!("{}: {} of {} failed: {}", at(column), seen.errors(), seen.requests, kinds.join(", "));
        Bar { x: x(column), y: format!("{:.1}", strip.1 - height), height: format!("{height:.1}"), title }
    });
    let count: u64 = columns.iter().map(|column| column.requests).sum();
    Some(Heat {
        width: LEFT + COLUMNS as f64 * CELL,
        height: strip.1 + 20.0,
        left: LEFT,
        cell: CELL - 1.0,
        row: ROW - 1.0,
        rows: (low..=high).map(|row| Tick { at: y(row) + ROW / 2.0, text: latency(end(row)) }).collect(),
        columns: (0..COLUMNS).step_by(COLUMNS / 6).map(|column| Tick { at: x(column), text: hour(&at(column)) }).collect(),
        errors: errors.collect(),
        text: match step {
            1 => format!("latencies of {count} requests in the last hour, by minute"),
            _ => format!("latencies of {count} requests in the last {} hours, by {step} minutes", MINUTES / 60),
        },
        cells,
        strip,
    })
}

fn by_doubling(seen: &Behaviour) -> [u64; BUCKETS.div_ceil(DOUBLING)] {
    let mut rows = [0; BUCKETS.div_ceil(DOUBLING)];
    for (bucket, count) in seen.latency.counts().iter().enumerate() {
        rows[bucket.div_ceil(DOUBLING).min(rows.len() - 1)] += count;
    }
    rows
}

/// The hour and minute of a time as it is told.
fn hour(told: &str) -> String {
    told.split_once(' ').map_or(told, |(_, hour)| hour).chars().take(5).collect()
}

/// Where a row's last bucket ends, in µs.
fn end(row: usize) -> f64 {
    end_us(row * DOUBLING)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_latency_has_its_row_and_each_minute_its_column() {
        let time = |at: i64| Timestamp::from_ms(60_000 * (28_000_000 + at));
        let minute = |at: i64, us: &[u64], failed: u64| {
            let mut seen = Behaviour { requests: us.len() as u64 + failed, ..Behaviour::default() };
            us.iter().for_each(|us| seen.latency.record(*us));
            seen.failures[Failure::Timeout as usize] = failed;
            Minute { at: time(at), seen }
        };
        assert!(of(&[], time(0)).is_none());
        let minutes = [minute(0, &[900, 1_000, 70_000], 0), minute(178, &[1_000], 1), minute(179, &[1_100; 9], 0)];
        let heat = of(&minutes, time(179)).unwrap();
        // 900 µs and 1 ms lie in [640 µs, 1.28 ms), 70 ms lies six doublings above.
        assert_eq!(heat.cells.len(), 3);
        assert_eq!((heat.cells[0].x, heat.cells[0].y), (LEFT, 6.0 * ROW));
        assert_eq!((heat.cells[1].y, heat.cells[1].title.ends_with(": 1 up to 82 ms")), (0.0, true));
        assert_eq!((heat.cells[2].x, heat.cells[2].shade.as_str()), (LEFT + 59.0 * CELL, "1.00"));
        assert!(heat.errors.len() == 1 && heat.errors[0].title.contains("1 of 11 failed: 1 timeout"), "{}", heat.errors[0].title);
        // Nothing came for half an hour: the picture ends now all the same.
        let later = of(&minutes[1..], time(179 + 30)).unwrap();
        assert_eq!((later.cells.last().unwrap().x, later.text.contains("in the last hour")), (LEFT + 29.0 * CELL, true));
    }
}

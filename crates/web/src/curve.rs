//! A metric's points, thinned so that a picture of them is still true.

use crate::format::{count, counted, time};
use domain::Timestamp;
use domain::entity::Metric;
use serde::Serialize;

/// A curve as the page holds it: the table is the data, the picture is drawn from it.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    pub key: String,
    /// `step` or `time`.
    pub axis: &'static str,
    pub points: Vec<Point>,
    /// How many of how many points these are.
    pub note: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Point {
    /// The step, or seconds since 1970.
    pub x: f64,
    pub x_text: String,
    pub y: f64,
}

/// The curve of a metric's history in at most `most` points; `None` if there are fewer than two points to draw.
pub(crate) fn curve(key: &str, history: &[Metric], most: usize) -> Option<Curve> {
    let by_step = history.iter().any(|point| point.step != history[0].step);
    let x = |point: &Metric| if by_step { point.step as f64 } else { point.time.ms() as f64 / 1000.0 };
    let mut drawn: Vec<(f64, f64)> = history.iter().filter(|point| point.value.is_finite()).map(|point| (x(point), point.value)).collect();
    if drawn.len() < 2 {
        return None;
    }
    drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
    let thinned = thin(&drawn, most);
    let mut note = match thinned.len() == drawn.len() {
        true => format!("all {}", counted(drawn.len() as u64, "point")),
        false => {
            format!("{} of {} points: the least and the greatest of each stretch", count(thinned.len() as u64), count(drawn.len() as u64))
        }
    };
    if drawn.len() < history.len() {
        note.push_str(&format!("; {} not finite and not drawn", count((history.len() - drawn.len()) as u64)));
    }
    let text = |x: f64| if by_step { format!("{x}") } else { time(Timestamp::from_ms((x * 1000.0) as i64)) };
    let points = thinned.into_iter().map(|(x, y)| Point { x, x_text: text(x), y }).collect();
    Some(Curve { key: key.into(), axis: if by_step { "step" } else { "time" }, points, note })
}

/// At most `most` of the points (`most` at least 4): the first, the last, and the least and the greatest of equal stretches between.
///
/// No spike is lost, and none is invented: every point that stays is one that was logged.
pub(crate) fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let [first, inner @ .., last] = points else { return points.to_vec() };
    let stretches = ((most - 2) / 2).max(1);
    let mut kept = vec![*first];
    for stretch in 0..stretches {
        let piece = &inner[stretch * inner.len() / stretches..(stretch + 1) * inner.len() / stretches];
        let extreme =
            |better: fn(f64, f64) -> bool| (1..piece.len()).fold(0, |best, at| if better(piece[at].1, piece[best].1) { at } else { best });
        let (low, high) = (extreme(|a, b| a < b), extreme(|a, b| a > b));
        kept.push(piece[low.min(high)]);
        if low != high {
            kept.push(piece[low.max(high)]);
        }
    }
    kept.push(*last);
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn metric(step: i64, ms: i64, value: f64) -> Metric {
        Metric { key: "loss".into(), value, time: Timestamp::from_ms(ms), step, model_id: None, dataset_name: None, dataset_digest: None }
    }

    #[test]
    fn thinning_keeps_ends_and_spikes_and_invents_nothing() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|at| (f64::from(at), f64::from(at % 7))).collect();
        points[4_321].1 = 99.0;
        points[8_765].1 = -99.0;
        for most in [4, 5, 100, 400] {
            let thinned = thin(&points, most);
            assert!(thinned.len() <= most, "{most}: {}", thinned.len());
            assert!(thinned.iter().all(|point| points.contains(point)));
            assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, none twice");
            assert_eq!((thinned[0], *thinned.last().unwrap()), (points[0], points[9_999]));
            if most >= 8 {
                assert!(thinned.contains(&(4_321.0, 99.0)) && thinned.contains(&(8_765.0, -99.0)));
            }
        }
        assert_eq!(thin(&points[..50], 50), &points[..50]);
    }

    #[test]
    fn a_curve_says_how_much_of_the_history_it_is() {
        let history: Vec<_> = (0..1_000).map(|at| metric(at, 0, if at == 500 { f64::NAN } else { at as f64 })).collect();
        let drawn = curve("loss", &history, 100).unwrap();
        assert!(drawn.note.contains("of 999 points") && drawn.note.contains("1 not finite"), "{}", drawn.note);
        assert_eq!(drawn.axis, "step");
        assert!(curve("loss", &history[..1], 100).is_none());
        assert!(curve("loss", &[], 100).is_none());
        let by_time: Vec<_> = (0..3).map(|at| metric(0, at * 60_000, 1.0)).collect();
        let drawn = curve("loss", &by_time, 100).unwrap();
        assert_eq!((drawn.axis, drawn.note.as_str(), drawn.points[1].x_text.as_str()), ("time", "all 3 points", "1970-01-01 00:01"));
    }
}

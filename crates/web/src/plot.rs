//! Scales, ticks and lines of pictures that the server draws: what a reader without JavaScript sees, and what prints.

use crate::format::figure;
use serde::Serialize;
use std::fmt::Write as _;

/// From values to places along one side of a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// Places of the lowest and the highest value.
    side: (f64, f64),
}

/// A place and what stands there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Tick {
    pub at: String,
    pub text: String,
}

impl Scale {
    /// Over the values that can be shown; `None` if there are none. A logarithm shows only what is greater than zero.
    pub(crate) fn new(values: impl Iterator<Item = f64>, is_log: bool, side: (f64, f64)) -> Option<Self> {
        let shown = values.filter(|value| value.is_finite() && (!is_log || *value > 0.0));
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        let room = if is_log { low * 0.5 } else { (low.abs() * 0.1).max(0.5) };
        let (low, high) = if low == high { (low - room, high + room) } else { (low, high) };
        Some(Scale { low, high, is_log, side })
    }

    /// The place of a value; `None` if it has none.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.is_log && value <= 0.0) {
            return None;
        }
        let share = match self.is_log {
            true => (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
            false => (value - self.low) / (self.high - self.low),
        };
        Some(self.side.0 + share * (self.side.1 - self.side.0))
    }

    /// Round values, about `most` of them.
    pub(crate) fn ticks(&self, most: usize) -> Vec<Tick> {
        let values: Vec<f64> = match self.is_log {
            true => {
                let (from, to) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
                let every = ((to - from).max(0) as usize / most.max(1) + 1).max(1);
                let tens: Vec<f64> = (from..=to).step_by(every).map(|exponent| 10f64.powi(exponent)).collect();
                if tens.len() < 2 { vec![self.low, self.high] } else { tens }
            }
            false => {
                let step = nice((self.high - self.low) / most.max(1) as f64);
                let first = (self.low / step).ceil();
                let last = (self.high / step).floor();
                (0..=((last - first).max(0.0) as usize).min(2 * most)).map(|n| (first + n as f64) * step).collect()
            }
        };
        values.into_iter().filter_map(|value| Some(Tick { at: place(self.at(value)?), text: figure(clean(value)) })).collect()
    }
}

/// Without the dust of floating point around zero.
fn clean(value: f64) -> f64 {
    if value.abs() < 1e-12 { 0.0 } else { value }
}

/// A line through points; where there is none, it is broken.
pub(crate) fn line(points: impl Iterator<Item = Option<(f64, f64)>>) -> String {
    let (mut path, mut is_drawing) = (String::new(), false);
    for point in points {
        if let Some((x, y)) = point {
            write!(path, "{}{x:.1} {y:.1}", if is_drawing { 'L' } else { 'M' }).expect("writing into a string does not fail");
        }
        is_drawing = point.is_some();
    }
    path
}

/// A coordinate.
pub(crate) fn place(x: f64) -> String {
    format!("{x:.1}")
}

/// The next of 1, 2, 2.5, 5 and their tenfolds.
pub(crate) fn nice(step: f64) -> f64 {
    if step <= 0.0 || !step.is_finite() {
        return 1.0;
    }
    let ten = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * ten).find(|nice| *nice >= step).unwrap_or(10.0 * ten)
}

/// The moving average that a slider of 0 to 0.99 asks for, without the pull towards zero of its first points. What is no number is
/// passed over.
pub(crate) fn smooth(values: &[f64], weight: f64) -> Vec<f64> {
    let (mut sum, mut power) = (0.0, 1.0);
    let step = |value: &f64| {
        if !value.is_finite() {
            return *value;
        }
        sum = sum * weight + value * (1.0 - weight);
        power *= weight;
        sum / (1.0 - power)
    };
    if weight <= 0.0 { values.to_vec() } else { values.iter().map(step).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn steps_between_ticks_are_round() {
        for (step, round) in [(0.0, 1.0), (0.7, 1.0), (1.1, 2.0), (2.1, 2.5), (3.0, 5.0), (26.0, 50.0), (0.012, 0.02)] {
            assert!((nice(step) - round).abs() < 1e-12, "{step}: {}", nice(step));
        }
    }

    #[test]
    fn a_scale_has_a_place_for_what_it_can_show() {
        let scale = Scale::new([0.0, 10.0, f64::NAN].into_iter(), false, (100.0, 0.0)).unwrap();
        assert_eq!((scale.at(0.0), scale.at(10.0), scale.at(f64::INFINITY)), (Some(100.0), Some(0.0), None));
        assert_eq!(scale.ticks(4).iter().map(|tick| tick.text.as_str()).collect::<Vec<_>>(), ["0", "2.5", "5", "7.5", "10"]);
        let log = Scale::new([-1.0, 0.01, 100.0].into_iter(), true, (0.0, 4.0)).unwrap();
        assert!(log.at(1.0).is_some_and(|at| (at - 2.0).abs() < 1e-9) && log.at(0.0).is_none());
        assert_eq!(log.ticks(9).len(), 5);
        assert!(Scale::new([f64::NAN].into_iter(), false, (0.0, 1.0)).is_none());
        assert!(Scale::new([3.0].into_iter(), false, (0.0, 1.0)).unwrap().at(3.0).is_some_and(|at| (at - 0.5).abs() < 1e-9));
    }

    #[test]
    fn smoothing_starts_at_the_first_value_and_passes_over_gaps() {
        assert_eq!(smooth(&[4.0, 8.0], 0.0), [4.0, 8.0]);
        let smoothed = smooth(&[4.0, f64::NAN, 8.0], 0.5);
        assert!((smoothed[0] - 4.0).abs() < 1e-12 && smoothed[1].is_nan() && (smoothed[2] - 20.0 / 3.0).abs() < 1e-12);
        assert_eq!(line([Some((0.0, 1.0)), None, Some((2.0, 3.0)), Some((3.0, 3.0))].into_iter()), "M0.0 1.0M2.0 3.0L3.0 3.0");
    }
}

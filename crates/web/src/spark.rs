//! A metric's course in a few pixels.

use ports::Curve;
use serde::Serialize;
use std::fmt::Write as _;

/// The picture's size.
const SIZE: (f64, f64) = (72.0, 18.0);
/// Points that are drawn.
pub(crate) const POINTS: usize = 36;

/// A sparkline: the path of the values, and where the last one is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Spark {
    pub width: f64,
    pub height: f64,
    pub path: String,
    pub end: (String, String),
}

/// The last value of each bucket that has a number; fewer than two of them give no picture.
pub(crate) fn spark(curve: &Curve) -> Option<Spark> {
    draw(&curve.buckets.iter().map(|bucket| (bucket.last.step as f64, bucket.last.value)).collect::<Vec<_>>())
}

fn draw(values: &[(f64, f64)]) -> Option<Spark> {
    let drawn: Vec<(f64, f64)> = values.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let (first, last) = (drawn.first()?, drawn.last()?);
    if drawn.len() < 2 || last.0 <= first.0 {
        return None;
    }
    let low = drawn.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = drawn.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let height = if high > low { high - low } else { 1.0 };
    let x = |at: f64| 1.5 + (at - first.0) / (last.0 - first.0) * (SIZE.0 - 5.0);
    let y = |value: f64| SIZE.1 - 2.5 - (value - low) / height * (SIZE.1 - 5.0);
    let mut path = String::new();
    for (at, point) in drawn.iter().enumerate() {
        let sign = if at == 0 { 'M' } else { 'L' };
        write!(path, "{sign}{:.0} {:.1}", x(point.0), y(point.1)).expect("writing into a string does not fail");
    }
    Some(Spark { width: SIZE.0, height: SIZE.1, path, end: (format!("{:.0}", x(last.0)), format!("{:.1}", y(last.1))) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sparkline_stays_in_its_picture() {
        let spark = draw(&[(0.0, 5.0), (1.0, f64::NAN), (2.0, -7.0), (10.0, 9.0)]).unwrap();
        assert_eq!(spark.path, "M2 5.8L15 15.5L68 2.5");
        assert_eq!(spark.end, ("68".to_owned(), "2.5".to_owned()));
        assert!(draw(&[(0.0, 1.0)]).is_none() && draw(&[(0.0, 1.0), (0.0, 2.0)]).is_none());
        assert!(draw(&[(0.0, 1.0), (1.0, 1.0)]).is_some(), "a constant is a line");
    }
}

//! A metric of any length as a chart can show it, and the even sample that MLflow's clients ask for.

use domain::{OrderedNumber, Timestamp};
use std::collections::BTreeMap;

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    pub step: i64,
    pub time: Timestamp,
    /// May be NaN or infinite.
    pub value: f64,
}

/// The points of `from .. from + width`, told by four of them: no spike is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Its lowest step, a multiple of the width.
    pub from: i64,
    pub count: u64,
    /// How many of them are NaN.
    pub nans: u64,
    /// By step, time and value.
    pub first: CurvePoint,
    /// The earliest of the lowest numbers; NaN only if no point is a number.
    pub min: CurvePoint,
    /// The earliest of the highest numbers; NaN only if no point is a number.
    pub max: CurvePoint,
    pub last: CurvePoint,
}

/// A metric's history in buckets of equal width; buckets without a point are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Points in the whole history.
    pub points: u64,
    /// Steps that a bucket covers, a power of two: 1 if every step has a bucket of its own. As a run goes on, buckets are filled and
    /// later merged in pairs, but never moved.
    pub width: u64,
    pub buckets: Vec<Bucket>,
}

/// Puts points into buckets as they come, in any order; the memory it takes is that of the buckets.
#[derive(Debug)]
pub struct CurveBuilder {
    limit: u64,
    shift: u32,
    open: Option<(i64, Open)>,
    closed: BTreeMap<i64, Open>,
}

/// Step, time and value.
type Rank = (i64, i64, OrderedNumber);

#[derive(Clone, Copy, Debug)]
struct Open {
    count: u64,
    nans: u64,
    first: Rank,
    min: Rank,
    max: Rank,
    last: Rank,
}

impl CurveBuilder {
    /// At most `buckets` buckets, at least 2: steps on both sides of zero never share one.
    pub fn new(buckets: usize) -> Self {
        CurveBuilder { limit: (buckets as u64).max(2), shift: 0, open: None, closed: BTreeMap::new() }
    }

    /// Takes a point in.
    pub fn add(&mut self, step: i64, time: i64, value: OrderedNumber) {
        let (at, point) = (step >> self.shift, (step, time, value));
        match &mut self.open {
            Some((open, bucket)) if *open == at => bucket.add(point),
            _ => self.turn_to(at, Open::of(point)),
        }
    }

    /// The curve.
    pub fn finish(mut self) -> Curve {
        self.close();
        let buckets: Vec<_> = self.closed.iter().map(|(at, bucket)| bucket.told(at << self.shift)).collect();
        Curve { points: buckets.iter().map(|bucket| bucket.count).sum(), width: 1 << self.shift, buckets }
    }

    fn turn_to(&mut self, at: i64, point: Open) {
        self.close();
        self.open = Some((at, point));
        let lowest = self.closed.first_key_value().map_or(at, |(first, _)| at.min(*first));
        let highest = self.closed.last_key_value().map_or(at, |(last, _)| at.max(*last));
        let mut shift = self.shift;
        while (highest >> (shift - self.shift)).abs_diff(lowest >> (shift - self.shift)) >= self.limit {
            shift += 1;
        }
        self.widen(shift);
    }

    fn close(&mut self) {
        if let Some((at, bucket)) = self.open.take() {
            self.closed.entry(at).and_modify(|known| known.take(&bucket)).or_insert(bucket);
        }
    }

    fn widen(&mut self, shift: u32) {
        let by = shift - self.shift;
        if by == 0 {
            return;
        }
        for (at, bucket) in std::mem::take(&mut self.closed) {
            self.closed.entry(at >> by).and_modify(|known| known.take(&bucket)).or_insert(bucket);
        }
        self.open = self.open.take().map(|(at, bucket)| (at >> by, bucket));
        self.shift = shift;
    }
}

impl Open {
    fn of(rank: Rank) -> Self {
        Open { count: 1, nans: u64::from(is_nan(&rank)), first: rank, min: rank, max: rank, last: rank }
    }

    /// What `take` does with a bucket of one point, for a million of them.
    #[inline]
    fn add(&mut self, rank: Rank) {
        self.count += 1;
        if rank < self.first {
            self.first = rank;
        }
        if rank > self.last {
            self.last = rank;
        }
        let is_earlier = |than: &Rank| (rank.0, rank.1) < (than.0, than.1);
        if rank.2 < self.min.2 || (rank.2 == self.min.2 && is_earlier(&self.min)) {
            self.min = rank;
        }
        if is_nan(&rank) {
            self.nans += 1;
            if is_nan(&self.max) && (rank.2 > self.max.2 || (rank.2 == self.max.2 && is_earlier(&self.max))) {
                self.max = rank;
            }
        } else if rank.2 > self.max.2 || is_nan(&self.max) || (rank.2 == self.max.2 && is_earlier(&self.max)) {
            self.max = rank;
        }
    }

    fn take(&mut self, other: &Open) {
        self.count += other.count;
        self.nans += other.nans;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        let earliest = |rank: &Rank| (rank.0, rank.1);
        // NaN is above every number: the lowest is right without a word, the highest is not.
        if (other.min.2, earliest(&other.min)) < (self.min.2, earliest(&self.min)) {
            self.min = other.min;
        }
        let height = |rank: &Rank| (!is_nan(rank), rank.2, std::cmp::Reverse(earliest(rank)));
        if height(&other.max) > height(&self.max) {
            self.max = other.max;
        }
    }

    fn told(&self, from: i64) -> Bucket {
        let point = |rank: Rank| CurvePoint { step: rank.0, time: Timestamp::from_ms(rank.1), value: rank.2.get() };
        let (first, min, max, last) = (point(self.first), point(self.min), point(self.max), point(self.last));
        Bucket { from, count: self.count, nans: self.nans, first, min, max, last }
    }
}

fn is_nan(rank: &Rank) -> bool {
    rank.2.get().is_nan()
}

/// The places, of `count` points in order, that an even sample of at most `max` takes: the first of each of `max` parts of equal
/// size, larger parts first, and the last point of all. This is what MLflow 3.17 does in SQL (`NTILE`, first row of each, and the
/// last row in place of the last sampled one).
///
/// ```
/// assert_eq!(ports::sample(10, 4), [0, 3, 6, 9]);
/// assert_eq!(ports::sample(3, 4), [0, 1, 2]);
/// assert_eq!(ports::sample(10, 1), [9]);
/// ```
pub fn sample(count: usize, max: usize) -> Vec<usize> {
    let max = max.max(1);
    if count <= max {
        return (0..count).collect();
    }
    let (size, larger) = (count / max, count % max);
    let mut places: Vec<usize> = (0..max).map(|part| part * size + part.min(larger)).collect();
    places[max - 1] = count - 1;
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn curve(points: &[(i64, f64)], buckets: usize) -> Curve {
        let mut builder = CurveBuilder::new(buckets);
        points.iter().for_each(|&(step, value)| builder.add(step, step, OrderedNumber::new(value)));
        builder.finish()
    }

    #[test]
    fn spikes_and_edges_stay() {
        let mut points: Vec<_> = (0..100_000).map(|step| (step, (step % 7) as f64)).collect();
        points[33_333].1 = 1e9;
        points[77_777].1 = -1e9;
        points[5].1 = f64::NAN;
        let forward = curve(&points, 1000);
        assert_eq!((forward.points, forward.width, forward.buckets.len()), (100_000, 128, 782));
        let extreme = |find: fn(&Bucket) -> CurvePoint, value: f64| forward.buckets.iter().any(|b| find(b).value == value);
        assert!(extreme(|b| b.max, 1e9) && extreme(|b| b.min, -1e9));
        assert_eq!((forward.buckets[0].nans, forward.buckets[0].max.value), (1, 6.0), "NaN is counted and is no height");
        assert_eq!((forward.buckets[0].first.step, forward.buckets[781].last.step), (0, 99_999));
        points.reverse();
        assert_eq!(curve(&points, 1000), forward, "the order of arrival does not matter");
    }

    #[test]
    fn buckets_are_found_for_any_steps() {
        for steps in [vec![i64::MIN, i64::MAX], vec![-1, 0], vec![i64::MAX, 0, i64::MIN, 7], vec![5], vec![]] {
            let points: Vec<_> = steps.iter().map(|&step| (step, 1.0)).collect();
            for buckets in [0, 1, 2, 3, 1000] {
                let curve = curve(&points, buckets);
                assert_eq!(curve.points, points.len() as u64);
                assert!(curve.buckets.len() <= buckets.max(2), "{steps:?} in {buckets}");
            }
        }
        assert_eq!(curve(&[(5, 1.0), (6, 2.0), (9, 3.0)], 5).width, 1, "as fine as it can be");
        let nothing_but_nan = curve(&[(0, f64::NAN), (1, f64::NAN)], 2).buckets;
        assert!(nothing_but_nan.iter().all(|b| b.max.value.is_nan() && b.min.value.is_nan()));
    }

    #[test]
    fn a_point_is_a_bucket_of_one() {
        let values = [f64::NAN, 1.0, -1.0, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1.0];
        for seed in 0..2000_usize {
            let ranks: Vec<Rank> =
                (0..6).map(|n| ((seed >> n) as i64 % 3, (seed + n) as i64 % 2, OrderedNumber::new(values[(seed / (n + 1)) % 8]))).collect();
            let (mut one, mut other) = (Open::of(ranks[0]), Open::of(ranks[0]));
            for rank in &ranks[1..] {
                one.add(*rank);
                other.take(&Open::of(*rank));
            }
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{ranks:?}");
        }
    }

    #[test]
    fn samples_hold_both_ends() {
        for count in 0..60 {
            for max in 1..20 {
                let places = sample(count, max);
                assert!(places.len() == count.min(max) && places.is_sorted(), "{count} {max}");
                assert_eq!(places.last().copied(), count.checked_sub(1));
                assert!(max == 1 || count == 0 || places[0] == 0);
            }
        }
    }
}

//! Points thinned so that a picture of them is still true.

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
}

//! Profiles: merging, extremes, JSON.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use stats::{Bins, MAX_CATEGORIES, MAX_POINTS, MergeError, Profile, Values};

/// Anything that a column may hold.
fn values() -> impl Strategy<Value = Vec<Option<f64>>> {
    let odd = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)];
    prop::collection::vec(
        prop_oneof![8 => (-100i32..100).prop_map(|x| Some(f64::from(x) / 4.0)), 1 => odd.prop_map(Some), 1 => Just(None)],
        0..60,
    )
}

fn merged(parts: &[&Profile]) -> Profile {
    let mut whole = parts[0].clone();
    parts[1..].iter().for_each(|part| whole.merge(part).unwrap());
    whole
}

/// Equal but for the rounding of the moments.
fn assert_same(a: &Profile, b: &Profile) {
    let without_moments = |profile: &Profile| {
        let mut profile = profile.clone();
        if let Values::Numeric(numbers) = &mut profile.values {
            numbers.moments = None;
        }
        profile
    };
    assert_eq!(without_moments(a), without_moments(b));
    for (x, y) in [(a.mean(), b.mean()), (a.std(), b.std())] {
        assert!(x.zip(y).is_none_or(|(x, y)| (x - y).abs() < 1e-9) && x.is_some() == y.is_some(), "{x:?} {y:?}");
    }
}

proptest! {
    #[test]
    fn merging_parts_is_profiling_the_whole(a in values(), b in values(), c in values()) {
        let bins = Bins::numeric(&a, 10);
        let [x, y, z] = [&a, &b, &c].map(|part| Profile::numeric(part, Some(&bins)));
        let whole = Profile::numeric(&[a, b, c].concat(), Some(&bins));
        assert_same(&merged(&[&x, &y, &z]), &whole);
        assert_same(&merged(&[&x, &merged(&[&y, &z])]), &whole);
        assert_same(&merged(&[&z, &x, &y]), &whole);
    }

    #[test]
    fn distances_are_not_negative_and_vanish_on_equals(a in values(), b in values()) {
        let bins = Bins::numeric(&a, 10);
        let (x, y) = (Profile::numeric(&a, Some(&bins)), Profile::numeric(&b, None));
        prop_assert_eq!(y.psi_to(&x, &bins).is_some(), !a.is_empty() && !b.is_empty());
        for distance in [y.psi_to(&x, &bins), y.wasserstein_norm_to(&x)].into_iter().flatten() {
            prop_assert!(distance >= 0.0);
        }
        for distance in [x.psi_to(&x, &bins), x.wasserstein_norm_to(&x)].into_iter().flatten() {
            prop_assert_eq!(distance, 0.0);
        }
    }

    #[test]
    fn every_profile_survives_json(a in values()) {
        let profile = Profile::numeric(&a, Some(&Bins::numeric(&a, 10)));
        prop_assert_eq!(serde_json::from_str::<Profile>(&serde_json::to_string(&profile).unwrap()).unwrap(), profile);
    }
}

#[test]
fn counting_what_is_not_a_finite_number() {
    let bins = Bins::Numeric { edges: vec![0.0] };
    let column = [Some(1.0), None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(f64::NEG_INFINITY)];
    for profile in [Profile::numeric(&column, Some(&bins)), Profile::numeric(&column, None)] {
        let Values::Numeric(numbers) = &profile.values else { panic!("numeric") };
        assert_eq!((profile.n, profile.nulls, numbers.nan, numbers.pos_inf, numbers.neg_inf, numbers.finite), (6, 1, 1, 1, 2, 1));
        assert_eq!((numbers.min, numbers.max, profile.mean(), profile.std()), (Some(1.0), Some(1.0), Some(1.0), Some(0.0)));
        assert_eq!(profile.counts_in(&bins), [2, 2, 2]);
    }
}

#[test]
fn nothing_is_not_healthy() {
    let reference: Vec<_> = (0..100).map(|x| Some(f64::from(x))).collect();
    let bins = Bins::numeric(&reference, 10);
    let reference = Profile::numeric(&reference, Some(&bins));
    let empty = Profile::numeric(&[], Some(&bins));
    assert_eq!((empty.psi_to(&reference, &bins), empty.wasserstein_norm_to(&reference)), (None, None));
    let nulls = Profile::numeric(&[None, Some(f64::NAN)], Some(&bins));
    assert!(nulls.psi_to(&reference, &bins).unwrap() > 8.0);
    assert_eq!(nulls.wasserstein_norm_to(&reference), None);
}

#[test]
fn nulls_that_appear_are_drift() {
    let train: Vec<_> = (0..100).map(|x| Some(f64::from(x))).collect();
    let bins = Bins::numeric(&train, 10);
    let now: Vec<_> = train.iter().enumerate().map(|(row, x)| x.filter(|_| row % 5 >= 3)).collect();
    let psi = Profile::numeric(&now, Some(&bins)).psi_to(&Profile::numeric(&train, Some(&bins)), &bins).unwrap();
    assert!(psi > 1.0, "{psi}");
}

#[test]
fn a_constant_reference_sees_a_move() {
    let bins = Bins::numeric(&[Some(5.0); 50], 10);
    let reference = Profile::numeric(&[Some(5.0); 50], Some(&bins));
    let moved = Profile::numeric(&[Some(6.0); 50], Some(&bins));
    assert!(moved.psi_to(&reference, &bins).unwrap() > 8.0);
    assert_eq!(moved.wasserstein_norm_to(&reference), Some(1000.0));
}

#[test]
fn huge_values_have_no_spread_rather_than_no_drift() {
    let huge = [Some(f64::MAX), Some(f64::MIN), Some(1e200)];
    let mut reference = Profile::numeric(&huge, Some(&Bins::numeric(&huge, 10)));
    assert_eq!((reference.mean(), reference.std()), (None, None));
    assert_eq!(Profile::numeric(&[Some(1.0)], None).wasserstein_norm_to(&reference), None);
    let text = serde_json::to_string(&reference).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), reference);
    reference.merge(&reference.clone()).unwrap();
    assert_eq!(reference.std(), None);
}

#[test]
fn memory_is_bounded_and_distances_stay_close_beyond_the_bound() {
    let column = |from: u64, to: u64, shift: f64| -> Vec<Option<f64>> {
        (from..to).map(|i| Some((i as f64 * 0.618_033_988_749_894_9).fract() + shift)).collect()
    };
    let train = column(0, 50_000, 0.0);
    let bins = Bins::numeric(&train, 10);
    let reference = Profile::numeric(&train, Some(&bins));
    let hours: Vec<_> = (0..50).map(|hour| Profile::numeric(&column(hour * 1000, (hour + 1) * 1000, 0.3), Some(&bins))).collect();
    let window = merged(&hours.iter().collect::<Vec<_>>());
    assert!(serde_json::to_string(&window).unwrap().len() < 40 * MAX_POINTS);

    let raw = |values: &[Option<f64>]| values.iter().flatten().copied().collect::<Vec<_>>();
    let exact = stats::wasserstein_norm(&raw(&train), &raw(&column(0, 50_000, 0.3))).unwrap();
    let ours = window.wasserstein_norm_to(&reference).unwrap();
    assert!((ours - exact).abs() < 0.002, "{ours}, exactly {exact}");
    assert_eq!(window.counts_in(&bins), bins.count_numbers(&column(0, 50_000, 0.3)));
    assert!(hours[0].wasserstein_norm_to(&reference).unwrap() - exact < 0.01);
}

#[test]
fn labels_beyond_the_bound_are_other_and_bin_counts_stay_exact() {
    let many: Vec<_> = (0..3 * MAX_CATEGORIES).map(|i| Some(format!("v{i}"))).collect();
    let bins = Bins::categorical(&[Some("v0"), Some("v2999")]);
    let mut profile = Profile::categorical(&many, Some(&bins));
    profile.merge(&Profile::categorical(&[Some("v2999"), Some("v2999"), None], Some(&bins))).unwrap();
    let Values::Categorical(labels) = &profile.values else { panic!("categorical") };
    assert_eq!(labels.counts.len(), MAX_CATEGORIES);
    assert_eq!(labels.counts.values().sum::<u64>() + labels.other + profile.nulls, profile.n);
    assert_eq!(profile.counts_in(&bins), [1, 3, 2998, 1]);
}

#[test]
fn unlike_profiles_do_not_merge() {
    let bins = Bins::Numeric { edges: vec![0.0] };
    let mut numbers = Profile::numeric(&[Some(1.0)], None);
    let before = numbers.clone();
    assert_eq!(numbers.merge(&Profile::categorical(&[Some("a")], None)), Err(MergeError::Kind));
    assert_eq!(numbers.merge(&Profile::numeric(&[Some(1.0)], Some(&bins))), Err(MergeError::Bins));
    assert_eq!(numbers, before);
}

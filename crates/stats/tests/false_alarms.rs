//! How often a learnt threshold alarms on windows like the reference's, and on windows that moved.
#![allow(clippy::unwrap_used)]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use stats::{Bins, Profile, Rate, Threshold};

const SEEDS: u64 = 300;
const REFERENCE_WINDOWS: usize = 8;

/// Whether a live window of 168 roughly normal values, moved by `shift` standard deviations, passes the threshold learnt
/// from eight reference windows: by PSI, by normalised Wasserstein.
fn alarms(seed: u64, shift: f64) -> [bool; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = move || f64::from(rng.next_u32()) / f64::from(u32::MAX);
    let mut window =
        |shift| -> Vec<Option<f64>> { (0..168).map(|_| Some((0..12).map(|_| uniform()).sum::<f64>() - 6.0 + shift)).collect() };
    let windows: Vec<_> = (0..REFERENCE_WINDOWS).map(|_| window(0.0)).collect();
    let live = window(shift);
    let train = windows.concat();
    let bins = Bins::numeric(&train, 10);
    let reference = Profile::numeric(&train, Some(&bins));
    let scores = |values: &Vec<Option<f64>>| {
        let profile = Profile::numeric(values, Some(&bins));
        [profile.psi_to(&reference, &bins).unwrap(), profile.wasserstein_norm_to(&reference).unwrap()]
    };
    let learnt: Vec<_> = windows.iter().map(scores).collect();
    let live = scores(&live);
    [0, 1].map(|which| {
        let learnt: Vec<f64> = learnt.iter().map(|scores| scores[which]).collect();
        Threshold::learn(&learnt, 0.0).is_exceeded_by(live[which])
    })
}

fn rates(shift: f64) -> [Rate; 2] {
    let all: Vec<_> = (0..SEEDS).map(|seed| alarms(seed, shift)).collect();
    [0, 1].map(|which| {
        let hits = all.iter().filter(|alarms| alarms[which]).count() as u64;
        Rate::wilson(hits, SEEDS, 0.999).unwrap()
    })
}

#[test]
fn calm_windows_pass_the_greatest_of_n_about_once_in_n_plus_one() {
    for rate in rates(0.0) {
        // Reference windows are part of what they are compared with, so live ones score a little higher.
        let expected = 1.0 / (REFERENCE_WINDOWS as f64 + 1.0);
        assert!(rate.low <= 1.5 * expected && rate.high >= expected, "{rate:?}");
    }
}

#[test]
fn windows_moved_by_half_a_deviation_are_found() {
    for rate in rates(0.5) {
        assert!(rate.value > 0.95, "{rate:?}");
    }
}

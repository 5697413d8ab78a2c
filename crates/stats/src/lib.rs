//! The statistics of gates and monitors: pure functions of numbers, with SciPy's and scikit-learn's values as the oracle.
//!
//! Why own code: verdicts stand or fall with these numbers, so each has its convention written down, agrees with the
//! reference implementation where there is one, and says `None` where there is nothing to say. Nothing here reads a clock,
//! a file or a global generator; randomness comes from a seed, so the same input always gives the same output.
//!
//! A monitor goes: [`Bins`] from the reference, a [`Profile`] for every window, a distance between two profiles, a
//! [`Threshold`] learnt from the reference's own windows, and a [`Rate`] wherever a false-alarm rate is stated.
//! A gate goes: a [`Metric`], and the [`Interval`] of its [`paired_difference`] on the same rows.
//!
//! Invariants: no evidence is never a number (`None`, not 0); NaN is counted, never dropped in silence; a profile's
//! memory does not grow with its rows.

mod alarm;
mod auc;
mod bins;
mod bootstrap;
mod ks;
mod metrics;
mod points;
mod profile;
mod psi;
mod quantile;
mod threshold;
mod wasserstein;

pub use alarm::Rate;
pub use bins::{Bins, MAX_CATEGORIES};
pub use bootstrap::{Interval, paired_difference};
pub use ks::{ks_p_exact, ks_statistic};
pub use metrics::Metric;
pub use points::MAX_POINTS;
pub use profile::{Labels, MergeError, Moments, Numbers, Profile, Values};
pub use psi::{js_distance, psi, tvd};
pub use threshold::Threshold;
pub use wasserstein::{wasserstein, wasserstein_norm, wasserstein_weighted};

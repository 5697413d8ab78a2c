//! The statistics of gates and monitors: pure functions of numbers, with SciPy's and scikit-learn's values as the oracle.
//!
//! Why own code: verdicts stand or fall with these numbers, so each has its convention written down, agrees with the
//! reference implementation where there is one, and says `None` where there is nothing to say. Nothing here reads a clock,
//! a file or a global generator; randomness comes from a seed, so the same input always gives the same output.
//!
//! A monitor goes: [`Bins`] from the reference, a [`Profile`] for every window, a distance between two profiles, a
//! [`Threshold`] learnt from the reference's own windows, and a [`Rate`] wherever a false-alarm rate is stated.
//! A gate goes: a [`Metric`], and on the same rows the interval of its difference: [`DeLong`] for AUC, [`Discordant`] for
//! accuracy, [`PairedT`] for losses of single rows, [`paired_difference`] for anything and where rows belong together. Slices
//! go through [`sign_test`] and [`holm`], probabilities through [`calibration_error`] and [`Recalibration`], groups of people
//! through [`Parity`]. A canary goes through [`Msprt`], which may be looked at all the time.
//!
//! Invariants: no evidence is never a number (`None`, not 0); NaN is counted, never dropped in silence; a profile's
//! memory does not grow with its rows.

mod alarm;
mod auc;
mod binomial;
mod bins;
mod bootstrap;
mod calibration;
mod classes;
mod delong;
mod discordant;
mod fairness;
mod ks;
pub mod latency;
mod metrics;
mod multiple;
mod normal;
mod paired;
mod points;
mod profile;
mod psi;
mod quantile;
mod sequential;
mod threshold;
mod wasserstein;

pub use alarm::Rate;
pub use binomial::{quantile_interval, sign_test, wilson};
pub use bins::{Bins, MAX_CATEGORIES};
pub use bootstrap::{Interval, JACKKNIFE, paired_difference};
pub use calibration::{Binning, Recalibration, calibration_error, calibration_interval};
pub use delong::DeLong;
pub use discordant::{Discordant, pairs_for_difference, pairs_for_margin, rows_to_clear};
pub use fairness::{Parity, ParityInterval};
pub use ks::{ks_p_exact, ks_statistic};
pub use metrics::Metric;
pub use multiple::{benjamini_hochberg, holm};
pub use paired::{PairedT, Wilcoxon};
pub use points::MAX_POINTS;
pub use profile::{Labels, MergeError, Moments, Numbers, Profile, Values};
pub use psi::{js_distance, psi, tvd};
pub use sequential::{Arm, Msprt};
pub use threshold::Threshold;
pub use wasserstein::{wasserstein, wasserstein_norm, wasserstein_weighted};

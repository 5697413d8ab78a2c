//! What a gate can limit beside metrics.

use super::words::{call, number, share, with_unit};
use stats::Parity;

/// A number about a version or its training set that is no metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantity {
    /// `ece`: expected calibration error, ten bins of equal width.
    Ece,
    /// `ece_mass`: the same, ten bins of equal count.
    EceMass,
    /// `calibration_slope`: of the logistic recalibration; 1 is right.
    Slope,
    /// `calibration_intercept`: of the logistic recalibration; 0 is right.
    Intercept,
    /// `demographic_parity(COLUMN)`, `demographic_parity_ratio(COLUMN)`, `equal_opportunity(COLUMN)`,
    /// `false_positive_parity(COLUMN)`, `equalized_odds(COLUMN)`.
    Parity(Parity, String),
    /// `latency_p50`, `latency_p95`, `latency_p99`: of a call with one row, in ms.
    Latency(Share),
    /// `latency_ratio`: median of the challenger's calls over the champion's, asked in turns.
    LatencyRatio,
    /// `model_size`: all files of the version, in bytes.
    ModelSize,
    /// `train_rows`: rows of the training set.
    TrainRows,
    /// `train_nulls`, `train_nulls(COLUMN)`: the greatest share of missing values of a feature, or of one.
    TrainNulls(Option<String>),
    /// `train_constant_columns`: features with one value only.
    TrainConstant,
    /// `train_duplicate_columns`: features that are equal to another in every row.
    TrainDuplicates,
    /// `train_duplicate_rows`: share of rows whose key and time an earlier row has.
    TrainDuplicateRows,
    /// `train_drift`, `train_drift(COLUMN)`: the greatest PSI of a feature between training set and holdout, or that of one.
    TrainDrift(Option<String>),
    /// `train_smallest_class`: rows of the label's value that has the fewest.
    TrainSmallestClass,
    /// `train_label_min`, `train_label_max`: the label's range.
    TrainLabelMin,
    TrainLabelMax,
    /// `train_overlap`: rows of the holdout, by key and time, that the training set has too.
    TrainOverlap,
}

/// Which quantile of the latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    P50,
    P95,
    P99,
}

impl Share {
    /// In (0, 1).
    pub fn quantile(self) -> f64 {
        match self {
            Share::P50 => 0.5,
            Share::P95 => 0.95,
            Share::P99 => 0.99,
        }
    }
}

impl Quantity {
    /// Every name; the five of fairness take a column.
    pub const NAMES: [&'static str; 24] = [
        "ece",
        "ece_mass",
        "calibration_slope",
        "calibration_intercept",
        "demographic_parity",
        "demographic_parity_ratio",
        "equal_opportunity",
        "false_positive_parity",
        "equalized_odds",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "latency_ratio",
        "model_size",
        "train_rows",
        "train_nulls",
        "train_constant_columns",
        "train_duplicate_columns",
        "train_duplicate_rows",
        "train_drift",
        "train_smallest_class",
        "train_label_min",
        "train_label_max",
        "train_overlap",
    ];

    /// The quantity of a name, with its column.
    pub(super) fn parse(text: &str) -> Option<Quantity> {
        if let Some((name, column)) = call(text) {
            let column = Some(column.trim()).filter(|column| !column.is_empty())?.to_owned();
            return Some(match name {
                "demographic_parity" => Quantity::Parity(Parity::Demographic, column),
                "demographic_parity_ratio" => Quantity::Parity(Parity::DemographicRatio, column),
                "equal_opportunity" => Quantity::Parity(Parity::EqualOpportunity, column),
                "false_positive_parity" => Quantity::Parity(Parity::FalsePositive, column),
                "equalized_odds" => Quantity::Parity(Parity::EqualizedOdds, column),
                "train_nulls" => Quantity::TrainNulls(Some(column)),
                "train_drift" => Quantity::TrainDrift(Some(column)),
                _ => return None,
            });
        }
        Some(match text {
            "ece" => Quantity::Ece,
            "ece_mass" => Quantity::EceMass,
            "calibration_slope" => Quantity::Slope,
            "calibration_intercept" => Quantity::Intercept,
            "latency_p50" => Quantity::Latency(Share::P50),
            "latency_p95" => Quantity::Latency(Share::P95),
            "latency_p99" => Quantity::Latency(Share::P99),
            "latency_ratio" => Quantity::LatencyRatio,
            "model_size" => Quantity::ModelSize,
            "train_rows" => Quantity::TrainRows,
            "train_nulls" => Quantity::TrainNulls(None),
            "train_constant_columns" => Quantity::TrainConstant,
            "train_duplicate_columns" => Quantity::TrainDuplicates,
            "train_duplicate_rows" => Quantity::TrainDuplicateRows,
            "train_drift" => Quantity::TrainDrift(None),
            "train_smallest_class" => Quantity::TrainSmallestClass,
            "train_label_min" => Quantity::TrainLabelMin,
            "train_label_max" => Quantity::TrainLabelMax,
            "train_overlap" => Quantity::TrainOverlap,
            _ => return None,
        })
    }

    /// A limit in the quantity's unit: ms, bytes, a share.
    pub(super) fn parse_limit(&self, text: &str) -> Option<f64> {
        match self {
            Quantity::Latency(_) => with_unit(text, &[("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("s", 1e3)]),
            Quantity::ModelSize => {
                let units = [("B", 1.0), ("kB", 1e3), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9)];
                let binary = [("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0)];
                with_unit(text, &[&units[..], &binary[..]].concat())
            }
            Quantity::Parity(..) | Quantity::TrainNulls(_) | Quantity::TrainDuplicateRows | Quantity::Ece | Quantity::EceMass => {
                share(text)
            }
            _ => number(text),
        }
    }

    pub(super) fn example(&self) -> &'static str {
        match self {
            Quantity::Latency(_) => "\"latency_p99 < 20ms\"",
            Quantity::ModelSize => "\"model_size < 50MB\"",
            Quantity::Parity(..) => "\"demographic_parity(sex) < 0.1\"",
            Quantity::TrainNulls(_) => "\"train_nulls < 5%\"",
            _ => "\"ece < 0.05\" or \"train_rows > 1000\"",
        }
    }

    /// Whether it needs a champion.
    pub fn compares(&self) -> bool {
        *self == Quantity::LatencyRatio
    }

    /// The unit for people.
    pub fn unit(&self) -> Option<&'static str> {
        match self {
            Quantity::Latency(_) => Some("ms"),
            Quantity::ModelSize => Some("bytes"),
            Quantity::TrainRows | Quantity::TrainOverlap | Quantity::TrainSmallestClass => Some("rows"),
            Quantity::TrainConstant | Quantity::TrainDuplicates => Some("columns"),
            _ => None,
        }
    }

    /// Whether it is about the training set.
    pub fn of_training(&self) -> bool {
        matches!(
            self,
            Quantity::TrainRows
                | Quantity::TrainNulls(_)
                | Quantity::TrainConstant
                | Quantity::TrainDuplicates
                | Quantity::TrainDuplicateRows
                | Quantity::TrainDrift(_)
                | Quantity::TrainSmallestClass
                | Quantity::TrainLabelMin
                | Quantity::TrainLabelMax
                | Quantity::TrainOverlap
        )
    }
}

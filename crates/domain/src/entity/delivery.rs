//! Gates and deployments.

use crate::{Digest, ModelName, Range, Timestamp, Verdict, VersionNumber};
use serde::{Deserialize, Serialize};

/// A gate that is to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRequest {
    pub model: ModelName,
    pub challenger: VersionNumber,
    /// The rows to judge on, before both cut-offs are taken off.
    pub holdout: Range,
    /// Labels that had arrived by then count.
    pub until: Timestamp,
}

/// A two-sided interval of a difference or a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// `0.95`.
    pub confidence: f64,
    /// `paired bootstrap, 7 blocks of a day, 10000 replicates`.
    pub method: String,
}

/// One check of a gate, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// As the file says it.
    pub text: String,
    pub verdict: Verdict,
    /// What was found, in one sentence.
    pub why: String,
    pub challenger: Option<f64>,
    pub champion: Option<f64>,
    /// Challenger minus champion.
    pub interval: Option<Interval>,
    /// A comparison while there is no champion: it does not count.
    #[serde(default)]
    pub skipped: bool,
}

/// A metric of one version on the gate's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateFigure {
    pub metric: String,
    pub challenger: Option<f64>,
    pub champion: Option<f64>,
}

/// What a gate found. One per judged version; the newest counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    pub model: ModelName,
    pub challenger: VersionNumber,
    pub champion: Option<VersionNumber>,
    /// The rows that were left after both cut-offs.
    pub holdout: Range,
    pub rows: u64,
    /// Of keys, times, features and labels, so that anybody can tell that both were judged on the same rows.
    pub rows_hash: Digest,
    pub seed: u64,
    pub checks: Vec<Check>,
    /// The main metric of both.
    pub figure: GateFigure,
    pub verdict: Verdict,
    pub why: String,
    pub decided: Timestamp,
}

/// A version that answers beside the champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    pub version: VersionNumber,
    pub since: Timestamp,
    /// Requests it must answer before it may become champion; `None`: it stays a shadow.
    pub needs: Option<u64>,
    /// Whether the log was told that it has answered them.
    #[serde(default)]
    pub served: bool,
}

/// A change of champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promotion {
    pub version: VersionNumber,
    pub previous: Option<VersionNumber>,
    pub at: Timestamp,
    pub why: String,
}

/// What serves a model: the champion, and who answers in its shadow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub model: ModelName,
    pub champion: Option<VersionNumber>,
    /// The one that is being rolled out.
    pub challenger: Option<Shadow>,
    /// Standing shadows.
    pub shadows: Vec<VersionNumber>,
    pub history: Vec<Promotion>,
    /// The lowest (or highest, where higher is better) gated figure that any champion has had.
    pub best: Option<f64>,
    /// The gated figure of the present champion.
    pub gated: Option<f64>,
}

impl Deployment {
    /// A model that nobody serves yet.
    pub fn new(model: ModelName) -> Self {
        Deployment { model, champion: None, challenger: None, shadows: Vec::new(), history: Vec::new(), best: None, gated: None }
    }

    /// Every version that answers, the champion first.
    pub fn versions(&self) -> Vec<VersionNumber> {
        let mut versions: Vec<_> = self.champion.into_iter().collect();
        let others = self.challenger.iter().map(|shadow| shadow.version).chain(self.shadows.iter().copied());
        for version in others {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        versions
    }

    /// Since when the champion serves.
    pub fn champion_since(&self) -> Option<Timestamp> {
        self.history.last().map(|promotion| promotion.at)
    }
}

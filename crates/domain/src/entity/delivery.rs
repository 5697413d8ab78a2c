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
    /// Of [`value`](Check::value): challenger minus champion where the check compares.
    pub interval: Option<Interval>,
    /// A comparison while there is no champion: it does not count.
    #[serde(default)]
    pub skipped: bool,
    /// What is held against the limit: a figure, or challenger minus champion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What the value must keep to, in its unit: `1.0` for a margin of 1 where lower is better, `-0.01` where higher is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// `ms`, `bytes`; a metric has its own unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How it was judged: `DeLong`, `Tango score`, `paired bootstrap, 7 blocks of a day, 10000 replicates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Rows, calls or groups that it was judged on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Of an inconclusive check: how many of these would tell, at a power of 80 %; none where no number would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<u64>,
    /// What other tests say of the same comparison; they do not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Tested>,
    /// Where the check looks at parts of the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slice>,
}

impl Check {
    /// A check with its verdict and nothing else yet.
    pub fn new(text: impl Into<String>, verdict: Verdict, why: impl Into<String>) -> Self {
        Check {
            text: text.into(),
            verdict,
            why: why.into(),
            challenger: None,
            champion: None,
            interval: None,
            skipped: false,
            value: None,
            limit: None,
            unit: None,
            method: None,
            n: None,
            needed: None,
            tests: Vec::new(),
            slices: Vec::new(),
        }
    }
}

/// A statistical test of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// `McNemar, exact`.
    pub name: String,
    pub statistic: Option<f64>,
    pub p: f64,
}

/// A part of the rows, judged on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// `hour = 8`.
    pub name: String,
    pub rows: u64,
    /// Rows on which the challenger is worse, and better.
    pub worse: u64,
    pub better: u64,
    /// Mean loss of a row.
    pub challenger: f64,
    pub champion: f64,
    /// One-sided p of "the challenger is worse"; none where the slice is too small to be judged.
    pub p: Option<f64>,
    /// The same, adjusted for the number of slices by Holm; what decides.
    pub holm: Option<f64>,
    /// Adjusted by Benjamini and Hochberg; what is worth a look.
    pub bh: Option<f64>,
    /// Wilson's interval of the share of rows on which the challenger is worse, of those that differ.
    pub interval: Option<Interval>,
    /// Wilson's interval of the challenger's accuracy on the slice, where a row is right or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Interval>,
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
    /// People who let the version out although the gate did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// A gate that a person set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Override {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
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

/// A version that answers a part of the entities, to see whether it may answer all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    pub version: VersionNumber,
    /// Percent of the entities.
    pub weight: u8,
    /// Since when at this weight.
    pub since: Timestamp,
    /// Requests that it must answer at this weight.
    pub min_requests: u64,
    /// Event time that it must stay at this weight.
    pub hold: crate::Span,
    /// Why it does not go on by itself; it answers as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What was seen at this weight.
    #[serde(default)]
    pub seen: CanarySeen,
}

/// What was seen of a canary at its present weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CanarySeen {
    /// Requests that it answered well, and those it failed (the champion answered them).
    pub answered: u64,
    pub failed: u64,
    /// Requests that the champion answered meanwhile.
    pub champion_answered: u64,
    /// Median latency over the champion's; `None`: one of them has too few requests.
    #[serde(default)]
    pub latency_ratio: Option<f64>,
    /// PSI of its scores against the champion's; `None`: too few.
    #[serde(default)]
    pub score_psi: Option<f64>,
    /// Whether the log was told that the step has seen enough for long enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
    /// What labels said, where they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<CanaryLabels>,
}

/// What labels say of a canary: an always-valid test of the main metric's loss of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanaryLabels {
    /// Labelled answers of champion and canary.
    pub champion_rows: u64,
    pub canary_rows: u64,
    /// Mean losses of a row.
    pub champion: f64,
    pub canary: f64,
    /// Canary minus champion, with the confidence sequence.
    pub interval: Option<Interval>,
    /// Always-valid p of no difference.
    pub p: f64,
}

/// How an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    Waiting,
    Approved,
    Rejected,
    Expired,
}

/// What a person said of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    pub by: String,
    pub at: Timestamp,
    pub approves: bool,
    pub reason: String,
}

/// A version that waits for people, or has what they said. A version that is judged again starts anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    pub model: ModelName,
    pub version: VersionNumber,
    /// Different people who must approve.
    pub people: u32,
    pub asked: Timestamp,
    pub expires: Option<Timestamp>,
    pub state: ApprovalState,
    pub votes: Vec<Vote>,
    /// The gate did not pass: people set it aside.
    #[serde(default)]
    pub overrides: bool,
}

impl Approval {
    /// People who have approved.
    pub fn given(&self) -> u32 {
        self.votes.iter().filter(|vote| vote.approves).count() as u32
    }
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
    /// The one that answers a part of the entities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
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
        Deployment {
            model,
            champion: None,
            challenger: None,
            canary: None,
            shadows: Vec::new(),
            history: Vec::new(),
            best: None,
            gated: None,
        }
    }

    /// Every version that answers, the champion first.
    pub fn versions(&self) -> Vec<VersionNumber> {
        let mut versions: Vec<_> = self.champion.into_iter().collect();
        let canary = self.canary.iter().map(|canary| canary.version);
        let others = canary.chain(self.challenger.iter().map(|shadow| shadow.version)).chain(self.shadows.iter().copied());
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

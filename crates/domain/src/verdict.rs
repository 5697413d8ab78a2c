//! Verdicts have three values: no evidence is never "healthy".

use serde::{Deserialize, Serialize};

/// The outcome of a check, a gate or a window.
///
/// ```
/// use domain::Verdict::{self, *};
/// assert_eq!(Verdict::all([Pass, Inconclusive, Pass]), Inconclusive);
/// assert_eq!(Verdict::all([Inconclusive, Fail]), Fail);
/// assert_eq!(Verdict::all([]), Inconclusive);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Fail,
    Inconclusive,
}

impl Verdict {
    /// The verdict of several: one failure fails, then one inconclusive makes all so; nothing looked at is inconclusive.
    pub fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let mut outcome = None;
        for verdict in verdicts {
            outcome = Some(match (outcome, verdict) {
                (Some(Verdict::Fail), _) | (_, Verdict::Fail) => Verdict::Fail,
                (Some(Verdict::Inconclusive), _) | (_, Verdict::Inconclusive) => Verdict::Inconclusive,
                _ => Verdict::Pass,
            });
        }
        outcome.unwrap_or(Verdict::Inconclusive)
    }

    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

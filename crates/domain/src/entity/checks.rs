//! What checks of code and data found: cases of JUnit reports, and which of them cannot be relied on.

use crate::{Digest, PipelineRunId, Timestamp};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    Passed,
    Skipped,
    /// What it claims does not hold.
    Failed,
    /// It could not even be tried.
    Error,
}

impl CaseState {
    /// Whether the check fails for it.
    pub fn is_bad(self) -> bool {
        matches!(self, CaseState::Failed | CaseState::Error)
    }

    /// As the report of the tool says it.
    pub fn word(self) -> &'static str {
        match self {
            CaseState::Passed => "passed",
            CaseState::Skipped => "skipped",
            CaseState::Failed => "failed",
            CaseState::Error => "error",
        }
    }
}

/// One case of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckCase {
    /// `CLASS::NAME`, or the name alone: the same case of another report has the same.
    pub name: String,
    pub state: CaseState,
    /// As the tool measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// The beginning of what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why its result cannot be relied on: the same code gave the other one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaky: Option<String>,
}

/// Cases by state. A flaky case counts under its state too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckCounts {
    pub cases: u64,
    pub passed: u64,
    pub failed: u64,
    pub errors: u64,
    pub skipped: u64,
    pub flaky: u64,
}

impl CheckCounts {
    /// Counts cases.
    pub fn of(cases: &[CheckCase]) -> Self {
        let mut counts = CheckCounts { cases: cases.len() as u64, ..CheckCounts::default() };
        for case in cases {
            match case.state {
                CaseState::Passed => counts.passed += 1,
                CaseState::Skipped => counts.skipped += 1,
                CaseState::Failed => counts.failed += 1,
                CaseState::Error => counts.errors += 1,
            }
            counts.flaky += u64::from(case.flaky.is_some());
        }
        counts
    }

    /// Cases for which the check fails.
    pub fn bad(&self) -> u64 {
        self.failed + self.errors
    }
}

/// What one attempt of a check reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    pub pipeline: String,
    pub pipeline_run: PipelineRunId,
    pub step: String,
    pub attempt: u32,
    /// The code that was checked: the files that the step names under `code`, else the project's folder.
    pub code: Digest,
    /// Wall clock.
    pub at: Timestamp,
    /// Of all cases, those too that are not kept.
    pub counts: CheckCounts,
    /// Those that fail first, else in the tool's order.
    pub cases: Vec<CheckCase>,
    /// Cases that passed and are not kept, because there are too many.
    #[serde(default)]
    pub left_out: u64,
}

impl CheckReport {
    /// The key of an attempt's report.
    pub fn key_of(pipeline_run: &PipelineRunId, step: &str, attempt: u32) -> String {
        format!("{pipeline_run}/{step}/{attempt}")
    }
}

/// A check's past: enough to tell what is flaky.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckHistory {
    pub pipeline: String,
    pub step: String,
    /// The newest last.
    pub reports: Vec<Reported>,
    /// Cases that the same code let pass and fail, by name.
    #[serde(default)]
    pub flaky: IndexMap<String, FlakyCase>,
}

/// A report in a check's past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    pub pipeline_run: PipelineRunId,
    pub attempt: u32,
    pub code: Digest,
    pub at: Timestamp,
    pub counts: CheckCounts,
}

/// How often a case went both ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlakyCase {
    /// Reports in which its result differed from another one of the same code.
    pub times: u64,
    pub last: Timestamp,
}

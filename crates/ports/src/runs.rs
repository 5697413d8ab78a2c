//! The run store: what is logged at a high rate, and one search over all of it.

use async_trait::async_trait;
use domain::entity::{DatasetInput, Metric, ModelOutput, Param, Run, Tag};
use domain::filter::{Expr, OrderBy};
use domain::{ExperimentId, Fault, Refusal, RunId};

use crate::CommitError;

/// Which runs a search looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewType {
    #[default]
    Active,
    Deleted,
    All,
}

/// A search over runs.
#[derive(Clone, Debug, Default)]
pub struct RunSearch {
    /// Runs of these; none means no run.
    pub experiments: Vec<ExperimentId>,
    pub filter: Expr,
    pub view: ViewType,
    /// After these: newest start first, then by id.
    pub order: Vec<OrderBy>,
    pub limit: usize,
    /// From an earlier page.
    pub token: Option<String>,
}

/// A page of results; `token` asks for the next one.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub token: Option<String>,
}

/// A page of one metric's history, by time, step and value.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    pub points: Vec<Metric>,
    pub token: Option<String>,
}

/// What one call logs to a run: all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct RunLog {
    pub metrics: Vec<Metric>,
    pub params: Vec<Param>,
    pub tags: Vec<Tag>,
    pub inputs: Vec<DatasetInput>,
    pub outputs: Vec<ModelOutput>,
}

/// Runs, params, tags and metric points. Shares its transactions with the metadata store.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Appends to an active run in one transaction. A param that changes its value is refused, a repeated metric point is dropped.
    async fn log(&self, run: &RunId, what: RunLog) -> Result<(), CommitError>;
    /// A run with its params, tags and latest metrics.
    fn run(&self, id: &RunId) -> Result<Option<Run>, Fault>;
    /// Runs that fit.
    fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError>;
    /// The points of one metric.
    fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError>;
}

/// Why a search gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

//! The run store: what is logged at a high rate, and one search over all of it.

use async_trait::async_trait;
use domain::entity::{DatasetInput, Metric, ModelOutput, Param, Run, Tag};
use domain::filter::{Expr, Field, OrderBy};
use domain::{ExperimentId, Fault, Refusal, RunId, Timestamp};

use crate::{CommitError, Curve};

/// Keys of one kind that [`RunStore::keys`] names at most.
pub const KEYS_MAX: usize = 5000;

/// Datasets that [`RunStore::datasets`] names at most.
pub const DATASETS_MAX: usize = 1000;

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
    /// From an earlier page of the same search; only `limit` may differ. It names the last run given, so that runs which come or go
    /// meanwhile neither repeat nor hide one that stays as it is.
    pub token: Option<String>,
}

impl RunSearch {
    /// Clauses that a filter may have: each costs a look at a key of all runs.
    pub const CLAUSES_MAX: usize = 100;
    /// Keys that an order may have.
    pub const ORDER_MAX: usize = 20;

    /// Refuses what no person asks; stores call it first.
    pub fn check(&self) -> Result<(), Refusal> {
        let parts = [("clauses", self.filter.0.len(), Self::CLAUSES_MAX), ("keys of an order", self.order.len(), Self::ORDER_MAX)];
        match parts.into_iter().find(|(_, count, most)| count > most) {
            Some((what, count, most)) => {
                let what = format!("a search may have at most {most} {what}, this one has {count}");
                Err(Refusal::invalid("search/too_long", what).hint("narrow it in several searches"))
            }
            None => Ok(()),
        }
    }
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

/// The keys that active runs of some experiments have logged, each kind sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub metrics: Vec<String>,
    pub params: Vec<String>,
    pub tags: Vec<String>,
    /// Whether a kind has more than [`KEYS_MAX`], of which the first are given.
    pub cut: bool,
}

/// A dataset that runs of an experiment read; one that was read in two contexts is two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetSummary {
    pub experiment: ExperimentId,
    pub name: String,
    pub digest: String,
    pub context: Option<String>,
}

/// A run that a text was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextHit {
    pub run: RunId,
    /// What holds most of the words: the attribute `run_name`, a param or a tag.
    pub field: Field,
    /// Its value, cut to [`crate::text::EXCERPT`] characters.
    pub excerpt: String,
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
    /// How many runs fit; `order`, `limit` and `token` do not matter.
    fn count(&self, search: &RunSearch) -> Result<u64, SearchError>;
    /// The points of one metric.
    fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError>;
    /// At most `max` points of one metric of each run, by step, time and value, picked evenly as MLflow does ([`crate::sample`]): the
    /// first and the last are among them, of one it is the last. `steps` is a range with both ends. Runs come in the order asked for.
    fn interval(&self, runs: &[RunId], key: &str, steps: Option<(i64, i64)>, max: usize) -> Result<Vec<(RunId, Metric)>, SearchError>;
    /// One metric for a chart, in at most `buckets` buckets (at least 2).
    fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError>;
    /// What can be filtered and ordered by, for completion.
    fn keys(&self, experiments: &[ExperimentId]) -> Result<Keys, Fault>;
    /// What runs of these experiments read, deleted runs too, at most [`DATASETS_MAX`], sorted.
    fn datasets(&self, experiments: &[ExperimentId]) -> Result<Vec<DatasetSummary>, Fault>;
    /// Active runs whose name, note, params and tags hold all words of `query`, newest start first, then by id; a word fits one that
    /// begins with it, and case does not count ([`crate::text`]). Any text is a query; one without a word finds nothing.
    fn find_text(&self, query: &str, experiments: &[ExperimentId], limit: usize) -> Result<Vec<TextHit>, Fault>;
    /// Runs that were deleted before an instant, by id, after `after`: what a purge may take.
    fn deleted_runs(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Result<Vec<RunId>, Fault>;
}

/// Why a search gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

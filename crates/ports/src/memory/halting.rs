//! A store that dies at a chosen write, so that a scenario can be killed at every one of them.

use crate::{
    CommitError, Committed, Curve, DatasetSummary, HistoryPage, Keys, MetadataStore, Page, RunLog, RunSearch, RunStore, SearchError,
    Snapshot, TextHit,
};
use async_trait::async_trait;
use domain::entity::{Metric, Run};
use domain::{Batch, ExperimentId, Fault, Recorded, RunId, Timestamp};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// On which side of the write the store dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The write is lost.
    Before,
    /// The write is kept, but its writer never hears of it.
    After,
}

/// Passes everything on to `inner` until the chosen write; no writer ever hears of that one, nor of any later one until the
/// store is revived: whoever waits for a write has died, and a test drops it. An error instead would let it go on.
/// Commits and run logs count alike. Reads go on: the dead process does not read, and a test wants to look.
pub struct Halting<S: ?Sized> {
    state: Mutex<State>,
    halted: watch::Sender<bool>,
    inner: Arc<S>,
}

#[derive(Default)]
struct State {
    writes: u64,
    plan: Option<(u64, Halt)>,
}

impl<S: ?Sized> Halting<S> {
    /// A store that does not die until it is told to.
    pub fn new(inner: Arc<S>) -> Arc<Self> {
        Arc::new(Halting { state: Mutex::default(), halted: watch::channel(false).0, inner })
    }

    /// Dies at the n-th write from now, counted from 1.
    pub fn halt_at(&self, n: u64, side: Halt) {
        let mut state = self.state.lock();
        state.plan = Some((state.writes + n, side));
    }

    /// Writes asked for so far.
    pub fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    /// Turns true when the store has died.
    pub fn halted(&self) -> watch::Receiver<bool> {
        self.halted.subscribe()
    }

    /// Works again, with what is in `inner`.
    pub fn revive(&self) {
        self.state.lock().plan = None;
        self.halted.send_replace(false);
    }

    /// Counts a write and tells what becomes of it: `None` if it goes through as if nothing were.
    fn next(&self) -> Option<Halt> {
        let mut state = self.state.lock();
        state.writes += 1;
        let (at, side) = state.plan?;
        match state.writes.cmp(&at) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(side),
            std::cmp::Ordering::Greater => Some(Halt::Before),
        }
    }

    async fn through<T>(&self, write: impl Future<Output = Result<T, CommitError>>) -> Result<T, CommitError> {
        let Some(side) = self.next() else { return write.await };
        if side == Halt::After {
            let _ = write.await;
        }
        self.halted.send_replace(true);
        std::future::pending().await
    }
}

#[async_trait]
impl<S: MetadataStore + ?Sized> MetadataStore for Halting<S> {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, Fault> {
        self.inner.snapshot()
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.through(self.inner.commit(batch)).await
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, Fault> {
        self.inner.events(after, limit)
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.inner.head()
    }

    fn cursor(&self, name: &str) -> Result<u64, Fault> {
        self.inner.cursor(name)
    }
}

#[async_trait]
impl<S: RunStore + ?Sized> RunStore for Halting<S> {
    async fn log(&self, run: &RunId, what: RunLog) -> Result<(), CommitError> {
        self.through(self.inner.log(run, what)).await
    }

    fn run(&self, id: &RunId) -> Result<Option<Run>, Fault> {
        self.inner.run(id)
    }

    fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        self.inner.search(search)
    }

    fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError> {
        self.inner.history(run, key, limit, token)
    }

    fn count(&self, search: &RunSearch) -> Result<u64, SearchError> {
        self.inner.count(search)
    }

    fn interval(&self, runs: &[RunId], key: &str, steps: Option<(i64, i64)>, max: usize) -> Result<Vec<(RunId, Metric)>, SearchError> {
        self.inner.interval(runs, key, steps, max)
    }

    fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError> {
        self.inner.curve(run, key, buckets)
    }

    fn keys(&self, experiments: &[ExperimentId]) -> Result<Keys, Fault> {
        self.inner.keys(experiments)
    }

    fn datasets(&self, experiments: &[ExperimentId]) -> Result<Vec<DatasetSummary>, Fault> {
        self.inner.datasets(experiments)
    }

    fn find_text(&self, query: &str, experiments: &[ExperimentId], limit: usize) -> Result<Vec<TextHit>, Fault> {
        self.inner.find_text(query, experiments, limit)
    }

    fn deleted_runs(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Result<Vec<RunId>, Fault> {
        self.inner.deleted_runs(before, after, limit)
    }
}

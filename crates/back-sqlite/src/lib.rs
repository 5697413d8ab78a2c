//! Metadata and runs in one SQLite file.
//!
//! One thread writes: it takes what waits in a bounded channel and commits it as a group, each request in a savepoint of
//! its own, so that many small requests share one fsync and none of them can spoil another. A request is answered after
//! the group's COMMIT (WAL, `synchronous = FULL`): what was acknowledged survives a crash. Readers have connections of
//! their own and never wait for the writer.
//!
//! When nobody waits, the writer keeps house, a little at a time: words of runs go into the full-text index, long
//! histories are put together for charts, points of purged runs go.
//!
//! Invariants: documents, events, cursors and runs of a batch are in one transaction; event numbers are given inside it,
//! so nobody sees n + 1 before n; values are always bound, never written into SQL.

mod apply;
mod curves;
mod fault;
mod migrate;
mod purge;
mod read;
mod run_writes;
mod search;
mod stretch;
mod survey;
mod tail;
mod upkeep;
mod whole;
mod writer;

use async_trait::async_trait;
use domain::entity::{Metric, Run};
use domain::{Batch, ExperimentId, Fault, Recorded, Refusal, RunId, Timestamp};
use parking_lot::Mutex;
use ports::{
    CommitError, Committed, Curve, DatasetSummary, HistoryPage, Keys, MetadataStore, Page, RunLog, RunSearch, RunStore, SearchError,
    Snapshot, TextHit,
};
use read::Pool;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tail::Tail;
use tokio::sync::{mpsc, oneshot, watch};
use writer::{Job, Work, Writer};

/// Requests that may wait for the writer; more wait at the caller.
const QUEUE: usize = 1024;

/// A metadata and run store in one file.
pub struct Sqlite {
    pool: Arc<Pool>,
    tail: Arc<Tail>,
    head: watch::Receiver<u64>,
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is newer than this program, or another program's.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Sqlite {
    /// Opens the database, making or migrating it as needed. The caller sees to it that no other process has it open.
    pub fn open(path: &Path) -> Result<Arc<Self>, OpenError> {
        let (writer, tail, head) = Writer::open(path)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || writer.run(queue))
            .map_err(|e| Fault::because("starting the writer", e))?;
        let pool = Arc::new(Pool::new(path));
        Ok(Arc::new(Sqlite { pool, tail, head, jobs: Some(jobs), writer: Mutex::new(Some(thread)) }))
    }

    async fn ask(&self, work: Work) -> Result<Committed, CommitError> {
        let gone = || Fault::broken("the writer of the metadata store has stopped");
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { work, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Sqlite {
    /// Lets the writer finish what waits, and close the file.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the metadata store had panicked");
        }
    }
}

#[async_trait]
impl MetadataStore for Sqlite {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, Fault> {
        Ok(Box::new(self.pool.reader()?))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.ask(Work::Commit(batch)).await
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, Fault> {
        match self.tail.events(after, limit) {
            Some(events) => Ok(events),
            None => self.pool.reader()?.events(after, limit),
        }
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    fn cursor(&self, name: &str) -> Result<u64, Fault> {
        self.pool.reader()?.cursor(name)
    }
}

#[async_trait]
impl RunStore for Sqlite {
    async fn log(&self, run: &RunId, what: RunLog) -> Result<(), CommitError> {
        self.ask(Work::Log(run.clone(), what)).await.map(|_| ())
    }

    fn run(&self, id: &RunId) -> Result<Option<Run>, Fault> {
        Ok(Snapshot::run(&self.pool.reader()?, id)?.map(|(_, run)| run))
    }

    fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        self.pool.reader()?.search(search)
    }

    fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError> {
        self.pool.reader()?.history(run, key, limit, token)
    }

    fn count(&self, search: &RunSearch) -> Result<u64, SearchError> {
        self.pool.reader()?.count(search)
    }

    fn interval(&self, runs: &[RunId], key: &str, steps: Option<(i64, i64)>, max: usize) -> Result<Vec<(RunId, Metric)>, SearchError> {
        self.pool.reader()?.interval(runs, key, steps, max)
    }

    fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError> {
        self.pool.reader()?.curve(run, key, buckets)
    }

    fn keys(&self, experiments: &[ExperimentId]) -> Result<Keys, Fault> {
        self.pool.reader()?.keys(experiments)
    }

    fn datasets(&self, experiments: &[ExperimentId]) -> Result<Vec<DatasetSummary>, Fault> {
        self.pool.reader()?.datasets(experiments)
    }

    fn find_text(&self, query: &str, experiments: &[ExperimentId], limit: usize) -> Result<Vec<TextHit>, Fault> {
        self.pool.reader()?.find_text(query, experiments, limit)
    }

    fn deleted_runs(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Result<Vec<RunId>, Fault> {
        self.pool.reader()?.deleted_runs(before, after, limit)
    }
}

#[cfg(test)]
mod tests;

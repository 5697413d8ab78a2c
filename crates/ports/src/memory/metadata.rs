//! Documents, events, cursors, experiments and runs in memory.

use super::runs::Runs;
use crate::{
    CommitError, Committed, Curve, DatasetSummary, Document, HistoryPage, Keys, Listing, MetadataStore, Page, RunLog, RunSearch, RunStore,
    SearchError, Snapshot, TextHit,
};
use async_trait::async_trait;
use domain::entity::{Experiment, Metric, Run};
use domain::{Batch, Collection, Expect, ExperimentId, Fault, Put, Recorded, RunId, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// The twin of a database: everything under one lock, nothing on disk.
///
/// What snapshots hold is shared and copied only when a commit comes while one is alive.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    head: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    revision: u64,
    documents: Arc<Documents>,
    runs: Arc<Runs>,
    events: Vec<Recorded>,
    cursors: HashMap<String, u64>,
}

#[derive(Clone, Default)]
struct Documents {
    by_key: BTreeMap<(Collection, String), Arc<Document>>,
    /// The newest commit that touched a collection (no scope) or one scope of it.
    listings: HashMap<(Collection, Option<String>), u64>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore { inner: Mutex::default(), head: watch::channel(0).0 }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The newest runs, to read without holding the lock.
    fn runs(&self) -> Arc<Runs> {
        self.inner.lock().runs.clone()
    }
}

impl Documents {
    fn list(&self, collection: Collection, scope: Option<&str>) -> Listing {
        let prefix = scope.map(|scope| format!("{scope}/")).unwrap_or_default();
        let documents = self
            .by_key
            .range((collection, prefix.clone())..)
            .take_while(|((of, key), _)| *of == collection && key.starts_with(&prefix))
            .map(|(_, document)| Document::clone(document))
            .collect();
        Listing { revision: self.listing_revision(collection, scope), documents }
    }

    fn listing_revision(&self, collection: Collection, scope: Option<&str>) -> u64 {
        self.listings.get(&(collection, scope.map(str::to_owned))).copied().unwrap_or(0)
    }

    fn write(&mut self, put: Put, revision: u64) {
        let Put { collection, key, body } = put;
        self.listings.insert((collection, None), revision);
        if let Some((scope, _)) = key.split_once('/') {
            self.listings.insert((collection, Some(scope.to_owned())), revision);
        }
        match body {
            Some(body) => self.by_key.insert((collection, key.clone()), Arc::new(Document { key, revision, body })),
            None => self.by_key.remove(&(collection, key)),
        };
    }
}

impl Inner {
    fn check(&self, expect: &Expect) -> Result<(), CommitError> {
        let (found, revision, what) = match expect {
            Expect::Document { collection, key, revision } => {
                let found = match collection {
                    Collection::Runs => self.runs.run_revision(key),
                    Collection::Experiments => self.runs.experiment_revision(key),
                    _ => self.documents.by_key.get(&(*collection, key.clone())).map_or(0, |document| document.revision),
                };
                (found, revision, format!("{} `{key}`", collection.word()))
            }
            Expect::Listing { collection, scope, revision } => {
                let found = match collection {
                    Collection::Experiments => self.runs.experiments_revision(),
                    _ => self.documents.listing_revision(*collection, scope.as_deref()),
                };
                (found, revision, format!("the list of {} {}", collection.word(), scope.as_deref().unwrap_or("all")))
            }
        };
        if found == *revision { Ok(()) } else { Err(CommitError::Conflict(what)) }
    }

    fn commit(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        batch.expect.iter().try_for_each(|expect| self.check(expect))?;
        let revision = self.revision + 1;
        if !batch.run_writes.is_empty() {
            let mut runs = Runs::clone(&self.runs);
            batch.run_writes.into_iter().try_for_each(|write| runs.write(write, revision, batch.at))?;
            self.runs = Arc::new(runs);
        }
        // Nothing below can fail.
        self.revision = revision;
        let documents = Arc::make_mut(&mut self.documents);
        batch.puts.into_iter().for_each(|put| documents.write(put, revision));
        let first = self.events.len() as u64 + 1;
        for (seq, event) in (first..).zip(batch.events) {
            let (at, actor, cause, thread) = (batch.at, batch.actor.clone(), batch.cause, batch.thread.clone());
            self.events.push(Recorded { seq, at, actor, cause, thread, event });
        }
        if let Some((reader, seq)) = batch.cursor {
            self.cursors.insert(reader, seq);
        }
        Ok(Committed { first, last: self.events.len() as u64, revision })
    }
}

#[async_trait]
impl MetadataStore for MemoryStore {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, Fault> {
        let inner = self.inner.lock();
        Ok(Box::new(MemorySnapshot { documents: inner.documents.clone(), runs: inner.runs.clone() }))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let mut inner = self.inner.lock();
        let committed = inner.commit(batch)?;
        // Told under the lock, so that the head never goes back.
        self.head.send_if_modified(|head| std::mem::replace(head, committed.last) != committed.last);
        Ok(committed)
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, Fault> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.inner.lock().events.iter().skip(after).take(limit).cloned().collect())
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    fn cursor(&self, name: &str) -> Result<u64, Fault> {
        Ok(self.inner.lock().cursors.get(name).copied().unwrap_or(0))
    }
}

struct MemorySnapshot {
    documents: Arc<Documents>,
    runs: Arc<Runs>,
}

impl Snapshot for MemorySnapshot {
    fn get(&self, collection: Collection, key: &str) -> Result<Option<Document>, Fault> {
        Ok(self.documents.by_key.get(&(collection, key.to_owned())).map(|document| Document::clone(document)))
    }

    fn list(&self, collection: Collection, scope: Option<&str>) -> Result<Listing, Fault> {
        Ok(self.documents.list(collection, scope))
    }

    fn run(&self, id: &RunId) -> Result<Option<(u64, Run)>, Fault> {
        Ok(self.runs.run(id))
    }

    fn experiment(&self, id: &ExperimentId) -> Result<Option<(u64, Experiment)>, Fault> {
        Ok(self.runs.experiment(id))
    }

    fn experiments(&self) -> Result<(u64, Vec<Experiment>), Fault> {
        Ok((self.runs.experiments_revision(), self.runs.experiments()))
    }
}

#[async_trait]
impl RunStore for MemoryStore {
    async fn log(&self, run: &RunId, what: RunLog) -> Result<(), CommitError> {
        let inner = &mut *self.inner.lock();
        let revision = inner.revision + 1;
        Arc::make_mut(&mut inner.runs).log(run, what, revision)?;
        inner.revision = revision;
        Ok(())
    }

    fn run(&self, id: &RunId) -> Result<Option<Run>, Fault> {
        Ok(self.inner.lock().runs.run(id).map(|(_, run)| run))
    }

    fn search(&self, search: &RunSearch) -> Result<Page<Run>, SearchError> {
        self.runs().search(search)
    }

    fn history(&self, run: &RunId, key: &str, limit: Option<usize>, token: Option<&str>) -> Result<HistoryPage, SearchError> {
        self.runs().history(run, key, limit, token)
    }

    fn count(&self, search: &RunSearch) -> Result<u64, SearchError> {
        search.check()?;
        Ok(self.runs().fitting(search).count() as u64)
    }

    fn interval(&self, runs: &[RunId], key: &str, steps: Option<(i64, i64)>, max: usize) -> Result<Vec<(RunId, Metric)>, SearchError> {
        self.runs().interval(runs, key, steps, max)
    }

    fn curve(&self, run: &RunId, key: &str, buckets: usize) -> Result<Curve, SearchError> {
        self.runs().curve(run, key, buckets)
    }

    fn keys(&self, experiments: &[ExperimentId]) -> Result<Keys, Fault> {
        Ok(self.runs().keys(experiments))
    }

    fn datasets(&self, experiments: &[ExperimentId]) -> Result<Vec<DatasetSummary>, Fault> {
        Ok(self.runs().datasets(experiments))
    }

    fn find_text(&self, query: &str, experiments: &[ExperimentId], limit: usize) -> Result<Vec<TextHit>, Fault> {
        Ok(self.runs().find_text(query, experiments, limit))
    }

    fn deleted_runs(&self, before: Timestamp, after: Option<&RunId>, limit: usize) -> Result<Vec<RunId>, Fault> {
        Ok(self.runs().deleted_before(before, after, limit))
    }
}

//! The metadata store: documents, the event log and cursors, committed together.

use async_trait::async_trait;
use domain::entity::{AppliedProject, Experiment, Run};
use domain::{Batch, Collection, Entity, ExperimentId, Fault, Put, Recorded, Refusal, RunId};
use std::sync::Arc;
use tokio::sync::watch;

/// A document with its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub key: String,
    /// Counts the store's commits; the revision of a document is the commit that last wrote it. Never 0.
    pub revision: u64,
    /// JSON.
    pub body: String,
}

/// Documents in the order of their keys, and the revision of the listing: the newest commit that put or deleted in it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Listing {
    pub revision: u64,
    pub documents: Vec<Document>,
}

/// A consistent view of documents, experiments and runs at one commit. Reads are synchronous and short.
pub trait Snapshot: Send {
    /// A document, if it is there.
    fn get(&self, collection: Collection, key: &str) -> Result<Option<Document>, Fault>;
    /// All documents of a collection, or of one scope of it (keys `SCOPE/...`).
    fn list(&self, collection: Collection, scope: Option<&str>) -> Result<Listing, Fault>;
    /// The project in force and the revision that it was applied with, 0 if none was. Everyone asks for it, and it may be long: a store may
    /// keep it parsed.
    fn project(&self) -> Result<(u64, Option<Arc<AppliedProject>>), Fault> {
        let Some(Document { key, revision, body }) = self.get(AppliedProject::COLLECTION, PROJECT)? else { return Ok((0, None)) };
        Ok((revision, Some(Arc::new(Put::parse(&key, &body)?))))
    }
    /// A run with its revision.
    fn run(&self, id: &RunId) -> Result<Option<(u64, Run)>, Fault>;
    /// An experiment with its revision.
    fn experiment(&self, id: &ExperimentId) -> Result<Option<(u64, Experiment)>, Fault>;
    /// All experiments, deleted ones too, by id; and the revision of the listing.
    fn experiments(&self) -> Result<(u64, Vec<Experiment>), Fault>;
}

/// The key of the project in force.
pub const PROJECT: &str = "project";

/// What a commit gave: the sequence numbers of its events, `first > last` if it had none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub first: u64,
    pub last: u64,
    pub revision: u64,
}

/// Why a commit did not go through. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something the decision read has changed: decide again.
    #[error("changed meanwhile: {0}")]
    Conflict(String),
    /// The batch asks for what cannot be: a name that is taken, a run that is deleted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store is broken or full.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Documents, events and cursors in one place. When `commit` returns, the batch is on disk, unless it says that it [may be
/// lost](Batch::may_be_lost).
#[async_trait]
pub trait MetadataStore: Send + Sync {
    /// The newest committed state.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, Fault>;
    /// All of the batch or nothing of it.
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError>;
    /// Events after `after`, oldest first. No reader ever sees n + 1 before n.
    fn events(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, Fault>;
    /// The sequence number of the newest event; changes wake the receiver.
    fn head(&self) -> watch::Receiver<u64>;
    /// How far a reader of the log has come; 0 for one that is new.
    fn cursor(&self, name: &str) -> Result<u64, Fault>;
}

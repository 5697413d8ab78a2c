//! How a decision sees the world, and how it is made durable.

use crate::{CommitError, MetadataStore, PROJECT, Snapshot};
use domain::entity::{AppliedProject, Experiment, Run};
use domain::{Batch, Collection, Entity, Expect, ExperimentId, Fault, Put, Refusal, RunId};
use indexmap::IndexSet;
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

/// A snapshot that records what was read of it: every revision, every absence, every listing.
///
/// A decision takes `&World` and returns a batch; [`decide`] turns the record into the batch's `expect`, so that decisions
/// are serialisable and no read is forgotten.
pub struct World<'a> {
    /// Where the snapshot is taken at the first read, if it was not given: most decisions about an event are that it is another's.
    store: Option<&'a dyn MetadataStore>,
    snapshot: OnceCell<Box<dyn Snapshot>>,
    reads: RefCell<IndexSet<Expect>>,
}

impl World<'static> {
    /// The world as of a snapshot.
    pub fn new(snapshot: Box<dyn Snapshot>) -> Self {
        World { store: None, snapshot: OnceCell::from(snapshot), reads: RefCell::default() }
    }
}

impl<'a> World<'a> {
    /// The newest world, as of the first read.
    pub fn newest(store: &'a dyn MetadataStore) -> Self {
        World { store: Some(store), snapshot: OnceCell::new(), reads: RefCell::default() }
    }

    fn snapshot(&self) -> Result<&dyn Snapshot, Fault> {
        let taken = match (self.snapshot.get(), self.store) {
            (Some(taken), _) => taken,
            (None, Some(store)) => {
                let newest = store.snapshot()?;
                self.snapshot.get_or_init(|| newest)
            }
            (None, None) => unreachable!("a world begins with a snapshot or with a store"),
        };
        Ok(&**taken)
    }

    fn record(&self, read: Expect) {
        self.reads.borrow_mut().insert(read);
    }

    fn record_document(&self, collection: Collection, key: &str, revision: u64) {
        self.record(Expect::Document { collection, key: key.into(), revision });
    }

    /// An entity, if it is there.
    pub fn get<E: Entity>(&self, key: &str) -> Result<Option<E>, Fault> {
        let found = self.snapshot()?.get(E::COLLECTION, key)?;
        self.record_document(E::COLLECTION, key, found.as_ref().map_or(0, |document| document.revision));
        found.map(|document| Put::parse(key, &document.body)).transpose()
    }

    /// The project in force.
    pub fn project(&self) -> Result<Option<Arc<AppliedProject>>, Fault> {
        let (revision, project) = self.snapshot()?.project()?;
        self.record_document(AppliedProject::COLLECTION, PROJECT, revision);
        Ok(project)
    }

    /// All entities of a kind, in the order of their keys.
    pub fn list<E: Entity>(&self) -> Result<Vec<E>, Fault> {
        self.list_in(None)
    }

    /// All entities of a kind whose key begins with `SCOPE/`.
    pub fn scope<E: Entity>(&self, scope: &str) -> Result<Vec<E>, Fault> {
        self.list_in(Some(scope))
    }

    fn list_in<E: Entity>(&self, scope: Option<&str>) -> Result<Vec<E>, Fault> {
        let listing = self.snapshot()?.list(E::COLLECTION, scope)?;
        self.record(Expect::Listing { collection: E::COLLECTION, scope: scope.map(str::to_owned), revision: listing.revision });
        listing.documents.iter().map(|document| Put::parse(&document.key, &document.body)).collect()
    }

    /// A run, if it is there.
    pub fn run(&self, id: &RunId) -> Result<Option<Run>, Fault> {
        let found = self.snapshot()?.run(id)?;
        self.record_document(Collection::Runs, id.as_str(), found.as_ref().map_or(0, |(revision, _)| *revision));
        Ok(found.map(|(_, run)| run))
    }

    /// An experiment, if it is there.
    pub fn experiment(&self, id: &ExperimentId) -> Result<Option<Experiment>, Fault> {
        let found = self.snapshot()?.experiment(id)?;
        self.record_document(Collection::Experiments, id.as_str(), found.as_ref().map_or(0, |(revision, _)| *revision));
        Ok(found.map(|(_, experiment)| experiment))
    }

    /// All experiments, deleted ones too.
    pub fn experiments(&self) -> Result<Vec<Experiment>, Fault> {
        let (revision, experiments) = self.snapshot()?.experiments()?;
        self.record(Expect::Listing { collection: Collection::Experiments, scope: None, revision });
        Ok(experiments)
    }

    /// What was read so far.
    pub fn reads(&self) -> Vec<Expect> {
        self.reads.borrow().iter().cloned().collect()
    }
}

/// How often a decision is made anew when others were faster.
const ATTEMPTS: usize = 100;

/// Makes a decision on the newest world and commits it; made anew when something it read has changed meanwhile.
///
/// The decision must be pure: it may run several times. An empty batch is not committed.
pub async fn decide<T>(store: &dyn MetadataStore, decision: impl Fn(&World) -> Result<(Batch, T), CommitError>) -> Result<T, CommitError> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let (batch, value) = {
            let world = World::newest(store);
            let (mut batch, value) = decision(&world)?;
            batch.expect = world.reads();
            (batch, value)
        };
        if batch.is_empty() && batch.cursor.is_none() {
            return Ok(value);
        }
        match store.commit(batch).await {
            Ok(_) => return Ok(value),
            Err(CommitError::Conflict(what)) => last = what,
            Err(other) => return Err(other),
        }
    }
    Err(CommitError::Refused(
        Refusal::conflict("store/contended", format!("{last} was changed by others {ATTEMPTS} times in a row")).hint("try again"),
    ))
}

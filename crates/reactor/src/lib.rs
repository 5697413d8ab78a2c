//! Drives reactions and workers over the event log. Names no block.
//!
//! A [`Reaction`] is pure: it sees the world and one event and returns a batch, which is committed together with the
//! reaction's cursor, so that it happens exactly once. A [`Worker`] does what takes time or touches the outside; it is
//! called at least once for an event that it wants, in order, and makes its own effects idempotent by the event's
//! sequence number.
//!
//! Invariants: a reader's cursor never passes an event that it has not dealt with; a fault of one reader stops no other;
//! [`Reactor::drained`] is true only when every reader has seen the head of the log and no activity is under way.

mod activity;
mod reader;
mod seat;

pub use activity::{Activity, Busy};

use async_trait::async_trait;
use domain::{Batch, Event, Fault, Recorded};
use ports::{MetadataStore, World};
use reader::{Kind, Reader};
use seat::{Seat, Usher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A pure reaction to events.
pub struct Reaction {
    /// Names the cursor; never changed once a log exists.
    pub name: &'static str,
    /// What to change because of an event; an empty batch for "nothing".
    pub react: Box<dyn Fn(&World, &Recorded) -> Result<Batch, Fault> + Send + Sync>,
}

/// Work that an event asks for.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Names the cursor; never changed once a log exists.
    fn name(&self) -> &'static str;
    /// Whether `work` is to be called for this event.
    fn wants(&self, event: &Event) -> bool;
    /// Does the work and commits its result. Called again after a crash or a fault, so it must be idempotent.
    async fn work(&self, event: &Recorded) -> Result<(), Fault>;
}

/// The running readers of one log.
pub struct Reactor {
    store: Arc<dyn MetadataStore>,
    activity: Activity,
    seen: Vec<(String, watch::Receiver<u64>)>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

impl Reactor {
    /// Starts one task a reader; each goes on where its cursor stands. One more wakes those that an event concerns.
    pub fn start(
        store: Arc<dyn MetadataStore>,
        activity: Activity,
        reactions: Vec<Reaction>,
        workers: Vec<Arc<dyn Worker>>,
    ) -> Result<Reactor, Fault> {
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (mut seen, mut readers) = (Vec::new(), Vec::new());
        let passed = Arc::new(AtomicU64::new(*store.head().borrow()));
        for kind in reactions.into_iter().map(Kind::Reaction).chain(workers.into_iter().map(Kind::Worker)) {
            let seat = Arc::new(Seat::new(store.cursor(kind.name())?));
            let kind = Arc::new(kind);
            seen.push((kind.name().to_owned(), seat.watched()));
            readers.push((kind.clone(), seat.clone()));
            let reader = Reader { store: store.clone(), kind, seat, passed: passed.clone(), stopping: stopping.clone() };
            tasks.spawn(reader.run());
        }
        tasks.spawn(Usher { store: store.clone(), readers, passed, stopping }.run());
        Ok(Reactor { store, activity, seen, tasks: tokio::sync::Mutex::new(tasks), stop })
    }

    /// How far each reader has come, for the status page.
    pub fn progress(&self) -> Vec<(String, u64)> {
        self.seen.iter().map(|(name, at)| (name.clone(), *at.borrow())).collect()
    }

    /// Whether nothing is left to do for what is in the log now.
    pub fn is_drained(&self) -> bool {
        let head = *self.store.head().borrow();
        self.seen.iter().all(|(_, at)| *at.borrow() >= head) && self.activity.is_idle() && *self.store.head().borrow() == head
    }

    /// Waits until nothing is left to do.
    pub async fn drained(&self) {
        while !self.is_drained() {
            let head = *self.store.head().borrow();
            for (_, at) in &self.seen {
                let mut at = at.clone();
                // The sender lives as long as its reader; a reader that ended has nothing left to do.
                let _ = at.wait_for(|seen| *seen >= head).await;
            }
            self.activity.idle().await;
        }
    }

    /// Lets each reader finish the event it is at, writes the cursors, and ends.
    pub async fn stop(&self) {
        let _ = self.stop.send(true);
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

#[cfg(test)]
mod tests;

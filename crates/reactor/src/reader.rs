//! One reader of the log: a reaction or a worker with its cursor.

use crate::seat::Seat;
use crate::{Reaction, Worker};
use domain::{Actor, Batch, Fault, Recorded};
use ports::{CommitError, MetadataStore, World, decide};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::watch;

/// Events read at once.
pub(crate) const PAGE: usize = 256;
/// Uninteresting events passed before the cursor is written without a batch.
pub(crate) const LAZY: u64 = 1000;
/// How often a fault is tried again, with waits that double from 50 ms to 30 s.
const ATTEMPTS: u32 = 10;

pub(crate) enum Kind {
    Reaction(Reaction),
    Worker(Arc<dyn Worker>),
}

impl Kind {
    pub(crate) fn name(&self) -> &str {
        match self {
            Kind::Reaction(reaction) => reaction.name,
            Kind::Worker(worker) => worker.name(),
        }
    }

    /// Whether its reader has anything to do for an event. A reaction is asked by trying it: one that looks at nothing and changes nothing
    /// has not. A panic is for the reader's own task.
    pub(crate) fn wants(&self, store: &dyn MetadataStore, event: &Recorded) -> bool {
        match self {
            Kind::Worker(worker) => worker.wants(&event.event),
            Kind::Reaction(reaction) => {
                let world = World::newest(store);
                let tried = catch_unwind(AssertUnwindSafe(|| (reaction.react)(&world, event)));
                !matches!(tried, Ok(Ok(batch)) if batch.is_empty() && world.reads().is_empty())
            }
        }
    }
}

/// What became of an event.
enum Outcome {
    /// Dealt with, and the cursor stands at it.
    Committed,
    /// Nothing to do for it.
    Nothing,
    /// The reactor stops before it was dealt with: it comes again after a restart.
    Stopped,
}

pub(crate) struct Reader {
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) seat: Arc<Seat>,
    /// How far the usher has come.
    pub(crate) passed: Arc<AtomicU64>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Reader {
    pub(crate) async fn run(self) {
        let mut written = self.seat.at();
        let mut stopping = self.stopping.clone();
        loop {
            let page = match self.store.events(self.seat.at(), PAGE) {
                Ok(page) => page,
                Err(fault) => {
                    tracing::error!(reader = self.kind.name(), %fault, "the event log cannot be read");
                    if self.pause(&mut stopping, 5).await {
                        return;
                    }
                    continue;
                }
            };
            let is_at_end = page.is_empty();
            for event in page {
                if *stopping.borrow() {
                    return self.write_cursor(written).await;
                }
                match self.deal_with(&event, &mut stopping).await {
                    Outcome::Committed => written = event.seq,
                    Outcome::Nothing => {}
                    Outcome::Stopped => return self.write_cursor(written).await,
                }
                self.seat.move_to(event.seq);
            }
            if self.seat.at() - written >= LAZY {
                self.write_cursor(written).await;
                written = self.seat.at();
            }
            if is_at_end {
                tokio::select! {
                    () = self.seat.wait(written, &self.passed) => {}
                    _ = stop_asked(&mut stopping) => return self.write_cursor(written).await,
                }
            }
        }
    }

    async fn deal_with(&self, event: &Recorded, stopping: &mut watch::Receiver<bool>) -> Outcome {
        for attempt in 0..ATTEMPTS {
            match self.attempt(event).await {
                Ok(true) => return Outcome::Committed,
                Ok(false) => return Outcome::Nothing,
                Err(fault) => {
                    tracing::error!(reader = self.kind.name(), seq = event.seq, attempt, %fault, "will try again");
                    if self.pause(stopping, attempt).await {
                        return Outcome::Stopped;
                    }
                }
            }
        }
        tracing::error!(reader = self.kind.name(), seq = event.seq, "given up: the event is passed over");
        Outcome::Nothing
    }

    /// Whether a cursor was committed at this event.
    async fn attempt(&self, event: &Recorded) -> Result<bool, Fault> {
        match &*self.kind {
            Kind::Reaction(reaction) => self.react(reaction, event).await,
            Kind::Worker(worker) if worker.wants(&event.event) => {
                worker.work(event).await?;
                self.commit_cursor(event.seq, false).await?;
                Ok(true)
            }
            Kind::Worker(_) => Ok(false),
        }
    }

    async fn react(&self, reaction: &Reaction, event: &Recorded) -> Result<bool, Fault> {
        let outcome = decide(&*self.store, |world| {
            let mut batch = (reaction.react)(world, event)?;
            let wrote = !batch.is_empty();
            if wrote {
                batch.cursor = Some((reaction.name.into(), event.seq));
            }
            Ok((batch, wrote))
        });
        outcome.await.map_err(|e| as_fault(reaction.name, e))
    }

    async fn commit_cursor(&self, seq: u64, may_be_lost: bool) -> Result<(), Fault> {
        let mut batch = Batch::new(Actor::System(self.kind.name().into()), domain::Timestamp::from_ms(0));
        batch.cursor = Some((self.kind.name().into(), seq));
        batch.may_be_lost = may_be_lost;
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault(self.kind.name(), e))
    }

    /// Of events that were none of the reader's business: to pass over them again costs nothing but time.
    async fn write_cursor(&self, written: u64) {
        let at = self.seat.at();
        if at > written
            && let Err(fault) = self.commit_cursor(at, true).await
        {
            tracing::warn!(reader = self.kind.name(), %fault, "cursor not written; some events will be looked at again");
        }
    }

    /// Waits before another attempt; true if the reactor stops meanwhile.
    async fn pause(&self, stopping: &mut watch::Receiver<bool>, attempt: u32) -> bool {
        let wait = Duration::from_millis((50u64 << attempt.min(10)).min(30_000));
        tokio::select! {
            _ = tokio::time::sleep(wait) => false,
            _ = stop_asked(stopping) => true,
        }
    }
}

/// Waits until the reactor stops; it has also stopped when it is gone.
pub(crate) async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn as_fault(reader: &str, error: CommitError) -> Fault {
    match error {
        CommitError::Fault(fault) => fault,
        other => Fault::because(format!("committing what {reader} decided"), other),
    }
}

//! Who is woken for what. A reader that waits is passed over events that are none of its business without being woken: a commit of an
//! event that one reader wants wakes one task, not all.

use crate::reader::{Kind, LAZY, PAGE, stop_asked};
use domain::Recorded;
use parking_lot::Mutex;
use ports::MetadataStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

/// Where a reader is to be found.
pub(crate) struct Seat {
    /// How far it has come. Its own to move on while it reads, the usher's while it waits.
    progress: watch::Sender<u64>,
    /// While it waits: where its cursor was last written.
    waits: Mutex<Option<u64>>,
    wake: Notify,
}

impl Seat {
    pub(crate) fn new(at: u64) -> Self {
        Seat { progress: watch::channel(at).0, waits: Mutex::default(), wake: Notify::new() }
    }

    pub(crate) fn at(&self) -> u64 {
        *self.progress.borrow()
    }

    pub(crate) fn move_to(&self, seq: u64) {
        self.progress.send_replace(seq);
    }

    pub(crate) fn watched(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Waits for an event that the reader wants, or for its cursor to be worth writing; `passed` is how far the usher has come.
    pub(crate) async fn wait(&self, written: u64, passed: &AtomicU64) {
        {
            let mut waits = self.waits.lock();
            // The usher has been here while the reader was away, and does not come back for these events.
            if passed.load(Ordering::SeqCst) > self.at() {
                return;
            }
            *waits = Some(written);
        }
        self.wake.notified().await;
    }

    /// Moves a waiting reader on to `until`, or to just before the first event that it wants, and wakes it then.
    fn pass(&self, until: u64, first_wanted: impl FnOnce(u64) -> Option<u64>) {
        let mut waits = self.waits.lock();
        let Some(written) = *waits else { return };
        let at = self.at();
        let wanted = first_wanted(at);
        let to = wanted.map_or(until, |seq| seq - 1).max(at);
        if to > at {
            self.move_to(to);
        }
        if wanted.is_some() || to - written >= LAZY {
            *waits = None;
            self.wake.notify_one();
        }
    }
}

/// Goes along the log and moves waiting readers on.
pub(crate) struct Usher {
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) readers: Vec<(Arc<Kind>, Arc<Seat>)>,
    /// How far it has come; what is before it, a reader looks at by itself.
    pub(crate) passed: Arc<AtomicU64>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Usher {
    pub(crate) async fn run(self) {
        let mut head = self.store.head();
        let mut stopping = self.stopping.clone();
        let mut at = self.passed.load(Ordering::SeqCst);
        loop {
            tokio::select! {
                newer = head.wait_for(|head| *head > at) => if newer.is_err() { return },
                _ = stop_asked(&mut stopping) => return,
            }
            let page = self.store.events(at, PAGE).unwrap_or_else(|fault| {
                tracing::error!(%fault, "the event log cannot be read: all its readers look for themselves");
                Vec::new()
            });
            let readable = page.last().map(|event| event.seq);
            at = readable.unwrap_or(*head.borrow());
            self.passed.store(at, Ordering::SeqCst);
            for (kind, seat) in &self.readers {
                seat.pass(at, |from| match readable {
                    Some(_) => self.first_wanted(kind, &page, from),
                    None => Some(from + 1),
                });
            }
        }
    }

    fn first_wanted(&self, kind: &Kind, page: &[Recorded], from: u64) -> Option<u64> {
        page.iter().find(|event| event.seq > from && kind.wants(&*self.store, event)).map(|event| event.seq)
    }
}

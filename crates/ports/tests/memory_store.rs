//! The in-memory stores against the suites, and the store that halts.
#![allow(clippy::unwrap_used)]

use domain::{Actor, Batch, Event, Timestamp};
use futures::FutureExt;
use ports::memory::{Halt, Halting, MemoryArtifacts, MemoryStore};
use ports::{MetadataStore, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_keeps_metadata() {
    conformance::metadata::suite(|| MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_keeps_runs() {
    let make = || {
        let store = MemoryStore::new();
        (store.clone() as _, store as _)
    };
    conformance::runs::suite(make).await;
}

#[tokio::test]
async fn the_memory_store_keeps_artifacts() {
    conformance::artifacts::suite(&*MemoryArtifacts::new()).await;
}

#[tokio::test]
async fn a_halting_store_dies_at_the_chosen_write_and_revives() {
    let batch = || {
        let event = Event::AlertRaised { topic: "t".into(), model: None, title: String::new() };
        Batch::new(Actor::System("test".into()), Timestamp::from_ms(0)).event(event)
    };
    for (side, kept) in [(Halt::Before, 1), (Halt::After, 2)] {
        let store = Halting::new(MemoryStore::new());
        store.halt_at(2, side);
        assert!(store.commit(batch()).await.is_ok());
        assert!(store.commit(batch()).now_or_never().is_none());
        assert!(store.commit(batch()).now_or_never().is_none(), "a dead store stays dead");
        assert!(*store.halted().borrow());
        assert_eq!(store.events(0, 9).unwrap().len(), kept, "{side:?}");
        store.revive();
        assert!(store.commit(batch()).await.is_ok());
    }
}

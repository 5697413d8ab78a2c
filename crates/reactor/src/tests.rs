#![allow(clippy::unwrap_used)]
use super::*;
use domain::{Actor, Timestamp};
use ports::memory::MemoryStore;
use std::sync::atomic::{AtomicU64, Ordering};

fn alert(n: u64) -> Event {
    Event::AlertRaised { topic: "test".into(), model: None, title: n.to_string() }
}

fn batch(event: Event) -> Batch {
    Batch::new(Actor::User("test".into()), Timestamp::from_ms(0)).event(event)
}

/// Answers each alert that is a small number with the next one.
fn counting(limit: u64) -> Reaction {
    Reaction {
        name: "counting",
        react: Box::new(move |_, recorded| {
            let batch = Batch::reacting("counting", recorded);
            match &recorded.event {
                Event::AlertRaised { title, .. } => {
                    let n: u64 = title.parse().unwrap();
                    Ok(if n < limit { batch.event(alert(n + 1)) } else { batch })
                }
                _ => Ok(batch),
            }
        }),
    }
}

struct Sum(AtomicU64, Activity);

#[async_trait]
impl Worker for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }
    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::AlertRaised { .. })
    }
    async fn work(&self, event: &Recorded) -> Result<(), Fault> {
        let _busy = self.1.begin();
        tokio::task::yield_now().await;
        if let Event::AlertRaised { title, .. } = &event.event {
            self.0.fetch_add(title.parse().unwrap(), Ordering::SeqCst);
        }
        Ok(())
    }
}

#[tokio::test]
async fn drained_means_every_reader_saw_the_head_and_a_restart_repeats_nothing() {
    let store = Arc::new(MemoryStore::default());
    let activity = Activity::default();
    let sum = Arc::new(Sum(AtomicU64::new(0), activity.clone()));
    store.commit(batch(alert(1))).await.unwrap();
    for _ in 0..3 {
        let reactor = Reactor::start(store.clone(), activity.clone(), vec![counting(50)], vec![sum.clone()]).unwrap();
        reactor.drained().await;
        assert_eq!(*store.head().borrow(), 50);
        assert_eq!(sum.0.load(Ordering::SeqCst), (1..=50).sum::<u64>());
        reactor.stop().await;
    }
}

/// Wants alerts of one title, and counts how often it was asked to work.
struct Picky(&'static str, AtomicU64);

#[async_trait]
impl Worker for Picky {
    fn name(&self) -> &'static str {
        self.0
    }
    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::AlertRaised { title, .. } if title == self.0)
    }
    async fn work(&self, _: &Recorded) -> Result<(), Fault> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn titled(title: &str) -> Batch {
    batch(Event::AlertRaised { topic: "test".into(), model: None, title: title.into() })
}

#[tokio::test]
async fn a_reader_that_waits_is_moved_on_and_misses_nothing() {
    let store = Arc::new(MemoryStore::default());
    let (rare, never) = (Arc::new(Picky("rare", AtomicU64::new(0))), Arc::new(Picky("never", AtomicU64::new(0))));
    let reactor = Reactor::start(store.clone(), Activity::default(), vec![], vec![rare.clone(), never.clone()]).unwrap();
    for n in 1..=2_500u64 {
        store.commit(titled(if n % 500 == 7 { "rare" } else { "other" })).await.unwrap();
        // Sometimes the readers keep up, sometimes they fall behind by pages.
        if n % 900 < 300 {
            tokio::task::yield_now().await;
        }
    }
    reactor.drained().await;
    assert_eq!((rare.1.load(Ordering::SeqCst), never.1.load(Ordering::SeqCst)), (5, 0));
    assert_eq!(reactor.progress(), [("rare".to_owned(), 2_500), ("never".to_owned(), 2_500)]);
    assert!(store.cursor("never").unwrap() >= 1_500, "a cursor follows what was passed over, a thousand events behind at most");
    reactor.stop().await;
    assert_eq!((store.cursor("rare").unwrap(), store.cursor("never").unwrap()), (2_500, 2_500));
}

#[tokio::test]
async fn a_reaction_that_panics_stops_no_other() {
    let store = Arc::new(MemoryStore::default());
    let explosive = Reaction { name: "explosive", react: Box::new(|_, _| panic!("on purpose")) };
    let sum = Arc::new(Picky("rare", AtomicU64::new(0)));
    let reactor = Reactor::start(store.clone(), Activity::default(), vec![explosive], vec![sum.clone()]).unwrap();
    let mut seen = reactor.seen[1].1.clone();
    for title in ["other", "rare", "other"] {
        store.commit(titled(title)).await.unwrap();
        tokio::task::yield_now().await;
    }
    seen.wait_for(|seen| *seen == 3).await.unwrap();
    assert_eq!(sum.1.load(Ordering::SeqCst), 1);
}

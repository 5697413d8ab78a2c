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

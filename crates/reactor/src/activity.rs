//! What is under way outside the log: pipeline runs, shadow answers, label joins.

use std::sync::Arc;
use tokio::sync::watch;

/// Counts what is under way. Cloning shares the count.
#[derive(Clone, Debug)]
pub struct Activity {
    count: Arc<watch::Sender<usize>>,
}

impl Default for Activity {
    fn default() -> Self {
        Activity { count: Arc::new(watch::channel(0).0) }
    }
}

impl Activity {
    /// Counts as under way until the guard is dropped.
    pub fn begin(&self) -> Busy {
        self.count.send_modify(|count| *count += 1);
        Busy { count: self.count.clone() }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        *self.count.borrow() == 0
    }

    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        let mut count = self.count.subscribe();
        // The sender is held by `self`, so waiting cannot fail.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

/// Something under way; ends when dropped.
#[derive(Debug)]
pub struct Busy {
    count: Arc<watch::Sender<usize>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

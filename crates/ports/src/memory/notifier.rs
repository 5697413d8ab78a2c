//! Deliveries in memory.

use crate::{Delivery, Notifier};
use async_trait::async_trait;
use domain::entity::Notification;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Keeps what it was given, and answers as it is told to.
#[derive(Default)]
pub struct MemoryNotifier {
    outcomes: Mutex<VecDeque<Delivery>>,
    delivered: Mutex<Vec<(String, Notification)>>,
}

impl MemoryNotifier {
    /// The next attempt ends like this; when no outcome is left, attempts succeed.
    pub fn next(&self, outcome: Delivery) {
        self.outcomes.lock().push_back(outcome);
    }

    /// What was delivered so far: webhook and notification.
    pub fn delivered(&self) -> Vec<(String, Notification)> {
        self.delivered.lock().clone()
    }
}

#[async_trait]
impl Notifier for MemoryNotifier {
    async fn deliver(&self, webhook: &str, notification: &Notification) -> Delivery {
        let outcome = self.outcomes.lock().pop_front().unwrap_or(Delivery::Delivered);
        if outcome == Delivery::Delivered {
            self.delivered.lock().push((webhook.into(), notification.clone()));
        }
        outcome
    }
}

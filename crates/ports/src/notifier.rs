//! Telling people.

use async_trait::async_trait;
use domain::entity::Notification;

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// Not yet: try again later.
    Failed(String),
    /// Never: the target is not usable as configured.
    Rejected(String),
}

/// Delivers notifications. One attempt a call; the caller retries.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// `webhook`: as the project file gives it (`env:NAME`, `file:PATH` or an address). Its value is never logged.
    async fn deliver(&self, webhook: &str, notification: &Notification) -> Delivery;
}

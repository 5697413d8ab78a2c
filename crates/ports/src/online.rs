//! The online store: the newest values of each entity.

use async_trait::async_trait;
use domain::{EntityKey, Fault, Scalar, Timestamp};
use serde::{Deserialize, Serialize};

/// The values of one entity in one view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnlineRow {
    pub key: EntityKey,
    pub time: Timestamp,
    pub created: Option<Timestamp>,
    /// In the order of the view's features.
    pub values: Vec<Scalar>,
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutReport {
    pub written: u64,
    /// Rows older than what is there: left out.
    pub late: u64,
}

/// Newest values by view and entity. A view is named with its version, `weather_hourly@1`.
#[async_trait]
pub trait OnlineStore: Send + Sync {
    /// Keeps a row if its (time, created) is not older than what is there. All rows of a call in one transaction.
    async fn put(&self, view: &str, rows: Vec<OnlineRow>) -> Result<PutReport, Fault>;
    /// One answer a key, in order.
    fn get(&self, view: &str, keys: &[EntityKey]) -> Result<Vec<Option<OnlineRow>>, Fault>;
    /// Drops a view.
    async fn clear(&self, view: &str) -> Result<(), Fault>;
}

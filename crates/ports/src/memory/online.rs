//! Newest values in memory.

use crate::{OnlineRow, OnlineStore, PutReport};
use async_trait::async_trait;
use domain::{EntityKey, Fault};
use parking_lot::RwLock;
use std::collections::BTreeMap;

/// The twin of an online store.
#[derive(Default)]
pub struct MemoryOnline {
    views: RwLock<BTreeMap<String, BTreeMap<EntityKey, OnlineRow>>>,
}

#[async_trait]
impl OnlineStore for MemoryOnline {
    async fn put(&self, view: &str, rows: Vec<OnlineRow>) -> Result<PutReport, Fault> {
        let mut views = self.views.write();
        let view = views.entry(view.into()).or_default();
        let mut report = PutReport::default();
        for row in rows {
            if view.get(&row.key).is_some_and(|held| (row.time, row.created) < (held.time, held.created)) {
                report.late += 1;
                continue;
            }
            report.written += 1;
            view.insert(row.key.clone(), row);
        }
        Ok(report)
    }

    fn get(&self, view: &str, keys: &[EntityKey]) -> Result<Vec<Option<OnlineRow>>, Fault> {
        let views = self.views.read();
        let view = views.get(view);
        Ok(keys.iter().map(|key| view.and_then(|view| view.get(key)).cloned()).collect())
    }

    async fn clear(&self, view: &str) -> Result<(), Fault> {
        self.views.write().remove(view);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    #[tokio::test]
    async fn runs_the_suite() {
        crate::conformance::online::suite(Arc::new(super::MemoryOnline::default())).await;
    }
}

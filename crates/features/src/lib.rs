//! Features: sources, feature views, training sets that are exact in the past, values that are instant in the present.
//!
//! Every source has one table with versions: files are loaded into it when the project is applied, pushed rows when their
//! segment seals. A feature view is a query over its source's table. Offline, the as-of join looks a label's features up
//! in the table; online, the newest values stand in a key-value store, written the moment a row is pushed. On-demand
//! features are expressions, computed by one engine in both places.
//!
//! Invariants: a training set is recorded with its definition, table versions and content; no row at or after its cut-off
//! and no label that had not arrived by its `until` is in it; a value older than its ttl is null, online as offline; a
//! pushed row is in the row log before it is in the online store.

mod catalog;
mod check;
mod diff;
mod labels;
mod online;
mod project;
mod push;
mod tables;
mod training;

pub use catalog::{Catalog, OnDemandView, View};
pub use check::check;
pub use diff::{Change, diff};
pub use labels::labels_of;
pub use online::{Lookup, OnlineRows, Status};
pub use project::{Described, apply};
pub use push::{PushReport, Pusher};
pub use tables::{TableWorker, Tables};
pub use training::{TrainingSets, read_training_rows};

use domain::{Fault, Refusal};
use ports::{AppendError, CommitError, QueryError};

/// Why something of the features block did not work.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

macro_rules! from_port {
    ($($error:ident),*) => {$(
        impl From<$error> for FeatureError {
            fn from(error: $error) -> Self {
                match error {
                    $error::Refused(refusal) => FeatureError::Refused(refusal),
                    $error::Fault(fault) => FeatureError::Fault(fault),
                }
            }
        }
    )*};
}

from_port!(QueryError, AppendError);

impl From<CommitError> for FeatureError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(refusal) => FeatureError::Refused(refusal),
            CommitError::Fault(fault) => FeatureError::Fault(fault),
            CommitError::Conflict(what) => FeatureError::Refused(Refusal::conflict("store/contended", what).hint("try again")),
        }
    }
}

#[cfg(test)]
mod tests;

//! What answers for a model now.

use crate::behaviour::{Meter, WorkerCount};
use crate::canary::CanaryLane;
use crate::shadow::ShadowLane;
use domain::spec::ServeSpec;
use domain::{ModelName, Span, Timestamp, VersionNumber};
use ports::ModelHandle;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A model's champion and shadows. Replaced as a whole; a request keeps the one that it began with.
pub(crate) struct Route {
    pub(crate) champion: Option<(VersionNumber, Arc<dyn ModelHandle>)>,
    /// Why the champion is not the one that is deployed.
    pub(crate) broken: Option<String>,
    pub(crate) shadows: Vec<Arc<ShadowLane>>,
    /// The version that answers a part of the entities.
    pub(crate) canary: Option<Arc<CanaryLane>>,
    pub(crate) spec: ServeSpec,
    /// The monitor's calendar: a row that crosses a window's end seals the stream.
    pub(crate) calendar: Option<(Timestamp, Span)>,
    /// Versions that were not prepared: nothing was loaded of them.
    pub(crate) missing: Vec<VersionNumber>,
}

impl Route {
    /// Every version that answers.
    pub(crate) fn versions(&self) -> impl Iterator<Item = VersionNumber> {
        let champion = self.champion.iter().map(|(version, _)| *version);
        champion.chain(self.canary.iter().map(|lane| lane.version)).chain(self.shadows.iter().map(|lane| lane.version))
    }
}

/// Counters of a model; they outlive routes.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) unlogged: AtomicU64,
    pub(crate) meter: Meter,
}

/// What the status shows of one version.
#[derive(Clone, Debug, Serialize)]
pub struct VersionStatus {
    pub version: VersionNumber,
    pub role: &'static str,
    pub answered: u64,
    pub failed: u64,
    /// Shadow copies that were dropped because the queue was full.
    pub dropped: u64,
    pub crashes: u64,
    /// `None`: it is answered within the server.
    pub workers: Option<WorkerCount>,
}

/// What the status shows of one model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelStatus {
    pub model: ModelName,
    pub versions: Vec<VersionStatus>,
    pub answered: u64,
    pub failed: u64,
    pub unlogged: u64,
    pub feature_misses: u64,
    pub mean_latency_us: Option<u64>,
}

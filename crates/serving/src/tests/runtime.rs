//! A runtime with versions that hang, and with such as must be prepared.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::EnvironmentLock;
use domain::{Digest, Refusal, Scalar, VersionNumber};
use parking_lot::Mutex;
use ports::memory::MemoryRuntime;
use ports::{LoadError, ModelFiles, ModelHandle, ModelRuntime, PredictError, Signature};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A version that takes all the time that it is given.
pub(super) const HANGS: VersionNumber = VersionNumber(9);

pub(super) struct Runtime {
    pub(super) models: MemoryRuntime,
    /// How long [`HANGS`] was let hang. No test waits for it.
    pub(super) given: Arc<Mutex<Vec<Duration>>>,
    /// What was loaded.
    pub(super) loads: Mutex<Vec<(VersionNumber, bool)>>,
    /// Versions for which something must be installed yet; a permit each.
    pub(super) needs: Mutex<HashSet<VersionNumber>>,
    pub(super) installs: Semaphore,
    /// Whether a process of a version's own dies while it loads.
    pub(super) dies: AtomicBool,
    /// What cannot be installed.
    pub(super) fails: Mutex<HashSet<VersionNumber>>,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime {
            models: MemoryRuntime::default(),
            given: Arc::default(),
            loads: Mutex::default(),
            needs: Mutex::default(),
            installs: Semaphore::new(0),
            dies: AtomicBool::new(false),
            fails: Mutex::default(),
        }
    }
}

#[async_trait]
impl ModelRuntime for Runtime {
    async fn load(&self, files: &ModelFiles) -> Result<Arc<dyn ModelHandle>, LoadError> {
        self.loads.lock().push((files.version, files.isolate));
        if files.isolate && self.dies.load(Ordering::SeqCst) {
            return Err(Refusal::invalid("model/cannot_load", "the ONNX worker does not start").into());
        }
        if files.version == HANGS {
            return Ok(Arc::new(Hangs { given: self.given.clone(), signature: Signature::default() }));
        }
        self.models.load(files).await
    }

    async fn prepare(&self, files: &ModelFiles) -> Result<Option<EnvironmentLock>, LoadError> {
        self.installs.acquire().await.expect("it is never closed").forget();
        if self.fails.lock().contains(&files.version) {
            return Err(Refusal::invalid("environment/unresolved", "no such package").into());
        }
        self.needs.lock().remove(&files.version);
        let lock = EnvironmentLock { sha256: Digest::of(b"lock"), path: "lock".into(), python: "3.12.4".into(), packages: Vec::new() };
        Ok(Some(lock))
    }

    async fn is_prepared(&self, files: &ModelFiles) -> bool {
        !self.needs.lock().contains(&files.version)
    }
}

struct Hangs {
    given: Arc<Mutex<Vec<Duration>>>,
    signature: Signature,
}

#[async_trait]
impl ModelHandle for Hangs {
    async fn predict(&self, _: &RecordBatch, deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        self.given.lock().push(deadline);
        Err(PredictError::Timeout)
    }

    async fn stop(&self) {}

    fn crashes(&self) -> u64 {
        0
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

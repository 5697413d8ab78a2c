//! Models as functions.

use crate::{LoadError, ModelFiles, ModelHandle, ModelRuntime, PredictError, Signature};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::{Refusal, Scalar, VersionNumber};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

type Predict = Arc<dyn Fn(&RecordBatch) -> Result<Vec<Scalar>, PredictError> + Send + Sync>;

/// Versions as closures, whatever the model. A version that was not installed does not load.
#[derive(Default)]
pub struct MemoryRuntime {
    versions: Mutex<HashMap<VersionNumber, Predict>>,
    signatures: Mutex<HashMap<VersionNumber, Signature>>,
}

impl MemoryRuntime {
    /// Makes `version` answer with `predict`: one value a row. Versions that are loaded already keep their closure.
    pub fn install(
        &self,
        version: VersionNumber,
        predict: impl Fn(&RecordBatch) -> Result<Vec<Scalar>, PredictError> + Send + Sync + 'static,
    ) {
        self.versions.lock().insert(version, Arc::new(predict));
    }

    /// Gives `version` a signature, before it is loaded.
    pub fn sign(&self, version: VersionNumber, signature: Signature) {
        self.signatures.lock().insert(version, signature);
    }
}

#[async_trait]
impl ModelRuntime for MemoryRuntime {
    async fn load(&self, files: &ModelFiles) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let predict = self.versions.lock().get(&files.version).cloned();
        let what = || Refusal::invalid("model/load", format!("version {} of {} does not load", files.version, files.model));
        Ok(Arc::new(Loaded(predict.ok_or_else(what)?, self.signatures.lock().get(&files.version).cloned().unwrap_or_default())))
    }
}

struct Loaded(Predict, Signature);

#[async_trait]
impl ModelHandle for Loaded {
    async fn predict(&self, rows: &RecordBatch, _deadline: Duration) -> Result<Vec<Scalar>, PredictError> {
        (self.0)(rows)
    }

    async fn stop(&self) {}

    fn crashes(&self) -> u64 {
        0
    }

    fn signature(&self) -> &Signature {
        &self.1
    }
}

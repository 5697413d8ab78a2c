//! Model runtimes: what turns a model version's files into answers.

use crate::{Predicted, Signature};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::EnvironmentLock;
use domain::spec::{EnvironmentSpec, OutputSpec, RuntimeSpec, ScaleSpec};
use domain::{Digest, Fault, ModelName, Refusal, Scalar, VersionNumber};
use std::path::PathBuf;
use std::sync::Arc;

/// A model version's files.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFiles {
    pub model: ModelName,
    pub version: VersionNumber,
    /// The folder in the artifact store.
    pub artifact_path: String,
    /// What shall answer.
    pub runtime: RuntimeSpec,
    /// How many workers there may be; `None`: one.
    pub scale: Option<ScaleSpec>,
    /// Which of several values is the prediction.
    pub output: Option<OutputSpec>,
    /// Which packages its workers see.
    pub environment: EnvironmentSpec,
    /// Whether ONNX shall answer in a process of its own.
    pub isolate: bool,
    /// What that process opens; `None`: a worker of the interpreter answers.
    pub onnx: Option<OnnxFiles>,
}

/// An ONNX model and the library that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxFiles {
    pub library: PathBuf,
    pub model: PathBuf,
}

/// A model's files on the local disk, and its ONNX copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OnnxCopy {
    /// What its `MLmodel` file says.
    pub signature: Signature,
    /// The shared library of the ONNX runtime.
    pub library: Option<PathBuf>,
    pub model: Option<PathBuf>,
    /// Rows on which the copy was compared with the model, and the greatest relative difference; `None` if it is the model itself.
    pub compared: Option<(u64, f64)>,
    /// Why there is no copy.
    pub why: Option<String>,
}

/// Makes ONNX copies of models, in a process of the project's interpreter.
#[async_trait]
pub trait OnnxConverter: Send + Sync {
    /// The copy of a version, made once. `convert`: a model that is no ONNX is converted, and compared with its copy.
    async fn onnx(&self, files: &ModelFiles, convert: bool) -> Result<OnnxCopy, LoadError>;
}

/// Why a model does not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The files or their environment: the message is the runtime's own.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What a request says beside its rows, by name: MLflow's inference params.
pub type Params = indexmap::IndexMap<String, serde_json::Value>;

/// Refuses params for a model that takes none.
pub fn no_params(params: &Params) -> Result<(), Refusal> {
    let Some(name) = params.keys().next() else { return Ok(()) };
    Err(Refusal::invalid("serve/params", format!("this version takes no param `{name}`"))
        .at("params")
        .hint("leave `params` out, or log the model with params in its signature"))
}

/// What worker processes used in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerUse {
    /// Processes that were started.
    pub started: u64,
    pub cpu_seconds: f64,
    /// Of the process that had the most.
    pub peak_memory_bytes: u64,
    /// How long processes were there, together.
    pub held_seconds: f64,
    /// The same by the GiB that each had.
    pub held_gib_seconds: f64,
}

/// Why a prediction was not made.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The model does not take this input.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The worker is starting again after a crash; the request may be sent again.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It took longer than the deadline.
    #[error("no answer within the deadline")]
    Timeout,
}

/// Loads model versions.
#[async_trait]
pub trait ModelRuntime: Send + Sync {
    /// Loads a version; ready to answer when this returns. A crash later is the handle's to mend.
    async fn load(&self, files: &ModelFiles) -> Result<Arc<dyn ModelHandle>, LoadError>;
    /// Makes what loading needs beside the files, which may take minutes: the locked environment, where the version asks for one.
    async fn prepare(&self, _files: &ModelFiles) -> Result<Option<EnvironmentLock>, LoadError> {
        Ok(None)
    }
    /// Whether a load would find all that [`ModelRuntime::prepare`] makes.
    async fn is_prepared(&self, _files: &ModelFiles) -> bool {
        true
    }
    /// Frees the environments that no loaded version sees and that none has seen for so long, but not those `kept`; gives their locks.
    async fn free_environments(&self, _unused: std::time::Duration, _kept: &[Digest], _dry_run: bool) -> Result<Vec<Digest>, Fault> {
        Ok(Vec::new())
    }
}

/// A loaded version: supervised, safe to call from several tasks.
#[async_trait]
pub trait ModelHandle: Send + Sync {
    /// One value a row, in order. Columns by name, in the model's order.
    async fn predict(&self, rows: &RecordBatch, deadline: std::time::Duration) -> Result<Vec<Scalar>, PredictError>;
    /// The same with all that the model answers, and with what the caller sent beside the rows; a runtime whose models take none refuses them.
    async fn predict_with(&self, rows: &RecordBatch, params: &Params, deadline: std::time::Duration) -> Result<Predicted, PredictError> {
        no_params(params)?;
        Ok(self.predict(rows, deadline).await?.into())
    }
    /// Calls that it answers at a time.
    fn lanes(&self) -> usize {
        1
    }
    /// Worker processes that are ready and that are being started; `None` where it answers within this process.
    fn workers(&self) -> Option<(u32, u32)> {
        None
    }
    /// What its worker processes used since this was last asked; `None` where it answers within this process.
    fn take_usage(&self) -> Option<WorkerUse> {
        None
    }
    /// So many requests more (or fewer, below zero) wait above the handle for their turn: workers that scale count them as under way.
    fn waits(&self, _more: i32) {}
    /// How long until one that is busy, or that starts again, is likely to answer; `None` where nothing is known.
    fn retry_after(&self) -> Option<std::time::Duration> {
        None
    }
    /// Answers what is under way, then ends.
    async fn stop(&self);
    /// Crashes so far.
    fn crashes(&self) -> u64;
    /// What the model's files say that it takes and gives.
    fn signature(&self) -> &Signature;
}

/// Why rows were not scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The version does not load, does not take the input, or crashes on it: a fact about the model.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing is known of the model: try again.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Scores many rows with one version, deployed or not: what gates and references are made from.
#[async_trait]
pub trait Scorer: Send + Sync {
    /// One value a row, in order. `features`: the model's columns, in its order.
    async fn score(&self, model: &ModelName, version: VersionNumber, features: &RecordBatch) -> Result<Vec<Scalar>, ScoreError>;
}

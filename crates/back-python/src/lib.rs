//! Models in supervised Python workers.
//!
//! A worker is a process of the project's own interpreter that loads one MLflow model (pyfunc) and answers frames on its
//! standard streams; nothing is unpickled in this process. One spare worker, with the libraries loaded, waits for the next
//! model. A worker that dies is started again with back-off; until it is back, a request is told so at once. A request that would miss its
//! deadline in the queue is sent away at once, with when to come back. A version with a locked environment has workers of that environment's
//! interpreter ([`environment`]), and no spare.
//!
//! Invariants: a worker never outlives this process (its stdin ends); a request never waits beyond its deadline; a worker that has had the
//! longest deadline that its model was ever given for one request is killed, for nobody knows what it is doing, but never because a request
//! came late to it: then only the caller leaves, and the worker answers to nobody; numeric libraries run with one thread.

mod account;
mod convert;
mod environment;
mod model;
mod pace;
mod worker;

use async_trait::async_trait;
use domain::entity::EnvironmentLock;
use domain::spec::EnvironmentSpec;
use domain::{Digest, Fault, Refusal};
use environment::{Environments, Installed, Wanted};
use model::PythonModel;
use parking_lot::Mutex;
use ports::{ArtifactExt, ArtifactStore, LoadError, ModelFiles, ModelHandle, ModelRuntime, OnnxFiles};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use worker::Worker;

/// Loads MLflow models in Python workers.
pub struct PythonRuntime {
    shared: Arc<Shared>,
}

/// What loading and restarting need.
pub(crate) struct Shared {
    artifacts: Arc<dyn ArtifactStore>,
    folder: PathBuf,
    python: Mutex<PathBuf>,
    spare: Mutex<Option<Worker>>,
    /// Held while a version's files are copied: two loads of one version make one copy.
    copying: tokio::sync::Mutex<()>,
    environments: Environments,
    /// This server's own program, which has a command that answers by ONNX.
    program: PathBuf,
}

/// What a worker loads.
pub(crate) struct Source {
    pub(crate) folder: PathBuf,
    /// `None`: the project's interpreter.
    pub(crate) environment: Option<Arc<Installed>>,
    /// An ONNX model, for a process that opens nothing else.
    pub(crate) onnx: Option<OnnxFiles>,
}

impl PythonRuntime {
    /// A runtime that keeps copies of models below `folder` and locked environments below `environments`, with `python` found on the path until told otherwise. `program` answers by ONNX,
    /// when called `program onnx-worker --library FILE --model FILE`.
    pub fn new(artifacts: Arc<dyn ArtifactStore>, folder: &Path, environments: &Path, program: PathBuf) -> PythonRuntime {
        let (python, spare, copying) = (Mutex::new("python3".into()), Mutex::default(), tokio::sync::Mutex::default());
        let environments = Environments::new(environments.into());
        PythonRuntime { shared: Arc::new(Shared { artifacts, folder: folder.into(), python, spare, copying, environments, program }) }
    }

    /// The interpreter of workers that are started from now on.
    pub fn use_python(&self, python: &Path) {
        let mut current = self.shared.python.lock();
        if *current != python {
            *current = python.into();
            self.shared.spare.lock().take();
        }
    }

    /// Starts the spare worker, so that the first model need not wait for imports.
    pub async fn warm_up(&self) {
        self.shared.clone().keep_spare().await;
    }
}

impl Shared {
    /// A worker with its libraries loaded: the spare, or a new one.
    async fn fresh_worker(&self) -> Result<Worker, LoadError> {
        let spare = self.spare.lock().take();
        if let Some(mut worker) = spare
            && worker.is_alive()
        {
            return Ok(worker);
        }
        self.start_worker().await
    }

    async fn start_worker(&self) -> Result<Worker, LoadError> {
        let python = self.python.lock().clone();
        Worker::start(&python, &self.folder).await
    }

    pub(crate) async fn keep_spare(self: Arc<Self>) {
        if self.spare.lock().is_some() {
            return;
        }
        match self.start_worker().await {
            Ok(worker) => *self.spare.lock() = Some(worker),
            Err(error) => tracing::warn!(%error, "no spare model worker"),
        }
    }

    /// A worker with the model loaded; a new spare is started behind it.
    pub(crate) async fn worker_with(self: &Arc<Self>, source: &Source) -> Result<Worker, LoadError> {
        if let Some(onnx) = &source.onnx {
            return Worker::start_onnx(&self.program, onnx, &self.folder).await;
        }
        if let Some(environment) = &source.environment {
            let mut worker = Worker::start(&environment.python, &self.folder).await?;
            return worker.load(&source.folder).await.map(|()| worker);
        }
        let mut worker = self.fresh_worker().await?;
        let loaded = worker.load(&source.folder).await;
        tokio::spawn(self.clone().keep_spare());
        loaded.map(|()| worker)
    }

    /// The version's own environment, where it asks for one: made if it is not there.
    async fn environment(&self, files: &ModelFiles, folder: &Path) -> Result<Option<Arc<Installed>>, LoadError> {
        if files.environment == EnvironmentSpec::Project {
            return Ok(None);
        }
        let python = self.python.lock().clone();
        self.environments.of(&*self.artifacts, Wanted { files, folder, python: &python }).await.map(Some)
    }

    fn copy_of(&self, files: &ModelFiles) -> PathBuf {
        self.folder.join(Digest::of(files.artifact_path.as_bytes()).short())
    }

    /// Copies the model's files to the local disk, once.
    async fn local_copy(&self, files: &ModelFiles) -> Result<PathBuf, LoadError> {
        if files.artifact_path.is_empty() {
            let what = format!("the files of version {} of model {} are not in this server's artifact store", files.version, files.model);
            return Err(Refusal::invalid("model/elsewhere", what).hint("log the model to this server, and register it anew").into());
        }
        let name = Digest::of(files.artifact_path.as_bytes());
        let folder = self.copy_of(files);
        if folder.join("MLmodel").is_file() {
            return Ok(folder);
        }
        let _copying = self.copying.lock().await;
        if folder.join("MLmodel").is_file() {
            return Ok(folder);
        }
        let beside = self.folder.join(format!("{}.part", name.short()));
        let what = |e: std::io::Error| Fault::because(format!("copying model {} {}", files.model, files.version), e);
        let _ = tokio::fs::remove_dir_all(&beside).await;
        tokio::fs::create_dir_all(&beside).await.map_err(what)?;
        self.artifacts.download(&files.artifact_path, &beside).await?;
        if !beside.join("MLmodel").is_file() {
            let _ = tokio::fs::remove_dir_all(&beside).await;
            let what = format!("version {} of model {} has no MLmodel file in {}", files.version, files.model, files.artifact_path);
            return Err(Refusal::invalid("model/no_mlmodel", what).hint("log the model with mlflow.<flavour>.log_model").into());
        }
        let _ = tokio::fs::remove_dir_all(&folder).await;
        tokio::fs::rename(&beside, &folder).await.map_err(what)?;
        Ok(folder)
    }
}

#[async_trait]
impl ModelRuntime for PythonRuntime {
    async fn load(&self, files: &ModelFiles) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let folder = self.shared.local_copy(files).await?;
        let environment = self.shared.environment(files, &folder).await?;
        let source = Source { folder, environment, onnx: files.onnx.clone() };
        let worker = self.shared.worker_with(&source).await?;
        Ok(Arc::new(PythonModel::supervise(self.shared.clone(), files, source, worker)))
    }

    async fn prepare(&self, files: &ModelFiles) -> Result<Option<EnvironmentLock>, LoadError> {
        if files.environment == EnvironmentSpec::Project {
            return Ok(None);
        }
        let folder = self.shared.local_copy(files).await?;
        let python = self.shared.python.lock().clone();
        let wanted = Wanted { files, folder: &folder, python: &python };
        Ok(Some(self.shared.environments.prepare(&*self.shared.artifacts, wanted).await?.lock.clone()))
    }

    async fn is_prepared(&self, files: &ModelFiles) -> bool {
        match files.environment {
            EnvironmentSpec::Project => true,
            EnvironmentSpec::Locked => self.shared.environments.has(&self.shared.copy_of(files)).await,
        }
    }

    async fn free_environments(&self, unused: Duration, kept: &[Digest], dry_run: bool) -> Result<Vec<Digest>, Fault> {
        self.shared.environments.free(unused, kept, dry_run).await
    }
}

#[cfg(test)]
mod tests;

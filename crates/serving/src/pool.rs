//! Loaded models by version: the gate, the shadow and the champion use the same worker.

use crate::batch::Batched;
use crate::behaviour::WorkerCount;
use domain::entity::{AppliedProject, EnvironmentLock, ModelVersion};
use domain::spec::{BatchSpec, EnvironmentSpec, OutputSpec, RuntimeSpec, ScaleSpec, ServeSpec};
use domain::{Digest, Fault, ModelName, Refusal, VersionNumber};
use parking_lot::Mutex;
use ports::{LoadError, MetadataStore, ModelFiles, ModelHandle, ModelRuntime, WorkerUse, World};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

type Key = (ModelName, VersionNumber);

/// What a loaded version depends on.
#[derive(Clone, Default, PartialEq)]
struct Settings {
    runtime: RuntimeSpec,
    output: Option<OutputSpec>,
    environment: EnvironmentSpec,
    isolate: bool,
    scale: Option<ScaleSpec>,
    batch: Option<BatchSpec>,
}

type Cell = Arc<OnceCell<Arc<dyn ModelHandle>>>;

/// Loads each version once and keeps it until it is let go. A request that holds a handle may finish with it.
pub struct ModelPool {
    store: Arc<dyn MetadataStore>,
    runtime: Arc<dyn ModelRuntime>,
    loaded: Mutex<HashMap<Key, Cell>>,
    settings: Mutex<HashMap<ModelName, Settings>>,
}

impl Settings {
    fn of(serve: &ServeSpec) -> Settings {
        Settings {
            runtime: serve.runtime,
            output: serve.output.clone(),
            environment: serve.environment,
            isolate: serve.isolate,
            scale: serve.scale,
            batch: serve.batch,
        }
    }
}

/// Whether a loaded version is the same under both.
pub(crate) fn same_settings(a: &ServeSpec, b: &ServeSpec) -> bool {
    Settings::of(a) == Settings::of(b)
}

impl ModelPool {
    /// An empty pool.
    pub fn new(store: Arc<dyn MetadataStore>, runtime: Arc<dyn ModelRuntime>) -> Self {
        ModelPool { store, runtime, loaded: Mutex::default(), settings: Mutex::default() }
    }

    /// The handle of a version, loaded if it is not yet. Callers that come meanwhile wait for the same load.
    pub async fn get(&self, model: &ModelName, version: VersionNumber) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let key = (model.clone(), version);
        let cell = self.loaded.lock().entry(key.clone()).or_default().clone();
        let handle = cell.get_or_try_init(|| self.load(model, version)).await;
        if handle.is_err() {
            self.loaded.lock().remove(&key);
        }
        handle.cloned()
    }

    async fn load(&self, model: &ModelName, version: VersionNumber) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let (files, batch) = self.files(model, version)?;
        let handle = self.runtime.load(&files).await?;
        Ok(match batch {
            Some(batch) => Arc::new(Batched::over(handle, batch)),
            None => handle,
        })
    }

    /// Where a version's files are, and what shall answer with them, as the file in force says.
    fn files(&self, model: &ModelName, version: VersionNumber) -> Result<(ModelFiles, Option<BatchSpec>), LoadError> {
        let world = World::new(self.store.snapshot()?);
        let found = world.get::<ModelVersion>(&format!("{model}/{version}"))?;
        let found =
            found.ok_or_else(|| Refusal::not_found("model_version/not_found", format!("model {model} has no version {version}")))?;
        let project = world.get::<AppliedProject>("project")?;
        let serve = project.as_ref().and_then(|project| project.spec.model.get(model.as_str())?.serve.as_ref());
        let Settings { runtime, output, environment, isolate, scale, batch } = serve.map(Settings::of).unwrap_or_default();
        let artifact_path = found.artifact_path;
        Ok((ModelFiles { model: model.clone(), version, artifact_path, runtime, output, environment, isolate, scale, onnx: None }, batch))
    }

    /// Makes what a load needs beside the files, which may take minutes.
    pub async fn prepare(&self, model: &ModelName, version: VersionNumber) -> Result<Option<EnvironmentLock>, LoadError> {
        let (files, _) = self.files(model, version)?;
        self.runtime.prepare(&files).await
    }

    pub(crate) async fn free_environments(&self, unused: Duration, kept: &[Digest], dry_run: bool) -> Result<Vec<Digest>, Fault> {
        self.runtime.free_environments(unused, kept, dry_run).await
    }

    /// Whether a version is loaded, or would load without that. What is not known at all is said by the load.
    pub(crate) async fn is_prepared(&self, model: &ModelName, version: VersionNumber) -> bool {
        let is_loaded = self.loaded.lock().get(&(model.clone(), version)).is_some_and(|cell| cell.initialized());
        match self.files(model, version) {
            Ok((files, _)) if !is_loaded => self.runtime.is_prepared(&files).await,
            _ => true,
        }
    }

    /// What shall answer for the model from now on, by how many workers, and how much at a time. Other settings than before mean that its
    /// versions are loaded anew; who holds a handle goes on with it.
    pub fn use_settings(&self, model: &ModelName, serve: &ServeSpec) {
        let settings = Settings::of(serve);
        let before = self.settings.lock().insert(model.clone(), settings.clone());
        if before.is_some_and(|before| before != settings) {
            self.loaded.lock().retain(|(of, _), _| of != model);
        }
    }

    /// Lets go of every version of the model that is not in `keep`.
    pub fn keep_only(&self, model: &ModelName, keep: &[VersionNumber]) {
        self.loaded.lock().retain(|(of, version), _| of != model || keep.contains(version));
    }

    /// Crashes of a loaded version's workers.
    pub fn crashes(&self, model: &ModelName, version: VersionNumber) -> u64 {
        let loaded = self.loaded.lock();
        loaded.get(&(model.clone(), version)).and_then(|cell| cell.get()).map_or(0, |handle| handle.crashes())
    }

    /// Workers of a loaded version; `None` where it is answered within the server, or not loaded.
    pub fn workers(&self, model: &ModelName, version: VersionNumber) -> Option<WorkerCount> {
        let loaded = self.loaded.lock();
        let (ready, starting) = loaded.get(&(model.clone(), version))?.get()?.workers()?;
        Some(WorkerCount { ready, starting })
    }

    /// What the workers of each model used since this was last asked.
    pub fn take_usage(&self) -> Vec<(ModelName, WorkerUse)> {
        let loaded = self.loaded.lock();
        loaded.iter().filter_map(|((model, _), cell)| Some((model.clone(), cell.get()?.take_usage()?))).collect()
    }

    /// Ends all workers after the requests under way.
    pub async fn stop(&self) -> Result<(), Fault> {
        let all: Vec<Cell> = self.loaded.lock().drain().map(|(_, cell)| cell).collect();
        for handle in all.iter().filter_map(|cell| cell.get()) {
            handle.stop().await;
        }
        Ok(())
    }
}

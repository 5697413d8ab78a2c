//! Loaded models by version: the gate, the shadow and the champion use the same worker.

use crate::batch::Batched;
use crate::behaviour::WorkerCount;
use domain::entity::{EnvironmentLock, ModelVersion};
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
    /// Each with the settings that it was loaded under.
    loaded: Mutex<HashMap<Key, (Settings, Cell)>>,
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

/// What the file in force says of a model's versions.
fn settings(world: &World, model: &ModelName) -> Result<Settings, Fault> {
    let project = world.project()?;
    let serve = project.as_ref().and_then(|project| project.spec.model.get(model.as_str())?.serve.as_ref());
    Ok(serve.map(Settings::of).unwrap_or_default())
}

impl ModelPool {
    /// An empty pool.
    pub fn new(store: Arc<dyn MetadataStore>, runtime: Arc<dyn ModelRuntime>) -> Self {
        ModelPool { store, runtime, loaded: Mutex::default() }
    }

    /// The handle of a version, loaded if it is not yet, or was under other settings than the file's; who holds that handle goes on with it.
    /// Callers that come meanwhile wait for the same load.
    pub async fn get(&self, model: &ModelName, version: VersionNumber) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let settings = settings(&World::new(self.store.snapshot()?), model)?;
        let key = (model.clone(), version);
        let cell = {
            let mut loaded = self.loaded.lock();
            let found = loaded.entry(key.clone()).or_insert_with(|| (settings.clone(), Cell::default()));
            if found.0 != settings {
                *found = (settings.clone(), Cell::default());
            }
            found.1.clone()
        };
        let handle = cell.get_or_try_init(|| self.load(model, version, settings)).await;
        if handle.is_err() {
            let mut loaded = self.loaded.lock();
            if loaded.get(&key).is_some_and(|(_, now)| Arc::ptr_eq(now, &cell)) {
                loaded.remove(&key);
            }
        }
        handle.cloned()
    }

    async fn load(&self, model: &ModelName, version: VersionNumber, settings: Settings) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let batch = settings.batch;
        let handle = self.runtime.load(&self.files(model, version, settings)?).await?;
        Ok(match batch {
            Some(batch) => Arc::new(Batched::over(handle, batch)),
            None => handle,
        })
    }

    /// Where a version's files are, and what shall answer with them.
    fn files(&self, model: &ModelName, version: VersionNumber, settings: Settings) -> Result<ModelFiles, LoadError> {
        let found = World::new(self.store.snapshot()?).get::<ModelVersion>(&format!("{model}/{version}"))?;
        let found =
            found.ok_or_else(|| Refusal::not_found("model_version/not_found", format!("model {model} has no version {version}")))?;
        let Settings { runtime, output, environment, isolate, scale, batch: _ } = settings;
        let artifact_path = found.artifact_path;
        Ok(ModelFiles { model: model.clone(), version, artifact_path, runtime, output, environment, isolate, scale, onnx: None })
    }

    /// Makes what a load needs beside the files, which may take minutes.
    pub async fn prepare(&self, model: &ModelName, version: VersionNumber) -> Result<Option<EnvironmentLock>, LoadError> {
        let settings = settings(&World::new(self.store.snapshot()?), model)?;
        self.runtime.prepare(&self.files(model, version, settings)?).await
    }

    pub(crate) async fn free_environments(&self, unused: Duration, kept: &[Digest], dry_run: bool) -> Result<Vec<Digest>, Fault> {
        self.runtime.free_environments(unused, kept, dry_run).await
    }

    /// Whether a version is loaded, or would load without that. What is not known at all is said by the load.
    pub(crate) async fn is_prepared(&self, model: &ModelName, version: VersionNumber) -> Result<bool, Fault> {
        let settings = settings(&World::new(self.store.snapshot()?), model)?;
        let key = (model.clone(), version);
        if self.loaded.lock().get(&key).is_some_and(|(under, cell)| *under == settings && cell.initialized()) {
            return Ok(true);
        }
        match self.files(model, version, settings) {
            Ok(files) => Ok(self.runtime.is_prepared(&files).await),
            Err(_) => Ok(true),
        }
    }

    /// Lets go of every version of the model that is not in `keep`.
    pub fn keep_only(&self, model: &ModelName, keep: &[VersionNumber]) {
        self.loaded.lock().retain(|(of, version), _| of != model || keep.contains(version));
    }

    /// Lets go of one version.
    pub(crate) fn let_go(&self, model: &ModelName, version: VersionNumber) {
        self.loaded.lock().remove(&(model.clone(), version));
    }

    /// Crashes of a loaded version's workers.
    pub fn crashes(&self, model: &ModelName, version: VersionNumber) -> u64 {
        let loaded = self.loaded.lock();
        loaded.get(&(model.clone(), version)).and_then(|(_, cell)| cell.get()).map_or(0, |handle| handle.crashes())
    }

    /// Workers of a loaded version; `None` where it is answered within the server, or not loaded.
    pub fn workers(&self, model: &ModelName, version: VersionNumber) -> Option<WorkerCount> {
        let loaded = self.loaded.lock();
        let (ready, starting) = loaded.get(&(model.clone(), version))?.1.get()?.workers()?;
        Some(WorkerCount { ready, starting })
    }

    /// What the workers of each model used since this was last asked.
    pub fn take_usage(&self) -> Vec<(ModelName, WorkerUse)> {
        let loaded = self.loaded.lock();
        loaded.iter().filter_map(|((model, _), (_, cell))| Some((model.clone(), cell.get()?.take_usage()?))).collect()
    }

    /// Ends all workers after the requests under way.
    pub async fn stop(&self) -> Result<(), Fault> {
        let all: Vec<Cell> = self.loaded.lock().drain().map(|(_, (_, cell))| cell).collect();
        for handle in all.iter().filter_map(|cell| cell.get()) {
            handle.stop().await;
        }
        Ok(())
    }
}

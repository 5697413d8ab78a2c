//! The code of a version, kept by content when it first runs, and put into a folder again for an exact repetition.

use super::{Engine, NAME, StepFailure, as_fault, files};
use crate::index;
use domain::entity::{AppliedProject, EnvironmentLock, KeptCode, ModelVersion, PipelineRun, PipelineVersion, VersionEnvironment};
use domain::spec::EnvironmentSpec;
use domain::{Actor, Batch, Digest, Fault, ModelName, PipelineRunId, VersionNumber};
use indexmap::IndexMap;
use ports::{MetadataStore, World, decide};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// A larger file is data, not code.
const FILE_BYTES: u64 = 4 << 20;
const FILES: usize = 2000;

impl Engine {
    /// Keeps the code of the run's version, if nobody has; gives a run that is to be exact its folder.
    pub(super) async fn keep_code(&self, id: &PipelineRunId) -> Result<(), Fault> {
        let world = World::new(self.store.snapshot()?);
        let Some(run) = world.get::<PipelineRun>(id.as_str())?.filter(|run| !run.state.is_over()) else { return Ok(()) };
        let key = format!("{}/{}", run.pipeline, run.version);
        let Some(project) = world.project()? else { return Ok(()) };
        match world.get::<KeptCode>(&key)? {
            Some(kept) if run.again.as_ref().is_some_and(|again| again.exact) && run.root.is_none() => {
                self.restore(&run, &kept, &project).await
            }
            Some(_) => Ok(()),
            None => {
                let Some(version) = world.get::<PipelineVersion>(&key)? else { return Ok(()) };
                drop(world);
                self.keep_version(&run, &version, run.root.as_deref().unwrap_or(&project.root)).await
            }
        }
    }

    async fn keep_version(&self, run: &PipelineRun, version: &PipelineVersion, root: &str) -> Result<(), Fault> {
        let root = Path::new(root);
        let code = files::all_code(root, &version.spec, &self.code);
        // Changed since the run was asked for: what is there now is not the version's.
        if Digest::of_json(&code) != version.code {
            return Ok(());
        }
        let mut kept = KeptCode { pipeline: run.pipeline.clone(), version: run.version, files: IndexMap::new(), left_out: Vec::new() };
        let names: BTreeSet<String> = code.into_iter().flat_map(|files| files.into_keys()).collect();
        for name in names.into_iter().chain(files::LOCK_FILES.map(str::to_owned)) {
            let path = root.join(&name);
            let Ok(found) = path.metadata() else { continue };
            if found.len() > FILE_BYTES || kept.files.len() >= FILES {
                kept.left_out.push(name);
                continue;
            }
            let artifact = files::keep(&*self.artifacts, &path, &name).await?;
            kept.files.insert(name, artifact);
        }
        let batch = Batch::new(Actor::System(NAME.into()), self.clock.event_now()).put(&kept);
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault("keeping a version's code", e))
    }

    async fn restore(&self, run: &PipelineRun, kept: &KeptCode, project: &AppliedProject) -> Result<(), Fault> {
        let folder = self.config.home.join("pipelines").join(run.id.as_str()).join("code");
        let what = |e: std::io::Error| Fault::because(format!("restoring the code of {}", run.id), e);
        let _ = tokio::fs::remove_dir_all(&folder).await;
        tokio::fs::create_dir_all(&folder).await.map_err(what)?;
        let inside =
            |name: &&String| Path::new(name.as_str()).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let paths: BTreeSet<PathBuf> = kept.files.keys().filter(inside).map(PathBuf::from).collect();
        for (name, artifact) in kept.files.iter().filter(|(name, _)| inside(name)) {
            files::fetch(&*self.artifacts, artifact, &folder.join(name)).await?;
        }
        // Everything else is as it is today: data, and the interpreter's own environment.
        let folders: BTreeSet<&Path> = paths.iter().flat_map(|path| path.ancestors().skip(1)).collect();
        for inner in folders {
            let Ok(entries) = std::fs::read_dir(Path::new(&project.root).join(inner)) else { continue };
            for entry in entries.flatten() {
                let to = folder.join(inner).join(entry.file_name());
                let is_home = self.config.home.starts_with(entry.path());
                if !is_home && to.symlink_metadata().is_err() {
                    std::os::unix::fs::symlink(entry.path(), &to).map_err(what)?;
                }
            }
        }
        let python = self.locked_python(run).await?;
        let (root, now) = (folder.to_string_lossy().into_owned(), self.clock.event_now());
        let placed = decide(&*self.store, |world| {
            let batch = Batch::new(Actor::System(NAME.into()), now);
            let Some(mut run) = world.get::<PipelineRun>(run.id.as_str())? else { return Ok((batch, ())) };
            run.root = Some(root.clone());
            run.python.clone_from(&python);
            Ok((batch.put(&run), ()))
        });
        placed.await.map_err(|e| as_fault("restoring a version's code", e))
    }
}

impl Engine {
    /// The interpreter of the environment that a model version of the repeated run is locked in, installed again if it must be.
    async fn locked_python(&self, run: &PipelineRun) -> Result<Option<String>, Fault> {
        let Some(again) = &run.again else { return Ok(None) };
        let locked = locked(&World::new(self.store.snapshot()?), &again.of)?;
        let Some((model, number, _)) = locked.into_iter().next() else { return Ok(None) };
        match self.built_in.environment(&model, number).await {
            Ok(Some(sha256)) => {
                let python = self.config.home.join("environments").join(sha256.as_str()).join("bin/python");
                Ok(Some(python.to_string_lossy().into_owned()))
            }
            Ok(None) => Ok(None),
            Err(StepFailure::Refused(refusal)) => {
                tracing::warn!(run = %run.id, %model, version = %number, %refusal, "its packages cannot be brought back; today's are used");
                Ok(None)
            }
            Err(StepFailure::Fault(fault)) => Err(fault),
        }
    }
}

/// The model versions that a run made whose packages are locked.
fn locked(world: &World, run: &PipelineRunId) -> Result<Vec<(ModelName, VersionNumber, EnvironmentLock)>, Fault> {
    let mut found = Vec::new();
    for version in world.list::<ModelVersion>()?.into_iter().filter(|version| version.pipeline_run.as_ref() == Some(run)) {
        let environment = world.get::<VersionEnvironment>(&format!("{}/{}", version.model, version.version))?;
        found.extend(environment.and_then(|environment| environment.lock).map(|lock| (version.model, version.version, lock)));
    }
    Ok(found)
}

/// The locked environments that runs under way work with: no loaded version need see them.
pub fn environments_in_use(world: &World) -> Result<Vec<Digest>, Fault> {
    // `home/environments/SHA256/bin/python`.
    let of = |python: String| Some(Digest::from_hex(Path::new(&python).parent()?.parent()?.file_name()?.to_str()?));
    Ok(index::all_under_way(world)?.into_iter().filter_map(|run| of(run.python?)).collect())
}

/// What an exact repetition of a version cannot bring back, one sentence each.
pub fn not_restored(store: &dyn MetadataStore, id: &PipelineRunId) -> Result<Vec<String>, Fault> {
    let world = World::new(store.snapshot()?);
    let Some(run) = world.get::<PipelineRun>(id.as_str())? else { return Ok(Vec::new()) };
    let key = format!("{}/{}", run.pipeline, run.version);
    let mut lost = Vec::new();
    if let Some(kept) = world.get::<KeptCode>(&key)? {
        lost.extend(kept.left_out.iter().map(|file| format!("{file} was too large to be kept: today's is used")));
    }
    let (version, project) = (world.get::<PipelineVersion>(&key)?, world.project()?);
    if let Some((version, project)) = version.zip(project) {
        let brought = |model: &ModelName| {
            let serve = project.spec.model.get(model.as_str()).and_then(|model| model.serve.as_ref());
            serve.is_some_and(|serve| serve.environment == EnvironmentSpec::Locked)
        };
        let locked = locked(&world, id)?;
        let is_brought = locked.first().is_some_and(|(model, ..)| brought(model));
        for (model, number, lock) in locked.into_iter().filter(|(model, ..)| !brought(model)) {
            let what = format!("{} (Python {}, SHA-256 {})", lock.path, lock.python, lock.sha256.short());
            lost.push(format!(
                "packages are today's; those that {model} {number} was locked with are in the artifact {what}, and come back with environment = \"locked\""
            ));
        }
        if !is_brought && version.environment != files::environment_of(&project) {
            lost.push("the interpreter is today's: its lock files were others then; they lie in the folder of the code".into());
        }
        let reads_sources = |step: &domain::spec::StepSpec| step.training_set.is_some() || !step.materialize.is_empty();
        if version.spec.step.values().any(reads_sources) {
            lost.push("rows that reached a source late may be in a training set that is made anew".into());
        }
    }
    lost.push("files that steps read without naming them are today's".into());
    Ok(lost)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::Timestamp;
    use domain::entity::{OpenRun, RunState, Trigger, TriggerKind};
    use ports::memory::MemoryStore;

    /// `trimtab gc` took the environment from under an exact repetition.
    #[tokio::test]
    async fn environments_of_runs_under_way_are_in_use() {
        let (store, at) = (MemoryStore::new(), Timestamp::from_ms(0));
        let mut batch = Batch::new(Actor::System(NAME.into()), at);
        for (id, state, python) in
            [("running", RunState::Running, Some("a")), ("over", RunState::Succeeded, Some("b")), ("todays", RunState::Running, None)]
        {
            let trigger = Trigger { kind: TriggerKind::Command, time: at, holdout_to: at };
            let mut run = PipelineRun::queued(PipelineRunId::new(id), "p", trigger, at);
            run.state = state;
            run.python = python.map(|letter| format!("/home/environments/{}/bin/python", letter.repeat(64)));
            batch.write(&OpenRun::of(&run));
            batch.write(&run);
        }
        store.commit(batch).await.unwrap();
        let found = environments_in_use(&World::new(store.snapshot().unwrap())).unwrap();
        assert_eq!(found, [Digest::from_hex("a".repeat(64))]);
    }
}

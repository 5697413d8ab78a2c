//! Code and artifacts on disk: what is hashed into keys, what goes in and out of the artifact store.

use super::StepFailure;
use super::git;
use crate::commands::{Fingerprint, declared};
use domain::entity::{AppliedProject, Item, PipelineStep, StepArtifact};
use domain::spec::{PipelineSpec, StepSpec};
use domain::{Digest, Fault, Refusal};
use futures::StreamExt;
use indexmap::IndexMap;
use parking_lot::Mutex;
use ports::{ArtifactStore, ByteStream, CommitError, MetadataStore, World};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio_util::io::ReaderStream;

/// Files that describe a Python environment.
pub(super) const LOCK_FILES: [&str; 4] = ["requirements.txt", "uv.lock", "poetry.lock", "pyproject.toml"];

/// The digest of a file, read in pieces.
pub(crate) fn digest_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((Digest::from_hex(hex::encode(hasher.finalize())), bytes));
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// Contents of files by path, as long as their time and length stay.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<PathBuf, (SystemTime, u64, Digest)>>);

impl Known {
    fn digest(&self, path: &Path) -> Option<Digest> {
        let found = path.metadata().ok()?;
        let (changed, bytes) = (found.modified().ok()?, found.len());
        if let Some((then, length, digest)) = self.0.lock().get(path)
            && (*then, *length) == (changed, bytes)
        {
            return Some(digest.clone());
        }
        let (digest, bytes) = digest_file(path).ok()?;
        // Within the grain of the file system's clock a second change would not show.
        if changed.elapsed().is_ok_and(|age| age > Duration::from_secs(2)) {
            self.0.lock().insert(path.into(), (changed, bytes, digest.clone()));
        }
        Some(digest)
    }
}

/// Files of the project that a step's command names, and those under `code`, with their content; relative paths, sorted.
pub(crate) fn code_of(root: &Path, step: &StepSpec, known: &Known) -> IndexMap<String, Digest> {
    let mut files = IndexMap::new();
    for named in step.command().iter().chain(&step.code) {
        let inside = Path::new(named).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside && !named.is_empty() {
            add_code(root, Path::new(named), known, &mut files, 0);
        }
    }
    files.sort_keys();
    files
}

fn add_code(root: &Path, relative: &Path, known: &Known, files: &mut IndexMap<String, Digest>, depth: usize) {
    let path = root.join(relative);
    let hidden = relative.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('.') || name == "__pycache__");
    if depth > 16 || hidden {
        return;
    }
    // Most of what a command names is no file at all.
    let Ok(found) = path.metadata() else { return };
    if found.is_file() {
        if let Some(digest) = known.digest(&path) {
            files.insert(relative.to_string_lossy().into_owned(), digest);
        }
        return;
    }
    let Ok(entries) = std::fs::read_dir(&path) else { return };
    for entry in entries.flatten() {
        add_code(root, &relative.join(entry.file_name()), known, files, depth + 1);
    }
}

/// The interpreter and the lock files of a project, as one digest.
pub(crate) fn environment_of(project: &AppliedProject) -> Digest {
    let root = Path::new(&project.root);
    let mut parts = vec![project.spec.project.python.clone().unwrap_or_default().into_bytes()];
    for name in LOCK_FILES {
        parts.push(name.as_bytes().to_vec());
        parts.push(std::fs::read(root.join(name)).unwrap_or_default());
    }
    Digest::of_parts(parts.iter().map(Vec::as_slice))
}

/// The code files of every step of a pipeline.
pub(super) fn all_code(root: &Path, spec: &PipelineSpec, known: &Known) -> Vec<IndexMap<String, Digest>> {
    spec.step.values().chain(spec.on_exit.values()).map(|step| code_of(root, step, known)).collect()
}

/// What a pipeline looks like on disk now: code, environment, commit.
pub fn fingerprint(store: &dyn MetadataStore, pipeline: &str) -> Result<Fingerprint, CommitError> {
    let world = World::new(store.snapshot()?);
    let spec = declared(&world, pipeline)?;
    let project = world.project()?.ok_or_else(|| Fault::broken("a declared pipeline without a project"))?;
    let root = Path::new(&project.root);
    let known = Known::default();
    Ok(Fingerprint {
        code: Digest::of_json(&all_code(root, &spec, &known)),
        environment: environment_of(&project),
        git_commit: git::commit(root),
        git_diff: git::diff(root),
    })
}

/// What of a pipeline run's code and environment is not on disk any more as it was, one sentence each.
pub fn changes(store: &dyn MetadataStore, steps: &[PipelineStep]) -> Result<Vec<String>, Fault> {
    let world = World::new(store.snapshot()?);
    let Some(project) = world.project()? else { return Ok(vec!["no project is applied".into()]) };
    let root = Path::new(&project.root);
    let mut changes = BTreeSet::new();
    for step in steps {
        for (part, recorded) in &step.key_parts {
            if let Some(file) = part.strip_prefix("code.") {
                match digest_file(&root.join(file)) {
                    Ok((digest, _)) if digest == *recorded => {}
                    Ok(_) => drop(changes.insert(format!("{file} has changed"))),
                    Err(_) => drop(changes.insert(format!("{file} is gone"))),
                }
            }
            if part == "environment" && environment_of(&project) != *recorded {
                changes.insert("the interpreter or its lock file has changed".into());
            }
        }
    }
    Ok(changes.into_iter().collect())
}

/// Where an output lives in the artifact store.
pub(crate) fn address(digest: &Digest) -> String {
    format!("cas/{}/{digest}", &digest.as_str()[..2])
}

/// Puts a step's output into the store under its content.
pub(crate) async fn keep(artifacts: &dyn ArtifactStore, path: &Path, name: &str) -> Result<StepArtifact, Fault> {
    let what = |e: std::io::Error| Fault::because(format!("keeping output {}", path.display()), e);
    let (digest, bytes) = digest_file(path).map_err(what)?;
    let at = address(&digest);
    if artifacts.get(&at).await?.is_none() {
        let file = tokio::fs::File::open(path).await.map_err(what)?;
        artifacts.put(&at, ReaderStream::new(file).boxed()).await?;
    }
    Ok(StepArtifact { digest, bytes, name: name.into(), list: false })
}

/// What the items of a step with `each` made, in their order: the artifacts, and the values that they are for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Collected {
    pub(crate) item: Item,
    pub(crate) artifact: StepArtifact,
}

/// Puts a list of artifacts into the store as one.
pub(crate) async fn keep_list(artifacts: &dyn ArtifactStore, list: &[Collected], name: &str) -> Result<StepArtifact, Fault> {
    let text = serde_json::to_vec(list).map_err(|e| Fault::because("a list of outputs", e))?;
    let (digest, bytes) = (Digest::of(&text), text.len() as u64);
    artifacts.put(&address(&digest), futures::stream::once(async { Ok(text.into()) }).boxed()).await?;
    Ok(StepArtifact { digest, bytes, name: name.into(), list: true })
}

/// The most that is read of an output as JSON.
const JSON_BYTES: u64 = 16 << 20;

/// An output as JSON; a text that is none is a text.
pub(crate) async fn read_json(artifacts: &dyn ArtifactStore, artifact: &StepArtifact) -> Result<serde_json::Value, StepFailure> {
    if artifact.bytes > JSON_BYTES {
        let what = format!("output {} has {} bytes; a condition or `each` reads at most {JSON_BYTES}", artifact.name, artifact.bytes);
        return Err(Refusal::invalid("step/json", what).into());
    }
    let mut stream = open(artifacts, artifact).await?;
    let mut text = Vec::new();
    while let Some(piece) = stream.next().await {
        text.extend_from_slice(&piece.map_err(|e| Fault::because(format!("reading output {}", artifact.name), e))?);
    }
    let as_text = || serde_json::Value::String(String::from_utf8_lossy(&text).trim().to_owned());
    Ok(serde_json::from_slice(&text).unwrap_or_else(|_| as_text()))
}

async fn open(artifacts: &dyn ArtifactStore, artifact: &StepArtifact) -> Result<ByteStream, Fault> {
    let found = artifacts.get(&address(&artifact.digest)).await?;
    let gone = || Fault::broken(format!("output {} ({}) is gone from the artifact store", artifact.name, artifact.digest.short()));
    Ok(found.ok_or_else(gone)?.1)
}

/// Copies a kept output to a file; a list of outputs to a folder with `0/NAME`, `1/NAME` and so on, and `items.json` that says which
/// is for what.
pub(crate) async fn fetch(artifacts: &dyn ArtifactStore, artifact: &StepArtifact, to: &Path) -> Result<(), Fault> {
    if !artifact.list {
        return fetch_file(artifacts, artifact, to).await;
    }
    let _ = tokio::fs::remove_dir_all(to).await;
    let list = read_json(artifacts, artifact).await.map_err(|failure| Fault::broken(failure.to_string()))?;
    let list: Vec<Collected> = serde_json::from_value(list).map_err(|e| Fault::because("a list of outputs", e))?;
    let mut shown = Vec::new();
    for (number, one) in list.iter().enumerate() {
        let file = format!("{number}/{}", one.artifact.name);
        Box::pin(fetch(artifacts, &one.artifact, &to.join(&file))).await?;
        shown.push(serde_json::json!({ "item": one.item, "file": file }));
    }
    let what = |e: std::io::Error| Fault::because(format!("fetching input {}", to.display()), e);
    tokio::fs::create_dir_all(to).await.map_err(what)?;
    tokio::fs::write(to.join("items.json"), serde_json::Value::Array(shown).to_string()).await.map_err(what)
}

async fn fetch_file(artifacts: &dyn ArtifactStore, artifact: &StepArtifact, to: &Path) -> Result<(), Fault> {
    let what = |e: std::io::Error| Fault::because(format!("fetching input {}", to.display()), e);
    let mut stream = open(artifacts, artifact).await?;
    if let Some(folder) = to.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(what)?;
    }
    let mut file = tokio::fs::File::create(to).await.map_err(what)?;
    while let Some(piece) = stream.next().await {
        tokio::io::AsyncWriteExt::write_all(&mut file, &piece.map_err(what)?).await.map_err(what)?;
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(what)
}

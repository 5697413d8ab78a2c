//! Locked environments: what a version's `requirements.txt` asks for, locked once with hashes and installed once.
//!
//! The lock lies beside the version's files in the artifact store (`trimtab.lock.txt`); its SHA-256 names the folder that it is installed
//! into, so versions with the same packages share one. Resolving and installing are done by uv or pip with the user's own settings.
//!
//! Invariants: a folder with a lock's name is whole (it is built beside and renamed); two loads build it once (a lock file), and so do two
//! processes; what was cut short is built anew, in a folder of that process's own, for an installer may outlive its killed server; a folder
//! that a loaded version sees is never removed; a lock file never is: two who hold files of one name would each think to be alone.

mod lock;
mod run;
mod tool;

use domain::entity::EnvironmentLock;
use domain::{Digest, Fault, Refusal};
use lock::Lock;
use parking_lot::Mutex;
use ports::{ArtifactExt, ArtifactStore, LoadError, ModelFiles};
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tool::{Interpreter, Step, Tool};

/// The lock's name beside the model's files.
const LOCK: &str = "trimtab.lock.txt";
/// When it was last seen by a worker: the time of this file.
const USED: &str = ".trimtab-used";
/// What could not be made is not tried again for so long.
const REST: Duration = Duration::from_secs(30);

/// Whoever had an environment made has so long to write down that it is in use.
const NOTED: Duration = Duration::from_secs(60);

/// The environments below a folder.
pub(crate) struct Environments {
    folder: PathBuf,
    loaded: Mutex<HashMap<Digest, Weak<Held>>>,
    failed: Mutex<HashMap<PathBuf, (Instant, Refusal)>>,
    /// What was made and is not seen by a worker yet, and until when it is held.
    prepared: Mutex<Vec<(Instant, Arc<Installed>)>>,
}

/// An environment that is there; it stays while somebody holds this.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) python: PathBuf,
    pub(crate) lock: EnvironmentLock,
    _held: Arc<Held>,
}

/// Shared by all versions that see an environment.
#[derive(Debug)]
struct Held;

/// A model's files on the local disk, and whose they are.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) files: &'a ModelFiles,
    pub(crate) folder: &'a Path,
    /// The project's interpreter.
    pub(crate) python: &'a Path,
}

fn fault(what: &str, path: &Path) -> impl Fn(std::io::Error) -> Fault {
    let what = format!("{what} {}", path.display());
    move |error| Fault::because(what.clone(), error)
}

impl Environments {
    pub(crate) fn new(folder: PathBuf) -> Environments {
        Environments { folder, loaded: Mutex::default(), failed: Mutex::default(), prepared: Mutex::default() }
    }

    /// The same as [`Environments::of`], for somebody who will use it by its path alone: nobody frees it until that can be known.
    pub(crate) async fn prepare(&self, store: &dyn ArtifactStore, wanted: Wanted<'_>) -> Result<Arc<Installed>, LoadError> {
        let made = self.of(store, wanted).await?;
        self.hold(made.clone(), Instant::now());
        Ok(made)
    }

    fn hold(&self, made: Arc<Installed>, now: Instant) {
        let mut prepared = self.prepared.lock();
        prepared.retain(|(until, held)| *until > now && held.lock.sha256 != made.lock.sha256);
        prepared.push((now + NOTED, made));
    }

    /// The version's environment: locked and installed if it is not yet.
    pub(crate) async fn of(&self, store: &dyn ArtifactStore, wanted: Wanted<'_>) -> Result<Arc<Installed>, LoadError> {
        let before = self.failed.lock().get(wanted.folder).cloned();
        if let Some((_, refusal)) = before.filter(|(at, _)| at.elapsed() < REST) {
            return Err(refusal.into());
        }
        let made = self.make(store, wanted).await;
        let mut failed = self.failed.lock();
        match &made {
            Err(LoadError::Refused(refusal)) => {
                tracing::warn!(model = %wanted.files.model, version = %wanted.files.version, code = refusal.code, %refusal, "no environment");
                failed.insert(wanted.folder.into(), (Instant::now(), refusal.clone()));
            }
            _ => drop(failed.remove(wanted.folder)),
        }
        made
    }

    /// Whether the version's environment is installed.
    pub(crate) async fn has(&self, folder: &Path) -> bool {
        let lock = tokio::fs::read_to_string(folder.join(LOCK)).await.ok().and_then(|text| Lock::parse(&text));
        lock.is_some_and(|lock| self.folder.join(lock.sha256().as_str()).join("bin/python").exists())
    }

    async fn make(&self, store: &dyn ArtifactStore, wanted: Wanted<'_>) -> Result<Arc<Installed>, LoadError> {
        tokio::fs::create_dir_all(&self.folder).await.map_err(fault("making", &self.folder))?;
        let whose = format!("{} {}", wanted.files.model, wanted.files.version);
        let lock = self.locked(store, wanted, &whose).await?;
        let sha256 = lock.sha256();
        let target = self.folder.join(sha256.as_str());
        // Held until the environment is known to be seen: meanwhile nobody frees it.
        let _turn = self.turn(sha256.as_str()).await?;
        if !target.join("bin/python").exists() {
            self.install(&lock, &target, wanted, &whose).await?;
        }
        let used = target.join(USED);
        tokio::fs::write(&used, &whose).await.map_err(fault("writing", &used))?;
        let path = format!("{}/{LOCK}", wanted.files.artifact_path);
        let mut loaded = self.loaded.lock();
        let held = loaded.get(&sha256).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(Held));
        loaded.insert(sha256.clone(), Arc::downgrade(&held));
        let lock = EnvironmentLock { sha256, path, python: lock.python, packages: lock.packages };
        Ok(Arc::new(Installed { python: target.join("bin/python"), lock, _held: held }))
    }

    /// The lock beside the version's files, made if there is none.
    async fn locked(&self, store: &dyn ArtifactStore, wanted: Wanted<'_>, whose: &str) -> Result<Lock, LoadError> {
        let near = wanted.folder.join(LOCK);
        let name = wanted.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _turn = self.turn(&name).await?;
        if let Some(lock) = tokio::fs::read_to_string(&near).await.ok().and_then(|text| Lock::parse(&text)) {
            return Ok(lock);
        }
        let far = format!("{}/{LOCK}", wanted.files.artifact_path);
        let kept = store.get_bytes(&far).await?;
        if let Some(lock) = kept.and_then(|bytes| Lock::parse(std::str::from_utf8(&bytes).ok()?)) {
            tokio::fs::write(&near, &lock.text).await.map_err(fault("writing", &near))?;
            return Ok(lock);
        }
        if !wanted.folder.join("requirements.txt").is_file() {
            let what = format!("{whose} has no requirements.txt beside its MLmodel file, so its packages are not known");
            return Err(Refusal::invalid("environment/no_requirements", what)
                .at("requirements.txt")
                .hint("log it with mlflow.<flavour>.log_model, which writes one, or set environment = \"project\"")
                .into());
        }
        let log = self.folder.join(format!("{name}.log"));
        let step = Step { whose, log: &log };
        let interpreter = self.interpreter(wanted, step).await?;
        let scratch = self.beside(&name).await?;
        tokio::fs::create_dir_all(&scratch).await.map_err(fault("making", &scratch))?;
        let tool = Tool::find(&interpreter, &self.folder, step).await?;
        let made = tool.lock(wanted.folder, &scratch, &interpreter, step).await;
        clear(&scratch).await?;
        let lock = made?;
        store.put_bytes(&far, lock.text.clone().into()).await?;
        tokio::fs::write(&near, &lock.text).await.map_err(fault("writing", &near))?;
        Ok(lock)
    }

    /// Installs what the lock says; the caller has the turn.
    async fn install(&self, lock: &Lock, target: &Path, wanted: Wanted<'_>, whose: &str) -> Result<(), LoadError> {
        let name = lock.sha256().to_string();
        let log = self.folder.join(format!("{name}.log"));
        let step = Step { whose, log: &log };
        let interpreter = self.interpreter(wanted, step).await?;
        let beside = self.beside(&name).await?;
        let tool = Tool::find(&interpreter, &self.folder, step).await?;
        let began = Instant::now();
        let text = self.folder.join(format!("{name}.txt"));
        let requirements = tokio::fs::read_to_string(wanted.folder.join("requirements.txt")).await.unwrap_or_default();
        tokio::fs::write(&text, lock::places(&requirements) + &lock.text).await.map_err(fault("writing", &text))?;
        if let Err(refusal) = tool.install(&text, &beside, &interpreter, step).await {
            clear(&beside).await?;
            return Err(refusal.into());
        }
        moved(&beside, target).await?;
        clear(target).await?;
        tokio::fs::rename(&beside, target).await.map_err(fault("making", target))?;
        tracing::info!(packages = lock.packages.len(), seconds = began.elapsed().as_secs(), "the environment of {whose} is installed");
        Ok(())
    }

    async fn interpreter(&self, wanted: Wanted<'_>, step: Step<'_>) -> Result<Interpreter, Refusal> {
        let told = tokio::fs::read_to_string(wanted.folder.join("python_env.yaml")).await.unwrap_or_default();
        let version = told.lines().find_map(|line| Some(line.strip_prefix("python:")?.trim().trim_matches(['"', '\'']).to_owned()));
        Interpreter::find(version.as_deref(), wanted.python, step).await
    }

    /// The right to work at something, alone among all processes, while the file is held.
    async fn turn(&self, name: &str) -> Result<File, Fault> {
        let path = self.folder.join(format!("{name}.lock"));
        let taken = tokio::task::spawn_blocking(move || {
            let file = open_lock(&path)?;
            file.lock().map(|()| file)
        });
        let taken = taken.await.map_err(|e| Fault::because("waiting for an environment", e))?;
        taken.map_err(fault("locking", &self.folder.join(name)))
    }

    /// The same, unless somebody has it now.
    fn try_turn(&self, name: &str) -> Result<Option<File>, Fault> {
        let path = self.folder.join(format!("{name}.lock"));
        let file = open_lock(&path).map_err(fault("locking", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(fault("locking", &path)(error)),
        }
    }

    /// A folder beside, of this process's own, that is not there yet; what was cut short goes. The caller has the turn.
    async fn beside(&self, name: &str) -> Result<PathBuf, Fault> {
        for (path, _) in self.entries().await?.into_iter().filter(|(_, entry)| part_of(entry) == Some(name)) {
            sweep(&path).await;
        }
        let own = self.folder.join(format!(".new-{name}-{}", std::process::id()));
        clear(&own).await?;
        Ok(own)
    }

    /// What lies in the folder, with its name.
    async fn entries(&self) -> Result<Vec<(PathBuf, String)>, Fault> {
        let Ok(mut entries) = tokio::fs::read_dir(&self.folder).await else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(fault("reading", &self.folder))? {
            all.push((entry.path(), entry.file_name().to_string_lossy().into_owned()));
        }
        Ok(all)
    }

    /// Removes what no loaded version sees and none has seen for so long, and what was cut short; gives the locks. Those `kept` are in use
    /// elsewhere.
    pub(crate) async fn free(&self, unused: Duration, kept: &[Digest], dry_run: bool) -> Result<Vec<Digest>, Fault> {
        self.prepared.lock().retain(|(until, _)| *until > Instant::now());
        let mut freed = Vec::new();
        for (path, name) in self.entries().await? {
            if let Some(of) = part_of(&name).filter(|_| !dry_run) {
                // Whoever has the turn works in it.
                if let Some(_turn) = self.try_turn(of)? {
                    sweep(&path).await;
                }
            }
            if name.len() != 64 || !path.is_dir() {
                continue;
            }
            let sha256 = Digest::from_hex(name.as_str());
            let is_unused = || {
                // The mark is the file system's, and so is its age.
                let last = std::fs::metadata(path.join(USED)).and_then(|used| used.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                let is_loaded = self.loaded.lock().get(&sha256).is_some_and(|loaded| loaded.strong_count() > 0);
                !is_loaded && last.elapsed().is_ok_and(|age| age >= unused)
            };
            if kept.contains(&sha256) || !is_unused() {
                continue;
            }
            if !dry_run {
                // Who has the turn makes it, or is about to see it; what was so before the turn need not be so now.
                let Some(_turn) = self.try_turn(&name)? else { continue };
                if !is_unused() {
                    continue;
                }
                // Out of the way first: a folder with a lock's name is whole.
                let gone = self.folder.join(format!(".gone-{name}"));
                clear(&gone).await?;
                tokio::fs::rename(&path, &gone).await.map_err(fault("removing", &path))?;
                clear(&gone).await?;
                for ending in ["txt", "log"] {
                    let _ = tokio::fs::remove_file(self.folder.join(format!("{name}.{ending}"))).await;
                }
            }
            freed.push(sha256);
        }
        freed.sort();
        Ok(freed)
    }
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Whose turn a folder beside belongs to: `.new-NAME-PROCESS`, or `.gone-NAME`.
fn part_of(entry: &str) -> Option<&str> {
    entry.strip_prefix(".new-").or(entry.strip_prefix(".gone-"))?.split('-').next()
}

/// Removes what was cut short. An installer that outlived its server may write there still; then it is removed another time.
async fn sweep(folder: &Path) {
    if let Err(fault) = clear(folder).await {
        tracing::warn!(%fault, "a part of an environment stays for now");
    }
}

async fn clear(folder: &Path) -> Result<(), Fault> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault("removing", folder)(error)),
        _ => Ok(()),
    }
}

/// Programs of an environment name their interpreter by its path: those in `from` are told the path that it will have.
async fn moved(from: &Path, to: &Path) -> Result<(), Fault> {
    let programs = from.join("bin");
    let (old, new) = (from.to_string_lossy().into_owned(), to.to_string_lossy().into_owned());
    let mut entries = tokio::fs::read_dir(&programs).await.map_err(fault("reading", &programs))?;
    while let Some(entry) = entries.next_entry().await.map_err(fault("reading", &programs))? {
        let path = entry.path();
        let is_file = entry.file_type().await.is_ok_and(|kind| kind.is_file());
        let Some(text) = tokio::fs::read_to_string(&path).await.ok().filter(|text| is_file && text.contains(&old)) else { continue };
        tokio::fs::write(&path, text.replace(&old, &new)).await.map_err(fault("writing", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

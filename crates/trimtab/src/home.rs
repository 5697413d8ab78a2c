//! The home folder: one process at a time, and how others find it.

use anyhow::Context;
use domain::{Kind, Refusal};
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// `HOME/server.json`: where the running server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerInfo {
    pub url: String,
    pub pid: u32,
    pub version: String,
}

/// A home that this process holds.
pub struct Home {
    pub path: PathBuf,
    /// Unique to this home.
    pub instance: String,
    _lock: File,
}

impl Home {
    /// Takes the home; refused while another process has it.
    pub fn open(path: &Path) -> anyhow::Result<Home> {
        std::fs::create_dir_all(path).with_context(|| format!("making the home {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("opening the home {}", path.display()))?;
        let lock = File::options().create(true).append(true).open(path.join("lock")).context("opening the home's lock")?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&path).into()),
            Err(TryLockError::Error(error)) => return Err(error).context("locking the home"),
        }
        let instance = instance(&path)?;
        Ok(Home { path, instance, _lock: lock })
    }

    /// Tells others where the server answers.
    pub fn announce(&self, info: &ServerInfo) -> anyhow::Result<()> {
        let beside = self.path.join("server.json.part");
        std::fs::write(&beside, serde_json::to_vec_pretty(info)?).context("writing server.json")?;
        std::fs::rename(&beside, self.path.join("server.json")).context("writing server.json")
    }

    /// Takes it back.
    pub fn withdraw(&self) {
        // A file that is left behind is recognised as stale by the lock.
        let _ = std::fs::remove_file(self.path.join("server.json"));
    }
}

/// A random name that stays with the home.
fn instance(path: &Path) -> anyhow::Result<String> {
    let file = path.join("instance");
    if let Ok(text) = std::fs::read_to_string(&file)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned());
    }
    let made = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
    std::fs::write(&file, &made).context("naming the home")?;
    Ok(made)
}

fn in_use(path: &Path) -> Refusal {
    let who = match read(path) {
        Some(info) => format!("process {} serves it at {}", info.pid, info.url),
        None => "another trimtab process has it open".into(),
    };
    Refusal::new(Kind::Conflict, "home/in_use", format!("the home {} is in use: {who}", path.display()))
        .hint("stop that process, or choose another folder with --home")
}

fn read(path: &Path) -> Option<ServerInfo> {
    serde_json::from_slice(&std::fs::read(path.join("server.json")).ok()?).ok()
}

/// The server of a home, if one runs: the file is there and the lock is held.
pub fn running_server(path: &Path) -> Option<ServerInfo> {
    let info = read(path)?;
    let lock = File::options().append(true).open(path.join("lock")).ok()?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => Some(info),
        _ => None,
    }
}

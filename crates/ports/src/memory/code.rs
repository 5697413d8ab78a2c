//! Commits in memory.

use crate::{CheckoutError, CodeSource, Wanted};
use async_trait::async_trait;
use domain::{Fault, Refusal};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;

/// Files by commit, tags by name; how often it was asked.
#[derive(Default)]
pub struct MemoryCode {
    commits: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    tags: Mutex<BTreeMap<String, String>>,
    down: Mutex<u32>,
}

impl MemoryCode {
    /// A commit with its files.
    pub fn commit(&self, id: &str, files: &[(&str, &str)]) {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        self.commits.lock().insert(id.into(), files.collect());
    }

    /// A tag that names a commit.
    pub fn tag(&self, name: &str, commit: &str) {
        self.tags.lock().insert(name.into(), commit.into());
    }

    /// The next attempts find nobody.
    pub fn down_for(&self, attempts: u32) {
        *self.down.lock() = attempts;
    }
}

#[async_trait]
impl CodeSource for MemoryCode {
    async fn checkout(&self, _: &str, wanted: &Wanted, folder: &Path) -> Result<String, CheckoutError> {
        {
            let mut down = self.down.lock();
            if *down > 0 {
                *down -= 1;
                return Err(CheckoutError::Unreachable("nobody answers".into()));
            }
        }
        let gone = || Refusal::not_found("git/no_commit", "there is no such commit");
        let commit = match wanted {
            Wanted::Commit(commit) => commit.clone(),
            Wanted::Tag(tag) => self.tags.lock().get(tag).cloned().ok_or_else(gone)?,
        };
        let files = self.commits.lock().get(&commit).cloned().ok_or_else(gone)?;
        let what = |e: std::io::Error| Fault::because("writing a checkout", e);
        std::fs::create_dir_all(folder).map_err(what)?;
        for (name, text) in files {
            std::fs::write(folder.join(name), text).map_err(what)?;
        }
        Ok(commit)
    }
}

//! Artifacts in memory.

use crate::{ArtifactInfo, ArtifactStore, ByteStream, Stored};
use async_trait::async_trait;
use bytes::Bytes;
use domain::{Digest, Fault};
use futures::stream::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The twin of an object store.
#[derive(Default)]
pub struct MemoryArtifacts {
    by_path: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryArtifacts {
    /// An empty store.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// As in a file system: a folder cannot be written to, and an artifact holds no others.
    fn is_occupied(&self, path: &str) -> bool {
        let (by_path, below) = (self.by_path.lock(), format!("{path}/"));
        let is_folder = by_path.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below));
        is_folder || path.match_indices('/').any(|(at, _)| by_path.contains_key(&path[..at]))
    }
}

#[async_trait]
impl ArtifactStore for MemoryArtifacts {
    async fn put(&self, path: &str, mut body: ByteStream) -> Result<Stored, Fault> {
        let mut all = Vec::new();
        while let Some(piece) = body.try_next().await.map_err(|e| Fault::because(format!("receiving artifact {path}"), e))? {
            all.extend_from_slice(&piece);
        }
        if self.is_occupied(path) {
            return Err(Fault::Broken(format!("writing artifact {path}: a folder or an artifact is in its way")));
        }
        let stored = Stored { bytes: all.len() as u64, digest: Digest::of(&all) };
        self.by_path.lock().insert(path.to_owned(), all.into());
        Ok(stored)
    }

    async fn get(&self, path: &str) -> Result<Option<(u64, ByteStream)>, Fault> {
        let found = self.by_path.lock().get(path).cloned();
        Ok(found.map(|bytes| (bytes.len() as u64, futures::stream::once(async move { Ok(bytes) }).boxed())))
    }

    async fn get_range(&self, path: &str, range: std::ops::Range<u64>) -> Result<Option<ByteStream>, Fault> {
        let found = self.by_path.lock().get(path).cloned();
        let part = move |bytes: Bytes| {
            let (from, to) = (range.start.min(bytes.len() as u64) as usize, range.end.min(bytes.len() as u64) as usize);
            bytes.slice(from..to.max(from))
        };
        Ok(found.map(|bytes| futures::stream::once(async move { Ok(part(bytes)) }).boxed()))
    }

    async fn list(&self, folder: &str) -> Result<Vec<ArtifactInfo>, Fault> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut children: BTreeMap<String, ArtifactInfo> = BTreeMap::new();
        for (path, bytes) in self.by_path.lock().range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix)) {
            let info = match path[prefix.len()..].split_once('/') {
                Some((name, _)) => ArtifactInfo { path: format!("{prefix}{name}"), is_dir: true, bytes: 0 },
                None => ArtifactInfo { path: path.clone(), is_dir: false, bytes: bytes.len() as u64 },
            };
            children.insert(info.path.clone(), info);
        }
        Ok(children.into_values().collect())
    }

    async fn delete(&self, path: &str) -> Result<(), Fault> {
        let below = format!("{path}/");
        self.by_path.lock().retain(|known, _| known != path && !known.starts_with(&below));
        Ok(())
    }
}

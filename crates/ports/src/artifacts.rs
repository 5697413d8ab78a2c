//! Artifacts: bytes under a path.

use async_trait::async_trait;
use bytes::Bytes;
use domain::{Digest, Fault};
use futures::stream::{BoxStream, StreamExt};
use std::path::Path;

/// The bytes of an artifact, in pieces.
pub type ByteStream = BoxStream<'static, Result<Bytes, std::io::Error>>;

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub bytes: u64,
    pub digest: Digest,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactInfo {
    /// The whole path.
    pub path: String,
    pub is_dir: bool,
    pub bytes: u64,
}

/// Artifacts by path. A path is relative, `/`-separated, without empty, `.` and `..` parts; callers check what users send.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Writes the whole stream or nothing; an existing artifact is replaced at once.
    async fn put(&self, path: &str, body: ByteStream) -> Result<Stored, Fault>;
    /// Size and bytes, if it is there.
    async fn get(&self, path: &str) -> Result<Option<(u64, ByteStream)>, Fault>;
    /// The bytes of an artifact from `range.start` to before `range.end`, if it is there; a range may end after the artifact.
    async fn get_range(&self, path: &str, range: std::ops::Range<u64>) -> Result<Option<ByteStream>, Fault>;
    /// The direct children of a folder, by path; empty if there is none.
    async fn list(&self, folder: &str) -> Result<Vec<ArtifactInfo>, Fault>;
    /// Deletes an artifact, or all below a folder. Deleting what is not there is no error.
    async fn delete(&self, path: &str) -> Result<(), Fault>;
}

/// Comfort over [`ArtifactStore`].
#[async_trait]
pub trait ArtifactExt: ArtifactStore {
    /// Writes bytes that are in memory.
    async fn put_bytes(&self, path: &str, bytes: Bytes) -> Result<Stored, Fault> {
        self.put(path, futures::stream::once(async move { Ok(bytes) }).boxed()).await
    }

    /// Reads a small artifact whole.
    async fn get_bytes(&self, path: &str) -> Result<Option<Bytes>, Fault> {
        let Some((_, mut stream)) = self.get(path).await? else { return Ok(None) };
        let mut all = Vec::new();
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece.map_err(|e| Fault::because(format!("reading artifact {path}"), e))?);
        }
        Ok(Some(all.into()))
    }

    /// Copies a folder to the local disk; the target folder is made. Gives the number of files.
    async fn download(&self, folder: &str, target: &Path) -> Result<usize, Fault> {
        let io = |what: &str, e: std::io::Error| Fault::because(format!("downloading {what}"), e);
        let mut count = 0;
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in self.list(&next).await? {
                if entry.is_dir {
                    open.push(entry.path);
                    continue;
                }
                let inside = entry.path[folder.len()..].trim_start_matches('/');
                let to = target.join(inside);
                if let Some(parent) = to.parent() {
                    tokio::fs::create_dir_all(parent).await.map_err(|e| io(&entry.path, e))?;
                }
                let Some((_, mut stream)) = self.get(&entry.path).await? else { continue };
                let mut file = tokio::fs::File::create(&to).await.map_err(|e| io(&entry.path, e))?;
                while let Some(piece) = stream.next().await {
                    let piece = piece.map_err(|e| io(&entry.path, e))?;
                    tokio::io::AsyncWriteExt::write_all(&mut file, &piece).await.map_err(|e| io(&entry.path, e))?;
                }
                tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(|e| io(&entry.path, e))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

impl<T: ArtifactStore + ?Sized> ArtifactExt for T {}

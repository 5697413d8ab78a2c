//! Artifacts in an object store; here, a local folder.
//!
//! An artifact is a file under its own path, so that people find it with ordinary tools. A put goes to a staging file and
//! is renamed when it is whole: nobody ever reads half an artifact, and a stream that breaks leaves nothing. Memory is
//! bounded by [`PART`] an upload, whatever the artifact's size.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use domain::{Digest, Fault};
use futures::stream::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use ports::{ArtifactInfo, ArtifactStore, ByteStream, Stored};
use sha2::{Digest as _, Sha256};
use std::io::{ErrorKind, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Bytes that are written at once: the least that S3 takes as a part.
const PART: usize = 5 << 20;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Artifacts of an object store.
pub struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    /// Artifacts in a local folder, made if it is not there.
    pub fn local(folder: &Path) -> Result<Arc<Self>, Fault> {
        let doing = || format!("opening the artifact folder {}", folder.display());
        std::fs::create_dir_all(folder).map_err(|e| Fault::because(doing(), e))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|e| Fault::because(doing(), e))?;
        // Object stores have no empty folders; neither shall this one.
        Ok(Arc::new(Objects { store: Arc::new(store.with_automatic_cleanup(true)) }))
    }

    async fn put_parts(&self, key: &Key, first: Bytes, body: &mut Pieces) -> Result<(), Fault> {
        let doing = |e| fault(&format!("writing artifact {key}"), e);
        let mut upload = self.store.put_multipart(key).await.map_err(doing)?;
        let written = write_parts(&mut *upload, first, body).await;
        match written {
            Ok(()) => upload.complete().await.map(drop).map_err(doing),
            Err(e) => {
                // What went wrong first is what matters; the staging file is also removed when `upload` is dropped.
                let _ = upload.abort().await;
                Err(fault(&format!("writing artifact {key}"), e))
            }
        }
    }
}

async fn write_parts(upload: &mut dyn MultipartUpload, first: Bytes, body: &mut Pieces) -> object_store::Result<()> {
    let mut next = first;
    while !next.is_empty() {
        upload.put_part(next.into()).await?;
        next = body.part().await.map_err(|e| object_store::Error::Generic { store: "artifacts", source: e.into() })?;
    }
    Ok(())
}

/// A body, cut into parts and hashed as it goes by.
struct Pieces {
    body: ByteStream,
    hasher: Sha256,
    bytes: u64,
    /// What of the last piece did not fit into its part.
    rest: Bytes,
}

impl Pieces {
    fn new(body: ByteStream) -> Self {
        Pieces { body, hasher: Sha256::new(), bytes: 0, rest: Bytes::new() }
    }

    /// The next part: shorter than [`PART`] only at the end of the body, empty after it.
    async fn part(&mut self) -> Result<Bytes, std::io::Error> {
        let mut part = BytesMut::new();
        loop {
            let take = self.rest.len().min(PART - part.len());
            part.extend_from_slice(&self.rest.split_to(take));
            if part.len() == PART {
                break;
            }
            match self.body.try_next().await? {
                Some(piece) => self.rest = piece,
                None => break,
            }
        }
        self.hasher.update(&part);
        self.bytes += part.len() as u64;
        Ok(part.freeze())
    }

    fn stored(self) -> Stored {
        Stored { bytes: self.bytes, digest: Digest::from_hex(hex::encode(self.hasher.finalize())) }
    }
}

#[async_trait]
impl ArtifactStore for Objects {
    async fn put(&self, path: &str, body: ByteStream) -> Result<Stored, Fault> {
        let key = key(path)?;
        let mut pieces = Pieces::new(body);
        let first = pieces.part().await.map_err(|e| Fault::because(format!("receiving artifact {path}"), e))?;
        if first.len() < PART {
            self.store.put(&key, PutPayload::from(first)).await.map_err(|e| fault(&format!("writing artifact {path}"), e))?;
        } else {
            self.put_parts(&key, first, &mut pieces).await?;
        }
        Ok(pieces.stored())
    }

    async fn get(&self, path: &str) -> Result<Option<(u64, ByteStream)>, Fault> {
        let found = match self.store.get(&key(path)?).await {
            Ok(found) => found,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(fault(&format!("reading artifact {path}"), e)),
        };
        let bytes = found.meta.size;
        let stream = match found.payload {
            GetResultPayload::File(file, _) => ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE).boxed(),
            GetResultPayload::Stream(stream) => stream.map_err(std::io::Error::other).boxed(),
        };
        Ok(Some((bytes, stream)))
    }

    async fn get_range(&self, path: &str, range: std::ops::Range<u64>) -> Result<Option<ByteStream>, Fault> {
        let doing = |e| fault(&format!("reading artifact {path}"), e);
        let key = key(path)?;
        let size = match self.store.head(&key).await {
            Ok(meta) => meta.size,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(doing(e)),
        };
        let range = range.start..range.end.min(size);
        if range.is_empty() {
            return Ok(Some(futures::stream::empty().boxed()));
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let stream = match self.store.get_opts(&key, options).await.map_err(doing)?.payload {
            GetResultPayload::File(file, _) => {
                let mut file = tokio::fs::File::from_std(file);
                let io = |e| Fault::because(format!("reading artifact {path}"), e);
                file.seek(SeekFrom::Start(range.start)).await.map_err(io)?;
                ReaderStream::with_capacity(file.take(range.end - range.start), PIECE).boxed()
            }
            GetResultPayload::Stream(stream) => stream.map_err(std::io::Error::other).boxed(),
        };
        Ok(Some(stream))
    }

    async fn list(&self, folder: &str) -> Result<Vec<ArtifactInfo>, Fault> {
        let prefix = key(folder)?;
        let found = match self.store.list_with_delimiter(Some(&prefix)).await {
            Ok(found) => found,
            Err(e) if is_absent(&e) => return Ok(Vec::new()),
            Err(e) => return Err(fault(&format!("listing {folder}"), e)),
        };
        let files = found.objects.into_iter().map(|meta| ArtifactInfo { path: meta.location.into(), is_dir: false, bytes: meta.size });
        let folders = found.common_prefixes.into_iter().map(|path| ArtifactInfo { path: path.into(), is_dir: true, bytes: 0 });
        let mut all: Vec<_> = files.chain(folders).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    async fn delete(&self, path: &str) -> Result<(), Fault> {
        let key = key(path)?;
        let doing = |e| fault(&format!("deleting artifact {path}"), e);
        match self.store.head(&key).await {
            Ok(_) => return self.store.delete(&key).await.map_err(doing),
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(doing(e)),
        }
        let below = self.store.list(Some(&key)).map_ok(|meta| meta.location).boxed();
        match self.store.delete_stream(below).try_for_each(|_| async { Ok(()) }).await {
            Err(e) if is_absent(&e) => Ok(()),
            done => done.map_err(doing),
        }
    }
}

fn key(path: &str) -> Result<Key, Fault> {
    Key::parse(path).map_err(|e| Fault::because(format!("using {path} as a path"), e))
}

/// The kind of the input or output error that is at the bottom of it.
fn io_kind(error: &object_store::Error) -> Option<ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(io) = this.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = this.source();
    }
    None
}

/// Whether nothing is there; below a file there is nothing either.
fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) || io_kind(error) == Some(ErrorKind::NotADirectory)
}

/// A full disk is told apart from a broken one.
fn fault(doing: &str, error: object_store::Error) -> Fault {
    match io_kind(&error) {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Fault::Full(doing.to_owned()),
        _ => Fault::because(doing, error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ports::{ArtifactExt, conformance};

    #[tokio::test]
    async fn it_keeps_artifacts() {
        let dir = tempfile::tempdir().unwrap();
        conformance::artifacts::suite(&*Objects::local(&dir.path().join("artifacts")).unwrap()).await;
    }

    #[tokio::test]
    async fn artifacts_are_plain_files_and_no_staging_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Objects::local(dir.path()).unwrap();
        store.put_bytes("0/run/artifacts/größe %41.txt", "x".into()).await.unwrap();
        assert_eq!(std::fs::read(dir.path().join("0/run/artifacts/größe %41.txt")).unwrap(), b"x");
        let piece = || Ok(Bytes::from(vec![7; 1 << 20]));
        let broken = futures::stream::iter((0..9).map(move |n| if n < 8 { piece() } else { Err(std::io::Error::other("gone")) })).boxed();
        assert!(store.put("0/run/artifacts/big", broken).await.is_err());
        let names = || std::fs::read_dir(dir.path().join("0/run/artifacts")).unwrap().count();
        assert_eq!(names(), 1);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let wrapped = object_store::Error::Generic { store: "x", source: Box::new(full) };
        assert!(matches!(fault("writing", wrapped), Fault::Full(_)));
        let other = object_store::Error::Generic { store: "x", source: "something else".into() };
        assert!(matches!(fault("writing", other), Fault::Because { .. }));
    }
}

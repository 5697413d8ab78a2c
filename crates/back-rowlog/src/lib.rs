//! The row log on disk: an open file of JSON lines a stream, sealed into Parquet segments.
//!
//! ```text
//! ROOT/prediction/demand/0000000003.open                        rows as they come, one write(2) a call
//! ROOT/prediction/demand/0000000002-168-FROM-TO-0.parquet       number, rows, event times in ms, rows lost
//! ```
//!
//! Invariants: a row that was acknowledged is with the operating system, so a killed process loses none; fsync follows
//! every 100 ms. A call that fails leaves nothing behind. A crash while sealing leaves the open file or the segment, never
//! both: an open file whose number has a segment is a leftover and is removed.

mod names;
mod segment;
mod stream;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::Segment;
use domain::{EntityKey, Fault, Row, Timestamp};
use parking_lot::RwLock;
use ports::{AppendError, OpenPart, RowLog};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use stream::Stream;

/// How often written rows are made safe against a loss of power.
const SYNC_EVERY: Duration = Duration::from_millis(100);

/// Rows by stream in a folder.
pub struct FileRowLog {
    root: PathBuf,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
}

impl FileRowLog {
    /// Opens the log; what a crash left is mended.
    pub fn open(root: &Path) -> Result<Arc<FileRowLog>, Fault> {
        let what = |e: std::io::Error| Fault::because(format!("opening the row log {}", root.display()), e);
        std::fs::create_dir_all(root).map_err(what)?;
        let mut streams = BTreeMap::new();
        for kind in std::fs::read_dir(root).map_err(what)? {
            let kind = kind.map_err(what)?;
            if !kind.path().is_dir() {
                continue;
            }
            for folder in std::fs::read_dir(kind.path()).map_err(what)? {
                let folder = folder.map_err(what)?;
                if let Some(name) = names::stream(&kind.file_name(), &folder.file_name()) {
                    streams.insert(name.clone(), Arc::new(Stream::open(&name, folder.path())?));
                }
            }
        }
        let log = Arc::new(FileRowLog { root: root.into(), streams: RwLock::new(streams) });
        let weak = Arc::downgrade(&log);
        std::thread::Builder::new().name("row-log-sync".into()).spawn(move || sync_for_ever(&weak)).map_err(what)?;
        Ok(log)
    }

    fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams.read().get(name).cloned()
    }

    fn stream_or_new(&self, name: &str) -> Result<Arc<Stream>, AppendError> {
        if let Some(stream) = self.stream(name) {
            return Ok(stream);
        }
        let folder = self.root.join(names::folder(name)?);
        let mut streams = self.streams.write();
        if let Some(stream) = streams.get(name) {
            return Ok(stream.clone());
        }
        let stream = Arc::new(Stream::open(name, folder)?);
        streams.insert(name.into(), stream.clone());
        Ok(stream)
    }
}

fn sync_for_ever(log: &Weak<FileRowLog>) {
    loop {
        std::thread::sleep(SYNC_EVERY);
        let Some(log) = log.upgrade() else { return };
        let streams: Vec<Arc<Stream>> = log.streams.read().values().cloned().collect();
        for stream in streams {
            stream.sync();
        }
    }
}

#[async_trait]
impl RowLog for FileRowLog {
    async fn append(&self, stream: &str, rows: Vec<Row>) -> Result<(), AppendError> {
        let stream = self.stream_or_new(stream)?;
        // One short write to the page cache: cheaper than handing it to another thread.
        Ok(stream.append(&rows)?)
    }

    async fn seal(&self, stream: &str) -> Result<Option<Segment>, Fault> {
        let Some(stream) = self.stream(stream) else { return Ok(None) };
        let sealed = tokio::task::spawn_blocking(move || stream.seal()).await;
        sealed.map_err(|e| Fault::because("sealing a segment", e))?
    }

    fn streams(&self) -> Vec<String> {
        self.streams.read().keys().cloned().collect()
    }

    fn segments(&self, stream: &str) -> Result<Vec<Segment>, Fault> {
        Ok(self.stream(stream).map(|stream| stream.segments()).unwrap_or_default())
    }

    fn open_part(&self, stream: &str) -> OpenPart {
        self.stream(stream).map(|stream| stream.open_part()).unwrap_or_default()
    }

    async fn read(&self, segment: &Segment) -> Result<RecordBatch, Fault> {
        let path = self.root.join(&segment.path);
        let read = tokio::task::spawn_blocking(move || segment::read(&path)).await;
        read.map_err(|e| Fault::because("reading a segment", e))?
    }

    async fn find(&self, stream: &str, id: &str) -> Result<Option<(EntityKey, Timestamp)>, Fault> {
        let Some(found) = self.stream(stream) else { return Ok(None) };
        if let Some(row) = found.find_open(id) {
            return Ok(Some(row));
        }
        for segment in found.segments().iter().rev() {
            let (path, id) = (self.root.join(&segment.path), id.to_owned());
            let found = tokio::task::spawn_blocking(move || segment::find(&path, &id)).await;
            if let Some(row) = found.map_err(|e| Fault::because("looking for a row", e))?? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;

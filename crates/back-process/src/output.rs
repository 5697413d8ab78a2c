//! Both streams of a job into its log, and the end of the error stream for messages.

use domain::Fault;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// How much of the error stream is kept for messages.
pub(crate) const TAIL_BYTES: usize = 4096;
const TAIL_LINES: usize = 12;

/// What is read of a stream at once.
const PIECE: usize = 16 * 1024;

/// A log longer than this is made shorter: its beginning and its end stay.
const LOG_BYTES: u64 = 64 << 20;
const HEAD_BYTES: u64 = 16 << 20;
const END_BYTES: u64 = 16 << 20;

pub(crate) struct Output {
    /// Gone when both streams have ended.
    copies: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    log: Arc<Mutex<Log>>,
    tail: Arc<Mutex<VecDeque<u8>>>,
    /// Counts what was read.
    heard: Arc<AtomicU64>,
}

impl Output {
    /// Begins to copy; the log is appended to, so that attempts follow each other.
    pub(crate) fn collect(streams: [Option<OwnedFd>; 2], log: &Path) -> Result<Output, Fault> {
        let log = Arc::new(Mutex::new(Log::at(log)));
        let (tail, heard) = (Arc::new(Mutex::new(VecDeque::new())), Arc::new(AtomicU64::new(0)));
        let open = |stream: Option<OwnedFd>| stream.map(Receiver::from_owned_fd).transpose();
        let [out, err] = streams.map(open);
        let failed = |e| Fault::because("reading a job's output", e);
        let (out, err) = (out.map_err(failed)?, err.map_err(failed)?);
        let out = copy(out, log.clone(), None, heard.clone());
        let err = copy(err, log.clone(), Some(tail.clone()), heard.clone());
        let copies = async {
            tokio::join!(out, err);
        };
        Ok(Output { copies: Some(Box::pin(copies)), log, tail, heard })
    }

    /// Copies what is said while something else goes on, in the same task: they mostly have to do with the same event, the job's end.
    pub(crate) async fn copy_while<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        if let Some(copies) = &mut self.copies {
            tokio::select! {
                done = &mut what => return done,
                () = copies => self.copies = None,
            }
        }
        what.await
    }

    /// A number that changes whenever the job says something.
    pub(crate) fn heard(&self) -> Arc<AtomicU64> {
        self.heard.clone()
    }

    /// Waits for what is still in the pipes; the last lines of the error stream. A fault if there was something to log and no log to be had.
    pub(crate) async fn finish(self) -> Result<String, Fault> {
        if let Some(copies) = self.copies {
            // All processes of the job are dead, so the pipes end; a pipe handed to a stranger does not.
            let _ = tokio::time::timeout(Duration::from_secs(2), copies).await;
        }
        self.log.lock().was_opened()?;
        let bytes: Vec<u8> = self.tail.lock().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
    }
}

async fn copy(from: Option<Receiver>, to: Arc<Mutex<Log>>, tail: Option<Arc<Mutex<VecDeque<u8>>>>, heard: Arc<AtomicU64>) {
    let Some(mut from) = from else { return };
    // Most jobs say little; one that fills it gets a larger one.
    let mut buffer = vec![0; 1024];
    let mut broken = false;
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        heard.fetch_add(count as u64, Ordering::Relaxed);
        if let Some(tail) = &tail {
            let mut tail = tail.lock();
            tail.extend(&buffer[..count]);
            let surplus = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..surplus);
        }
        // The pipe is read on when the log cannot be written (a full disk), else the job would hang.
        if to.lock().append(&buffer[..count]).is_err() && !broken {
            broken = true;
            tracing::warn!("a job's log cannot be written; its output is lost");
        }
        if count == buffer.len() && count < PIECE {
            buffer.resize(PIECE, 0);
        }
    }
}

/// A log file of bounded length. It is there from the first byte on: many a step says nothing, and needs no file.
struct Log {
    path: PathBuf,
    file: Option<File>,
    /// Why it is not there.
    refused: Option<std::io::Error>,
    bytes: u64,
    left_out: u64,
    /// Length of the note that says so.
    note: u64,
}

impl Log {
    fn at(path: &Path) -> Log {
        Log { path: path.to_path_buf(), file: None, refused: None, bytes: 0, left_out: 0, note: 0 }
    }

    fn open(&mut self) -> std::io::Result<()> {
        let open = || File::options().create(true).read(true).append(true).open(&self.path);
        let file = match (open(), self.path.parent()) {
            (Err(error), Some(folder)) if error.kind() == ErrorKind::NotFound => std::fs::create_dir_all(folder).and_then(|()| open()),
            (opened, _) => opened,
        }?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn was_opened(&mut self) -> Result<(), Fault> {
        self.refused.take().map_or(Ok(()), |e| Err(Fault::because(format!("opening the log {}", self.path.display()), e)))
    }

    /// One write of at most a pipe's piece goes to the page cache: no thread is kept for it.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() && self.refused.is_none() {
            self.refused = self.open().err();
        }
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > LOG_BYTES { self.shorten() } else { Ok(()) }
    }

    /// Leaves out the middle, and says so there.
    fn shorten(&mut self) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut end = vec![0; END_BYTES as usize];
        file.read_exact_at(&mut end, self.bytes - END_BYTES)?;
        self.left_out += self.bytes - END_BYTES - HEAD_BYTES - self.note;
        file.set_len(HEAD_BYTES)?;
        let note = format!("\n[{} bytes are left out here]\n", self.left_out);
        file.write_all(note.as_bytes())?;
        file.write_all(&end)?;
        self.note = note.len() as u64;
        self.bytes = HEAD_BYTES + self.note + END_BYTES;
        Ok(())
    }
}

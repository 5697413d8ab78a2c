//! Both streams of a job into its log, and the end of the error stream for messages.

use domain::Fault;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

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
    copies: Vec<JoinHandle<()>>,
    tail: Arc<Mutex<VecDeque<u8>>>,
    /// Counts what was read.
    heard: Arc<AtomicU64>,
}

impl Output {
    /// Begins to copy; the log is appended to, so that attempts follow each other.
    pub(crate) async fn collect(streams: [Option<OwnedFd>; 2], log: &Path) -> Result<Output, Fault> {
        let what = || format!("opening the log {}", log.display());
        let opened = match (Log::open(log), log.parent()) {
            (Err(error), Some(folder)) if error.kind() == ErrorKind::NotFound => {
                tokio::fs::create_dir_all(folder).await.and_then(|()| Log::open(log))
            }
            (opened, _) => opened,
        };
        let log = Arc::new(Mutex::new(opened.map_err(|e| Fault::because(what(), e))?));
        let (tail, heard) = (Arc::new(Mutex::new(VecDeque::new())), Arc::new(AtomicU64::new(0)));
        let mut copies = Vec::new();
        for (stream, tail) in streams.into_iter().zip([None, Some(tail.clone())]) {
            let Some(stream) = stream else { continue };
            let stream = Receiver::from_owned_fd(stream).map_err(|e| Fault::because("reading a job's output", e))?;
            copies.push(tokio::spawn(copy(stream, log.clone(), tail, heard.clone())));
        }
        Ok(Output { copies, tail, heard })
    }

    /// A number that changes whenever the job says something.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Waits for what is still in the pipes; the last lines of the error stream.
    pub(crate) async fn finish(self) -> String {
        for copy in self.copies {
            let abort = copy.abort_handle();
            // All processes of the job are dead, so the pipes end; a pipe handed to a stranger does not.
            if tokio::time::timeout(Duration::from_secs(2), copy).await.is_err() {
                abort.abort();
            }
        }
        let bytes: Vec<u8> = self.tail.lock().iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

async fn copy(mut from: Receiver, to: Arc<Mutex<Log>>, tail: Option<Arc<Mutex<VecDeque<u8>>>>, heard: Arc<AtomicU64>) {
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

/// A log file of bounded length.
struct Log {
    file: File,
    bytes: u64,
    left_out: u64,
    /// Length of the note that says so.
    note: u64,
}

impl Log {
    fn open(path: &Path) -> std::io::Result<Log> {
        let file = File::options().create(true).read(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Log { file, bytes, left_out: 0, note: 0 })
    }

    /// One write of at most a pipe's piece goes to the page cache: no thread is kept for it.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes > LOG_BYTES { self.shorten() } else { Ok(()) }
    }

    /// Leaves out the middle, and says so there.
    fn shorten(&mut self) -> std::io::Result<()> {
        let mut end = vec![0; END_BYTES as usize];
        self.file.read_exact_at(&mut end, self.bytes - END_BYTES)?;
        self.left_out += self.bytes - END_BYTES - HEAD_BYTES - self.note;
        self.file.set_len(HEAD_BYTES)?;
        let note = format!("\n[{} bytes are left out here]\n", self.left_out);
        self.file.write_all(note.as_bytes())?;
        self.file.write_all(&end)?;
        self.note = note.len() as u64;
        self.bytes = HEAD_BYTES + self.note + END_BYTES;
        Ok(())
    }
}

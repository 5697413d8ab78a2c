//! Both streams of a job into its log, and the end of the error stream for messages.

use domain::Fault;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// How much of the error stream is kept for messages.
pub(crate) const TAIL_BYTES: usize = 4096;
const TAIL_LINES: usize = 12;

pub(crate) struct Output {
    copies: Vec<JoinHandle<()>>,
    tail: Arc<Mutex<VecDeque<u8>>>,
}

impl Output {
    /// Begins to copy; the log is appended to, so that attempts follow each other.
    pub(crate) async fn collect(child: &mut Child, log: &Path) -> Result<Output, Fault> {
        let what = || format!("opening the log {}", log.display());
        if let Some(folder) = log.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|e| Fault::because(what(), e))?;
        }
        let file = File::options().create(true).append(true).open(log).await.map_err(|e| Fault::because(what(), e))?;
        let file = Arc::new(Mutex::new(file));
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let mut copies = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            copies.push(tokio::spawn(copy(stdout, file.clone(), None)));
        }
        if let Some(stderr) = child.stderr.take() {
            copies.push(tokio::spawn(copy(stderr, file, Some(tail.clone()))));
        }
        Ok(Output { copies, tail })
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
        let bytes: Vec<u8> = self.tail.lock().await.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to: Arc<Mutex<File>>, tail: Option<Arc<Mutex<VecDeque<u8>>>>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut broken = false;
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        if let Some(tail) = &tail {
            let mut tail = tail.lock().await;
            tail.extend(&buffer[..count]);
            let surplus = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..surplus);
        }
        // The pipe is read on when the log cannot be written (a full disk), else the job would hang.
        let mut file = to.lock().await;
        if (file.write_all(&buffer[..count]).await.is_err() || file.flush().await.is_err()) && !broken {
            broken = true;
            tracing::warn!("a job's log cannot be written; its output is lost");
        }
    }
}

//! Runs an installer: with the user's own settings, a time limit, a log without secrets, and what it said last.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;

/// Lines that a message may quote.
const TAIL: usize = 60;
/// Bytes that are read of one stream.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(15);
/// What an installer may know of this process's variables, besides those that begin with `PIP_` and `UV_`.
const PASSED_ON: [&str; 24] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NETRC",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "CC",
    "CXX",
    "CFLAGS",
    "LD_LIBRARY_PATH",
];
/// Settings that would put packages elsewhere, or ask somebody.
const LEFT_OUT: [&str; 10] = [
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_REQUIRE_HASHES",
    "PIP_REPORT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_SYSTEM_PYTHON",
    "UV_TARGET",
];

/// Why a command did not do its work: the lines that it said last.
#[derive(Debug)]
pub(super) struct Failed(pub(super) String);

/// Ends what a command started, should nobody wait for it any more.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Gone already: nothing to end.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// `what` is for the log: `locking the packages of demand 3`.
pub(super) async fn run(mut command: Command, what: &str, log: &Path, limit: Duration) -> Result<String, Failed> {
    let mut kept = File::options().create(true).append(true).open(log).map_err(|e| Failed(format!("{}: {e}", log.display())))?;
    // A log that cannot be written takes nothing from the work.
    let _ = writeln!(kept, "== {what}");
    let own: Vec<_> = command.as_std().get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command.env_clear().envs(std::env::vars().filter(|(name, _)| {
        let settings = name.starts_with("PIP_") || name.starts_with("UV_");
        (settings && !LEFT_OUT.contains(&name.as_str())) || PASSED_ON.contains(&name.as_str())
    }));
    command.env("PIP_NO_INPUT", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_COLOR", "1").env("NO_COLOR", "1");
    command.envs(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|e| Failed(format!("{program} cannot be started: {e}")))?;
    let mut group = Group(child.id().and_then(|pid| i32::try_from(pid).ok()));
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let tail = Arc::new(parking_lot::Mutex::new(VecDeque::new()));
    let said = async {
        let streams = tokio::join!(read(out, &tail), read(err, &tail));
        (streams, child.wait().await)
    };
    tokio::pin!(said);
    let mut progress = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
    let end = tokio::time::sleep(limit);
    tokio::pin!(end);
    let outcome = loop {
        tokio::select! {
            outcome = &mut said => break Some(outcome),
            () = &mut end => break None,
            _ = progress.tick() => {
                let last = tail.lock().back().cloned().unwrap_or_default();
                tracing::info!(last, "{what} goes on");
            }
        }
    };
    let last = |tail: &VecDeque<String>| tail.iter().cloned().collect::<Vec<_>>().join("\n");
    let Some(((stdout, stderr), status)) = outcome else {
        return Err(Failed(format!("it did not end within {} s\n{}", limit.as_secs(), last(&tail.lock()))));
    };
    group.0 = None;
    let _ = write!(kept, "{}{}", redacted(&stderr), redacted(&stdout));
    match status {
        Ok(status) if status.success() => Ok(stdout),
        Ok(status) => Err(Failed(format!("{}\n{status}", last(&tail.lock())))),
        Err(error) => Err(Failed(error.to_string())),
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>, tail: &parking_lot::Mutex<VecDeque<String>>) -> String {
    let Some(stream) = stream else { return String::new() };
    let (mut lines, mut all) = (BufReader::new(stream.take(OUTPUT_LIMIT)), Vec::new());
    loop {
        let from = all.len();
        // A stream that breaks is at its end: the exit code says the rest.
        if lines.read_until(b'\n', &mut all).await.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&all).into_owned();
        }
        let line = redacted(String::from_utf8_lossy(&all[from..]).trim_end());
        let mut tail = tail.lock();
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// Addresses without the name and password in them, and without what is asked of them: a token may be there. pip tells the latter part of an
/// address alone, too.
pub(super) fn redacted(text: &str) -> String {
    without_queries(&without_names(text))
}

fn without_queries(text: &str) -> String {
    let (mut clean, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('?') {
        let (before, after) = rest.split_at(at + 1);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`')).unwrap_or(after.len());
        if end > 0 {
            clean.push_str("***");
        }
        rest = &after[end..];
    }
    clean + rest
}

fn without_names(text: &str) -> String {
    let (mut clean, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let host = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '\'' | '"')).unwrap_or(after.len());
        rest = match after[..host].rfind('@') {
            Some(name) => {
                clean.push_str("***");
                &after[name..]
            }
            None => after,
        };
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_passwords_stay_out_of_logs() {
        for (text, clean) in [
            (
                "Looking in indexes: https://me:secret@host/simple, https://other/simple",
                "Looking in indexes: https://***@host/simple, https://other/simple",
            ),
            ("https://token@host", "https://***@host"),
            ("a@b c://d e@f", "a@b c://d e@f"),
            (
                "Looking in indexes: https://me:secret@host/simple/?token=secret, 'https://other/?secret'",
                "Looking in indexes: https://***@host/simple/?*** 'https://other/?***'",
            ),
            (
                "Max retries exceeded with url: /simple/?token=secret/pkg/ (Caused by",
                "Max retries exceeded with url: /simple/?*** (Caused by",
            ),
            ("what? nothing", "what? nothing"),
            ("", ""),
        ] {
            assert_eq!(redacted(text), clean);
        }
    }

    #[tokio::test]
    async fn a_command_is_ended_at_its_limit_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun https://me:secret@host/; sleep 600 & echo $! > child; wait"]).current_dir(folder.path());
        let Failed(said) = run(command, "a test", &log, Duration::from_millis(700)).await.unwrap_err();
        assert!(said.contains("did not end within") && said.contains("begun") && !said.contains("secret"), "{said}");
        let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
        let lives = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).is_ok_and(|state| !state.contains(") Z"));
        // The kernel ends it in its own time.
        for _ in 0..500 {
            if !lives() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!lives());
        let mut good = Command::new("sh");
        good.args(["-c", "echo answer; echo 'https://a:b@c/?key=a:b' >&2"]);
        assert_eq!(run(good, "another", &log, Duration::from_secs(60)).await.unwrap(), "answer\n");
        assert!(!std::fs::read_to_string(&log).unwrap().contains("a:b"));
    }
}

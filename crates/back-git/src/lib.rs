//! Clean checkouts by the machine's own git.
//!
//! One bare repository a remote keeps what was fetched; each commit gets a worktree of its own. What comes from outside is a commit's
//! digits or a tag's name, checked before and never read as an option: the remote is the operator's alone, its transports are
//! few, no hook, submodule, filter or helper of the repository runs, and nothing asks for a password.

use async_trait::async_trait;
use domain::{Digest, Fault, Refusal};
use ports::{CheckoutError, CodeSource, Wanted};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Mutex;

/// How long one call of git may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Lines of what git said that are told.
const TOLD: usize = 3;

/// Checks out commits below a folder of its own.
pub struct Git {
    home: PathBuf,
    /// Two fetches into one repository would wait for each other's locks.
    one_at_a_time: Mutex<()>,
}

impl Git {
    /// Repositories are kept in `home`.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Git { home: home.into(), one_at_a_time: Mutex::default() }
    }
}

#[async_trait]
impl CodeSource for Git {
    async fn checkout(&self, remote: &str, wanted: &Wanted, folder: &Path) -> Result<String, CheckoutError> {
        check(wanted)?;
        let remote = remote_of(remote).await?;
        let _turn = self.one_at_a_time.lock().await;
        let store = self.home.join(format!("{}.git", Digest::of(remote.as_bytes()).short()));
        if !store.join("HEAD").is_file() {
            let what = |e: std::io::Error| Fault::because("making a repository for checkouts", e);
            tokio::fs::create_dir_all(&self.home).await.map_err(what)?;
            run(&self.home, &["init", "--quiet", "--bare", "--template=", &store.to_string_lossy()]).await?;
        }
        let commit = match wanted {
            Wanted::Commit(commit) => commit.clone(),
            Wanted::Tag(name) => fetch_tag(&store, &remote, name).await?,
        };
        if !has(&store, &commit).await? {
            fetch_commit(&store, &remote, &commit).await?;
            if !has(&store, &commit).await? {
                let what = format!("commit {commit} is not in the remote");
                return Err(Refusal::not_found("git/no_commit", what).hint("was it pushed to another repository?").into());
            }
        }
        let _ = tokio::fs::remove_dir_all(folder).await;
        git(&store, &["worktree", "prune"]).await?;
        let place = folder.to_string_lossy().into_owned();
        run(&store, &["worktree", "add", "--quiet", "--force", "--detach", &place, &commit]).await?;
        Ok(commit)
    }
}

async fn has(store: &Path, commit: &str) -> Result<bool, CheckoutError> {
    Ok(git(store, &["cat-file", "-e", &format!("{commit}^{{commit}}")]).await?.status.success())
}

/// Nothing that git could take for something else, whoever checked it before.
fn check(wanted: &Wanted) -> Result<(), Refusal> {
    let is_fine = match wanted {
        Wanted::Commit(commit) => matches!(commit.len(), 40 | 64) && commit.chars().all(|c| c.is_ascii_hexdigit()),
        Wanted::Tag(name) => {
            let is_plain = |c: char| c.is_alphanumeric() || "-_./+".contains(c);
            !name.is_empty()
                && name.len() <= 200
                && !name.starts_with(['-', '/', '.'])
                && !name.contains("..")
                && name.chars().all(is_plain)
        }
    };
    is_fine
        .then_some(())
        .ok_or_else(|| Refusal::invalid("git/name", "this is no commit and no tag").hint("40 hexadecimal digits, or a tag's name"))
}

/// The remote as git is told it: an address, or the repository that a folder is in.
async fn remote_of(remote: &str) -> Result<String, CheckoutError> {
    let is_address = ["https://", "http://", "ssh://", "git@"].iter().any(|scheme| remote.starts_with(scheme));
    if is_address && !remote.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(remote.into());
    }
    let folder = Path::new(remote);
    if remote.starts_with('-') || remote.contains("::") || !folder.is_dir() {
        let what = "the remote is neither an address nor a folder";
        return Err(Refusal::invalid("git/remote", what).hint("remote = \"https://HOST/OWNER/NAME.git\", or a folder").into());
    }
    let found = call(folder, &["rev-parse", "--absolute-git-dir"]).await?;
    if !found.status.success() {
        let what = format!("{remote} is in no git repository");
        return Err(Refusal::invalid("git/remote", what).hint("name one: [git] remote = \"https://HOST/OWNER/NAME.git\"").into());
    }
    Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
}

async fn fetch_tag(store: &Path, remote: &str, name: &str) -> Result<String, CheckoutError> {
    fetch(store, remote, &format!("+refs/tags/{name}:refs/tags/{name}")).await?;
    let found = git(store, &["rev-parse", "--verify", "--quiet", &format!("refs/tags/{name}^{{commit}}")]).await?;
    let commit = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if commit.is_empty() {
        return Err(Refusal::not_found("git/no_tag", format!("there is no tag {name} in the remote")).into());
    }
    Ok(commit)
}

/// The commit by its digits; where a remote gives none by digits, all its branches, tags and requests.
async fn fetch_commit(store: &Path, remote: &str, commit: &str) -> Result<(), CheckoutError> {
    if fetch(store, remote, commit).await.is_ok() {
        return Ok(());
    }
    fetch(store, remote, "+refs/*:refs/remote/*").await
}

async fn fetch(store: &Path, remote: &str, what: &str) -> Result<(), CheckoutError> {
    let said = git(
        store,
        &["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--end-of-options", remote, what],
    )
    .await?;
    if said.status.success() {
        return Ok(());
    }
    let why = told(&said, remote);
    let text = String::from_utf8_lossy(&said.stderr).to_lowercase();
    let is_away =
        ["could not resolve", "unable to access", "timed out", "connection", "early eof", "hung up"].iter().any(|sign| text.contains(sign));
    if is_away { Err(CheckoutError::Unreachable(why)) } else { Err(Refusal::not_found("git/fetch", why).into()) }
}

/// What git said at its end, without the remote: an address may hold a password.
fn told(said: &Output, remote: &str) -> String {
    let text = String::from_utf8_lossy(&said.stderr).replace(remote, "the remote");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let text = lines[lines.len().saturating_sub(TOLD)..].join("; ");
    if text.is_empty() { format!("git ended with {}", said.status) } else { text }
}

async fn run(folder: &Path, words: &[&str]) -> Result<(), CheckoutError> {
    let said = call(folder, words).await?;
    if said.status.success() { Ok(()) } else { Err(Fault::broken(format!("git {}: {}", words[0], told(&said, "\0"))).into()) }
}

async fn git(store: &Path, words: &[&str]) -> Result<Output, CheckoutError> {
    call(store, words).await
}

async fn call(folder: &Path, words: &[&str]) -> Result<Output, CheckoutError> {
    let settings = [
        "protocol.allow=never",
        "protocol.https.allow=always",
        "protocol.http.allow=always",
        "protocol.ssh.allow=always",
        "protocol.file.allow=always",
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.symlinks=true",
        "gc.auto=0",
        "fetch.fsckObjects=true",
        "submodule.recurse=false",
        "advice.detachedHead=false",
    ];
    let mut command = Command::new("git");
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    command.args(words).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true").env("LC_ALL", "C");
    for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_EXTERNAL_DIFF"] {
        command.env_remove(inherited);
    }
    match tokio::time::timeout(LIMIT, command.output()).await {
        Err(_) => Err(CheckoutError::Unreachable(format!("git {} took longer than {} s", words[0], LIMIT.as_secs()))),
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => {
            Err(Refusal::invalid("git/missing", "git is not installed on this machine")
                .hint("install git, or start pipelines without webhooks")
                .into())
        }
        Ok(Err(error)) => Err(Fault::because("starting git", error).into()),
    }
}

#[cfg(test)]
mod tests;

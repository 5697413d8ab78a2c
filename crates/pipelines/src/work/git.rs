//! What git knows of the project's folder.

use std::path::Path;
use std::process::{Command, Stdio};

/// The most of a patch that is kept.
const PATCH_BYTES: usize = 256 << 10;

/// The commit that the project's folder is at, if git keeps it.
pub(super) fn commit(root: &Path) -> Option<String> {
    let mut folder = root;
    let git = loop {
        if folder.join(".git").is_dir() {
            break folder.join(".git");
        }
        folder = folder.parent()?;
    };
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(reference) = head.trim().strip_prefix("ref: ") else { return Some(head.trim().into()) };
    let loose = std::fs::read_to_string(git.join(reference)).ok().map(|commit| commit.trim().to_owned());
    loose.or_else(|| {
        let packed = std::fs::read_to_string(git.join("packed-refs")).ok()?;
        packed.lines().find_map(|line| line.strip_suffix(reference).map(|commit| commit.trim().to_owned()))
    })
}

/// What a git command prints; `None` if there is no git, or it refuses.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(["-c", "core.fsmonitor=false", "-c", "core.quotePath=false"]).args(arguments);
    let output = command.env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files that git keeps, or would keep if they were added; relative paths. `None` without a repository.
pub(super) fn files(root: &Path) -> Option<Vec<String>> {
    let listed = git(root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    Some(listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// What the working tree differs from its commit by: a patch, and after it the files that git does not know. `None` if there is no
/// difference, no git, or no commit.
pub(super) fn diff(root: &Path) -> Option<String> {
    commit(root)?;
    let mut text = git(root, &["diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--relative"])?;
    if text.len() > PATCH_BYTES {
        let end = (0..=PATCH_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("\n[the patch is longer; the rest is left out]\n");
    }
    let unknown = git(root, &["ls-files", "--others", "--exclude-standard"])?;
    for file in unknown.lines().take(200) {
        text.push_str(&format!("?? {file}\n"));
    }
    (!text.is_empty()).then_some(text)
}

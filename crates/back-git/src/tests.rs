#![allow(clippy::unwrap_used)]
//! Against repositories that git itself makes.

use super::*;
use tempfile::TempDir;

struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Repository(tempfile::tempdir().unwrap());
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn git(&self, words: &[&str]) -> String {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=ann", "-c", "user.email=ann@example.test", "-c", "commit.gpgsign=false"]);
        let said = command.args(words).current_dir(self.0.path()).output().unwrap();
        assert!(said.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    fn commit(&self, text: &str) -> String {
        std::fs::write(self.0.path().join("a.txt"), text).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", text]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

#[tokio::test]
async fn a_commit_has_a_clean_folder_of_its_own() {
    let (repository, home) = (Repository::new(), tempfile::tempdir().unwrap());
    let first = repository.commit("one");
    repository.git(&["tag", "-a", "v1.0", "-m", "one"]);
    let second = repository.commit("two");
    // A commit that no branch holds any more, as after a forced push.
    repository.git(&["reset", "--quiet", "--hard", &first]);
    std::fs::write(repository.0.path().join("a.txt"), "not committed").unwrap();
    std::fs::write(repository.0.path().join(".git/hooks/post-checkout"), "#!/bin/sh\ntouch \"$PWD/hooked\"\n").unwrap();
    let git = Git::new(home.path().join("store"));
    let read = |folder: &Path| std::fs::read_to_string(folder.join("a.txt")).unwrap();
    for (wanted, commit, text) in [
        (Wanted::Commit(first.clone()), &first, "one"),
        (Wanted::Commit(second.clone()), &second, "two"),
        (Wanted::Tag("v1.0".into()), &first, "one"),
    ] {
        let folder = home.path().join(text).join("x");
        for _ in 0..2 {
            assert_eq!(&git.checkout(repository.path(), &wanted, &folder).await.unwrap(), commit, "{wanted:?}");
            assert_eq!(read(&folder), text);
            // What a step left is gone the next time.
            assert!(!folder.join("made").exists() && !folder.join("hooked").exists());
            std::fs::write(folder.join("made"), "").unwrap();
            std::fs::write(folder.join("a.txt"), "changed").unwrap();
        }
    }
}

#[tokio::test]
async fn hostile_names_and_remotes_are_refused_before_git_sees_them() {
    let (repository, home) = (Repository::new(), tempfile::tempdir().unwrap());
    let commit = repository.commit("one");
    let git = Git::new(home.path().join("store"));
    let folder = home.path().join("x");
    let short = commit[..7].to_owned();
    let none = "0123456789abcdef0123456789abcdef01234567".to_owned();
    for (wanted, code) in [
        (Wanted::Commit("--upload-pack=touch hacked".into()), "git/name"),
        (Wanted::Commit(short), "git/name"),
        (Wanted::Commit("HEAD".into()), "git/name"),
        (Wanted::Tag("-x".into()), "git/name"),
        (Wanted::Tag("a..b".into()), "git/name"),
        (Wanted::Tag("a b".into()), "git/name"),
        (Wanted::Tag("none".into()), "git/fetch"),
        (Wanted::Commit(none), "git/no_commit"),
    ] {
        match git.checkout(repository.path(), &wanted, &folder).await {
            Err(CheckoutError::Refused(refusal)) => assert_eq!(refusal.code, code, "{wanted:?}: {refusal}"),
            other => panic!("{wanted:?}: {other:?}"),
        }
    }
    let wanted = Wanted::Commit(commit);
    for remote in ["ext::sh -c touch% hacked", "--upload-pack=x", "file:///etc", "/nowhere", "fd::17"] {
        let answer = git.checkout(remote, &wanted, &folder).await;
        assert!(matches!(&answer, Err(CheckoutError::Refused(refusal)) if refusal.code == "git/remote"), "{remote}: {answer:?}");
    }
    let away = git.checkout("http://127.0.0.1:1/x.git", &wanted, &folder).await;
    assert!(matches!(away, Err(CheckoutError::Unreachable(_))), "{away:?}");
    assert!(!folder.exists());
}

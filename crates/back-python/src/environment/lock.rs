//! A lock: every package of an environment with its hashes, as a requirements file that pip and uv read alike.

use domain::{Digest, Refusal};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The first line of a lock; its number changes with the format.
const HEAD: &str = "# trimtab environment 1";

/// One requirement (`NAME==VERSION` or `NAME @ ADDRESS`) and the hashes of the files that may be installed for it (`sha256:...`).
type Packages = BTreeMap<String, Vec<String>>;

/// What an environment holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lock {
    /// `3.12.4`.
    pub(super) python: String,
    pub(super) packages: Vec<String>,
    pub(super) text: String,
}

#[derive(Deserialize)]
struct PipReport {
    install: Vec<PipItem>,
}

#[derive(Deserialize)]
struct PipItem {
    metadata: PipMetadata,
    download_info: DownloadInfo,
    #[serde(default)]
    is_direct: bool,
}

#[derive(Deserialize)]
struct PipMetadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct DownloadInfo {
    url: String,
    #[serde(default)]
    archive_info: Option<ArchiveInfo>,
}

#[derive(Deserialize, Default)]
struct ArchiveInfo {
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl Lock {
    /// From what `pip install --dry-run --report` says.
    pub(super) fn of_pip(report: &[u8], python: &str, platform: &str) -> Result<Lock, Refusal> {
        let report: PipReport = serde_json::from_slice(report).map_err(|e| {
            Refusal::invalid("environment/pip", format!("pip's report cannot be read: {e}"))
                .hint("pip 22.3 or later is needed; or install uv")
        })?;
        let mut packages = Packages::new();
        for item in report.install {
            let (name, version) = (name_of(&item.metadata.name), item.metadata.version);
            let what = if item.is_direct { format!("{name} @ {}", item.download_info.url) } else { format!("{name}=={version}") };
            let hashes = item.download_info.archive_info.unwrap_or_default().hashes;
            packages.insert(what, hashes.into_iter().map(|(kind, hash)| format!("{kind}:{hash}")).collect());
        }
        Lock::of(packages, python, platform)
    }

    /// From what `uv pip compile --generate-hashes` prints.
    pub(super) fn of_uv(output: &str, python: &str, platform: &str) -> Result<Lock, Refusal> {
        Lock::of(read(output), python, platform)
    }

    fn of(packages: Packages, python: &str, platform: &str) -> Result<Lock, Refusal> {
        for (package, hashes) in &packages {
            let name = name_of(package);
            if hashes.is_empty() {
                let what = format!("`{name}` has no hash: a folder, a repository or an editable package cannot be locked");
                return Err(Refusal::invalid("environment/no_hash", what).hint("build a wheel of it, and name it with its version"));
            }
            let has_secret = |rest: &str| rest.contains('?') || rest.split('/').next().unwrap_or_default().contains('@');
            if package.split_once("://").is_some_and(|(_, rest)| has_secret(rest)) {
                let what =
                    format!("the address of `{name}` holds a name, a password or a query, which a lock would show to all who may read it");
                return Err(
                    Refusal::invalid("environment/secret", what).hint("give credentials by PIP_INDEX_URL, UV_INDEX_URL or a netrc file")
                );
            }
        }
        let has = |wanted: &[&str]| packages.keys().any(|package| wanted.contains(&name_of(package).as_str()));
        if !has(&["mlflow", "mlflow-skinny"]) || !has(&["pandas"]) {
            let what = "a worker needs mlflow (or mlflow-skinny) and pandas, and the model's packages have not both";
            return Err(Refusal::invalid("environment/no_mlflow", what)
                .hint("log the model with them in pip_requirements, or as MLflow infers them"));
        }
        let mut text = format!("{HEAD}\n# python {python} {platform}\n");
        for (package, hashes) in &packages {
            text.push_str(package);
            for hash in hashes {
                write!(text, " \\\n    --hash={hash}").expect("writing into a string does not fail");
            }
            text.push('\n');
        }
        Ok(Lock { python: python.into(), packages: packages.into_keys().collect(), text })
    }

    /// A lock that was written earlier; `None`: it is none.
    pub(super) fn parse(text: &str) -> Option<Lock> {
        let mut lines = text.lines();
        let python = (lines.next() == Some(HEAD)).then(|| lines.next()?.strip_prefix("# python ")?.split(' ').next()).flatten()?;
        Some(Lock { python: python.into(), packages: read(text).into_keys().collect(), text: text.into() })
    }

    /// The environment's name.
    pub(super) fn sha256(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

/// The requirements of a file with hashes.
fn read(text: &str) -> Packages {
    let mut packages = Packages::new();
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '-'])) {
        let mut parts = line.split(" --hash=");
        let package = parts.next().unwrap_or_default().trim().to_owned();
        let mut hashes: Vec<String> = parts.map(|hash| hash.trim().to_owned()).collect();
        hashes.sort();
        packages.insert(package, hashes);
    }
    packages
}

/// The package's name as indexes compare it: lower case, one dash for any run of `-`, `_` and `.`.
pub(super) fn name_of(requirement: &str) -> String {
    let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(requirement.len());
    let mut name = String::new();
    for c in requirement[..end].chars() {
        match c {
            '-' | '_' | '.' if name.ends_with('-') => {}
            '-' | '_' | '.' => name.push('-'),
            c => name.push(c.to_ascii_lowercase()),
        }
    }
    name
}

/// The lines of `requirements.txt` that say where packages come from. They are no part of the lock: a hash says which file, not whence.
pub(super) fn places(requirements: &str) -> String {
    let options = ["-i ", "--index-url", "--extra-index-url", "-f ", "--find-links", "--no-index", "--trusted-host"];
    let lines = requirements.lines().map(str::trim).filter(|line| options.iter().any(|option| line.starts_with(option)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The line of `requirements.txt` that an installer's message is about: `requirements.txt:2`; the first whose package it names.
pub(super) fn place(requirements: &str, said: &str) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    for word in said.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '(' | ')' | ',' | ':')) {
        words.push(name_of(word));
    }
    let asked = requirements.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut asked = asked.filter(|(_, line)| line.starts_with(|c: char| c.is_ascii_alphanumeric()));
    let (at, _) = asked.find(|(_, line)| words.contains(&name_of(line)))?;
    Some(format!("requirements.txt:{at}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const UV: &str = "mlflow-skinny==3.1 \\\n    --hash=sha256:bb \\\n    --hash=sha256:aa\npandas==2.0 \\\n    --hash=sha256:cc\n";

    #[test]
    fn a_lock_is_the_same_whatever_order_and_tool_it_comes_from_and_reads_back() {
        let by_uv = Lock::of_uv(UV, "3.12.4", "linux-x86_64").unwrap();
        let other = "pandas==2.0 --hash=sha256:cc\n# comment\nmlflow-skinny==3.1 --hash=sha256:aa --hash=sha256:bb\n";
        assert_eq!(by_uv, Lock::of_uv(other, "3.12.4", "linux-x86_64").unwrap());
        assert_eq!(by_uv.packages, ["mlflow-skinny==3.1", "pandas==2.0"]);
        assert_eq!(Lock::parse(&by_uv.text).unwrap(), by_uv);
        assert_ne!(by_uv.sha256(), Lock::of_uv(UV, "3.13.0", "linux-x86_64").unwrap().sha256(), "another interpreter, another environment");
        assert_eq!(Lock::parse("mlflow==1\n"), None);

        let item = |name: &str, direct: &str, hash: &str| {
            format!(
                r#"{{"metadata":{{"name":"{name}","version":"1.0"}},"is_direct":{},"download_info":{{"url":"{direct}","archive_info":{{"hashes":{{{hash}}}}}}}}}"#,
                !direct.is_empty()
            )
        };
        let hash = r#""sha256":"aa""#;
        let report = |more: String| format!(r#"{{"install":[{},{}{more}]}}"#, item("mlflow", "", hash), item("pandas", "", hash));
        let by_pip = Lock::of_pip(report(String::new()).as_bytes(), "3.12.4", "linux-x86_64").unwrap();
        assert!(by_pip.text.ends_with("mlflow==1.0 \\\n    --hash=sha256:aa\npandas==1.0 \\\n    --hash=sha256:aa\n"), "{}", by_pip.text);
        for (more, code) in [
            (item("local", "file:///src/local", ""), "environment/no_hash"),
            (item("private", "https://me:word@host/p.whl", hash), "environment/secret"),
            (item("private", "https://host/p.whl?token=word@", hash), "environment/secret"),
        ] {
            let refusal = Lock::of_pip(report(format!(",{more}")).as_bytes(), "3.12.4", "x").unwrap_err();
            assert!(refusal.code == code && refusal.hint.is_some() && !refusal.to_string().contains("word@"), "{refusal}");
        }
        let alone = Lock::of_uv("scikit-learn==1.5 --hash=sha256:aa\nmlflow==3.0 --hash=sha256:aa", "3", "x").unwrap_err();
        assert_eq!(alone.code, "environment/no_mlflow");
    }

    #[test]
    fn a_message_has_its_line() {
        let requirements = "# made by mlflow\nmlflow==3.1\nTiny_Pkg==9.0\n-c constraints.txt\n";
        for (said, line) in [
            ("ERROR: No matching distribution found for tiny-pkg==9.0", Some("requirements.txt:3")),
            ("Because there is no version of tiny-pkg==9.0 and you require tiny-pkg==9.0, ...", Some("requirements.txt:3")),
            (
                "ERROR: Could not find a version that satisfies the requirement mlflow==3.1 (from versions: none)",
                Some("requirements.txt:2"),
            ),
            ("error: something else", None),
        ] {
            assert_eq!(place(requirements, said).as_deref(), line, "{said}");
        }
    }
}

//! Checks: runs the command, reads its report, keeps the cases, and fails for those that do.

use super::step::Place;
use super::{Engine, Job, NAME};
use crate::{checks, junit};
use domain::entity::{CheckCase, CheckCounts, CheckHistory, CheckReport, PipelineStep};
use domain::spec::StepSpec;
use domain::{Actor, Batch, Digest, Fault};
use ports::{World, decide};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::sync::watch;

/// Files of a project that are looked at; a larger project names its code.
const MOST_FILES: usize = 50_000;
/// Of a larger file only the size counts: it is data, and a step's input if it matters.
const LARGE: u64 = 8 << 20;
/// Folders that no tool's author writes.
const NOT_CODE: [&str; 4] = ["__pycache__", "node_modules", "target", "mlruns"];

/// Whether a step's key tells all that it depends on: a check without `code` is about the whole project and runs every time.
pub(super) fn is_keyed(step: &StepSpec) -> bool {
    step.check.is_empty() || !step.code.is_empty()
}

/// When and how large a file was written: another file of that name is another stamp.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

impl Engine {
    /// Runs a check; `Err` says which cases failed, or that there is no report of what was checked.
    pub(super) async fn run_check(
        &self,
        job: &Job,
        name: &str,
        step: &mut PipelineStep,
        place: &Place,
        cancelled: &watch::Receiver<bool>,
    ) -> Result<(), String> {
        let code = code(place).await.map_err(|fault| fault.to_string())?;
        let written = place.spec.junit.as_ref().map(|path| Path::new(&place.ground.project.root).join(path));
        let before = written.as_deref().and_then(stamp);
        let ran = self.run_command(job, name, step, place, cancelled).await;
        if *cancelled.borrow() {
            return ran;
        }
        let cases = match (read(place, written, before).await, &ran) {
            (Ok(cases), _) => cases,
            (Err(what), Ok(())) => return Err(what),
            // It broke before it came to its report: how it broke is what matters.
            (Err(_), Err(_)) => return ran,
        };
        let attempt = step.attempts.last().map_or(1, |attempt| attempt.number);
        let report = self.keep_report(job, name, attempt, code, cases).await.map_err(|fault| fault.to_string())?;
        match (checks::complaint(&report), ran) {
            (None, ran) => ran,
            (Some(what), Ok(())) => Err(what),
            (Some(what), Err(end)) => Err(format!("{what}\n{end}")),
        }
    }

    /// Judges a report against earlier ones of the same code, and keeps it with the check's past.
    async fn keep_report(&self, job: &Job, name: &str, attempt: u32, code: Digest, cases: Vec<CheckCase>) -> Result<CheckReport, Fault> {
        let (now, at) = (self.clock.event_now(), self.clock.wall_now());
        let pipeline = &job.run.pipeline;
        let read = CheckReport {
            pipeline: pipeline.clone(),
            pipeline_run: job.run.id.clone(),
            step: name.into(),
            attempt,
            code,
            at,
            counts: CheckCounts::default(),
            cases,
            left_out: 0,
        };
        let kept = decide(&*self.store, |world| {
            let mut report = read.clone();
            let history = world.get::<CheckHistory>(&format!("{pipeline}/{name}"))?;
            let new = || CheckHistory { pipeline: pipeline.clone(), step: name.into(), reports: Vec::new(), flaky: Default::default() };
            let mut history = history.unwrap_or_else(new);
            let earlier = earlier(world, &history, &report)?;
            checks::judge(&mut report, &earlier, &mut history);
            let batch = Batch::new(Actor::System(NAME.into()), now).put(&report).put(&history);
            Ok((batch, report))
        });
        kept.await.map_err(|e| super::as_fault("keeping a check's report", e))
    }
}

/// Earlier reports of the same code, the newest first.
fn earlier(world: &World, history: &CheckHistory, report: &CheckReport) -> Result<Vec<CheckReport>, Fault> {
    let same = history.reports.iter().rev().filter(|known| known.code == report.code);
    let others = same.filter(|known| (&known.pipeline_run, known.attempt) != (&report.pipeline_run, report.attempt));
    let mut earlier = Vec::new();
    for known in others.take(checks::COMPARED) {
        earlier.extend(world.get::<CheckReport>(&CheckReport::key_of(&known.pipeline_run, &report.step, known.attempt))?);
    }
    Ok(earlier)
}

/// The cases that the command reported. What it wrote to another place than the output is copied there: it is kept as one.
async fn read(place: &Place, written: Option<PathBuf>, before: Stamp) -> Result<Vec<CheckCase>, String> {
    let file = place.spec.output.get(checks::REPORT).map(String::as_str).unwrap_or_default();
    let output = place.out().join(file);
    if let Some(written) = written {
        let now = stamp(&written);
        let shown = place.spec.junit.as_deref().unwrap_or_default();
        match now {
            None => return Err(format!("it ended well but wrote no JUnit report to `{shown}`")),
            // Files of an earlier attempt say nothing of this one.
            Some(_) if now == before => return Err(format!("it ended well but did not write `{shown}` anew")),
            Some(_) => drop(tokio::fs::copy(&written, &output).await.map_err(|e| format!("`{shown}` cannot be read: {e}"))?),
        }
    }
    let size = tokio::fs::metadata(&output).await.map(|found| found.len());
    let size = size.map_err(|_| format!("it ended well but wrote no JUnit report; let it write it to {{out.{}}}", checks::REPORT))?;
    if size > junit::MOST_BYTES as u64 {
        return Err(format!("its JUnit report has {size} bytes, at most {} are read", junit::MOST_BYTES));
    }
    let bytes = tokio::fs::read(&output).await.map_err(|e| format!("its JUnit report cannot be read: {e}"))?;
    let cases = tokio::task::spawn_blocking(move || junit::read(&bytes)).await.map_err(|e| e.to_string())?;
    cases.map_err(|refusal| refusal.to_string())
}

/// The code that a check is about: the files under `code` and those that the command names, else the project as git would see it.
async fn code(place: &Place) -> Result<Digest, Fault> {
    if !place.spec.code.is_empty() {
        return Ok(Digest::of_json(&place.code));
    }
    let (root, report) = (PathBuf::from(&place.ground.project.root), place.spec.junit.clone());
    let read = tokio::task::spawn_blocking(move || tree(&root, report.as_deref())).await;
    read.map_err(|e| Fault::because("looking at a project's code", e))
}

/// One digest of a folder: paths and contents, without what is hidden, ignored by git, or made by tools.
fn tree(root: &Path, report: Option<&str>) -> Digest {
    let files = super::git::files(root).unwrap_or_else(|| {
        let mut found = Vec::new();
        walk(root, Path::new(""), &mut found);
        found
    });
    let is_code = |path: &&String| {
        let made = Path::new(path.as_str()).components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            name.starts_with('.') || NOT_CODE.contains(&name.as_ref())
        });
        !made && report != Some(path.as_str()) && path.as_str() != "junit.xml"
    };
    let mut parts: Vec<(String, String)> = Vec::new();
    for path in files.iter().filter(is_code).take(MOST_FILES) {
        let Ok(found) = root.join(path).metadata() else { continue };
        let content = if found.len() > LARGE { None } else { super::files::digest_file(&root.join(path)).ok() };
        parts.push((path.clone(), content.map_or(found.len().to_string(), |(digest, _)| digest.to_string())));
    }
    parts.sort();
    Digest::of_json(&parts)
}

/// The files of a folder that git does not keep, without what is hidden, and without environments and homes.
fn walk(root: &Path, inner: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root.join(inner)) else { return };
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), inner.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') || NOT_CODE.contains(&name.as_str()) || found.len() >= MOST_FILES {
            continue;
        }
        let whole = root.join(&path);
        if kind.is_dir() && !whole.join("pyvenv.cfg").is_file() && !whole.join("trimtab.db").is_file() {
            walk(root, &path, found);
        } else if kind.is_file() {
            found.push(path.to_string_lossy().into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_code_is_what_people_write() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("src/a.py", "a = 1");
        write(".gitignore", "out/\n*.log\nvenv/\n");
        let made = std::process::Command::new("git").args(["init", "-q"]).arg(folder.path()).status();
        assert!(made.unwrap().success());
        let first = tree(folder.path(), Some("reports/junit.xml"));
        for (made, text) in [
            ("out/x.txt", "1"),
            ("run.log", "1"),
            (".pytest_cache/x", "1"),
            ("src/__pycache__/a.pyc", "1"),
            ("venv/pyvenv.cfg", "1"),
            ("venv/lib/x.py", "1"),
            ("reports/junit.xml", "1"),
        ] {
            write(made, text);
            assert_eq!(tree(folder.path(), Some("reports/junit.xml")), first, "{made}");
        }
        write("src/b.py", "");
        assert_ne!(tree(folder.path(), Some("reports/junit.xml")), first);
    }
}

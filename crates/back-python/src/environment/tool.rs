//! The interpreter of an environment, and what installs into it: uv where it is on the path, else pip.

use super::lock::Lock;
use super::run::{Failed, run};
use domain::Refusal;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// How long packages may be resolved, which downloads what they say of themselves.
const RESOLVE_LIMIT: Duration = Duration::from_secs(600);
/// How long the installation may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(1800);
/// How long an interpreter may take to say which it is.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
const PROBE: &str = "import json, platform, sysconfig
try:
    import pip
    pip = [int(part) for part in pip.__version__.split('.')[:2]]
except Exception:
    pip = None
print(json.dumps({'version': platform.python_version(), 'platform': sysconfig.get_platform(), 'pip': pip}))";
/// The first pip that reports what it would install, and installs for another interpreter.
const PIP: [u32; 2] = [22, 3];

/// An interpreter, as it describes itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Interpreter {
    #[serde(skip)]
    pub(super) path: PathBuf,
    pub(super) version: String,
    pub(super) platform: String,
    pip: Option<Vec<u32>>,
}

/// What resolves and installs.
#[derive(Clone, Debug)]
pub(super) enum Tool {
    Uv(PathBuf),
    /// The interpreter whose pip is used.
    Pip(PathBuf),
}

/// Where a command's log goes and what it is for.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// `demand 3`.
    pub(super) whose: &'a str,
    pub(super) log: &'a Path,
}

/// `3.12` of `3.12.4`.
fn minor(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

impl Interpreter {
    async fn probe(path: &Path, step: Step<'_>) -> Option<Interpreter> {
        let mut command = Command::new(path);
        command.args(["-I", "-c", PROBE]);
        let told = run(command, &format!("asking {} which it is", path.display()), step.log, PROBE_LIMIT).await.ok()?;
        let found: Interpreter = serde_json::from_str(told.lines().last()?).ok()?;
        Some(Interpreter { path: path.into(), ..found })
    }

    /// The interpreter that a model was made with, to the minor version: the project's own, one on the path, or one that uv knows.
    pub(super) async fn find(wanted: Option<&str>, own: &Path, step: Step<'_>) -> Result<Interpreter, Refusal> {
        let Some(wanted) = wanted.map(minor) else {
            return Interpreter::probe(own, step).await.ok_or_else(|| {
                Refusal::invalid("project/python", format!("the interpreter {} does not run", own.display()))
                    .hint("set `python` under [project] in trimtab.toml")
            });
        };
        let mut candidates = vec![own.to_path_buf(), PathBuf::from(format!("python{wanted}"))];
        if let Some(uv) = uv() {
            let mut command = Command::new(uv);
            command.args(["python", "find", &wanted]).env("UV_PYTHON_DOWNLOADS", "never");
            let found = run(command, "asking uv for an interpreter", step.log, PROBE_LIMIT).await;
            candidates.extend(found.ok().and_then(|found| Some(PathBuf::from(found.lines().last()?.trim()))));
        }
        for candidate in candidates {
            match Interpreter::probe(&candidate, step).await {
                Some(found) if minor(&found.version) == wanted => return Ok(found),
                _ => {}
            }
        }
        let what = format!("{} was made with Python {wanted}, and this machine has none", step.whose);
        Err(Refusal::invalid("environment/no_python", what)
            .at("python_env.yaml")
            .hint(format!("install it (`uv python install {wanted}`), or train and log the model with the project's Python")))
    }
}

/// uv, if it is on the path and not told to be left alone.
fn uv() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("uv")).find(|path| path.is_file())
}

/// Whether somebody told pip, and only pip, where packages come from: uv does not read pip's settings.
fn only_pip_is_told() -> bool {
    let told = |names: &[&str]| names.iter().any(|name| std::env::var_os(name).is_some());
    told(&["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE"])
        && !told(&["UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_NO_INDEX", "UV_FIND_LINKS", "UV_CONFIG_FILE"])
}

impl Tool {
    /// uv unless only pip was told where packages come from; else the interpreter's own pip; else a pip of ours in `tools`.
    pub(super) async fn find(interpreter: &Interpreter, tools: &Path, step: Step<'_>) -> Result<Tool, Refusal> {
        if let Some(uv) = uv().filter(|_| !only_pip_is_told()) {
            return Ok(Tool::Uv(uv));
        }
        if interpreter.pip.as_ref().is_some_and(|pip| pip.as_slice() >= PIP.as_slice()) {
            return Ok(Tool::Pip(interpreter.path.clone()));
        }
        let folder = tools.join(format!("pip-{}", minor(&interpreter.version)));
        let python = folder.join("bin/python");
        if !python.is_file() {
            let mut command = Command::new(&interpreter.path);
            command.args(["-m", "venv", "--clear"]).arg(&folder);
            run(command, "making a pip", step.log, PROBE_LIMIT * 4).await.map_err(|Failed(said)| {
                Refusal::invalid(
                    "environment/no_installer",
                    format!("neither uv nor pip 22.3 is there, and no pip can be made: {}", last(&said)),
                )
                .hint("install uv, or pip in the project's interpreter (`python -m ensurepip --upgrade`)")
            })?;
        }
        Ok(Tool::Pip(python))
    }

    fn word(&self) -> &'static str {
        match self {
            Tool::Uv(_) => "uv",
            Tool::Pip(_) => "pip",
        }
    }

    /// Resolves `requirements.txt` of a model's folder.
    pub(super) async fn lock(&self, folder: &Path, scratch: &Path, interpreter: &Interpreter, step: Step<'_>) -> Result<Lock, Refusal> {
        let what = format!("locking the packages of {} with {}", step.whose, self.word());
        tracing::info!(log = %step.log.display(), "{what}");
        let (version, platform) = (&interpreter.version, &interpreter.platform);
        match self {
            Tool::Uv(uv) => {
                let mut command = Command::new(uv);
                command.args(["pip", "compile", "requirements.txt", "--generate-hashes", "--no-header", "--no-annotate", "--quiet"]);
                command.arg("--python").arg(&interpreter.path).current_dir(folder);
                let output = run(command, &what, step.log, RESOLVE_LIMIT).await;
                Lock::of_uv(&output.map_err(|failed| self.refusal("cannot be resolved", folder, &failed, step))?, version, platform)
            }
            Tool::Pip(python) => {
                let report = scratch.join("report.json");
                let mut command = Command::new(python);
                command.args([
                    "-m",
                    "pip",
                    "install",
                    "--dry-run",
                    "--ignore-installed",
                    "--progress-bar",
                    "off",
                    "-r",
                    "requirements.txt",
                ]);
                command.arg("--report").arg(&report).current_dir(folder);
                let done = run(command, &what, step.log, RESOLVE_LIMIT).await;
                done.map_err(|failed| self.refusal("cannot be resolved", folder, &failed, step))?;
                let report = tokio::fs::read(&report).await.map_err(|e| {
                    Refusal::invalid("environment/pip", format!("pip wrote no report: {e}"))
                        .hint("pip 22.3 or later is needed; or install uv")
                })?;
                Lock::of_pip(&report, version, platform)
            }
        }
    }

    /// Makes an environment at `target` that holds what `lock` says, and nothing else.
    pub(super) async fn install(&self, lock: &Path, target: &Path, interpreter: &Interpreter, step: Step<'_>) -> Result<(), Refusal> {
        let what = format!("installing the environment of {} with {}", step.whose, self.word());
        tracing::info!(log = %step.log.display(), "{what}");
        let refused = |failed: Failed| self.refusal("cannot be installed", lock, &failed, step);
        let mut made = match self {
            Tool::Uv(uv) => Command::new(uv),
            Tool::Pip(_) => Command::new(&interpreter.path),
        };
        match self {
            Tool::Uv(_) => made.args(["venv", "--quiet", "--python"]).arg(&interpreter.path),
            Tool::Pip(_) => made.args(["-m", "venv", "--without-pip"]),
        };
        made.arg(target);
        run(made, "making the environment", step.log, PROBE_LIMIT * 4).await.map_err(refused)?;
        let python = target.join("bin/python");
        let mut command = match self {
            Tool::Uv(uv) => Command::new(uv),
            Tool::Pip(own) => Command::new(own),
        };
        match self {
            Tool::Uv(_) => command.args(["pip", "install", "--quiet", "--python"]).arg(&python),
            Tool::Pip(_) => command.args(["-m", "pip", "--python"]).arg(&python).args(["install", "--progress-bar", "off"]),
        };
        command.args(["--require-hashes", "--no-deps", "-r"]).arg(lock);
        run(command, &what, step.log, INSTALL_LIMIT).await.map(|_| ()).map_err(refused)
    }

    fn refusal(&self, problem: &str, file: &Path, Failed(said): &Failed, step: Step<'_>) -> Refusal {
        let unreachable =
            ["NewConnectionError", "Failed to establish", "error sending request", "dns error", "Max retries", "ConnectTimeout"];
        let is_unreachable = unreachable.iter().any(|words| said.contains(words));
        let code = match () {
            () if is_unreachable => "environment/index_unreachable",
            () if said.contains("No space left") => "environment/no_space",
            () if said.contains("did not end within") => "environment/too_slow",
            () if said.to_ascii_lowercase().contains("do not match the hashes") || said.contains("Hash mismatch") => {
                "environment/hash_mismatch"
            }
            () if problem == "cannot be resolved" => "environment/unresolved",
            () => "environment/not_installed",
        };
        let next = match code {
            "environment/index_unreachable" => "set the package index where the server runs (PIP_INDEX_URL or UV_INDEX_URL, proxies)",
            "environment/no_space" => "make room: `trimtab gc` frees environments that nothing uses",
            "environment/hash_mismatch" => "the index gives other files than were locked: ask who keeps it",
            _ => "mend the model's requirements and log it anew, or set environment = \"project\"",
        };
        let refusal = Refusal::invalid(code, format!("the packages of {} {problem} by {}: {}", step.whose, self.word(), last(said)));
        let requirements = std::fs::read_to_string(file.join("requirements.txt")).unwrap_or_default();
        let refusal = refusal.hint(format!("{next}; see {}", step.log.display()));
        match super::lock::place(&requirements, said) {
            Some(place) => refusal.at(place),
            None => refusal.at("requirements.txt"),
        }
    }
}

/// What an installer's message comes to: its last line that says what is wrong.
fn last(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let wrong = |line: &&&str| {
        let line = line.to_ascii_lowercase();
        ["error", "because", "did not end", "cannot", "no matching", "mismatch"].iter().any(|word| line.contains(word))
    };
    let found = lines.iter().rev().find(wrong).or(lines.last());
    found.map_or("it said nothing".into(), |line| line.chars().take(400).collect())
}

//! The house's own chores. `cargo xtask tidy [--check]` looks after what no compiler checks.
//!
//! | what | why |
//! |---|---|
//! | floors | a dependency goes to a lower floor, never sideways ([`floors`]) |
//! | reasons | each dependency of a crate says why it is there ([`reasons`]) |
//! | events | `docs/events.md` is made from the code; `--check` fails if it is stale, without it the page is written ([`events`]) |
//! | files | no Rust file over 500 lines, no place or host of one machine in any file ([`files`]) |
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command: what it prints is what it is for.

mod events;
mod files;
mod floors;
mod reasons;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let found = match args.as_slice() {
        ["tidy"] => tidy(&root(), false),
        ["tidy", "--check"] => tidy(&root(), true),
        _ => {
            eprintln!("usage: cargo xtask tidy [--check]");
            return ExitCode::from(2);
        }
    };
    match found {
        Ok(complaints) if complaints.is_empty() => {
            println!("tidy: all well");
            ExitCode::SUCCESS
        }
        Ok(complaints) => {
            complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
            eprintln!("tidy: {} to mend", complaints.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy could not look: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace: cargo tells a program that it runs where the program's package is.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn tidy(root: &Path, check: bool) -> Result<Vec<String>, String> {
    let packages = packages(root)?;
    let mut complaints = floors::complaints(&packages);
    for package in &packages {
        let text = std::fs::read_to_string(&package.manifest).map_err(|e| format!("{}: {e}", package.manifest))?;
        let place = Path::new(&package.manifest).strip_prefix(root).unwrap_or(Path::new(&package.manifest));
        complaints.extend(reasons::complaints(&place.display().to_string(), &text));
    }
    complaints.extend(events::tidy(root, check)?);
    complaints.extend(files::complaints(root)?);
    Ok(complaints)
}

/// A crate of the workspace with what it depends on.
pub(crate) struct Package {
    name: String,
    manifest: String,
    dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    name: String,
    is_dev: bool,
}

/// The workspace's own crates, from `cargo metadata`.
fn packages(root: &Path) -> Result<Vec<Package>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = Command::new(cargo).args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root).output();
    let said = said.map_err(|e| format!("cargo metadata: {e}"))?;
    if !said.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&said.stderr)));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&said.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let dependency = |value: &serde_json::Value| Dependency { name: text(&value["name"]), is_dev: value["kind"] == "dev" };
    let package = |value: &serde_json::Value| Package {
        name: text(&value["name"]),
        manifest: text(&value["manifest_path"]),
        dependencies: list(&value["dependencies"]).iter().map(dependency).collect(),
    };
    Ok(list(&metadata["packages"]).iter().map(package).collect())
}

//! Gates in other CI systems: the file that calls `trimtab gate run` there.

use super::client::read_project;
use clap::{Subcommand, ValueEnum};
use domain::Refusal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where the server is, in a file of which nobody knows it better.
const SERVER: &str = "http://trimtab:5055";

#[derive(Subcommand)]
pub enum CiCommand {
    /// Write the file that runs the gate in a CI system.
    Init {
        system: System,
        /// The model that is judged; none means the project's, if it has one.
        #[arg(long)]
        model: Option<String>,
        /// The repository's folder.
        #[arg(long, default_value = ".")]
        folder: PathBuf,
        /// Write over a file that is there.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum System {
    Jenkins,
    Travis,
    Teamcity,
    Circleci,
    Github,
    Gitlab,
}

impl System {
    /// The file's place in a repository, and what it holds.
    fn file(self) -> (&'static str, &'static str) {
        match self {
            System::Jenkins => ("Jenkinsfile", include_str!("../../ci/Jenkinsfile")),
            System::Travis => (".travis.yml", include_str!("../../ci/travis.yml")),
            System::Teamcity => (".teamcity/settings.kts", include_str!("../../ci/settings.kts")),
            System::Circleci => (".circleci/config.yml", include_str!("../../ci/circleci.yml")),
            System::Github => (".github/workflows/model-gate.yml", include_str!("../../ci/github.yml")),
            System::Gitlab => (".gitlab-ci.yml", include_str!("../../ci/gitlab.yml")),
        }
    }
}

/// Writes the file; says where it is and what to do next.
pub fn ci(command: CiCommand, server: Option<&str>) -> anyhow::Result<Value> {
    let CiCommand::Init { system, model, folder, force } = command;
    let model = match model {
        Some(model) => model,
        None => only_model(&folder)?,
    };
    let bad = |c: char| !(c.is_alphanumeric() || "-_.@/ ".contains(c));
    if model.is_empty() || model.contains(bad) {
        let what = format!("`{model}` cannot be written into a file of a CI system");
        return Err(Refusal::invalid("ci/model", what).hint("letters, digits, `-`, `_`, `.`, `@`").into());
    }
    let (path, template) = system.file();
    let path = folder.join(path);
    if path.exists() && !force {
        let what = format!("{} is there already", path.display());
        return Err(Refusal::conflict("ci/exists", what).hint("add --force to write over it").into());
    }
    let server = server.unwrap_or(SERVER);
    if server.contains(['"', '\'', '\\', '\n', '$', '`']) {
        return Err(Refusal::invalid("ci/server", format!("`{server}` is no address of a server"))
            .hint("--server http://HOST:PORT")
            .into());
    }
    let text = template.replace("@MODEL@", &model).replace("@SERVER@", server);
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, text)
    };
    write()
        .map_err(|e| Refusal::invalid("ci/write", format!("{} cannot be written: {e}", path.display())).hint("choose another --folder"))?;
    Ok(json!({ "file": path.display().to_string(), "model": model, "server": server }))
}

/// The one model that the project file declares.
fn only_model(folder: &Path) -> anyhow::Result<String> {
    let file = folder.join("trimtab.toml");
    let names: Vec<String> = if file.exists() {
        let (text, _, name) = read_project(&file)?;
        crate::config::parse(&text, &name, None)?.model.keys().cloned().collect()
    } else {
        Vec::new()
    };
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Refusal::invalid("ci/model", "no model is named").hint("add --model NAME").into()),
        several => Err(Refusal::invalid("ci/model", "the project has several models")
            .hint(format!("add --model, one of: {}", several.join(", ")))
            .into()),
    }
}

//! Commits of git hosts: their checkouts, and what their hosts are told.

use super::Ports;
use crate::config;
use domain::entity::{GateReport, ModelVersion, PipelineRun};
use domain::spec::Project;
use domain::{Fault, Refusal};
use pipelines::work::hooks::HookWorker;
use pipelines::work::lineage::LineageWorker;
use pipelines::work::statuses::{Secrets, StatusWorker};
use ports::World;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

/// Names of a project file, the first that is there counts.
const FILES: [&str; 3] = ["trimtab.toml", "trimtab.yaml", "trimtab.yml"];

/// Runs what commits ask for.
pub fn hook_worker(ports: &Ports, home: &Path) -> HookWorker {
    HookWorker {
        store: ports.store.clone(),
        code: Arc::new(back_git::Git::new(home.join("git").join("repositories"))),
        clock: ports.clock.clone(),
        read: Arc::new(read_project),
        home: home.to_path_buf(),
    }
}

/// Tells hosts what became of them.
pub fn status_worker(ports: &Ports) -> StatusWorker {
    StatusWorker {
        store: ports.store.clone(),
        poster: Arc::new(back_notify::PublicPoster::to_named_places()),
        clock: ports.clock.clone(),
        secrets: secrets(),
        gates: Arc::new(gates_of),
        wake: Notify::new(),
    }
}

/// Tells lineage.
pub fn lineage_worker(ports: &Ports) -> LineageWorker {
    let poster = Arc::new(back_notify::PublicPoster::to_named_places());
    LineageWorker::new(ports.store.clone(), poster, ports.clock.clone(), secrets())
}

/// Where secrets are looked up.
pub fn secrets() -> Secrets {
    Arc::new(back_notify::secret)
}

fn read_project(folder: &Path) -> Result<Project, Refusal> {
    let name = FILES.iter().find(|name| folder.join(name).is_file()).copied();
    let name = name.ok_or_else(|| {
        Refusal::not_found("project/no_file", "the commit has no project file")
            .hint("commit trimtab.toml; if it is in a folder of the repository: [git] path = \"FOLDER\"")
    })?;
    let text = std::fs::read_to_string(folder.join(name));
    let text = text.map_err(|e| Refusal::invalid("project/no_file", format!("the commit's {name} cannot be read: {e}")))?;
    config::parse(&text, name, None)
}

/// What gates found of the versions that came of a pipeline run, as Markdown.
fn gates_of(world: &World, run: &PipelineRun) -> Result<String, Fault> {
    let mut parts = Vec::new();
    for version in world.list::<ModelVersion>()?.into_iter().filter(|version| version.pipeline_run.as_ref() == Some(&run.id)) {
        let report = world.get::<GateReport>(&format!("{}/{}", version.model, version.version))?;
        parts.extend(report.map(|report| delivery::report::markdown(&report)));
    }
    Ok(parts.join("\n\n"))
}

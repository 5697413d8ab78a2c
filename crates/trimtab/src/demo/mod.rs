//! `trimtab demo`: a year of real data through the whole loop.

mod data;
mod replay;
mod report;

use crate::app::{Server, ServerConfig};
use crate::cli::client::Client;
use crate::cli::progress::Progress;
use crate::clock::ReplayClock;
use anyhow::{Context, bail};
use domain::entity::{Deployment, PipelineRun, RunState};
use domain::{Refusal, Span, Timestamp};
use ports::World;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the replay begins: what lies before is the past.
const BEGIN: &str = "2011-03-01";
/// A home with this file was made by this command and may be made anew.
const MARK: &str = "demo.json";

/// What the demo is asked.
pub struct Demo {
    pub home: PathBuf,
    pub python: Option<PathBuf>,
    pub json: bool,
}

impl Demo {
    /// Runs the year and prints it.
    pub async fn run(self) -> anyhow::Result<()> {
        let begin = Timestamp::parse(BEGIN).context("the first instant")?;
        let hours = data::hours()?;
        self.make_room()?;
        let python = self.python()?;
        let project = self.home.join("bikeshare");
        data::lay_out(&project, &python, &hours, begin)?;
        let clock = Arc::new(ReplayClock::new(begin));
        let config = ServerConfig {
            home: self.home.clone(),
            listen: "127.0.0.1:0".into(),
            clock: clock.clone(),
            replay: true,
            announce: true,
            python: None,
        };
        let server = Server::start(config).await?;
        let report = self.replay(&server, &clock, &project, &hours, begin).await;
        server.stop().await;
        let report = report?;
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            std::io::Write::write_all(&mut out, b"\n")?;
        } else {
            report.print(&mut out)?;
            use std::io::Write as _;
            writeln!(out, "\nLook around in it: trimtab up --home {}", self.home.display())?;
        }
        Ok(())
    }

    /// An empty home, or one that an earlier demo made.
    fn make_room(&self) -> anyhow::Result<()> {
        let home = &self.home;
        if home.join(MARK).is_file() {
            // Taking the home first refuses while a server has it open.
            drop(crate::home::Home::open(home)?);
            std::fs::remove_dir_all(home).with_context(|| format!("clearing {}", home.display()))?;
        }
        let occupied = std::fs::read_dir(home).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            let refusal = Refusal::conflict("demo/occupied", format!("{} holds something that no demo made", home.display()));
            bail!(refusal.hint("choose an empty folder with --home"));
        }
        std::fs::create_dir_all(home).with_context(|| format!("making {}", home.display()))?;
        std::fs::write(home.join(MARK), "{\"example\":\"bikeshare\"}\n").context("marking the demo's home")
    }

    /// The interpreter as the project file names it: absolute, or by name.
    fn python(&self) -> anyhow::Result<String> {
        let Some(python) = &self.python else { return Ok("python3".into()) };
        let has_folder = python.components().count() > 1;
        // Not resolved further: an interpreter of a virtual environment is a link, and must be called by its own path.
        let python = if has_folder { std::path::absolute(python)? } else { python.clone() };
        if has_folder && !python.is_file() {
            bail!(
                Refusal::not_found("project/python", format!("there is no interpreter {}", python.display()))
                    .hint("make demo makes one in .venv")
            );
        }
        Ok(python.to_string_lossy().into_owned())
    }

    async fn replay(
        &self,
        server: &Server,
        clock: &ReplayClock,
        project: &Path,
        hours: &[data::Hour],
        begin: Timestamp,
    ) -> anyhow::Result<report::Report> {
        let client = Client::at(&server.url);
        let text = std::fs::read_to_string(project.join("trimtab.toml")).context("reading the example's file")?;
        client.post("/api/v1/apply", &json!({ "root": project, "toml": text })).await.context("applying the example")?;
        let mut progress = Progress::new("first model");
        progress.say("training the first model on January and February");
        client.post("/api/v1/pipelines/retrain/runs", &json!({})).await.context("asking for the first model")?;
        server.app.reactor.drained().await;
        check_first_model(server)?;
        let end = hours.last().map_or(begin, |hour| hour.at + Span::days(1));
        progress.begin("replaying March to December");
        replay::play(server, &client, clock, hours, begin, Span::days(1), |at| {
            progress.at((at - begin).ms() as f64 / (end - begin).ms() as f64, &at.to_string()[..10]);
        })
        .await?;
        progress.end();
        report::make(&server.app, "demand", begin).await
    }
}

/// The replay needs a champion: else the reason is the error.
fn check_first_model(server: &Server) -> anyhow::Result<()> {
    let world = World::new(server.app.ports.store.snapshot()?);
    if world.get::<Deployment>("demand")?.is_some_and(|deployment| deployment.champion.is_some()) {
        return Ok(());
    }
    let failed = world.list::<PipelineRun>()?.into_iter().find(|run| run.state == RunState::Failed);
    match failed.and_then(|run| run.error) {
        Some(error) => {
            bail!(Refusal::conflict("demo/no_model", error).hint("the interpreter needs mlflow, scikit-learn, pandas and pyarrow"))
        }
        None => bail!(Refusal::conflict("demo/no_model", "the first model did not pass its gate").hint("trimtab why demand@1")),
    }
}

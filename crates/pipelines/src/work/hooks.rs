//! Commits that git hosts told of: a clean checkout, the commit's own definition, its pipeline run.

use super::{as_fault, files};
use crate::commands::{self, Fingerprint, Request};
use crate::hooks;
use crate::index;
use async_trait::async_trait;
use domain::entity::{AppliedProject, HookDelivery, Trigger, TriggerKind};
use domain::spec::{GitSpec, Project};
use domain::{Actor, Batch, Digest, Event, Fault, PipelineRunId, Recorded, Refusal};
use ports::{CheckoutError, Clock, CodeSource, CommitError, MetadataStore, Wanted, World, decide};
use reactor::Worker;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a remote that does not answer is asked, and the first wait between; it doubles.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Checkouts that stay, so that their runs can go on after a failure.
const KEPT: usize = 20;

/// Reads the project file in a folder.
pub type ReadProject = Arc<dyn Fn(&Path) -> Result<Project, Refusal> + Send + Sync>;

/// Runs what commits ask for.
pub struct HookWorker {
    pub store: Arc<dyn MetadataStore>,
    pub code: Arc<dyn CodeSource>,
    pub clock: Arc<dyn Clock>,
    pub read: ReadProject,
    /// Checkouts are made below it.
    pub home: PathBuf,
}

const NAME: &str = "pipelines.hooks";

#[async_trait]
impl Worker for HookWorker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::CommitArrived { .. })
    }

    async fn work(&self, recorded: &Recorded) -> Result<(), Fault> {
        let Event::CommitArrived { pipeline, delivery, .. } = &recorded.event else { return Ok(()) };
        let world = World::new(self.store.snapshot()?);
        let delivery = world.get::<HookDelivery>(&format!("{pipeline}/{delivery}"))?;
        let project = world.project()?;
        drop(world);
        let Some(delivery) = delivery.filter(|delivery| delivery.pipeline_run.is_none() && delivery.refused.is_none()) else {
            return Ok(());
        };
        match self.start(recorded, &delivery, project).await {
            Ok(()) => self.clear().await,
            Err(Stop::Refused(refusal)) => self.refuse(recorded, &delivery, &refusal).await,
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }
}

enum Stop {
    Refused(Refusal),
    Fault(Fault),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl HookWorker {
    fn checkouts(&self) -> PathBuf {
        self.home.join("git").join("commits")
    }

    async fn start(&self, recorded: &Recorded, delivery: &HookDelivery, project: Option<Arc<AppliedProject>>) -> Result<(), Stop> {
        let project = project.ok_or_else(|| Refusal::not_found("project/none", "no project file is applied").hint("trimtab apply"))?;
        let git = project.spec.git.clone();
        let git =
            git.ok_or_else(|| Refusal::not_found("git/none", "the project file has no [git]").hint("[git]\nsecret = \"env:NAME\""))?;
        if delivery.arrival.fork && !git.forks {
            return Err(Refusal::invalid("git/fork", "the pull request comes from another repository: its code is anybody's")
                .hint("[git] forks = true runs such code as this server's user")
                .into());
        }
        let folder = self.checkouts().join(delivery.digest.short());
        let commit = self.checkout(&project, &git, delivery, &folder).await?;
        let root = git.path.as_ref().map_or(folder.clone(), |path| folder.join(path));
        let read = self.read.clone();
        let at = root.clone();
        let own =
            tokio::task::spawn_blocking(move || read(&at)).await.map_err(|e| Fault::because("reading a commit's project file", e))??;
        let mut spec = own.pipeline.get(&delivery.pipeline).cloned().ok_or_else(|| {
            let names: Vec<&str> = own.pipeline.keys().map(String::as_str).collect();
            Refusal::not_found("pipeline/not_found", format!("the commit's project file has no pipeline `{}`", delivery.pipeline))
                .hint(if names.is_empty() { "it has none".into() } else { format!("its pipelines: {}", names.join(", ")) })
        })?;
        if delivery.arrival.fork {
            // Variables of the server may be secrets, and the file that asks for them is anybody's.
            spec.step.values_mut().chain(spec.on_exit.values_mut()).for_each(|step| step.env.clear());
        }
        let place = root.to_string_lossy().into_owned();
        let there = elsewhere(&project, &place);
        let (at, of) = (root.clone(), spec.clone());
        let code = tokio::task::spawn_blocking(move || {
            let code = files::all_code(&at, &of, &files::Known::default());
            (Digest::of_json(&code), files::environment_of(&there))
        });
        let (code, environment) = code.await.map_err(|e| Fault::because("looking at a commit's code", e))?;
        let arrival = &delivery.arrival;
        let kind = TriggerKind::Git {
            event: arrival.event,
            reference: arrival.reference.clone(),
            commit: commit.clone(),
            number: arrival.number,
            by: arrival.by.clone(),
        };
        let trigger = Trigger { kind, time: recorded.at, holdout_to: recorded.at };
        let id = hooks::run_id(delivery, &commit);
        let request = Request {
            id: Some(id.clone()),
            cause: Some(recorded.seq),
            thread: Some(id.to_string()),
            spec: Some(spec),
            root: Some(place),
            ..Request::new(delivery.pipeline.clone(), trigger, Fingerprint { code, environment, git_commit: Some(commit), git_diff: None })
        };
        let actor = Actor::User(arrival.by.clone());
        let asked = decide(&*self.store, |world| {
            let (mut batch, id) = commands::request(world, &request, &actor, recorded.at)?;
            batch.write(&HookDelivery { pipeline_run: Some(id.clone()), ..delivery.clone() });
            Ok((batch, ()))
        });
        match asked.await {
            Ok(()) => Ok(()),
            Err(CommitError::Refused(refusal)) => Err(refusal.into()),
            Err(other) => Err(as_fault("asking for a commit's pipeline run", other).into()),
        }
    }

    async fn checkout(&self, project: &AppliedProject, git: &GitSpec, delivery: &HookDelivery, folder: &Path) -> Result<String, Stop> {
        let remote = git.remote.as_deref().unwrap_or(&project.root);
        let remote = if Path::new(&project.root).join(remote).is_dir() {
            Path::new(&project.root).join(remote).to_string_lossy().into_owned()
        } else {
            remote.to_owned()
        };
        let arrival = &delivery.arrival;
        let wanted = arrival.commit.clone().map_or_else(|| Wanted::Tag(arrival.reference.clone()), Wanted::Commit);
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            match self.code.checkout(&remote, &wanted, folder).await {
                Ok(commit) => return Ok(commit),
                Err(CheckoutError::Refused(refusal)) => return Err(refusal.into()),
                Err(CheckoutError::Fault(fault)) => return Err(fault.into()),
                Err(CheckoutError::Unreachable(why)) if attempt >= ATTEMPTS => {
                    let what = format!("the remote could not be reached {ATTEMPTS} times: {why}");
                    return Err(Refusal::new(domain::Kind::Unavailable, "git/unreachable", what)
                        .hint("let the host deliver the webhook again")
                        .into());
                }
                Err(CheckoutError::Unreachable(_)) => tokio::time::sleep(wait).await,
            }
            wait *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// Nothing runs: the log says why, and so does the delivery.
    async fn refuse(&self, recorded: &Recorded, delivery: &HookDelivery, refusal: &Refusal) -> Result<(), Fault> {
        let arrival = &delivery.arrival;
        let trigger = TriggerKind::Git {
            event: arrival.event,
            reference: arrival.reference.clone(),
            commit: arrival.commit.clone().unwrap_or_default(),
            number: arrival.number,
            by: arrival.by.clone(),
        };
        let mut batch = Batch::reacting(NAME, recorded);
        batch.write(&HookDelivery { refused: Some(refusal.to_string()), ..delivery.clone() });
        batch.say(Event::TriggerSkipped { pipeline: delivery.pipeline.clone(), trigger, why: refusal.to_string() });
        batch.cursor = Some((NAME.into(), recorded.seq));
        self.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault("refusing a commit", e))
    }

    /// Takes old checkouts away that no run under way works in.
    async fn clear(&self) -> Result<(), Fault> {
        let folder = self.checkouts();
        let roots: Vec<PathBuf> =
            index::all_under_way(&World::new(self.store.snapshot()?))?.into_iter().filter_map(|run| run.root.map(PathBuf::from)).collect();
        let what = |e: std::io::Error| Fault::because("clearing checkouts", e);
        let mut entries = tokio::fs::read_dir(&folder).await.map_err(what)?;
        let mut own = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(what)? {
            own.push((entry.metadata().await.and_then(|meta| meta.modified()).ok(), entry.path()));
        }
        own.sort_by(|a, b| b.cmp(a));
        for (_, old) in own.into_iter().skip(KEPT).filter(|(_, old)| !roots.iter().any(|root| root.starts_with(old))) {
            let _ = tokio::fs::remove_dir_all(old).await;
        }
        Ok(())
    }
}

/// The project as it is in another folder. An interpreter that is not part of the code stays that of the project's own folder.
pub(super) fn elsewhere(project: &AppliedProject, root: &str) -> AppliedProject {
    let python = project.spec.project.python.as_deref().filter(|python| python.contains('/') && !Path::new(root).join(python).exists());
    let mut there = AppliedProject { root: root.into(), ..project.clone() };
    if let Some(python) = python {
        there.spec.project.python = Some(Path::new(&project.root).join(python).to_string_lossy().into_owned());
    }
    there
}

/// The deliveries that led to no run, or to this one.
pub fn delivery_of(world: &World, run: &PipelineRunId, pipeline: &str) -> Result<Option<HookDelivery>, Fault> {
    Ok(world.scope::<HookDelivery>(pipeline)?.into_iter().find(|delivery| delivery.pipeline_run.as_ref() == Some(run)))
}

//! Tells git hosts what became of their commits: at least once, until the host has taken the newest state.

use super::as_fault;
use crate::hooks::status;
use async_trait::async_trait;
use domain::entity::{CommitState, CommitStatus, ModelVersion, PipelineRun, TriggerKind};
use domain::spec::{GitHost, GitSpec, ReportOn};
use domain::{Actor, Batch, Event, Fault, PipelineRunId, Recorded, Span, Timestamp};
use ports::{Clock, MetadataStore, Posted, Poster, World, decide};
use reactor::Worker;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How often it looks for something to tell, if nothing wakes it.
const EVERY: Duration = Duration::from_secs(1);
/// The first wait after a failed attempt; it doubles each time.
const FIRST_WAIT_MS: i64 = 1_000;
/// The longest wait.
const LONGEST_WAIT_MS: i64 = 600_000;
/// Attempts at one state before it is given up: several hours.
const ATTEMPTS: u32 = 30;

/// The value behind a pointer to a secret, for the project in a folder.
pub type Secrets = Arc<dyn Fn(&Path, &str) -> Result<String, String> + Send + Sync>;
/// What gates say of the versions that came of a pipeline run, in Markdown.
pub type GateWords = Arc<dyn Fn(&World, &PipelineRun) -> Result<String, Fault> + Send + Sync>;

/// Notes what hosts are to be told, as a worker of the reactor, and tells them, in a task of its own.
pub struct StatusWorker {
    pub store: Arc<dyn MetadataStore>,
    pub poster: Arc<dyn Poster>,
    pub clock: Arc<dyn Clock>,
    pub secrets: Secrets,
    pub gates: GateWords,
    pub wake: Notify,
}

const NAME: &str = "pipelines.statuses";

#[async_trait]
impl Worker for StatusWorker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self, event: &Event) -> bool {
        use Event::{GateDecided, PipelineRunFinished, PipelineRunRequested};
        matches!(event, PipelineRunRequested { .. } | PipelineRunFinished { .. } | GateDecided { .. })
    }

    async fn work(&self, recorded: &Recorded) -> Result<(), Fault> {
        let noted = decide(&*self.store, |world| {
            let mut batch = Batch::new(Actor::System(NAME.into()), recorded.at);
            if let Some(id) = run_of(world, &recorded.event)? {
                note(world, &mut batch, &id)?;
            }
            Ok((batch, ()))
        });
        noted.await.map_err(|e| as_fault("noting a commit's state", e))?;
        self.wake.notify_one();
        Ok(())
    }
}

/// The pipeline run that an event is about.
fn run_of(world: &World, event: &Event) -> Result<Option<PipelineRunId>, Fault> {
    Ok(match event {
        Event::PipelineRunRequested { pipeline_run, .. } | Event::PipelineRunFinished { pipeline_run, .. } => Some(pipeline_run.clone()),
        Event::GateDecided { model, challenger, .. } => {
            world.get::<ModelVersion>(&format!("{model}/{challenger}"))?.and_then(|version| version.pipeline_run)
        }
        _ => None,
    })
}

/// Notes the state of a run's commit, if a host wants to hear it.
fn note(world: &World, batch: &mut Batch, id: &PipelineRunId) -> Result<(), Fault> {
    let Some(run) = world.get::<PipelineRun>(id.as_str())? else { return Ok(()) };
    let TriggerKind::Git { commit, number, .. } = &run.trigger.kind else { return Ok(()) };
    let project = world.project()?;
    if project.is_none_or(|project| project.spec.git.as_ref().is_none_or(|git| git.api.is_none())) {
        return Ok(());
    }
    let (wanted, description) = status::state(world, &run)?;
    let before = world.get::<CommitStatus>(id.as_str())?;
    if before.as_ref().is_some_and(|before| before.wanted == wanted && before.description == description) {
        return Ok(());
    }
    let (told, reported) = before.map_or((None, false), |before| (before.told, before.reported && before.wanted == wanted));
    batch.write(&CommitStatus {
        pipeline_run: id.clone(),
        pipeline: run.pipeline.clone(),
        commit: commit.clone(),
        number: *number,
        wanted,
        description,
        told,
        reported,
        attempts: 0,
        next_try: None,
        last_error: None,
        given_up: false,
    });
    Ok(())
}

impl StatusWorker {
    /// Tells until it is told to stop; begins with what an earlier process left untold.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(fault) = self.tell_due().await {
                tracing::error!(%fault, "telling git hosts");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.wake.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One attempt at each state that is due; gives their number.
    pub async fn tell_due(&self) -> Result<usize, Fault> {
        let now = self.clock.wall_now();
        let (due, project) = {
            let world = World::new(self.store.snapshot()?);
            let mut due: Vec<CommitStatus> = world.list::<CommitStatus>()?;
            due.retain(|status| is_open(status) && status.next_try.is_none_or(|next| next <= now));
            (due, world.project()?)
        };
        let Some(project) = project else { return Ok(0) };
        let Some(git) = project.spec.git.clone() else { return Ok(0) };
        for status in &due {
            self.tell(status, &git, Path::new(&project.root), now).await?;
        }
        Ok(due.len())
    }

    async fn tell(&self, status: &CommitStatus, git: &GitSpec, root: &Path, now: Timestamp) -> Result<(), Fault> {
        let world = World::new(self.store.snapshot()?);
        let Some(run) = world.get::<PipelineRun>(status.pipeline_run.as_str())? else { return Ok(()) };
        let token = git.token.as_deref().map_or(Err("[git] names no token".into()), |pointer| (self.secrets)(root, pointer));
        let is_last = status.wanted != CommitState::Pending;
        let wants_report = is_last && !status.reported && wants_report(git, status);
        let report =
            if wants_report { Some(status::markdown(&world, &run, git.url.as_deref(), &(self.gates)(&world, &run)?)?) } else { None };
        drop(world);
        let (mut told, mut reported) = (status.told == Some(status.wanted), !is_last || !wants_report);
        let mut failure = None;
        match token {
            Err(why) => failure = Some((why, true)),
            Ok(token) => {
                if !told && let Some(post) = status::status_post(git, &token, &run, &status.commit, status.wanted, &status.description) {
                    failure = outcome(self.poster.post(&post).await, git.host, &token);
                    told = failure.is_none();
                }
                if let Some(text) = report.filter(|_| told)
                    && let Some(post) = status::report_post(git, &token, &status.commit, status.number, &text)
                {
                    failure = outcome(self.poster.post(&post).await, git.host, &token);
                    reported = failure.is_none();
                }
            }
        }
        let kept = decide(&*self.store, |world| {
            let mut batch = Batch::new(Actor::System(NAME.into()), self.clock.event_now());
            let Some(mut now_wanted) = world.get::<CommitStatus>(status.pipeline_run.as_str())? else { return Ok((batch, ())) };
            if told {
                now_wanted.told = Some(status.wanted);
            }
            // Another state may have come meanwhile: how this attempt went says nothing of it.
            if now_wanted.wanted == status.wanted {
                now_wanted.reported = is_last && reported;
                now_wanted.attempts = status.attempts + 1;
                now_wanted.last_error = failure.as_ref().map(|(why, _)| why.clone());
                now_wanted.given_up = failure.as_ref().is_some_and(|(_, is_final)| *is_final || now_wanted.attempts >= ATTEMPTS);
                let wait = FIRST_WAIT_MS.saturating_mul(1 << status.attempts.min(20)).min(LONGEST_WAIT_MS);
                now_wanted.next_try = failure.as_ref().map(|_| now + Span::from_ms(wait));
            }
            batch.write(&now_wanted);
            Ok((batch, ()))
        });
        kept.await.map_err(|e| as_fault("keeping what a git host was told", e))
    }
}

/// Whether something is still to be told.
fn is_open(status: &CommitStatus) -> bool {
    !status.given_up && (status.told != Some(status.wanted) || (status.wanted != CommitState::Pending && !status.reported))
}

fn wants_report(git: &GitSpec, status: &CommitStatus) -> bool {
    match git.report {
        ReportOn::Always => true,
        ReportOn::PullRequest => status.number.is_some(),
        ReportOn::Never => false,
    }
}

/// Why a host has not taken what it was told, and whether trying again is of no use. The token is in no message.
fn outcome(posted: Posted, host: GitHost, token: &str) -> Option<(String, bool)> {
    match posted {
        Posted::Answered { status, .. } if (200..300).contains(&status) => None,
        // GitLab refuses to be told what it knows.
        Posted::Answered { status: 400, body } if host == GitHost::Gitlab && body.contains("Cannot transition status") => None,
        Posted::Answered { status, body } => {
            let said: String = body.replace(token, "***").chars().filter(|c| !c.is_control()).take(200).collect();
            let is_final = !matches!(status, 408 | 425 | 429 | 500..=599);
            Some((format!("the git host answered {status}: {said}"), is_final))
        }
        Posted::Unreachable(why) => Some((why, false)),
        Posted::Refused(why) => Some((why, true)),
    }
}

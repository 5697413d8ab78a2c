//! Takes a pipeline run from step to step, and commits what its steps come to: an end together with the starts that follow from it.

use super::job::{Job, RunEnd};
use super::step::{Begun, Ended, Place, started};
use super::{Engine, as_fault, raised};
use crate::schedule::{Act, Schedule};
use domain::entity::{CacheEntry, PipelineStep, RunState, StepState};
use domain::{Batch, Event, Fault, PipelineRunId};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// Steps of one pipeline run that are begun at a time; the pool decides how many of them run.
const IN_FLIGHT: usize = 256;

/// Documents that one commit gathers before it is made although more could join it.
const GATHERED: usize = 256;

/// What is done for a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Run,
    Expand,
    Gather,
}

/// What a task has done for its step.
pub(super) enum Outcome {
    Ended(Ended),
    Expanded(PipelineStep, Vec<PipelineStep>),
}

/// What a step's task is to do.
enum Task {
    Whole(Work),
    /// Only the attempts: the step was begun here.
    Attempts(Box<(PipelineStep, Place)>),
}

struct Drive {
    engine: Arc<Engine>,
    job: Job,
    schedule: Schedule,
    cancelled: watch::Receiver<bool>,
    is_cancelled: bool,
    /// Exit steps run to their end even if the run is cancelled.
    never: watch::Sender<bool>,
    ready: VecDeque<(Work, String)>,
    /// What the next commit writes, and what it will have put into the cache.
    open: Option<Batch>,
    made: Vec<CacheEntry>,
    /// Tasks that start when it is made: what they build on is on disk then.
    next: Vec<(String, Task)>,
    tasks: JoinSet<(String, Result<Outcome, Fault>)>,
}

impl Engine {
    pub(super) async fn drive_to_end(self: &Arc<Self>, id: &PipelineRunId, cancelled: watch::Receiver<bool>) -> Result<(), Fault> {
        self.keep_code(id).await?;
        let Some(job) = self.begin(id).await? else { return Ok(()) };
        let drive = Drive {
            engine: self.clone(),
            schedule: Schedule::new(&job.version.spec, &job.steps),
            cancelled,
            is_cancelled: false,
            never: watch::channel(false).0,
            ready: VecDeque::new(),
            open: None,
            made: Vec::new(),
            next: Vec::new(),
            tasks: JoinSet::new(),
            job,
        };
        drive.run().await
    }
}

impl Drive {
    async fn run(mut self) -> Result<(), Fault> {
        let state = self.go_on().await;
        // Also where something broke: what else was done stays done.
        self.commit().await?;
        self.engine.finish(&self.job, state?).await
    }

    /// Until nothing is left to do; how the run ended.
    async fn go_on(&mut self) -> Result<RunState, Fault> {
        loop {
            if !self.is_cancelled && (self.job.run.cancel_asked || *self.cancelled.borrow()) {
                self.is_cancelled = true;
                self.schedule.cancel();
            }
            if let Some(state) = self.look() {
                return Ok(state);
            }
            let has_ended = self.begin().await?;
            // What follows from an end that came at once may join its commit.
            if has_ended && self.open.as_ref().is_none_or(|open| open.puts.len() < GATHERED) {
                continue;
            }
            self.commit().await?;
            self.spawn();
            if !has_ended && !self.tasks.is_empty() {
                self.wait().await?;
            }
        }
    }

    /// Asks the schedule what is next; how the run ended, if it has.
    fn look(&mut self) -> Option<RunState> {
        loop {
            let acts = self.schedule.acts();
            if acts.is_empty() {
                return None;
            }
            for act in acts {
                match act {
                    Act::Start(name) => self.ready.push_back((Work::Run, name)),
                    Act::Expand(name) => self.ready.push_back((Work::Expand, name)),
                    Act::Gather(name) => self.ready.push_back((Work::Gather, name)),
                    Act::Skip { step, state, blame } => {
                        let verb = if state == StepState::Skipped { "was skipped" } else { "did not succeed" };
                        let skipped = self.job.ended(&step, state, Some(format!("{blame} {verb}")));
                        self.write_end(skipped);
                    }
                    Act::Exit(state) => self.job.end = Some(Arc::new(RunEnd { state, error: self.job.first_error() })),
                    Act::Over(state) => return Some(state),
                }
            }
        }
    }

    /// Begins what is ready; whether a step came to its end at once.
    async fn begin(&mut self) -> Result<bool, Fault> {
        let mut has_ended = false;
        while self.tasks.len() + self.next.len() < IN_FLIGHT
            && let Some((work, name)) = self.ready.pop_front()
        {
            let ended = if self.is_cancelled && !self.job.is_exit(&name) && work != Work::Gather {
                // Asked to stop before its turn came: it never began.
                self.job.ended(&name, StepState::Cancelled, None)
            } else if work == Work::Run && self.is_at_hand(&name) {
                match self.engine.begin_step(&self.job, &name, &self.made).await? {
                    Begun::Ended(ended) => *ended,
                    Begun::Started(begun) => {
                        started(&self.job, &begun.0, open(&mut self.open, &self.job, &self.engine));
                        self.next.push((name, Task::Attempts(begun)));
                        continue;
                    }
                }
            } else {
                self.next.push((name, Task::Whole(work)));
                continue;
            };
            self.schedule.ended(&name, ended.step.state);
            self.write_end(ended);
            has_ended = true;
        }
        Ok(has_ended)
    }

    /// Whether a step is begun without asking the artifact store, which may be far away, or waiting for a process of old: others would not
    /// be heard meanwhile.
    fn is_at_hand(&self, name: &str) -> bool {
        let is_simple = self.job.version.spec.find(name).is_some_and(|spec| {
            let takes_or_makes = !spec.input.is_empty() || !spec.output.is_empty() || spec.when.is_some();
            !spec.run.is_empty() && !takes_or_makes && spec.sweep.is_none() && spec.pipeline.is_none()
        });
        is_simple && self.job.steps.get(name).is_none_or(|step| step.attempts.iter().all(|attempt| attempt.ended.is_some()))
    }

    fn write_end(&mut self, Ended { step, entry }: Ended) {
        let open = open(&mut self.open, &self.job, &self.engine);
        open.may_be_lost = false;
        open.write(&step);
        if let Some(entry) = entry {
            open.write(&entry);
            self.made.push(entry);
        }
        open.say(Event::StepFinished {
            pipeline_run: step.pipeline_run.clone(),
            step: step.name.clone(),
            state: step.state,
            attempts: step.attempts.len() as u32,
            error: step.attempts.last().and_then(|attempt| attempt.error.clone()).filter(|_| step.state == StepState::Failed),
            why: step.why.clone(),
        });
        self.job.steps.insert(step.name.clone(), step);
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        let Some(mut batch) = self.open.take() else { return Ok(()) };
        self.made.clear();
        batch.at = self.engine.clock.event_now();
        self.engine.store.commit(batch).await.map(|_| ()).map_err(|e| as_fault("committing steps", e))
    }

    fn spawn(&mut self) {
        for (name, task) in self.next.drain(..) {
            let cancelled = if self.job.is_exit(&name) { self.never.subscribe() } else { self.cancelled.clone() };
            let part = match &task {
                Task::Whole(work) => self.job.part(&name, *work),
                Task::Attempts(_) => self.job.bare(),
            };
            let engine = self.engine.clone();
            if let Some(step) = self.job.steps.get_mut(&name) {
                step.state = StepState::Running;
            }
            self.tasks.spawn(async move {
                let outcome = match task {
                    Task::Whole(Work::Run) => engine.run_step(&part, &name, cancelled).await.map(Outcome::Ended),
                    Task::Whole(Work::Expand) => engine.expand(&part, &name).await,
                    Task::Whole(Work::Gather) => {
                        let stop = *cancelled.borrow();
                        engine.gather(&part, &name, stop).await.map(Outcome::Ended)
                    }
                    Task::Attempts(begun) => {
                        let (step, place) = *begun;
                        engine.attempts(&part, &name, step, &place, cancelled).await.map(Outcome::Ended)
                    }
                };
                (name, outcome)
            });
        }
    }

    /// Waits until a task is done, and takes in all that are.
    async fn wait(&mut self) -> Result<(), Fault> {
        let mut joined = tokio::select! {
            joined = self.tasks.join_next() => joined,
            () = raised(&mut self.cancelled), if !self.is_cancelled => None,
        };
        let mut outcome = Ok(());
        while let Some(done) = joined {
            outcome = outcome.and(self.take(done));
            joined = self.tasks.try_join_next();
        }
        outcome
    }

    fn take(&mut self, joined: Result<(String, Result<Outcome, Fault>), JoinError>) -> Result<(), Fault> {
        let (name, outcome) = joined.map_err(|e| Fault::because(format!("a step of {}", self.job.run.id), e))?;
        match outcome? {
            Outcome::Ended(ended) => {
                self.schedule.ended(&name, ended.step.state);
                self.write_end(ended);
            }
            Outcome::Expanded(step, items) => {
                let states: Vec<_> = items.iter().map(|item| (item.name.clone(), item.state)).collect();
                self.job.steps.insert(name.clone(), step);
                self.job.steps.extend(items.into_iter().map(|item| (item.name.clone(), item)));
                self.schedule.expanded(&name, &states);
            }
        }
        Ok(())
    }
}

/// The batch that gathers. As long as it holds only starts it may be lost: they are for whoever finds the process running, and no process
/// outlives the machine's power.
fn open<'a>(open: &'a mut Option<Batch>, job: &Job, engine: &Engine) -> &'a mut Batch {
    open.get_or_insert_with(|| Batch { may_be_lost: true, ..job.batch(engine.clock.event_now()) })
}

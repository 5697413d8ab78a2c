//! Tells lineage: into a file, or to an address. No pipeline waits for it; what nobody takes is dropped and counted.

use super::as_fault;
use super::statuses::Secrets;
use crate::lineage;
use async_trait::async_trait;
use domain::entity::{LineageState, PipelineRun, PipelineVersion};
use domain::spec::LineageSpec;
use domain::{Actor, Batch, Event, Fault, Recorded};
use parking_lot::Mutex;
use ports::{Clock, MetadataStore, Post, Posted, Poster, World, decide};
use reactor::Worker;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Events that wait for an address; more are dropped.
const WAITING: usize = 1_000;
/// Attempts at an event, and the first wait between them; it doubles.
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Tells lineage, as a worker of the reactor; what goes by the network goes in a task of its own.
pub struct LineageWorker {
    store: Arc<dyn MetadataStore>,
    poster: Arc<dyn Poster>,
    clock: Arc<dyn Clock>,
    secrets: Secrets,
    queue: mpsc::Sender<Post>,
    waiting: Mutex<Option<mpsc::Receiver<Post>>>,
    /// What the applied project asks for; `None` until it is read. A project of many steps is not to be read at each of them.
    declared: Mutex<Option<Declared>>,
    /// The version that was told of last.
    version: Mutex<Option<Arc<PipelineVersion>>>,
}

#[derive(Clone)]
enum Declared {
    Nothing,
    Told(Arc<Told>),
}

/// What of the project lineage depends on.
struct Told {
    spec: LineageSpec,
    namespace: String,
    root: PathBuf,
}

const NAME: &str = "pipelines.lineage";

#[async_trait]
impl Worker for LineageWorker {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self, event: &Event) -> bool {
        let is_off = matches!(*self.declared.lock(), Some(Declared::Nothing));
        matches!(event, Event::ProjectApplied { .. }) || (lineage::wants(event) && !is_off)
    }

    async fn work(&self, recorded: &Recorded) -> Result<(), Fault> {
        if let Event::ProjectApplied { .. } = &recorded.event {
            *self.declared.lock() = None;
            return Ok(());
        }
        let world = World::newest(&*self.store);
        let Declared::Told(declared) = self.declared(&world)? else { return Ok(()) };
        let Told { spec, namespace, root } = &*declared;
        let events = lineage::events(&world, namespace, &|run| self.version_of(&world, run), recorded)?;
        drop(world);
        let (mut told, mut dropped, mut why) = (0, 0, None);
        for event in events {
            let outcome = match spec.to.strip_prefix("file:") {
                Some(path) => append(&root.join(path), &event.to_string()),
                None => self.hand_over(&spec.to, spec.token.as_deref(), root, event.to_string()),
            };
            match outcome {
                Ok(()) => told += u64::from(spec.to.starts_with("file:")),
                Err(what) => {
                    dropped += 1;
                    why = Some(what);
                }
            }
        }
        if told + dropped > 0 { self.count(told, dropped, why).await } else { Ok(()) }
    }
}

fn append(path: &Path, line: &str) -> Result<(), String> {
    let what = |e: std::io::Error| format!("the lineage file cannot be written: {e}");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(what)?;
    file.write_all(format!("{line}\n").as_bytes()).map_err(what)
}

impl LineageWorker {
    /// A worker; what goes by the network waits until [`LineageWorker::run`] sends it.
    pub fn new(store: Arc<dyn MetadataStore>, poster: Arc<dyn Poster>, clock: Arc<dyn Clock>, secrets: Secrets) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let (declared, version) = (Mutex::default(), Mutex::default());
        LineageWorker { store, poster, clock, secrets, queue, waiting: Mutex::new(Some(waiting)), declared, version }
    }

    fn declared(&self, world: &World) -> Result<Declared, Fault> {
        if let Some(known) = &*self.declared.lock() {
            return Ok(known.clone());
        }
        let project = world.project()?;
        let declared = project.and_then(|project| {
            let spec = project.spec.lineage.clone()?;
            let namespace = spec.namespace.clone().unwrap_or_else(|| project.spec.project.name.clone());
            Some(Arc::new(Told { spec, namespace, root: project.root.clone().into() }))
        });
        let declared = declared.map_or(Declared::Nothing, Declared::Told);
        Ok(self.declared.lock().insert(declared).clone())
    }

    fn version_of(&self, world: &World, run: &PipelineRun) -> Result<Option<Arc<PipelineVersion>>, Fault> {
        let is_of = |version: &&Arc<PipelineVersion>| version.pipeline == run.pipeline && version.number == run.version;
        if let Some(known) = self.version.lock().as_ref().filter(is_of) {
            return Ok(Some(known.clone()));
        }
        let found = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))?.map(Arc::new);
        self.version.lock().clone_from(&found);
        Ok(found)
    }

    fn hand_over(&self, to: &str, token: Option<&str>, root: &Path, body: String) -> Result<(), String> {
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        if let Some(pointer) = token {
            headers.push(("Authorization".into(), format!("Bearer {}", (self.secrets)(root, pointer)?)));
        }
        let post = Post { url: to.into(), headers, body };
        self.queue.try_send(post).map_err(|_| format!("more than {WAITING} events wait for the address"))
    }

    /// Sends what waits until it is told to stop.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        loop {
            let post = tokio::select! {
                post = waiting.recv() => post,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Some(post) = post else { return };
            let counted = match self.send(&post).await {
                Ok(()) => self.count(1, 0, None).await,
                Err(why) => self.count(0, 1, Some(why)).await,
            };
            if let Err(fault) = counted {
                tracing::error!(%fault, "counting lineage");
            }
        }
    }

    async fn send(&self, post: &Post) -> Result<(), String> {
        let (mut wait, mut why) = (FIRST_WAIT, String::new());
        for attempt in 1..=ATTEMPTS {
            let is_final = match self.poster.post(post).await {
                Posted::Answered { status, .. } if (200..300).contains(&status) => return Ok(()),
                Posted::Answered { status, .. } => {
                    why = format!("the address answered {status}");
                    !matches!(status, 408 | 429 | 500..=599)
                }
                Posted::Unreachable(what) => {
                    why = what;
                    false
                }
                Posted::Refused(what) => {
                    why = what;
                    true
                }
            };
            if is_final || attempt == ATTEMPTS {
                break;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(why)
    }

    async fn count(&self, told: u64, dropped: u64, why: Option<String>) -> Result<(), Fault> {
        if let Some(why) = &why {
            tracing::warn!(why, dropped, "lineage events were dropped");
        }
        let counted = decide(&*self.store, |world| {
            let mut state = world.get::<LineageState>("lineage")?.unwrap_or_default();
            state.told += told;
            state.dropped += dropped;
            state.last_error = why.clone().or(state.last_error);
            Ok((Batch::new(Actor::System(NAME.into()), self.clock.event_now()).put(&state), ()))
        });
        counted.await.map_err(|e| as_fault("counting lineage", e))
    }
}

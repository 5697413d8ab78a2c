//! The real wiring over stores that outlive it: one life after the other, each killed at a chosen write.

use crate::model::{Lines, Server};
use crate::play::{Act, HOUSE, Scenario, hour};
use domain::entity::{Trigger, TriggerKind};
use domain::{Actor, EntityKey, ModelName, PipelineRunId, PredictionId, Recorded, Scalar};
use indexmap::IndexMap;
use pipelines::commands::Request;
use pipelines::work::fingerprint;
use ports::memory::{
    Halt, Halting, ManualClock, MemoryArtifacts, MemoryCompute, MemoryExprs, MemoryNotifier, MemoryOffline, MemoryOnline, MemoryRowLog,
    MemoryStore,
};
use ports::{ArtifactStore, Clock, JobEnd, MetadataStore, RowLog, RunStore, decide};
use serving::{Label, PredictRequest};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::{Builder, Handle};
use trimtab::app::{App, AppConfig, Ports};

/// Metadata and runs in one place.
trait Store: MetadataStore + RunStore {}
impl<S: MetadataStore + RunStore> Store for S {}

/// Where metadata, runs and rows are kept.
enum Kept {
    InMemory(Arc<MemoryStore>, Arc<MemoryRowLog>),
    /// SQLite and files below the home, opened anew by each life.
    OnDisk,
}

/// What outlives a process.
pub struct House {
    home: tempfile::TempDir,
    kept: Kept,
    artifacts: Arc<MemoryArtifacts>,
    online: Arc<MemoryOnline>,
    offline: Arc<MemoryOffline>,
    clock: Arc<ManualClock>,
    acts: Vec<Act>,
    /// The text of the project file.
    file: String,
    /// Acts that were acknowledged.
    done: usize,
}

/// A story that was played to its end.
pub struct Told {
    pub log: Vec<Recorded>,
    /// Writes that the last life asked for.
    pub writes: u64,
    pub lives: usize,
}

impl House {
    pub fn in_memory(scenario: &Scenario) -> House {
        House::new(scenario, Kept::InMemory(MemoryStore::new(), Arc::default()))
    }

    pub fn on_disk(scenario: &Scenario) -> House {
        House::new(scenario, Kept::OnDisk)
    }

    fn new(scenario: &Scenario, kept: Kept) -> House {
        let home = tempfile::tempdir().unwrap();
        scenario.lay_out(&home.path().join("project"));
        House {
            home,
            kept,
            artifacts: MemoryArtifacts::new(),
            online: Arc::default(),
            offline: Arc::default(),
            clock: Arc::new(ManualClock::new(hour(0))),
            acts: scenario.acts(),
            file: scenario.project(),
            done: 0,
        }
    }

    /// Plays all acts; a life for which `deaths` gives a write dies there, and the next one goes on.
    pub fn play(mut self, mut deaths: impl Iterator<Item = (u64, Halt)>) -> Told {
        for lives in 1.. {
            let death = deaths.next();
            // One thread, and all of its tasks end with it: nobody outlives the kill.
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let told = runtime.block_on(self.live(death));
            drop(runtime);
            if let Some((log, writes)) = told {
                return Told { log, writes, lives };
            }
        }
        unreachable!("lives are counted without an end")
    }

    fn open(&self) -> (Arc<dyn Store>, Arc<dyn RowLog>) {
        match &self.kept {
            Kept::InMemory(store, rows) => (store.clone(), rows.clone()),
            Kept::OnDisk => {
                let store = back_sqlite::Sqlite::open(&self.home.path().join("trimtab.db")).unwrap();
                (store, back_rowlog::FileRowLog::open(&self.home.path().join("rows")).unwrap())
            }
        }
    }

    /// One process: the log and its writes if it came to the end of the story.
    async fn live(&mut self, death: Option<(u64, Halt)>) -> Option<(Vec<Recorded>, u64)> {
        let (store, rows) = self.open();
        let mortal = Halting::new(store);
        if let Some((n, side)) = death {
            mortal.halt_at(n, side);
        }
        let mut halted = mortal.halted();
        let life = async {
            let ports = self.ports(&mortal, rows);
            let app = App::start(ports, self.config(), Arc::new(|_| {})).await.unwrap();
            // What an earlier life left half-done comes before the act that it did not acknowledge.
            app.reactor.drained().await;
            while let Some(act) = self.acts.get(self.done) {
                self.perform(&app, act).await.unwrap_or_else(|error| panic!("{act:?}: {error:#}"));
                self.done += 1;
            }
        };
        tokio::select! {
            biased;
            _ = halted.wait_for(|halted| *halted) => None,
            () = life => Some((mortal.events(0, usize::MAX >> 1).unwrap(), mortal.writes())),
        }
    }

    fn ports(&self, mortal: &Arc<Halting<dyn Store>>, rows: Arc<dyn RowLog>) -> Ports {
        let compute = MemoryCompute::default();
        let (store, artifacts, clock, handle) = (mortal.clone(), self.artifacts.clone(), self.clock.clone(), Handle::current());
        compute.install("train", move |job| {
            let server = Server { store: store.clone(), artifacts: artifacts.clone(), now: clock.event_now() };
            let mut halted = store.halted();
            let outcome = handle.block_on(async {
                tokio::select! {
                    biased;
                    _ = halted.wait_for(|halted| *halted) => Err(anyhow::anyhow!("the server is gone")),
                    outcome = server.train(job) => outcome,
                }
            });
            match outcome {
                Ok(()) => JobEnd { exit: Some(0), ..JobEnd::default() },
                Err(error) => JobEnd { exit: Some(1), stderr_tail: format!("{error:#}"), ..JobEnd::default() },
            }
        });
        let artifacts: Arc<dyn ArtifactStore> = self.artifacts.clone();
        Ports {
            store: mortal.clone(),
            runs: mortal.clone(),
            rows,
            models: Arc::new(Lines(artifacts.clone())),
            artifacts,
            online: self.online.clone(),
            offline: self.offline.clone(),
            exprs: Arc::new(MemoryExprs),
            compute: Arc::new(compute),
            notifier: Arc::new(MemoryNotifier::default()),
            clock: self.clock.clone(),
        }
    }

    fn config(&self) -> AppConfig {
        AppConfig {
            home: self.home.path().join("home"),
            instance: "scenario".into(),
            tracking_uri: "http://127.0.0.1:1".into(),
            replay: true,
            new_id: Arc::new(|time| PredictionId::new(format!("unnamed-{time}"))),
        }
    }

    fn project(&self) -> PathBuf {
        self.home.path().join("project")
    }

    async fn perform(&self, app: &App, act: &Act) -> anyhow::Result<()> {
        let model = ModelName::new("demand");
        match act {
            Act::Apply => {
                let wanted = trimtab::config::parse(&self.file, "trimtab.toml", None)?;
                app.apply(&self.project().to_string_lossy(), wanted, &Actor::User("ann".into())).await?;
            }
            Act::Train => first_model(app).await?,
            Act::Clock(at) => self.clock.advance_to(*at),
            Act::Label { at, kwh } => {
                let key = Some(EntityKey::one("house_id", HOUSE));
                app.labels.take(&model, vec![Label { id: None, key, time: Some(*at), value: Scalar::Float(*kwh) }]).await?;
            }
            Act::Push { at, temp } => {
                let row = [
                    ("house_id", Scalar::Text(HOUSE.into())),
                    ("observed_at", Scalar::Text(at.to_string())),
                    ("temp", Scalar::Float(*temp)),
                ];
                app.pusher.push("weather", vec![columns(row)]).await?;
            }
            Act::Predict { at } => {
                let id = Some(PredictionId::new(format!("demand-{at}")));
                let columns = columns([("house_id", Scalar::Text(HOUSE.into()))]);
                app.gateway.predict(&model, vec![PredictRequest { id, time: Some(*at), columns }]).await?;
            }
            Act::Drain => app.reactor.drained().await,
        }
        Ok(())
    }
}

fn columns<const N: usize>(row: [(&str, Scalar); N]) -> IndexMap<String, Scalar> {
    row.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A person starts the first training, under a name of its own so that asking twice makes one.
async fn first_model(app: &App) -> anyhow::Result<()> {
    let now = app.ports.clock.event_now();
    let trigger = Trigger { kind: TriggerKind::Command, time: now, holdout_to: now };
    let asked = Request::new("retrain", trigger, fingerprint(&*app.ports.store, "retrain")?);
    let request = Request { id: Some(PipelineRunId::new("retrain-1")), ..asked };
    let ann = Actor::User("ann".into());
    decide(&*app.ports.store, |world| pipelines::commands::request(world, &request, &ann, now)).await?;
    Ok(())
}

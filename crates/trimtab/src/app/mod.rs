//! The wiring: the only place that pairs a port with a back end and a block with another.

mod account;
mod bridge;
mod commits;
#[cfg(test)]
mod conformance;
mod dossier;
mod facts;
mod listener;
mod native;
mod origin;
mod project;
mod server;
mod sweeps;

pub use bridge::Bridge;
pub use server::{Server, ServerConfig, asked_to_stop};

use crate::home::Home;
use anyhow::Context;
use domain::{Fault, ModelName, PredictionId, Timestamp};
use features::{Catalog, Pusher, TableWorker, Tables, TrainingSets};
use monitoring::notify::NotifyWorker;
use monitoring::work::{JudgeWorker, ReferenceShelf, ReferenceWorker};
use pipelines::{Engine, EngineConfig};
use ports::{
    ArtifactStore, Clock, ComputeBackend, ExprEngine, MetadataStore, ModelRuntime, Notifier, OfflineEngine, OnlineStore, RowLog, RunStore,
    Sealer,
};
use reactor::{Activity, Reaction, Reactor, Worker};
use serving::{Gateway, GatewayConfig, LabelDesk, ModelPool};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every port with its back end.
#[derive(Clone)]
pub struct Ports {
    pub store: Arc<dyn MetadataStore>,
    pub runs: Arc<dyn RunStore>,
    pub rows: Arc<dyn RowLog>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub online: Arc<dyn OnlineStore>,
    pub offline: Arc<dyn OfflineEngine>,
    pub exprs: Arc<dyn ExprEngine>,
    pub compute: Arc<dyn ComputeBackend>,
    pub models: Arc<dyn ModelRuntime>,
    pub notifier: Arc<dyn Notifier>,
    pub clock: Arc<dyn Clock>,
}

/// Ports on the local disk, and the handles that only the binary needs.
pub struct LocalPorts {
    pub ports: Ports,
    pub python: Arc<back_python::PythonRuntime>,
}

/// Memory that queries share before they spill.
const QUERY_MEMORY: usize = 256 << 20;

impl LocalPorts {
    /// Opens everything below a home.
    pub fn open(home: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<LocalPorts> {
        let sqlite = back_sqlite::Sqlite::open(&home.join("trimtab.db")).context("opening the metadata store")?;
        let artifacts: Arc<dyn ArtifactStore> = back_objects::Objects::local(&home.join("artifacts"))?;
        let query = Arc::new(back_query::QueryEngine::new(&home.join("tables"), QUERY_MEMORY)?);
        // The running program itself, even when its file was replaced since.
        let itself = PathBuf::from("/proc/self/exe");
        let program = if itself.exists() { itself } else { std::env::current_exe().context("finding this program")? };
        let python =
            Arc::new(back_python::PythonRuntime::new(artifacts.clone(), &home.join("models"), &home.join("environments"), program));
        let ports = Ports {
            store: sqlite.clone(),
            runs: sqlite,
            rows: back_rowlog::FileRowLog::open(&home.join("rows"))?,
            artifacts,
            online: Arc::new(back_lmdb::LmdbOnline::open(&home.join("online"))?),
            offline: query.clone(),
            exprs: query,
            compute: Arc::new(back_process::LocalPool::of_this_machine()),
            models: Arc::new(back_onnx::OnnxRuntime::new(python.clone(), python.clone())),
            notifier: Arc::new(back_notify::Webhook::new(home.to_path_buf())),
            clock,
        };
        Ok(LocalPorts { ports, python })
    }
}

/// How the blocks are put together.
pub struct AppConfig {
    pub home: PathBuf,
    pub instance: String,
    /// What steps log to.
    pub tracking_uri: String,
    /// A replay waits for its shadows.
    pub replay: bool,
    pub new_id: Arc<dyn Fn(Timestamp) -> PredictionId + Send + Sync>,
}

impl AppConfig {
    /// For a home on disk.
    pub fn of(home: &Home, tracking_uri: String, replay: bool) -> Self {
        AppConfig { home: home.path.clone(), instance: home.instance.clone(), tracking_uri, replay, new_id: Arc::new(new_prediction_id) }
    }
}

/// The event time first, so that ids of one time lie together.
fn new_prediction_id(time: Timestamp) -> PredictionId {
    PredictionId::new(format!("{:x}-{}", time.ms(), &uuid::Uuid::new_v4().simple().to_string()[..16]))
}

/// All blocks, put together and running.
pub struct App {
    pub ports: Ports,
    pub catalog: Arc<Catalog>,
    pub tables: Arc<Tables>,
    pub training: Arc<TrainingSets>,
    pub pusher: Arc<Pusher>,
    pub sealer: Arc<Sealer>,
    pub pool: Arc<ModelPool>,
    pub gateway: Arc<Gateway>,
    pub labels: Arc<LabelDesk>,
    pub engine: Arc<Engine>,
    pub reactor: Arc<Reactor>,
    pub home: PathBuf,
    pub bridge: Arc<Bridge>,
    /// What model workers used, and is not written down yet.
    account: account::Account,
    on_project: OnProject,
    stop_notify: tokio::sync::watch::Sender<bool>,
    notify: tokio::task::JoinHandle<()>,
    statuses: tokio::task::JoinHandle<((), ())>,
}

/// Told of the interpreter that an applied project names.
pub type OnProject = Arc<dyn Fn(&domain::entity::AppliedProject) + Send + Sync>;

impl App {
    /// Puts the blocks together and starts what drives them; goes on where an earlier process stopped.
    pub async fn start(ports: Ports, config: AppConfig, on_project: OnProject) -> anyhow::Result<App> {
        let activity = Activity::default();
        let Ports { store, rows, clock, .. } = ports.clone();
        let catalog = Catalog::new(store.clone(), ports.offline.clone(), ports.exprs.clone());
        let sealer = Arc::new(Sealer::new(store.clone(), rows.clone())?);
        let tables = Arc::new(Tables {
            store: store.clone(),
            offline: ports.offline.clone(),
            rows: rows.clone(),
            sealer: sealer.clone(),
            clock: clock.clone(),
            catalog: catalog.clone(),
        });
        let training = Arc::new(TrainingSets { tables: tables.clone(), artifacts: ports.artifacts.clone() });
        let pusher = Arc::new(Pusher {
            rows: rows.clone(),
            online: ports.online.clone(),
            sealer: sealer.clone(),
            clock: clock.clone(),
            catalog: catalog.clone(),
        });
        let pool = Arc::new(ModelPool::new(store.clone(), ports.models.clone()));
        let bridge = Arc::new(Bridge {
            store: store.clone(),
            runs: ports.runs.clone(),
            clock: clock.clone(),
            online: ports.online.clone(),
            artifacts: ports.artifacts.clone(),
            catalog: catalog.clone(),
            tables: tables.clone(),
            training: training.clone(),
            pool: pool.clone(),
        });
        let gateway = Gateway::new(
            store.clone(),
            rows.clone(),
            clock.clone(),
            activity.clone(),
            sealer.clone(),
            pool.clone(),
            bridge.clone(),
            GatewayConfig { new_id: config.new_id.clone(), wait_for_shadows: config.replay },
        );
        let labels = Arc::new(LabelDesk::new(gateway.clone(), rows.clone(), clock.clone()));
        let engine_config =
            EngineConfig { home: config.home.clone(), tracking_uri: config.tracking_uri.clone(), instance: config.instance.clone() };
        let engine = Engine::new(
            store.clone(),
            ports.compute.clone(),
            ports.artifacts.clone(),
            clock.clone(),
            bridge.clone(),
            engine_config,
            activity.clone(),
        );
        let shelf = ReferenceShelf::new(store.clone(), ports.artifacts.clone(), bridge.clone(), bridge.clone());
        let notify = Arc::new(NotifyWorker::new(store.clone(), ports.notifier.clone(), clock.clone()));
        let statuses = Arc::new(commits::status_worker(&ports));
        let lineage = Arc::new(commits::lineage_worker(&ports));
        let workers: Vec<Arc<dyn Worker>> = vec![
            Arc::new(TableWorker(tables.clone())),
            engine.worker(),
            gateway.worker(),
            gateway.environments(),
            Arc::new(delivery::work::GateWorker {
                store: store.clone(),
                holdout: bridge.clone(),
                scorer: bridge.clone(),
                dossier: bridge.clone(),
                clock: clock.clone(),
            }),
            Arc::new(delivery::work::LabelWorker::new(store.clone(), rows.clone())),
            Arc::new(ReferenceWorker(shelf.clone())),
            Arc::new(JudgeWorker { store: store.clone(), rows: rows.clone(), shelf }),
            notify.clone(),
            Arc::new(commits::hook_worker(&ports, &config.home)),
            statuses.clone(),
            lineage.clone(),
        ];
        let (stop_notify, stopping) = tokio::sync::watch::channel(false);
        catalog.reload().await.map_err(|e| anyhow::anyhow!("reading the applied project: {e}"))?;
        if let Ok(project) = catalog.project() {
            on_project(&project);
            if let Err(refusal) = ports.compute.configure(&project.spec.compute) {
                tracing::error!(%refusal, "the pool keeps the machine's own size");
            }
        }
        seal_all(&sealer, &*rows, clock.event_now()).await?;
        pipelines::index::bring_up_to_date(&*store, clock.event_now()).await?;
        // First what is served, then the readers of the log, then pipeline runs that were under way.
        gateway.follow_all().await?;
        let reactor = Arc::new(Reactor::start(store.clone(), activity, reactions(), workers)?);
        engine.resume()?;
        let status_stop = stopping.clone();
        let lineage_stop = stopping.clone();
        let statuses = tokio::spawn(async move { tokio::join!(statuses.run(status_stop), lineage.run(lineage_stop)) });
        let notify = tokio::spawn(async move { notify.run(stopping).await });
        Ok(App {
            ports,
            catalog,
            tables,
            training,
            pusher,
            sealer,
            pool,
            gateway,
            labels,
            engine,
            reactor,
            home: config.home,
            bridge,
            account: account::Account::default(),
            on_project,
            stop_notify,
            notify,
            statuses,
        })
    }

    /// Seals what is old or large and closes windows that nothing comes for any more: called now and then, live.
    pub async fn housekeeping(&self) -> Result<(), Fault> {
        let wall = self.ports.clock.wall_now();
        for stream in self.ports.rows.streams() {
            let open = self.ports.rows.open_part(&stream);
            let old = open.since.is_some_and(|since| wall - since > domain::Span::from_ms(SEAL_AGE_MS));
            if open.rows > 0 && (old || open.bytes > SEAL_BYTES) {
                self.sealer.seal(&stream, self.ports.clock.event_now()).await?;
            }
        }
        self.gateway.look_at_canaries();
        let now = self.ports.clock.event_now();
        let closed = ports::decide(&*self.ports.store, |world| monitoring::commands::close_idle(world, now)).await;
        closed.map_err(|error| Fault::because("closing idle windows", error))?;
        self.watch_serving(wall).await?;
        self.account.look(&self.pool);
        self.account.write(&*self.ports.store, now, false).await?;
        let expired = ports::decide(&*self.ports.store, |world| delivery::approval::expire(world, now)).await;
        expired.map_err(|error| Fault::because("ending approvals that nobody gave", error))
    }

    /// Opens and closes incidents about how serving behaves.
    async fn watch_serving(&self, wall: Timestamp) -> Result<(), Fault> {
        self.gateway.look_around();
        let measured = |model: &ModelName, minutes| self.gateway.behaviour(model, minutes).ok();
        let since = self.gateway.began();
        loop {
            let watched = ports::decide(&*self.ports.store, |world| monitoring::system::watch(world, &measured, since, wall)).await;
            if !watched.map_err(|error| Fault::because("watching how serving behaves", error))? {
                return Ok(());
            }
        }
    }

    /// Ends what runs: readers finish the event that they are at, workers the request.
    pub async fn stop(&self) {
        self.reactor.stop().await;
        self.account.look(&self.pool);
        if let Err(fault) = self.account.write(&*self.ports.store, self.ports.clock.event_now(), true).await {
            tracing::warn!(%fault, "what model workers used at last is not counted");
        }
        self.stop_notify.send_replace(true);
        // The notifier may wait for a slow target; what is not delivered is delivered after the next start.
        self.notify.abort();
        self.statuses.abort();
        if let Err(fault) = self.pool.stop().await {
            tracing::warn!(%fault, "a model worker did not end well");
        }
    }
}

/// A stream is sealed when its oldest open row is this old, or the open part this large.
const SEAL_AGE_MS: i64 = 60_000;
const SEAL_BYTES: u64 = 16 << 20;

/// What an earlier process took and did not tell: a row may have crossed a window's end just before it died, and nobody
/// would seal it again. Labels come last, because they close windows of predictions.
async fn seal_all(sealer: &Sealer, rows: &dyn RowLog, now: Timestamp) -> Result<(), Fault> {
    let mut streams = rows.streams();
    streams.sort_by_key(|stream| stream.starts_with("label/"));
    for stream in streams {
        sealer.seal(&stream, now).await?;
    }
    Ok(())
}

fn reactions() -> Vec<Reaction> {
    let mut all = delivery::reactions();
    all.extend(monitoring::reactions());
    all
}

//! The server: one listener, all protocols, a clean end.

use super::{App, AppConfig, LocalPorts, OnProject};
use crate::home::{Home, ServerInfo};
use anyhow::Context;
use axum::Router;
use domain::entity::AppliedProject;
use ports::{Clock, Poster};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracking::webhooks::work::WebhookWorker;

/// How long requests under way may take when the server stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How often schedules and backfills are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often old rows are sealed and idle windows closed.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// What to serve, where.
pub struct ServerConfig {
    pub home: PathBuf,
    pub listen: String,
    pub clock: Arc<dyn Clock>,
    /// A replay drives the event clock; nothing is done by the wall clock.
    pub replay: bool,
    /// Whether other commands shall find this server.
    pub announce: bool,
    /// The interpreter, instead of the one that the project names.
    pub python: Option<PathBuf>,
}

/// A running server.
pub struct Server {
    pub app: Arc<App>,
    pub url: String,
    home: Home,
    stop: watch::Sender<bool>,
    closing: CancellationToken,
    serving: JoinHandle<()>,
    keeping: JoinHandle<()>,
    starting: JoinHandle<()>,
    posting: JoinHandle<()>,
}

impl Server {
    /// Takes the home, opens the ports, starts the blocks, and answers.
    pub async fn start(config: ServerConfig) -> anyhow::Result<Server> {
        let home = Home::open(&config.home)?;
        let listener = TcpListener::bind(&config.listen).await.map_err(|error| {
            domain::Refusal::new(domain::Kind::Conflict, "listen/refused", format!("cannot listen on {}: {error}", config.listen))
                .hint("choose another address with --listen 127.0.0.1:PORT")
        })?;
        let url = format!("http://{}", listener.local_addr().context("asking for the address")?);
        let local = LocalPorts::open(&home.path, config.clock.clone())?;
        // Also where no project names one.
        config.python.iter().for_each(|python| local.python.use_python(python));
        let on_project = use_python(local.python.clone(), config.python.clone());
        let app_config = AppConfig::of(&home, url.clone(), config.replay);
        let app = Arc::new(App::start(local.ports, app_config, on_project).await?);
        let closing = CancellationToken::new();
        let poster: Arc<dyn Poster> = Arc::new(back_notify::PublicPoster::new());
        let router = routes(&app, &url, &closing, poster.clone()).await?;
        let (stop, stopping) = watch::channel(false);
        let webhooks = WebhookWorker::new(app.ports.store.clone(), poster, app.ports.clock.clone());
        let webhook_stop = stopping.clone();
        let posting = tokio::spawn(async move { webhooks.run(webhook_stop).await });
        let serving = tokio::spawn(super::listener::serve(listener, router, stopping.clone()));
        let keeping = tokio::spawn(keep_house(app.clone(), stopping.clone(), config.replay));
        let starting = tokio::spawn(start_pipelines(app.clone(), stopping, config.announce, config.replay));
        if config.announce {
            let info = ServerInfo { url: url.clone(), pid: std::process::id(), version: env!("CARGO_PKG_VERSION").into() };
            home.announce(&info)?;
        }
        Ok(Server { app, url, home, stop, closing, serving, keeping, starting, posting })
    }

    /// Serves until `until` is done, then drains and ends.
    pub async fn run_until(self, until: impl Future<Output = ()>) {
        until.await;
        self.stop().await;
    }

    /// Answers what is under way, finishes the events at hand, and lets go of the home.
    pub async fn stop(self) {
        self.home.withdraw();
        self.stop.send_replace(true);
        self.closing.cancel();
        let abort = self.serving.abort_handle();
        if tokio::time::timeout(DRAIN, self.serving).await.is_err() {
            abort.abort();
        }
        self.keeping.abort();
        let _ = self.keeping.await;
        self.starting.abort();
        let _ = self.starting.await;
        // It may wait for a slow receiver; what is not delivered is delivered after the next start.
        self.posting.abort();
        self.app.stop().await;
    }
}

/// Model workers run the project's interpreter, unless another was asked for.
fn use_python(runtime: Arc<back_python::PythonRuntime>, instead: Option<PathBuf>) -> OnProject {
    Arc::new(move |project: &AppliedProject| {
        let python = instead.clone().or_else(|| project_python(project));
        if let Some(python) = python {
            runtime.use_python(&python);
            if !project.spec.model.is_empty() {
                let runtime = runtime.clone();
                tokio::spawn(async move { runtime.warm_up().await });
            }
        }
    })
}

fn project_python(project: &AppliedProject) -> Option<PathBuf> {
    let python = project.spec.project.python.as_deref()?;
    Some(if python.contains('/') { Path::new(&project.root).join(python) } else { python.into() })
}

async fn routes(app: &Arc<App>, url: &str, closing: &CancellationToken, poster: Arc<dyn Poster>) -> anyhow::Result<Router> {
    let mlflow = api_mlflow::MlflowApi {
        store: app.ports.store.clone(),
        runs: app.ports.runs.clone(),
        artifacts: app.ports.artifacts.clone(),
        clock: app.ports.clock.clone(),
    };
    api_mlflow::prepare(&mlflow).await?;
    let native = api_native::Api {
        store: app.ports.store.clone(),
        runs: app.ports.runs.clone(),
        rows: app.ports.rows.clone(),
        artifacts: app.ports.artifacts.clone(),
        clock: app.ports.clock.clone(),
        compute: app.ports.compute.clone(),
        gateway: app.gateway.clone(),
        labels: app.labels.clone(),
        features: app.clone(),
        reactor: app.reactor.clone(),
        secrets: super::commits::secrets(),
    };
    let pages = web::WebState {
        store: app.ports.store.clone(),
        runs: app.ports.runs.clone(),
        artifacts: app.ports.artifacts.clone(),
        closing: closing.clone(),
        facts: Arc::new(super::facts::LiveFacts::new(app, url)),
    };
    Ok(api_mlflow::with_webhooks(api_mlflow::router(mlflow), poster)
        .merge(api_inference::router(api_inference::InferenceApi { gateway: app.gateway.clone() }))
        .merge(api_native::router(native))
        .merge(web::router(pages))
        .layer(axum::middleware::from_fn(super::origin::guard)))
}

async fn keep_house(app: Arc<App>, mut stopping: watch::Receiver<bool>, replay: bool) {
    let mut every = tokio::time::interval(HOUSEKEEPING);
    while !replay && !*stopping.borrow() {
        tokio::select! {
            _ = every.tick() => {
                if let Err(fault) = app.housekeeping().await {
                    tracing::error!(%fault, "housekeeping");
                }
            }
            () = async { let _ = stopping.wait_for(|stop| *stop).await; } => return,
        }
    }
}

/// Pipelines that are due by the clock, and backfills. A replay has no clock of its own.
async fn start_pipelines(app: Arc<App>, mut stopping: watch::Receiver<bool>, by_clock: bool, replay: bool) {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !replay && !*stopping.borrow() {
        tokio::select! {
            _ = every.tick() => {
                if let Err(fault) = app.engine.tick(by_clock).await {
                    tracing::error!(%fault, "starting what is due");
                }
            }
            () = async { let _ = stopping.wait_for(|stop| *stop).await; } => return,
        }
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn asked_to_stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

//! Locked environments of versions: made when a version is registered, and off the way of those that answer.

use crate::gateway::Gateway;
use async_trait::async_trait;
use domain::entity::{Deployment, VersionEnvironment};
use domain::spec::EnvironmentSpec;
use domain::{Actor, Batch, Digest, Event, Fault, ModelName, Recorded, Span, VersionNumber};
use ports::{CommitError, LoadError, World};
use reactor::Worker;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Who is told to have locked an environment.
const NAME: &str = "serving.environments";

impl Gateway {
    /// Versions in use that cannot load before something is installed.
    pub(crate) async fn unprepared(&self, deployment: &Deployment) -> Result<Vec<VersionNumber>, Fault> {
        let mut missing = Vec::new();
        for version in deployment.versions() {
            if !self.pool.is_prepared(&deployment.model, version).await? {
                missing.push(version);
            }
        }
        Ok(missing)
    }

    /// Installs what is missing on a task of its own, then brings the model's route in line, which the deployment may want otherwise by now. One
    /// task a model. What failed is not tried again before something happens to the model.
    pub(crate) fn prepare_apart(
        self: &Arc<Self>,
        model: &ModelName,
        missing: Vec<VersionNumber>,
        mut failed: BTreeMap<VersionNumber, String>,
    ) {
        if missing.is_empty() || !self.preparing.lock().insert(model.clone()) {
            return;
        }
        let (gateway, model) = (self.clone(), model.clone());
        tokio::spawn(async move {
            for version in missing {
                if let Err(error) = gateway.pool.prepare(&model, version).await {
                    tracing::error!(%model, %version, %error, "what a version needs is not installed");
                    failed.insert(version, error.to_string());
                }
            }
            // Before the route is looked at: who asks from now on begins a task of his own.
            gateway.preparing.lock().remove(&model);
            match gateway.bring(&model, &failed).await {
                Ok(missing) => {
                    gateway.prepare_apart(&model, missing, failed);
                    gateway.retry_apart(&model);
                }
                Err(fault) => tracing::error!(%model, %fault, "the route stays as it was"),
            }
        });
    }

    /// Frees locked environments that no loaded version sees and that none has seen for so long, but not those `kept`; gives their locks.
    pub async fn free_environments(&self, unused: Span, kept: &[Digest], dry_run: bool) -> Result<Vec<Digest>, Fault> {
        self.pool.free_environments(Duration::from_millis(unused.ms().max(0).unsigned_abs()), kept, dry_run).await
    }

    /// The worker that locks the environments of versions that ask for one.
    pub fn environments(self: &Arc<Self>) -> Arc<dyn Worker> {
        Arc::new(Environments(self.clone()))
    }
}

struct Environments(Arc<Gateway>);

#[async_trait]
impl Worker for Environments {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(
            event,
            Event::ModelVersionRegistered { .. }
                | Event::GateRequested { .. }
                | Event::ChampionPromoted { .. }
                | Event::ProjectApplied { .. }
        )
    }

    async fn work(&self, recorded: &Recorded) -> Result<(), Fault> {
        let world = World::new(self.0.sinks.store.snapshot()?);
        let Some(project) = world.project()? else { return Ok(()) };
        let is_locked = |model: &ModelName| {
            let serve = project.spec.model.get(model.as_str()).and_then(|model| model.serve.as_ref());
            serve.is_some_and(|serve| serve.environment == EnvironmentSpec::Locked)
        };
        let versions: Vec<(ModelName, VersionNumber)> = match &recorded.event {
            Event::ModelVersionRegistered { model, version, .. } | Event::ChampionPromoted { model, version, .. } => {
                vec![(model.clone(), *version)]
            }
            Event::GateRequested { model, challenger, .. } => vec![(model.clone(), *challenger)],
            _ => {
                let deployed = world.list::<Deployment>()?;
                deployed.iter().flat_map(|one| one.versions().into_iter().map(|version| (one.model.clone(), version))).collect()
            }
        };
        for (model, version) in versions.into_iter().filter(|(model, _)| is_locked(model)) {
            let known = world.get::<VersionEnvironment>(&format!("{model}/{version}"))?;
            if known.is_none_or(|known| known.lock.is_none()) {
                self.make(&model, version, recorded).await?;
            }
        }
        Ok(())
    }
}

impl Environments {
    async fn make(&self, model: &ModelName, version: VersionNumber, cause: &Recorded) -> Result<(), Fault> {
        let (lock, problem) = match self.0.pool.prepare(model, version).await {
            Ok(Some(lock)) => (Some(lock), None),
            Ok(None) => return Ok(()),
            Err(LoadError::Refused(refusal)) => (None, Some(refusal)),
            Err(LoadError::Fault(fault)) => return Err(fault),
        };
        let at = self.0.sinks.clock.event_now();
        let (model, cause) = (model.clone(), cause.seq);
        let made = VersionEnvironment { model: model.clone(), version, lock, problem, at };
        let event = match (&made.lock, &made.problem) {
            (Some(lock), _) => {
                let packages = lock.packages.len() as u64;
                Event::EnvironmentLocked { model, version, lock: lock.sha256.clone(), python: lock.python.clone(), packages }
            }
            (None, problem) => {
                let (code, why) = problem.as_ref().map_or_else(Default::default, |refusal| (refusal.code.clone(), refusal.to_string()));
                Event::EnvironmentRefused { model, version, code, why }
            }
        };
        let decided = ports::decide(&*self.0.sinks.store, |world| {
            let mut batch = Batch::new(Actor::System(NAME.into()), at);
            let before = world.get::<VersionEnvironment>(&format!("{}/{version}", made.model))?;
            if before.is_none_or(|before| (before.lock, before.problem) != (made.lock.clone(), made.problem.clone())) {
                batch.cause = Some(cause);
                batch.write(&made);
                batch.say(event.clone());
            }
            Ok::<_, CommitError>((batch, ()))
        });
        decided.await.map_err(|error| Fault::because("recording an environment", error))
    }
}

//! Routes follow the event log: whatever changes a deployment changes its model's route.

use crate::canary;
use crate::gateway::Gateway;
use crate::pool;
use crate::route::Route;
use crate::shadow::{self, ShadowLane};
use async_trait::async_trait;
use domain::entity::Deployment;
use domain::spec::{ModelSpec, ServeSpec};
use domain::{Event, Fault, ModelName, Recorded, Timestamp, VersionNumber};
use ports::{ModelHandle, World};
use reactor::Worker;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a champion that was replaced stays loaded, so that a rollback need not start it.
const REST: Duration = Duration::from_secs(3600);
/// How long a process that did not come is first left alone, and at most.
const RETRY: [Duration; 2] =
    if cfg!(test) { [Duration::from_millis(1), Duration::from_millis(4)] } else { [Duration::from_secs(1), Duration::from_secs(30)] };

impl Gateway {
    /// Brings all routes in line with the deployments: at start, and after the file was applied.
    pub async fn follow_all(self: &Arc<Self>) -> Result<(), Fault> {
        let deployments = World::new(self.sinks.store.snapshot()?).list::<Deployment>()?;
        for deployment in deployments {
            self.follow(&deployment.model).await?;
        }
        Ok(())
    }

    /// Looks whether a canary's step is over by time alone: its requests may have ceased.
    pub fn look_at_canaries(&self) {
        let canaries: Vec<_> = self.routes.read().values().filter_map(|route| route.canary.clone()).collect();
        canaries.iter().for_each(|canary| canary.tell_if_due());
    }

    /// Brings one model's route in line with its deployment. What must be installed for a version is installed apart, so that other models need
    /// not wait, and the route is brought in line again then.
    pub async fn follow(self: &Arc<Self>, model: &ModelName) -> Result<(), Fault> {
        let failed = BTreeMap::new();
        let missing = self.bring(model, &failed).await?;
        self.prepare_apart(model, missing, failed);
        self.retry_apart(model);
        Ok(())
    }

    /// Tries again, on a task of its own, what shall answer in a process of its own and has none. One task a model.
    pub(crate) fn retry_apart(self: &Arc<Self>, model: &ModelName) {
        {
            let mut retrying = self.retrying.lock();
            if !self.has_no_process(model) || !retrying.insert(model.clone()) {
                return;
            }
        }
        let (gateway, model) = (Arc::downgrade(self), model.clone());
        tokio::spawn(async move {
            let [mut wait, most] = RETRY;
            loop {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(most);
                let Some(gateway) = gateway.upgrade() else { return };
                {
                    let mut retrying = gateway.retrying.lock();
                    if !gateway.has_no_process(&model) {
                        retrying.remove(&model);
                        return;
                    }
                }
                if let Err(fault) = gateway.follow(&model).await {
                    tracing::error!(%model, %fault, "the route stays as it was");
                }
            }
        });
    }

    /// Whether a model's champion shall have a process of its own, which did not come. What cannot be installed is not tried again.
    fn has_no_process(&self, model: &ModelName) -> bool {
        let routes = self.routes.read();
        routes
            .get(model)
            .is_some_and(|route| route.spec.isolate && route.champion.is_none() && route.broken.is_some() && route.missing.is_empty())
    }

    /// Loads what the deployment says, as far as it is prepared, and answers with it; the old champion answers until the new one can. Gives the
    /// versions that must be prepared yet; `failed`: those of which that was tried, and why it failed.
    pub(crate) async fn bring(&self, model: &ModelName, failed: &BTreeMap<VersionNumber, String>) -> Result<Vec<VersionNumber>, Fault> {
        let _turn = self.turn.lock().await;
        let world = World::new(self.sinks.store.snapshot()?);
        let Some(deployment) = world.get::<Deployment>(model.as_str())? else { return Ok(Vec::new()) };
        let project = world.project()?;
        let declared = project.and_then(|project| project.spec.model.get(model.as_str()).cloned());
        let old = self.routes.read().get(model).cloned();
        let spec = serve_spec(declared.as_ref());
        let missing = self.unprepared(&deployment).await?;
        let mut broken = None;
        let champion = match deployment.champion {
            None => None,
            Some(version) => match self.champion(model, version, &missing, failed).await {
                Ok(handle) => Some((version, handle)),
                Err(why) => {
                    broken = Some(why);
                    let is_tried = !missing.contains(&version) || failed.contains_key(&version);
                    let before = old.as_ref().and_then(|old| old.champion.clone());
                    // A crash of one that answers in this process would end the server, which the file forbids.
                    before.filter(|(_, handle)| !(is_tried && spec.isolate && handle.workers().is_none()))
                }
            },
        };
        // Under other settings a lane has another handle; what it answered so far is in the log.
        let kept = old.as_deref().filter(|old| pool::same_settings(&old.spec, &spec));
        let shadows = self.lanes(model, &deployment, kept, &missing).await?;
        let canary = canary::lane_of(&deployment, kept, &missing, &self.pool, &self.sealer, &self.sinks).await?;
        let calendar = calendar(declared.as_ref());
        let route = Route { champion, broken, shadows, canary, spec, calendar, missing: missing.clone() };
        let now = route.champion.as_ref().map(|(version, _)| *version);
        let mut keep = deployment.versions();
        keep.extend(now);
        self.routes.write().insert(model.clone(), Arc::new(route));
        let before = old.and_then(|old| Some(old.champion.as_ref()?.0)).filter(|before| Some(*before) != now);
        if let Some(before) = before {
            self.resting.lock().insert(model.clone(), (before, Instant::now()));
        }
        keep.extend(self.resting.lock().get(model).map(|(version, _)| *version));
        self.pool.keep_only(model, &keep);
        Ok(missing.into_iter().filter(|version| !failed.contains_key(version)).collect())
    }

    /// The handle of a champion, or why there is none.
    async fn champion(
        &self,
        model: &ModelName,
        version: VersionNumber,
        missing: &[VersionNumber],
        failed: &BTreeMap<VersionNumber, String>,
    ) -> Result<Arc<dyn ModelHandle>, String> {
        let error = match failed.get(&version) {
            _ if !missing.contains(&version) => match self.pool.get(model, version).await {
                Ok(handle) => return Ok(handle),
                Err(error) => error.to_string(),
            },
            Some(error) => error.clone(),
            None => return Err("its environment is being installed".into()),
        };
        tracing::error!(%model, %version, error, "the champion does not load; what served before goes on");
        Err(format!("version {version} does not load: {error}"))
    }

    /// Lets go of champions that were replaced an hour ago. While routes change it waits for its next call.
    pub(crate) fn let_rest_go(&self, now: Instant) {
        let Ok(_turn) = self.turn.try_lock() else { return };
        let gone: Vec<(ModelName, VersionNumber)> = {
            let mut resting = self.resting.lock();
            let rested = resting.extract_if(|_, (_, since)| now.duration_since(*since) > REST);
            rested.map(|(model, (version, _))| (model, version)).collect()
        };
        for (model, version) in gone {
            let is_used = self.routes.read().get(&model).is_some_and(|route| route.versions().any(|used| used == version));
            if !is_used {
                self.pool.let_go(&model, version);
            }
        }
    }

    async fn lanes(
        &self,
        model: &ModelName,
        deployment: &Deployment,
        old: Option<&Route>,
        missing: &[VersionNumber],
    ) -> Result<Vec<Arc<ShadowLane>>, Fault> {
        let challenger = deployment.challenger.iter().map(|shadow| (shadow.version, shadow.needs));
        let standing = deployment.shadows.iter().map(|version| (*version, None));
        let mut lanes: Vec<Arc<ShadowLane>> = Vec::new();
        for (version, needs) in challenger.chain(standing) {
            let doubled = lanes.iter().any(|lane| lane.version == version);
            if Some(version) == deployment.champion || doubled {
                continue;
            }
            let kept = old.and_then(|old| old.shadows.iter().find(|lane| shadow::fits(lane, version, needs)));
            if let Some(lane) = kept {
                lanes.push(lane.clone());
                continue;
            }
            if missing.contains(&version) {
                continue;
            }
            // The first lane of a process: an earlier one may have begun this rollout.
            let is_first = old.is_none_or(|old| old.missing.contains(&version));
            let before = match deployment.challenger.as_ref().filter(|_| is_first && needs.is_some()) {
                Some(shadow) => self.answered_before(model, version, shadow.since).await?,
                None => HashSet::new(),
            };
            match self.pool.get(model, version).await {
                Ok(handle) => {
                    lanes.push(ShadowLane::start(model, version, needs, before, handle, self.sinks.clone(), self.counters_of(model)))
                }
                Err(error) => tracing::error!(%model, %version, %error, "a shadow does not load"),
            }
        }
        Ok(lanes)
    }

    async fn answered_before(&self, model: &ModelName, version: VersionNumber, since: Timestamp) -> Result<HashSet<String>, Fault> {
        self.sealer.seal(&format!("prediction/{model}"), self.sinks.clock.event_now()).await?;
        shadow::answered(&*self.sinks.rows, model, version, since).await
    }

    /// The worker that keeps routes in line with the log.
    pub fn worker(self: &Arc<Self>) -> Arc<dyn Worker> {
        Arc::new(Follower(self.clone()))
    }
}

fn serve_spec(declared: Option<&ModelSpec>) -> ServeSpec {
    let spec = declared.and_then(|model| model.serve.clone()).unwrap_or_default();
    // A model that no file declares answers within the usual time.
    if spec.deadline == domain::Span::default() { ServeSpec { deadline: domain::Span::from_ms(30_000), ..spec } } else { spec }
}

fn calendar(declared: Option<&ModelSpec>) -> Option<(Timestamp, domain::Span)> {
    declared.and_then(|model| model.monitor.as_ref()).map(|monitor| (monitor.origin, monitor.window))
}

struct Follower(Arc<Gateway>);

#[async_trait]
impl Worker for Follower {
    fn name(&self) -> &'static str {
        "serving.routes"
    }

    fn wants(&self, event: &Event) -> bool {
        model_of(event).is_some() || matches!(event, Event::ProjectApplied { .. })
    }

    async fn work(&self, recorded: &Recorded) -> Result<(), Fault> {
        match model_of(&recorded.event) {
            Some(model) => self.0.follow(model).await,
            None => self.0.follow_all().await,
        }
    }
}

/// The model whose route an event may change.
fn model_of(event: &Event) -> Option<&ModelName> {
    match event {
        Event::ChampionPromoted { model, .. }
        | Event::RolloutAdvanced { model, .. }
        | Event::RolloutAborted { model, .. }
        | Event::RolloutResumed { model, .. }
        | Event::GateDecided { model, .. } => Some(model),
        _ => None,
    }
}

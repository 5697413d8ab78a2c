//! What a gateway tells of itself.

use crate::behaviour::Seen;
use crate::gateway::Gateway;
use crate::route::{Counters, ModelStatus, Route, VersionStatus};
use domain::{ModelName, Refusal, Timestamp};
use ports::Behaviour;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Gateway {
    /// What is served, for the status page.
    pub fn status(&self) -> Vec<ModelStatus> {
        let routes = self.routes.read();
        let mut models: Vec<ModelStatus> = routes.iter().map(|(model, route)| self.status_of(model, route)).collect();
        models.sort_by(|a, b| a.model.cmp(&b.model));
        models
    }

    /// Since when anything is measured.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// What was measured of a model that is served since this process began, and by minute.
    pub fn seen(&self, model: &ModelName) -> Result<Seen, Refusal> {
        let route = self.route(model)?;
        Ok(self.looked_at(model, &route).meter.seen(self.sinks.clock.wall_now()))
    }

    /// What was measured of a model in the last so many minutes, the one that is not over included.
    pub fn behaviour(&self, model: &ModelName, minutes: u32) -> Result<Behaviour, Refusal> {
        let route = self.route(model)?;
        Ok(self.looked_at(model, &route).meter.last(self.sinks.clock.wall_now(), minutes))
    }

    /// Gives deaths of workers their minute, and lets go of what was only kept for a rollback: what a clock calls now and then.
    pub fn look_around(&self) {
        let routes: Vec<_> = self.routes.read().iter().map(|(model, route)| (model.clone(), route.clone())).collect();
        for (model, route) in routes {
            self.looked_at(&model, &route);
        }
        self.let_rest_go(Instant::now());
    }

    /// Deaths of workers are counted by the runtime; they get their minute here.
    fn looked_at(&self, model: &ModelName, route: &Route) -> Arc<Counters> {
        let counters = self.counters_of(model);
        let now = self.sinks.clock.wall_now();
        for version in route.versions() {
            counters.meter.crashes(now, version, self.pool.crashes(model, version));
        }
        counters
    }

    fn status_of(&self, model: &ModelName, route: &Route) -> ModelStatus {
        let counters = self.counters_of(model);
        let total = counters.meter.total();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let champion = route.champion.iter().map(|(version, _)| VersionStatus {
            version: *version,
            role: "champion",
            answered: count(&counters.answered),
            failed: count(&counters.failed),
            dropped: 0,
            crashes: self.pool.crashes(model, *version),
            workers: self.pool.workers(model, *version),
        });
        let shadows = route.shadows.iter().map(|lane| VersionStatus {
            version: lane.version,
            role: "shadow",
            answered: count(&lane.answered),
            failed: count(&lane.failed),
            dropped: count(&lane.dropped),
            crashes: self.pool.crashes(model, lane.version),
            workers: self.pool.workers(model, lane.version),
        });
        let canary = route.canary.iter().map(|lane| {
            let (answered, failed) = lane.counts();
            let crashes = self.pool.crashes(model, lane.version);
            let workers = self.pool.workers(model, lane.version);
            VersionStatus { version: lane.version, role: "canary", answered, failed, dropped: 0, crashes, workers }
        });
        ModelStatus {
            model: model.clone(),
            versions: champion.chain(canary).chain(shadows).collect(),
            answered: count(&counters.answered),
            failed: count(&counters.failed),
            unlogged: count(&counters.unlogged),
            feature_misses: total.missing,
            mean_latency_us: total.latency.sum_us().checked_div(total.latency.count()),
        }
    }
}

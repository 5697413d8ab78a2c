//! What the loop's page is told beyond the store.

use super::App;
use domain::{Fault, Timestamp};
use ports::{Clock, ComputeBackend, PoolState};
use reactor::Reactor;
use serving::Gateway;
use std::sync::Arc;
use web::{Facts, ServedModel, ServerFacts, Station, StoreFacts};

/// Facts from the store, and how far each reader of the log has come.
pub struct LiveFacts {
    store: StoreFacts,
    reactor: Arc<Reactor>,
    clock: Arc<dyn Clock>,
    compute: Arc<dyn ComputeBackend>,
    gateway: Arc<Gateway>,
}

impl LiveFacts {
    /// Facts about this server.
    pub fn new(app: &App, url: &str) -> Self {
        let listen = url.trim_start_matches("http://");
        let home = app.home.to_string_lossy();
        let store = StoreFacts::new(app.ports.store.clone(), app.ports.runs.clone(), env!("CARGO_PKG_VERSION"), listen, &home);
        let (reactor, gateway) = (app.reactor.clone(), app.gateway.clone());
        LiveFacts { store, reactor, gateway, clock: app.ports.clock.clone(), compute: app.ports.compute.clone() }
    }
}

impl Facts for LiveFacts {
    fn stations(&self) -> Result<Vec<Station>, Fault> {
        self.store.stations()
    }

    fn server(&self) -> Result<ServerFacts, Fault> {
        Ok(ServerFacts { readers: self.reactor.progress(), ..self.store.server()? })
    }

    fn now(&self) -> Result<Timestamp, Fault> {
        Ok(self.clock.event_now())
    }

    fn serving(&self) -> Vec<ServedModel> {
        let known = self.gateway.status().into_iter().filter_map(|status| {
            let (seen, recent) = (self.gateway.seen(&status.model).ok()?, self.gateway.behaviour(&status.model, web::RECENT).ok()?);
            let served = self.gateway.served(&status.model, None).ok();
            Some(ServedModel { status, seen, recent, served })
        });
        known.collect()
    }

    fn pool(&self) -> PoolState {
        self.compute.state()
    }
}

//! What the loop's page is told beyond the store.

use super::App;
use domain::{Fault, Timestamp};
use ports::{Clock, ComputeBackend, PoolState};
use reactor::Reactor;
use std::sync::Arc;
use web::{Facts, ServerFacts, Station, StoreFacts};

/// Facts from the store, and how far each reader of the log has come.
pub struct LiveFacts {
    store: StoreFacts,
    reactor: Arc<Reactor>,
    clock: Arc<dyn Clock>,
    compute: Arc<dyn ComputeBackend>,
}

impl LiveFacts {
    /// Facts about this server.
    pub fn new(app: &App, url: &str) -> Self {
        let listen = url.trim_start_matches("http://");
        let home = app.home.to_string_lossy();
        let store = StoreFacts::new(app.ports.store.clone(), app.ports.runs.clone(), env!("CARGO_PKG_VERSION"), listen, &home);
        LiveFacts { store, reactor: app.reactor.clone(), clock: app.ports.clock.clone(), compute: app.ports.compute.clone() }
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

    fn pool(&self) -> PoolState {
        self.compute.state()
    }
}

//! What the loop's page knows beyond events: the stations and the server itself.

use crate::serving::ServedModel;
use crate::stations::stations;
use domain::{Fault, Timestamp, Topic};
use ports::{MetadataStore, PoolState, RunStore, World};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// How a station stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StationState {
    /// Has done its work.
    Ok,
    /// Is at work.
    Busy,
    /// Somebody should look.
    Warn,
    /// Has nothing to do yet.
    Idle,
}

impl StationState {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            StationState::Ok => "ok",
            StationState::Busy => "busy",
            StationState::Warn => "warn",
            StationState::Idle => "idle",
        }
    }
}

/// One of the six stations of the loop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Station {
    pub topic: Topic,
    pub title: String,
    pub state: StationState,
    /// A few words: `version 7 of demand is champion`.
    pub headline: String,
    /// Names and values, two or three.
    pub detail: Vec<(String, String)>,
}

/// The server itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerFacts {
    pub version: String,
    /// `127.0.0.1:5055`.
    pub listen: String,
    pub home: String,
    pub uptime_s: u64,
    /// Resident memory in MiB, where the system tells it.
    pub resident_mib: Option<f64>,
    /// Readers of the log and how far each has come.
    pub readers: Vec<(String, u64)>,
    /// The newest event.
    pub head: u64,
}

/// What the wiring tells the loop's page.
pub trait Facts: Send + Sync {
    /// The six stations, in the order of the loop.
    fn stations(&self) -> Result<Vec<Station>, Fault>;
    /// The server itself.
    fn server(&self) -> Result<ServerFacts, Fault>;
    /// The event clock.
    fn now(&self) -> Result<Timestamp, Fault>;
    /// The pool that steps run in.
    fn pool(&self) -> PoolState;
    /// What is served, in the order of the names.
    fn serving(&self) -> Vec<ServedModel> {
        Vec::new()
    }
}

/// Facts from the store alone.
pub struct StoreFacts {
    store: Arc<dyn MetadataStore>,
    runs: Arc<dyn RunStore>,
    version: String,
    listen: String,
    home: String,
    started: Instant,
}

impl StoreFacts {
    /// Facts about a server that starts now.
    pub fn new(store: Arc<dyn MetadataStore>, runs: Arc<dyn RunStore>, version: &str, listen: &str, home: &str) -> Self {
        StoreFacts { store, runs, version: version.into(), listen: listen.into(), home: home.into(), started: Instant::now() }
    }
}

impl Facts for StoreFacts {
    fn stations(&self) -> Result<Vec<Station>, Fault> {
        stations(&World::new(self.store.snapshot()?), &*self.runs)
    }

    fn server(&self) -> Result<ServerFacts, Fault> {
        Ok(ServerFacts {
            version: self.version.clone(),
            listen: self.listen.clone(),
            home: self.home.clone(),
            uptime_s: self.started.elapsed().as_secs(),
            resident_mib: resident_mib(),
            readers: Vec::new(),
            head: *self.store.head().borrow(),
        })
    }

    /// The newest event's time: the store knows no other clock.
    fn now(&self) -> Result<Timestamp, Fault> {
        let head = *self.store.head().borrow();
        let newest = self.store.events(head.saturating_sub(1), 1)?;
        Ok(newest.last().map_or(Timestamp::from_ms(0), |recorded| recorded.at))
    }

    fn pool(&self) -> PoolState {
        PoolState::default()
    }
}

/// `VmRSS` of this process, in MiB; Linux tells it.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

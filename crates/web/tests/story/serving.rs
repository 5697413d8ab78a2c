//! How the made-up model is served: three hours of latencies, a canary, a shadow, a slow quarter of an hour.

use super::{HOSTILE, day};
use domain::{Fault, ModelName, Timestamp, VersionNumber};
use ports::{Behaviour, ColumnSpec, ColumnType, Failure, Inputs, PoolState, Signature};
use serving::{Lane, Minute, ModelStatus, Seen, Served, VersionStatus, WorkerCount};
use stats::latency::Histogram;
use web::{Facts, ServedModel, ServerFacts, Station, StoreFacts};

/// The store's facts, and what is served.
pub struct StoryFacts(pub StoreFacts);

impl Facts for StoryFacts {
    fn stations(&self) -> Result<Vec<Station>, Fault> {
        self.0.stations()
    }

    fn server(&self) -> Result<ServerFacts, Fault> {
        self.0.server()
    }

    fn now(&self) -> Result<Timestamp, Fault> {
        self.0.now()
    }

    fn pool(&self) -> PoolState {
        self.0.pool()
    }

    fn serving(&self) -> Vec<ServedModel> {
        let empty = self.0.server().is_ok_and(|server| server.head == 0);
        if empty { Vec::new() } else { vec![demand()] }
    }
}

fn minute(number: u64) -> Behaviour {
    let mut seen = Behaviour::default();
    let slow = if (120..135).contains(&number) { 9 } else { 1 };
    for n in 0..60 + 7 * (number % 11) {
        let spread = (n * 7919 + number * 104_729) % 1000;
        seen.latency.record(slow * (600 + spread * spread / 90));
    }
    seen.failures[Failure::Timeout as usize] = if slow > 1 { number % 5 } else { 0 };
    seen.failures[Failure::Refused as usize] = u64::from(number.is_multiple_of(30));
    seen.rows = seen.latency.count();
    seen.requests = seen.rows + seen.failures.iter().sum::<u64>();
    (seen.values, seen.missing) = (6 * seen.rows, seen.rows / 9);
    seen
}

fn demand() -> ServedModel {
    let began = day("2011-06-15");
    let minutes: Vec<Minute> =
        (0..180).map(|n| Minute { at: Timestamp::from_ms(began.ms() + 60_000 * n), seen: minute(n as u64) }).collect();
    let (mut total, mut recent) = (Behaviour::default(), Behaviour::default());
    minutes.iter().for_each(|minute| total.add(&minute.seen));
    minutes[175..].iter().for_each(|minute| recent.add(&minute.seen));
    let lane = |version, role, part: u64| {
        let mut latency = Histogram::default();
        (0..total.rows / part).for_each(|n| latency.record(500 + (n * 7919) % 9000));
        Lane { version: VersionNumber(version), role, rows: total.rows / part, latency }
    };
    let version = |version, role, crashes| VersionStatus {
        version: VersionNumber(version),
        role,
        answered: 0,
        failed: 0,
        dropped: 3,
        crashes,
        workers: (version != 4).then_some(WorkerCount { ready: 1, starting: 1 }),
    };
    let column = |name: &str, kind, is_optional| ColumnSpec { name: Some(name.into()), kind, is_optional };
    let columns = vec![
        column("temp", ColumnType::Double, false),
        column("hour", ColumnType::Long, false),
        column("is_holiday", ColumnType::Boolean, true),
        column(HOSTILE, ColumnType::String, true),
    ];
    ServedModel {
        status: ModelStatus {
            model: ModelName::new("demand"),
            versions: vec![version(4, "champion", 0), version(3, "canary", 2), version(2, "shadow", 0)],
            answered: total.rows,
            failed: total.errors(),
            unlogged: 0,
            feature_misses: total.missing,
            mean_latency_us: None,
        },
        seen: Seen {
            now: Timestamp::from_ms(began.ms() + 60_000 * 179),
            lanes: vec![lane(4, "champion", 1), lane(3, "canary", 12), lane(2, "shadow", 1)],
            missing: [("temp".to_owned(), 812), (HOSTILE.to_owned(), 3)].into(),
            total,
            minutes,
        },
        recent,
        served: Some(Served {
            version: VersionNumber(4),
            signature: Signature { inputs: Inputs::Columns(columns), ..Signature::default() },
            names: None,
            keys: Vec::new(),
        }),
    }
}

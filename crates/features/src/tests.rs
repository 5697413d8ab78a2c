#![allow(clippy::unwrap_used)]
//! Tables and online values on in-memory ports.

use super::*;
use domain::entity::{AppliedProject, SourceTable};
use domain::spec::{FeatureSpec, Project, SourceSpec};
use domain::{Actor, Batch, Event, Timestamp};
use futures::FutureExt;
use ports::memory::{Halt, Halting, ManualClock, MemoryExprs, MemoryOffline, MemoryOnline, MemoryRowLog, MemoryStore};
use ports::{MetadataStore, Sealer, World};
use std::sync::Arc;

struct House {
    folder: tempfile::TempDir,
    store: Arc<Halting<MemoryStore>>,
    tables: Tables,
}

fn weather() -> SourceSpec {
    SourceSpec { path: Some("weather.csv".into()), time: "ts".into(), created: None, push: false, label_delay: None }
}

async fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weather.csv"), "city,ts,temp\ndc,2011-01-01T00:00:00Z,0.5\n").unwrap();
    let feature = FeatureSpec {
        entity: Some("city".into()),
        from: Some("weather".into()),
        online: true,
        sql: Some("select city, ts, temp from weather".into()),
        ..FeatureSpec::default()
    };
    let mut spec = Project::default();
    spec.source.insert("weather".into(), weather());
    spec.entity.insert("city".into(), domain::spec::EntitySpec { key: "city".into() });
    spec.feature.insert("hourly".into(), feature);
    let applied = AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: Timestamp::from_ms(0) };
    let store = Halting::new(MemoryStore::new());
    store.commit(Batch::new(Actor::User("ann".into()), Timestamp::from_ms(0)).put(&applied)).await.unwrap();
    let (offline, rows) = (Arc::new(MemoryOffline::default()), Arc::new(MemoryRowLog::default()));
    let tables = Tables {
        catalog: Catalog::new(store.clone(), offline.clone(), Arc::new(MemoryExprs)),
        sealer: Arc::new(Sealer::new(store.clone(), rows.clone()).unwrap()),
        clock: Arc::new(ManualClock::new(Timestamp::from_ms(0))),
        store: store.clone(),
        offline,
        rows,
    };
    House { folder, store, tables }
}

impl House {
    async fn load(&self) {
        self.tables.load_files(self.folder.path(), "weather", &weather()).await.unwrap();
    }

    fn told(&self, is: fn(&Event) -> bool) -> usize {
        self.store.events(0, 1000).unwrap().iter().filter(|recorded| is(&recorded.event)).count()
    }
}

/// A file's rows were told only when the table changed. A server that was killed between the two found the rows there when
/// it was asked again, and never told: the log and the status page knew nothing of a table that training sets read.
#[tokio::test]
async fn a_table_that_was_written_just_before_a_crash_is_told_of_after_it() {
    let house = house().await;
    house.store.halt_at(1, Halt::Before);
    assert!(house.load().now_or_never().is_none(), "killed after the table, before the log");
    house.store.revive();
    for _ in 0..2 {
        house.load().await;
        let known: SourceTable = World::new(house.store.snapshot().unwrap()).get("weather").unwrap().unwrap();
        assert_eq!((known.table_version, known.rows), (0, 1));
        assert_eq!(house.told(|event| matches!(event, Event::TableWritten { .. })), 1);
    }
}

/// Applying a file again after a crash, as its caller must who got no answer, told each time that values were materialized.
#[tokio::test]
async fn the_same_values_are_told_of_once() {
    let house = house().await;
    house.load().await;
    house.tables.catalog.reload().await.unwrap();
    let (view, online) = (house.tables.catalog.view("hourly").unwrap(), MemoryOnline::default());
    for _ in 0..2 {
        assert_eq!(house.tables.materialize(&online, &view).await.unwrap(), 1);
        assert_eq!(house.told(|event| matches!(event, Event::FeaturesMaterialized { .. })), 1);
    }
}

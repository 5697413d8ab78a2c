//! The suites, and what is SQLite's own: reopening, versions, a full disk, groups.
#![allow(clippy::unwrap_used)]

use super::*;
use domain::entity::{Deployment, Experiment, LifecycleStage, Metric, RunStatus};
use domain::{Actor, Event, ExperimentId, ModelName, RunWrite, Timestamp};
use ports::conformance;
use rusqlite::Connection;
use std::sync::atomic::{AtomicU32, Ordering};

/// New stores in one folder, which goes with the value.
struct Stores {
    dir: tempfile::TempDir,
    made: AtomicU32,
}

impl Stores {
    fn new() -> Self {
        Stores { dir: tempfile::tempdir().unwrap(), made: AtomicU32::new(0) }
    }

    fn make(&self) -> Arc<Sqlite> {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        Sqlite::open(&self.dir.path().join(format!("{n}.db"))).unwrap()
    }
}

fn batch() -> Batch {
    Batch::new(Actor::System("test".into()), Timestamp::from_ms(1))
}

fn event(title: &str) -> Event {
    Event::AlertRaised { topic: "t".into(), model: None, title: title.into() }
}

fn run_with_experiment() -> Vec<RunWrite> {
    let (id, at) = (ExperimentId::new("0"), Timestamp::from_ms(0));
    let experiment = Experiment {
        id: id.clone(),
        name: "Default".into(),
        artifact_location: String::new(),
        lifecycle_stage: LifecycleStage::Active,
        created: at,
        updated: at,
        tags: vec![],
    };
    let run = Run {
        id: RunId::new("r"),
        experiment: id,
        name: "r".into(),
        user: "u".into(),
        status: RunStatus::Running,
        start: at,
        end: None,
        lifecycle_stage: LifecycleStage::Active,
        artifact_uri: String::new(),
        params: vec![],
        tags: vec![],
        metrics: vec![],
        inputs: vec![],
        outputs: vec![],
    };
    vec![RunWrite::Experiment(experiment), RunWrite::CreateRun(run)]
}

fn point(step: i64) -> Metric {
    Metric { key: "m".into(), value: 1.0, time: Timestamp::from_ms(step), step, model_id: None, dataset_name: None, dataset_digest: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_metadata() {
    let stores = Stores::new();
    conformance::metadata::suite(|| stores.make()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_runs() {
    let stores = Stores::new();
    let make = || {
        let store = stores.make();
        (store.clone() as _, store as _)
    };
    conformance::runs::suite(make).await;
}

#[tokio::test]
async fn a_reopened_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let store = Sqlite::open(&path).unwrap();
    let mut first = batch().put(&Deployment::new(ModelName::new("demand"))).event(event("one"));
    first.cursor = Some(("reader".into(), 1));
    first.run_writes = run_with_experiment();
    let before = store.commit(first).await.unwrap();
    store.log(&RunId::new("r"), RunLog { metrics: vec![point(1)], ..RunLog::default() }).await.unwrap();
    drop(store);

    let store = Sqlite::open(&path).unwrap();
    assert_eq!((*store.head().borrow(), store.cursor("reader").unwrap()), (1, 1));
    assert_eq!(store.history(&RunId::new("r"), "m", None, None).unwrap().points, [point(1)]);
    let after = store.commit(batch().event(event("two"))).await.unwrap();
    assert_eq!((after.first, after.revision), (2, before.revision + 2), "numbers go on where they stood");
}

#[tokio::test]
async fn events_are_the_same_from_memory_and_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let store = Sqlite::open(&path).unwrap();
    for n in 0..300 {
        let mut told = batch();
        (0..5).for_each(|part| told.say(event(&format!("{n}.{part}"))));
        (told.cause, told.thread) = ((n % 2 == 0).then_some(n), (n % 3 == 0).then(|| "thread".to_owned()));
        store.commit(told).await.unwrap();
    }
    let all = store.events(0, 2_000).unwrap();
    assert_eq!(all.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=1_500).collect::<Vec<_>>());
    for (after, limit) in [(0, 10), (470, 20), (476, 3), (1_200, 7), (1_499, 5), (1_500, 5), (u64::MAX, 5)] {
        let expected: Vec<_> = all.iter().filter(|event| event.seq > after).take(limit).cloned().collect();
        assert_eq!(store.events(after, limit).unwrap(), expected, "{limit} after {after}");
    }
    assert!(store.tail.events(400, 1).is_none() && store.tail.events(600, 1).is_some(), "only the end is kept");
    drop(store);
    let again = Sqlite::open(&path).unwrap();
    assert_eq!(again.events(0, 2_000).unwrap(), all);
    again.commit(batch().event(event("one more"))).await.unwrap();
    assert_eq!(again.events(1_498, 9).unwrap().iter().map(|event| event.seq).collect::<Vec<_>>(), [1_499, 1_500, 1_501]);
}

#[tokio::test]
async fn what_may_be_lost_is_written_all_the_same_and_leaves_others_durable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let store = Sqlite::open(&path).unwrap();
    let mut refused = Batch { may_be_lost: true, ..batch().event(event("no")) };
    refused.expect.push(domain::Expect::Document { collection: domain::Collection::Deployment, key: "demand".into(), revision: 4 });
    assert!(matches!(store.commit(refused).await, Err(CommitError::Conflict(_))));
    let first = store.commit(Batch { may_be_lost: true, ..batch().event(event("one")) }).await.unwrap();
    assert_eq!((first.first, first.last, store.events(0, 9).unwrap().len()), (1, 1, 1));
    store.commit(batch().event(event("two"))).await.unwrap();
    store.commit(Batch { may_be_lost: true, ..batch().event(event("three")) }).await.unwrap();
    // As after a kill: the files as they are, without a clean end.
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["meta.db", "meta.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.join(name)).unwrap();
    }
    let killed = Sqlite::open(&copy.join("meta.db")).unwrap();
    assert_eq!(killed.events(0, 9).unwrap(), store.events(0, 9).unwrap());
    assert_eq!(*killed.head().borrow(), 3);
}

#[tokio::test]
async fn a_database_that_is_not_for_this_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (newer, foreign) = (dir.path().join("newer.db"), dir.path().join("foreign.db"));
    drop(Sqlite::open(&newer).unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Sqlite::open(&newer).err().unwrap();
    assert!(matches!(&refused, OpenError::Refused(refusal) if refusal.code == "store/newer" && refusal.what.contains("99")), "{refused}");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE runs (x)").unwrap();
    assert!(matches!(Sqlite::open(&foreign), Err(OpenError::Refused(refusal)) if refusal.code == "store/foreign"));
    assert!(matches!(Sqlite::open(dir.path()), Err(OpenError::Fault(_))), "a folder is no database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_is_got_over() {
    let stores = Stores::new();
    let store = stores.make();
    let mut first = batch().event(event("before"));
    first.run_writes = run_with_experiment();
    store.commit(first).await.unwrap();
    let pragma = |sql: &str| store.ask(Work::Pragma(sql.into()));
    let pages: i64 = store.pool.reader().unwrap().conn().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    pragma(&format!("PRAGMA max_page_count = {}", pages + 2)).await.unwrap();

    let large = batch().event(event(&"x".repeat(1 << 20)));
    assert!(matches!(store.commit(large.clone()).await, Err(CommitError::Fault(Fault::Full(_)))));
    let points = RunLog { metrics: (0..20_000).map(point).collect(), ..RunLog::default() };
    assert!(matches!(store.log(&RunId::new("r"), points.clone()).await, Err(CommitError::Fault(Fault::Full(_)))));
    assert_eq!(store.events(0, 9).unwrap().len(), 1);
    assert!(store.history(&RunId::new("r"), "m", None, None).unwrap().points.is_empty(), "nothing half-written");

    // A small request goes through although a large one that does not fit waits in the same group.
    let small = batch().event(event("small"));
    let (refused, accepted) = tokio::join!(store.commit(large.clone()), store.commit(small));
    assert!(refused.is_err());
    assert_eq!(accepted.unwrap().first, 2);

    pragma("PRAGMA max_page_count = 1000000").await.unwrap();
    assert_eq!(store.commit(large).await.unwrap().first, 3, "works again once there is room");
    store.log(&RunId::new("r"), points).await.unwrap();
    assert_eq!(store.history(&RunId::new("r"), "m", None, None).unwrap().points.len(), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_spoils_no_other_of_its_group() {
    let stores = Stores::new();
    let store = stores.make();
    let mut first = batch();
    first.run_writes = run_with_experiment();
    store.commit(first).await.unwrap();
    let requests = (0..40).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut request = batch().event(event("x"));
            // Every second one interns a word and is then refused: the word must not be remembered.
            let run = RunId::new("r");
            request.run_writes.push(RunWrite::SetTag { run, tag: domain::entity::Tag::new(format!("k{}", n / 2), "v") });
            if n % 2 == 0 {
                request.run_writes.push(RunWrite::UpdateRun(Run { id: RunId::new("none"), ..test_run(&store) }));
            }
            store.commit(request).await.is_ok()
        })
    });
    let mut accepted = 0;
    for request in requests.collect::<Vec<_>>() {
        accepted += u32::from(request.await.unwrap());
    }
    assert_eq!((accepted, store.events(0, 100).unwrap().len(), test_run(&store).tags.len()), (20, 20, 20));
}

fn test_run(store: &Sqlite) -> Run {
    RunStore::run(store, &RunId::new("r")).unwrap().unwrap()
}

/// Waits until the writer has done its upkeep of a table.
fn settled(store: &Sqlite, table: &str) {
    let left = || -> i64 {
        store.pool.reader().unwrap().conn().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    while left() > 0 {
        std::thread::yield_now();
    }
}

/// A point that came late made the store's copy of a long history untrue: charts read the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_reads_the_same_however_it_is_kept() {
    let stores = Stores::new();
    let store = stores.make();
    let mut first = batch();
    first.run_writes = run_with_experiment();
    store.commit(first).await.unwrap();
    let run = RunId::new("r");
    let log = |metrics: Vec<Metric>| store.log(&run, RunLog { metrics, ..RunLog::default() });
    let value = |step: i64| Metric { value: (step * 7919 % 1000) as f64, ..point(step) };
    let mut all: Vec<Metric> = Vec::new();
    let check = |all: &[Metric]| {
        let mut sorted = all.to_vec();
        sorted.sort_by_key(Metric::rank);
        let mut builder = ports::CurveBuilder::new(300);
        sorted.iter().for_each(|p| builder.add(p.step, p.time.ms(), domain::OrderedNumber::new(p.value)));
        assert_eq!(store.curve(&run, "m", 300).unwrap(), builder.finish());
        let sampled: Vec<_> = ports::sample(sorted.len(), 100).into_iter().map(|at| sorted[at].rank()).collect();
        let found = store.interval(std::slice::from_ref(&run), "m", None, 100).unwrap();
        assert_eq!(found.iter().map(|(_, p)| p.rank()).collect::<Vec<_>>(), sampled);
    };
    for from in (0..20_000).step_by(500) {
        let some: Vec<_> = (from..from + 500).map(|n| value(2 * n)).collect();
        log(some.clone()).await.unwrap();
        all.extend(some);
    }
    check(&all);
    settled(&store, "unsealed");
    check(&all);
    let stretches =
        || -> i64 { store.pool.reader().unwrap().conn().query_row("SELECT count(*) FROM stretch", [], |row| row.get(0)).unwrap() };
    assert!((17..=19).contains(&stretches()), "{}", stretches());
    log(all[..1000].to_vec()).await.unwrap();
    assert!(stretches() >= 17, "what is there already changes nothing");
    // Between others, before all, and at the end of a stretch.
    for late in [value(20_001), value(-1), Metric { value: 0.5, ..value(2 * 1023) }, Metric { step: -5, ..value(30_000) }] {
        log(vec![late.clone()]).await.unwrap();
        all.push(late);
        check(&all);
        settled(&store, "unsealed");
        check(&all);
    }
    let mut gone = batch();
    let deleted = Run { lifecycle_stage: LifecycleStage::Deleted, ..test_run(&store) };
    gone.run_writes = vec![RunWrite::UpdateRun(deleted), RunWrite::PurgeRun(run.clone())];
    store.commit(gone).await.unwrap();
    for table in ["purged", "stretch", "point", "latest"] {
        settled(&store, table);
    }
}

/// A database of the first version, as its program left it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_database_gains_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("schema.sql")).unwrap();
    old.execute_batch(
        r#"INSERT INTO experiment VALUES ('0', 'Default', 1, '{"id":"0","name":"Default","artifact_location":"","lifecycle_stage":"active",
               "created":"2026-01-01T00:00:00Z","updated":"2026-01-01T00:00:00Z","tags":[]}');
           INSERT INTO word VALUES (1, 'm'), (2, 'optimizer');
           INSERT INTO run VALUES (1, 'r', '0', 1, 'a forest', 'ada', 'FINISHED', 5, 9, 'active', ''),
                                  (2, 'gone', '0', 1, 'b', 'ada', 'FINISHED', 5, 9, 'deleted', '');
           INSERT INTO param VALUES (1, 2, 'adam');
           INSERT INTO document VALUES ('deployment', 'b', 7, '{}'), ('deployment', 'a', 3, '[]');
           WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 4999)
               INSERT INTO point SELECT 1, 1, n, n, n, NULL FROM n;
           INSERT INTO latest VALUES (1, 1, 4999, 4999, 4999, NULL);
           PRAGMA user_version = 1; PRAGMA application_id = 0x7472696d"#,
    )
    .unwrap();
    drop(old);
    let store = Sqlite::open(&path).unwrap();
    settled(&store, "unsealed");
    let run = RunId::new("r");
    assert_eq!(store.curve(&run, "m", 100).unwrap().points, 5000);
    assert_eq!(store.deleted_runs(Timestamp::from_ms(10), None, 9).unwrap(), [RunId::new("gone")]);
    let zero = [ExperimentId::new("0")];
    assert_eq!(store.find_text("forest adam", &zero, 9).unwrap()[0].run, run);
    assert_eq!(store.keys(&zero).unwrap().params, ["optimizer"]);
    assert_eq!(store.count(&RunSearch { experiments: zero.to_vec(), ..RunSearch::default() }).unwrap(), 1);
    let documents = store.snapshot().unwrap().list(domain::Collection::Deployment, None).unwrap().documents;
    let documents: Vec<_> = documents.iter().map(|one| (one.key.as_str(), one.revision, one.body.as_str())).collect();
    assert_eq!(documents, [("a", 3, "[]"), ("b", 7, "{}")]);
    drop(store);
    drop(Sqlite::open(&path).unwrap());
}

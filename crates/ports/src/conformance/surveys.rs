//! What every run store must do beyond keeping runs: counts, curves, keys, datasets, texts, and the bin.

#![allow(clippy::unwrap_used)]

use super::runs::{Both, create, dataset, id, log_metrics, metric, param, refused, run, search, searchable, write};
use crate::{CurveBuilder, DatasetSummary, RunLog, RunSearch, SearchError, ViewType, sample};
use domain::entity::{LifecycleStage, Metric, Run, Tag};
use domain::filter::{Clause, Field, Op, OrderBy, Value};
use domain::{Actor, Batch, ExperimentId, OrderedNumber, RunId, RunWrite, Timestamp};

pub(super) async fn suite(make: &impl Fn() -> Both) {
    counts_are_true(make()).await;
    endless_searches_are_refused(make()).await;
    intervals_are_sampled_evenly(make()).await;
    curves_lose_no_spike(make()).await;
    keys_are_those_of_active_runs(make()).await;
    datasets_are_listed_once(make()).await;
    texts_are_found(make()).await;
    texts_follow_writes(make()).await;
    hostile_texts_are_only_texts(make()).await;
    the_bin_knows_since_when(make()).await;
    a_purge_frees_rows_and_names(make()).await;
}

async fn counts_are_true(store: Both) {
    searchable(&store).await;
    let count = |search: &RunSearch| store.1.count(search).unwrap();
    assert_eq!(count(&search(Vec::new())), 5);
    assert_eq!(count(&RunSearch { limit: 1, ..search(Vec::new()) }), 5, "a page's limit does not matter");
    assert_eq!(count(&RunSearch { view: ViewType::All, ..search(Vec::new()) }), 6);
    let good = Clause { field: Field::Metric("mae".into()), op: Op::Lt, value: Value::Number(3.0) };
    assert_eq!(count(&search(vec![good])), 2);
    assert_eq!(count(&RunSearch { experiments: Vec::new(), ..search(Vec::new()) }), 0);
}

/// More clauses than SQLite nests expressions, more values than it binds.
async fn endless_searches_are_refused(store: Both) {
    searchable(&store).await;
    let clause = |field: &str, op: Op, value: Value| Clause { field: Field::Attribute(field.into()), op, value };
    let ids: Vec<String> = (0..100_000).map(|n| id(n).to_string()).collect();
    let many = search(vec![clause("run_id", Op::In, Value::List(ids.clone()))]);
    assert_eq!((store.1.count(&many).unwrap(), store.1.search(&many).unwrap().items.len()), (5, 5));
    assert_eq!(store.1.count(&search(vec![clause("run_id", Op::NotIn, Value::List(ids))])).unwrap(), 0);
    let same = clause("status", Op::Ne, Value::Text("KILLED".into()));
    assert_eq!(store.1.count(&search(vec![same.clone(); RunSearch::CLAUSES_MAX])).unwrap(), 5);
    let order = vec![OrderBy { field: Field::Attribute("status".into()), descending: false }; 5000];
    for endless in [search(vec![same; 5000]), RunSearch { order, ..search(Vec::new()) }] {
        for result in [store.1.search(&endless).map(|_| ()), store.1.count(&endless).map(|_| ())] {
            assert!(matches!(result, Err(SearchError::Refused(refusal)) if refusal.code == "search/too_long"));
        }
    }
}

fn curve_points() -> Vec<Metric> {
    // Steps do not follow time, some steps have several points, one is a spike, one is NaN.
    let mut points: Vec<_> = (0..500).map(|n: i32| metric("m", f64::from(n % 10), i64::from(n), i64::from(n * 7 % 250))).collect();
    points[100].value = 1e6;
    points[200].value = -1e6;
    points[300].value = f64::NAN;
    points
}

async fn intervals_are_sampled_evenly(store: Both) {
    create(&store, vec![run(1), run(2), run(3)]).await;
    let mut points = curve_points();
    log_metrics(&store, 1, points.clone()).await;
    log_metrics(&store, 2, vec![metric("m", 1.0, 5, -3), metric("m", 2.0, 1, 9)]).await;
    points.sort_by_key(Metric::rank);
    let expected: Vec<_> = sample(points.len(), 30).into_iter().map(|at| points[at].rank()).collect();
    let runs = [id(2), id(1), id(3)];
    let found = store.1.interval(&runs, "m", None, 30).unwrap();
    let of = |n: u32| found.iter().filter(|(run, _)| *run == id(n)).map(|(_, metric)| metric.rank()).collect::<Vec<_>>();
    assert_eq!((of(1), of(2).len(), of(3).len()), (expected, 2, 0));
    assert_eq!(found[0].0, id(2), "in the order asked for");
    let part = store.1.interval(&runs, "m", Some((10, 19)), 1000).unwrap();
    assert_eq!(part.len(), 20);
    assert!(part.iter().all(|(_, metric)| (10..=19).contains(&metric.step)));
    let last = store.1.interval(&[id(1)], "m", None, 1).unwrap();
    assert_eq!(last[0].1.rank(), points[499].rank());
    assert!(store.1.interval(&runs, "other", None, 10).unwrap().is_empty());
    assert!(matches!(store.1.interval(&[id(9)], "m", None, 10), Err(SearchError::Refused(refusal)) if refusal.code == "run/not_found"));
}

async fn curves_lose_no_spike(store: Both) {
    create(&store, vec![run(1)]).await;
    // In calls of several sizes: a store may keep curves piece by piece.
    let points = curve_points();
    for call in points.chunks(7) {
        log_metrics(&store, 1, call.to_vec()).await;
    }
    log_metrics(&store, 1, points[..50].to_vec()).await;
    for buckets in [0, 10, 100, 1000] {
        let mut builder = CurveBuilder::new(buckets);
        points.iter().for_each(|point| builder.add(point.step, point.time.ms(), OrderedNumber::new(point.value)));
        let curve = store.1.curve(&id(1), "m", buckets).unwrap();
        assert_eq!(format!("{curve:?}"), format!("{:?}", builder.finish()), "in {buckets} buckets");
        assert_eq!(curve.points, 500);
        assert!(curve.buckets.iter().any(|bucket| bucket.max.value == 1e6) && curve.buckets.iter().any(|bucket| bucket.min.value == -1e6));
    }
    assert_eq!(store.1.curve(&id(1), "other", 10).unwrap().points, 0);
    assert!(matches!(store.1.curve(&id(9), "m", 10), Err(SearchError::Refused(refusal)) if refusal.code == "run/not_found"));
}

async fn keys_are_those_of_active_runs(store: Both) {
    searchable(&store).await;
    let deleted = vec![param("only deleted", "1")];
    write(&store, vec![RunWrite::CreateRun(Run { params: deleted, lifecycle_stage: LifecycleStage::Deleted, ..run(10) })]).await.unwrap();
    write(&store, vec![RunWrite::SetTag { run: id(7), tag: Tag::new("elsewhere", "1") }]).await.unwrap();
    let keys = store.1.keys(&[ExperimentId::new("1")]).unwrap();
    assert_eq!((keys.metrics, keys.params), (vec!["loss".into(), "mae".into()], vec!["Depth".into(), "depth".into(), "kind".into()]));
    assert_eq!((keys.tags, keys.cut), (vec!["it's \"q\"".into(), "team".into()], false));
    assert_eq!(store.1.keys(&[ExperimentId::new("2"), ExperimentId::new("1")]).unwrap().tags.len(), 3);
    assert_eq!(store.1.keys(&[]).unwrap(), crate::Keys::default());
    write(&store, vec![RunWrite::DeleteTag { run: id(7), key: "elsewhere".into() }]).await.unwrap();
    assert!(store.1.keys(&[ExperimentId::new("2")]).unwrap().tags.is_empty(), "a key that no run has is gone");
}

async fn datasets_are_listed_once(store: Both) {
    searchable(&store).await;
    let mut plain = dataset("plain", "");
    plain.tags.clear();
    store.1.log(&id(7), RunLog { inputs: vec![plain, dataset("test", "eval")], ..RunLog::default() }).await.unwrap();
    let summary = |experiment: &str, name: &str, context: Option<&str>| DatasetSummary {
        experiment: ExperimentId::new(experiment),
        name: name.into(),
        digest: format!("{name}-digest"),
        context: context.map(Into::into),
    };
    let one = [summary("1", "test", Some("eval")), summary("1", "test", Some("training")), summary("1", "train", Some("training"))];
    assert_eq!(store.1.datasets(&[ExperimentId::new("1")]).unwrap(), one);
    let two = [summary("2", "plain", None), summary("2", "test", Some("eval"))];
    assert_eq!(store.1.datasets(&[ExperimentId::new("2")]).unwrap(), two);
    assert_eq!(store.1.datasets(&[ExperimentId::new("2"), ExperimentId::new("1")]).unwrap().len(), 5);
    assert!(store.1.datasets(&[]).unwrap().is_empty());
}

/// Runs that a text is found in, newest first, and where.
fn hits(store: &Both, query: &str) -> Vec<(RunId, Field)> {
    let found = store.1.find_text(query, &[ExperimentId::new("1")], 10).unwrap();
    found.into_iter().map(|hit| (hit.run, hit.field)).collect()
}

async fn texts_are_found(store: Both) {
    let mut runs: Vec<_> = (1..=4).map(run).collect();
    runs[0].name = "baseline-forest".into();
    runs[1].params = vec![param("estimator", "RandomForest, Größe L"), param("n_jobs", "4")];
    runs[2].tags = vec![Tag::new("mlflow.note.content", "The forest overfits: try **fewer** trees"), Tag::new("mlflow.user", "ada")];
    runs[3].experiment = ExperimentId::new("2");
    runs[3].name = "forest elsewhere".into();
    create(&store, runs).await;
    let note = || Field::Tag("mlflow.note.content".into());
    assert_eq!(hits(&store, "forest"), [(id(3), note()), (id(1), Field::Attribute("run_name".into()))], "a word fits from its beginning");
    assert_eq!(hits(&store, "FOREST Base"), [(id(1), Field::Attribute("run_name".into()))]);
    assert_eq!(hits(&store, "random größe"), [(id(2), Field::Param("estimator".into()))]);
    assert_eq!(hits(&store, "n_jobs=4"), [(id(2), Field::Param("n_jobs".into()))], "keys of params are text too");
    assert_eq!(hits(&store, "ada"), [(id(3), Field::Tag("mlflow.user".into()))]);
    assert!(hits(&store, "mlflow").is_empty(), "the client's own keys say nothing");
    assert_eq!(hits(&store, "ada overfits"), [(id(3), note())], "words may stand in several fields");
    assert!(hits(&store, "forest missing").is_empty() && hits(&store, "").is_empty() && hits(&store, "!?").is_empty());
    let one = store.1.find_text("forest", &[ExperimentId::new("1"), ExperimentId::new("2")], 1).unwrap();
    assert_eq!((one.len(), one[0].excerpt.as_str()), (1, "forest elsewhere"));
    assert!(store.1.find_text("forest", &[], 10).unwrap().is_empty());
}

/// Enough runs that a store's index, if it has one, takes some of them in.
async fn texts_follow_writes(store: Both) {
    create(&store, (1..=1500).map(|n| Run { name: format!("run number{n}"), ..run(n) }).collect()).await;
    for n in 1..=3 {
        store.1.log(&id(n), RunLog { tags: vec![Tag::new("color", "purple")], ..RunLog::default() }).await.unwrap();
    }
    assert_eq!(hits(&store, "purple").len(), 3);
    assert_eq!(hits(&store, "number77").len(), 10, "77, 770 to 779, as many as asked for");
    assert_eq!(hits(&store, "number1500").len(), 1);
    write(&store, vec![RunWrite::SetTag { run: id(1), tag: Tag::new("color", "green") }]).await.unwrap();
    write(&store, vec![RunWrite::DeleteTag { run: id(2), key: "color".into() }]).await.unwrap();
    let renamed = Run { name: "renamed".into(), ..store.1.run(&id(3)).unwrap().unwrap() };
    write(&store, vec![RunWrite::UpdateRun(renamed)]).await.unwrap();
    assert_eq!(hits(&store, "purple"), [(id(3), Field::Tag("color".into()))]);
    assert_eq!((hits(&store, "green").len(), hits(&store, "renamed").len(), hits(&store, "number3 purple").len()), (1, 1, 0));
    let deleted = Run { lifecycle_stage: LifecycleStage::Deleted, ..store.1.run(&id(3)).unwrap().unwrap() };
    write(&store, vec![RunWrite::UpdateRun(deleted)]).await.unwrap();
    assert!(hits(&store, "renamed").is_empty());
}

async fn hostile_texts_are_only_texts(store: Both) {
    create(&store, vec![Run { name: "near AND far".into(), ..run(1) }]).await;
    let long = "x".repeat(100_000);
    for query in [
        "\"",
        "'",
        "*",
        "a*b",
        "NEAR(",
        "near AND",
        "OR NOT",
        "name:near",
        "^near",
        "{a b}:",
        "--",
        "\0",
        "near\0far",
        "%",
        "(",
        "🦀",
        "ﷺ",
        &long,
    ] {
        store.1.find_text(query, &[ExperimentId::new("1")], 10).unwrap();
    }
    let many = "near ".repeat(10_000);
    assert_eq!((hits(&store, &many).len(), hits(&store, "NEAR( AND").len(), hits(&store, "near AND").len()), (1, 1, 1));
}

async fn the_bin_knows_since_when(store: Both) {
    create(&store, (1..=4).map(run).collect()).await;
    let at = async |ms: i64, writes: Vec<RunWrite>| {
        let mut batch = Batch::new(Actor::User("suite".into()), Timestamp::from_ms(ms));
        batch.run_writes = writes;
        store.0.commit(batch).await.unwrap();
    };
    let staged = |n: u32, stage: LifecycleStage| RunWrite::UpdateRun(Run { lifecycle_stage: stage, ..run(n) });
    let deleted =
        |before: i64, after: Option<RunId>, limit: usize| store.1.deleted_runs(Timestamp::from_ms(before), after.as_ref(), limit).unwrap();
    at(10, vec![staged(2, LifecycleStage::Deleted)]).await;
    at(20, vec![staged(2, LifecycleStage::Deleted), staged(1, LifecycleStage::Deleted)]).await;
    assert_eq!(deleted(11, None, 9), [id(2)], "deleting it again changes nothing");
    assert!(deleted(10, None, 9).is_empty(), "before, not at");
    at(30, vec![RunWrite::StageRuns { experiment: ExperimentId::new("1"), stage: LifecycleStage::Deleted }]).await;
    assert_eq!(deleted(99, None, 3), [id(1), id(2), id(3)]);
    assert_eq!(deleted(99, Some(id(3)), 3), [id(4)]);
    assert_eq!(deleted(21, None, 9), [id(1), id(2)]);
    at(40, vec![staged(2, LifecycleStage::Active)]).await;
    at(50, vec![staged(2, LifecycleStage::Deleted)]).await;
    assert_eq!(deleted(41, None, 9), [id(1), id(3), id(4)], "a restored run begins anew");
}

async fn a_purge_frees_rows_and_names(store: Both) {
    searchable(&store).await;
    let experiment = ExperimentId::new("1");
    let purge = |n: u32| vec![RunWrite::PurgeRun(id(n))];
    assert_eq!(refused(write(&store, purge(1)).await), "run/active");
    assert_eq!(refused(write(&store, purge(99)).await), "run/not_found");
    log_metrics(&store, 1, (0..20_000).map(|n| metric("long", 1.0, n, n)).collect()).await;
    let whole = store.1.run(&id(1)).unwrap().unwrap();
    write(&store, vec![RunWrite::UpdateRun(Run { lifecycle_stage: LifecycleStage::Deleted, ..whole })]).await.unwrap();
    write(&store, purge(1)).await.unwrap();
    assert!(store.1.run(&id(1)).unwrap().is_none());
    assert_eq!(store.1.count(&RunSearch { view: ViewType::All, ..search(Vec::new()) }).unwrap(), 5);
    assert_eq!(store.1.keys(std::slice::from_ref(&experiment)).unwrap().params, ["Depth", "depth", "kind"]);
    assert!(matches!(store.1.history(&id(1), "long", None, None), Err(SearchError::Refused(_))));

    // The id is free, and nothing of the old run is in the new one.
    write(&store, vec![RunWrite::CreateRun(run(1))]).await.unwrap();
    assert_eq!(store.1.run(&id(1)).unwrap().unwrap(), run(1));
    assert!(store.1.history(&id(1), "long", None, None).unwrap().points.is_empty());

    let gone = vec![RunWrite::PurgeExperiment(experiment.clone())];
    assert_eq!(refused(write(&store, gone.clone()).await), "experiment/active");
    let mut found = store.0.snapshot().unwrap().experiment(&experiment).unwrap().unwrap().1;
    found.lifecycle_stage = LifecycleStage::Deleted;
    let stage = RunWrite::StageRuns { experiment: experiment.clone(), stage: LifecycleStage::Deleted };
    write(&store, vec![RunWrite::Experiment(found.clone()), stage]).await.unwrap();
    assert_eq!(refused(write(&store, gone.clone()).await), "experiment/has_runs");
    let before = store.0.snapshot().unwrap().experiments().unwrap().0;
    let mut all: Vec<_> = (1..=6).map(|n| RunWrite::PurgeRun(id(n))).collect();
    all.extend(gone.clone());
    write(&store, all).await.unwrap();
    let (revision, left) = store.0.snapshot().unwrap().experiments().unwrap();
    assert!(revision > before && left.len() == 1, "whoever has read the list must decide again");
    assert_eq!(refused(write(&store, gone).await), "experiment/not_found");
    let again = domain::entity::Experiment { id: ExperimentId::new("3"), lifecycle_stage: LifecycleStage::Active, ..found };
    write(&store, vec![RunWrite::Experiment(again)]).await.unwrap();
}

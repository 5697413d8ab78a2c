//! What every run store must do.

#![allow(clippy::unwrap_used)]

use crate::{CommitError, MetadataStore, RunLog, RunSearch, RunStore, SearchError, ViewType};
use domain::entity::{DatasetInput, Experiment, LifecycleStage, Metric, ModelOutput, Param, Run, RunStatus, Tag};
use domain::filter::{Clause, Expr, Field, Op, OrderBy, Value};
use domain::{Actor, Batch, Collection, ExperimentId, RunId, RunWrite, Timestamp};
use std::sync::Arc;

/// Both sides of one store.
pub type Both = (Arc<dyn MetadataStore>, Arc<dyn RunStore>);

/// Runs the whole suite. `make` gives a new, empty store; call it within a multi-threaded runtime.
pub async fn suite(make: impl Fn() -> Both) {
    a_run_comes_back_whole(make()).await;
    params_are_set_once(make()).await;
    tags_are_set_and_deleted(make()).await;
    points_are_kept_once_and_in_order(make()).await;
    the_latest_metric_is_the_greatest_step_time_value(make()).await;
    history_comes_in_pages(make()).await;
    a_deleted_run_refuses_writes(make()).await;
    runs_that_cannot_be(make()).await;
    logging_changes_the_revision(make()).await;
    filters_find_what_they_say(make()).await;
    orders_put_missing_last(make()).await;
    searches_come_in_pages(make()).await;
    pages_are_stable_while_runs_come_and_go(make()).await;
    super::surveys::suite(&make).await;
    concurrent_loggers_lose_nothing(make()).await;
}

pub(super) fn id(n: u32) -> RunId {
    RunId::new(format!("{n:032x}"))
}

pub(super) fn run(n: u32) -> Run {
    Run {
        id: id(n),
        experiment: ExperimentId::new("1"),
        name: format!("run {n}"),
        user: "ada".into(),
        status: RunStatus::Running,
        start: Timestamp::from_ms(i64::from(n) * 1000),
        end: None,
        lifecycle_stage: LifecycleStage::Active,
        artifact_uri: format!("mlflow-artifacts:/1/{n}/artifacts"),
        params: Vec::new(),
        tags: Vec::new(),
        metrics: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

pub(super) fn metric(key: &str, value: f64, time: i64, step: i64) -> Metric {
    let time = Timestamp::from_ms(time);
    Metric { key: key.into(), value, time, step, model_id: None, dataset_name: None, dataset_digest: None }
}

pub(super) fn param(key: &str, value: &str) -> Param {
    Param { key: key.into(), value: value.into() }
}

pub(super) fn dataset(name: &str, context: &str) -> DatasetInput {
    DatasetInput {
        name: name.into(),
        digest: format!("{name}-digest"),
        source_type: "local".into(),
        source: "{}".into(),
        schema: Some("{}".into()),
        profile: None,
        tags: vec![Tag::new(DatasetInput::CONTEXT_TAG, context)],
    }
}

pub(super) async fn write(store: &Both, writes: Vec<RunWrite>) -> Result<(), CommitError> {
    let mut batch = Batch::new(Actor::User("suite".into()), Timestamp::from_ms(0));
    batch.run_writes = writes;
    store.0.commit(batch).await.map(|_| ())
}

pub(super) async fn create(store: &Both, runs: Vec<Run>) {
    let experiment = Experiment {
        id: ExperimentId::new("1"),
        name: "one".into(),
        artifact_location: "mlflow-artifacts:/1".into(),
        lifecycle_stage: LifecycleStage::Active,
        created: Timestamp::from_ms(0),
        updated: Timestamp::from_ms(0),
        tags: Vec::new(),
    };
    let other = Experiment { id: ExperimentId::new("2"), name: "two".into(), ..experiment.clone() };
    let mut writes = vec![RunWrite::Experiment(experiment), RunWrite::Experiment(other)];
    writes.extend(runs.into_iter().map(RunWrite::CreateRun));
    write(store, writes).await.unwrap();
}

pub(super) async fn log_metrics(store: &Both, n: u32, metrics: Vec<Metric>) {
    store.1.log(&id(n), RunLog { metrics, ..RunLog::default() }).await.unwrap();
}

pub(super) fn refused(result: Result<(), CommitError>) -> String {
    match result {
        Err(CommitError::Refused(refusal)) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

async fn a_run_comes_back_whole(store: Both) {
    let mut whole = run(1);
    whole.params = vec![param("a", "1"), param("ß", "größe")];
    whole.tags = vec![Tag::new("k", "v"), Tag::new("lang", "日本")];
    whole.metrics = vec![metric("mae", 0.1, 5, 2)];
    whole.inputs = vec![dataset("train", "training")];
    whole.outputs = vec![ModelOutput { model_id: "m-1".into(), step: 3, input: false }];
    create(&store, vec![whole.clone()]).await;
    assert_eq!(store.1.run(&id(1)).unwrap().unwrap(), whole);
    assert_eq!(store.0.snapshot().unwrap().run(&id(1)).unwrap().unwrap().1, whole);
    assert!(store.1.run(&id(2)).unwrap().is_none());

    let with_context = Metric {
        model_id: Some("m-1".into()),
        dataset_name: Some("train".into()),
        dataset_digest: Some("d".into()),
        ..metric("rmse", 2.0, 1, 0)
    };
    let what = RunLog {
        metrics: vec![with_context.clone()],
        inputs: vec![dataset("train", "training"), dataset("test", "eval")],
        ..RunLog::default()
    };
    store.1.log(&id(1), what).await.unwrap();
    let now = store.1.run(&id(1)).unwrap().unwrap();
    assert_eq!(now.inputs.len(), 2, "the same dataset is kept once");
    assert_eq!(now.metrics, [metric("mae", 0.1, 5, 2), with_context]);

    let ended =
        Run { status: RunStatus::Finished, end: Some(Timestamp::from_ms(9)), name: "new name".into(), params: Vec::new(), ..now.clone() };
    write(&store, vec![RunWrite::UpdateRun(ended.clone())]).await.unwrap();
    assert_eq!(store.1.run(&id(1)).unwrap().unwrap(), Run { params: now.params, ..ended }, "params stay");
}

async fn params_are_set_once(store: Both) {
    create(&store, vec![run(1)]).await;
    let one = id(1);
    let log = |params: Vec<Param>| store.1.log(&one, RunLog { params, metrics: vec![metric("m", 1.0, 1, 1)], ..RunLog::default() });
    assert_eq!(refused(log(vec![param("a", "1"), param("a", "2")]).await), "param/immutable");
    assert!(store.1.run(&id(1)).unwrap().unwrap().metrics.is_empty(), "a refused call stores nothing");
    log(vec![param("a", "1")]).await.unwrap();
    log(vec![param("a", "1"), param("b", "")]).await.unwrap();
    assert_eq!(refused(log(vec![param("c", "1"), param("a", "one")]).await), "param/immutable");
    assert_eq!(store.1.run(&id(1)).unwrap().unwrap().params, [param("a", "1"), param("b", "")]);
}

async fn tags_are_set_and_deleted(store: Both) {
    create(&store, vec![run(1)]).await;
    let tags = vec![Tag::new("b", "1"), Tag::new("a", "1")];
    store.1.log(&id(1), RunLog { tags, ..RunLog::default() }).await.unwrap();
    let set = RunWrite::SetTag { run: id(1), tag: Tag::new("a", "2") };
    write(&store, vec![set, RunWrite::DeleteTag { run: id(1), key: "b".into() }]).await.unwrap();
    assert_eq!(store.1.run(&id(1)).unwrap().unwrap().tags, [Tag::new("a", "2")]);
    let gone = RunWrite::SetTag { run: id(9), tag: Tag::new("a", "2") };
    assert_eq!(refused(write(&store, vec![gone]).await), "run/not_found");
}

async fn points_are_kept_once_and_in_order(store: Both) {
    create(&store, vec![run(1)]).await;
    let points = [
        metric("m", f64::NEG_INFINITY, 1, 5),
        metric("m", -1.5, 1, 5),
        metric("m", 0.1 + 0.2, 1, 5),
        metric("m", f64::INFINITY, 1, 5),
        metric("m", f64::NAN, 1, 5),
        metric("m", 3.0, 2, -7),
        metric("m", 1e-320, 2, 0),
        metric("m", 1.0, 3, 0),
    ];
    let mut shuffled = points.to_vec();
    shuffled.rotate_left(3);
    shuffled.reverse();
    log_metrics(&store, 1, shuffled).await;
    log_metrics(&store, 1, points.to_vec()).await;
    let history = store.1.history(&id(1), "m", None, None).unwrap();
    assert_eq!(history.token, None);
    let places = |points: &[Metric]| points.iter().map(Metric::place).collect::<Vec<_>>();
    assert_eq!(places(&history.points), places(&points), "by time, step and value, each once");
    assert!(history.points[4].value.is_nan());
    assert!(store.1.history(&id(1), "other", None, None).unwrap().points.is_empty());
    assert!(matches!(store.1.history(&id(7), "m", None, None), Err(SearchError::Refused(refusal)) if refusal.code == "run/not_found"));
}

async fn the_latest_metric_is_the_greatest_step_time_value(store: Both) {
    create(&store, vec![run(1)]).await;
    let latest = |key: &str| {
        let run = store.1.run(&id(1)).unwrap().unwrap();
        run.metrics.into_iter().find(|m| m.key == key).unwrap()
    };
    for (point, wins) in [
        ((1.0, 50, 3), true),
        ((9.0, 99, 2), false),
        ((9.0, 49, 3), false),
        ((0.5, 50, 3), false),
        ((2.0, 50, 3), true),
        ((0.0, 51, 3), true),
        ((f64::NAN, 0, 4), true),
    ] {
        let point = metric("m", point.0, point.1, point.2);
        log_metrics(&store, 1, vec![point.clone()]).await;
        assert_eq!(latest("m").rank() == point.rank(), wins, "{point:?}");
    }
    log_metrics(&store, 1, vec![metric("n", 2.0, 1, 1), metric("n", 3.0, 0, 2), metric("n", 1.0, 1, 1)]).await;
    assert_eq!(latest("n").value, 3.0);
}

async fn history_comes_in_pages(store: Both) {
    create(&store, vec![run(1)]).await;
    let points: Vec<_> = (0..25).map(|n| metric("m", f64::from(n % 3), i64::from(n / 2), i64::from(n % 2))).collect();
    log_metrics(&store, 1, points.clone()).await;
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let page = store.1.history(&id(1), "m", Some(10), token.as_deref()).unwrap();
        assert!(page.points.len() <= 10);
        all.extend(page.points);
        match page.token {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    assert_eq!(all, points);
    assert!(matches!(store.1.history(&id(1), "m", Some(10), Some("no token")), Err(SearchError::Refused(_))));
}

async fn a_deleted_run_refuses_writes(store: Both) {
    create(&store, vec![run(1), run(2)]).await;
    write(&store, vec![RunWrite::UpdateRun(Run { lifecycle_stage: LifecycleStage::Deleted, ..run(1) })]).await.unwrap();
    let metrics = vec![metric("m", 1.0, 1, 1)];
    assert_eq!(refused(store.1.log(&id(1), RunLog { metrics, ..RunLog::default() }).await), "run/deleted");
    assert_eq!(refused(write(&store, vec![RunWrite::SetTag { run: id(1), tag: Tag::new("a", "b") }]).await), "run/deleted");
    let experiment = ExperimentId::new("1");
    write(&store, vec![RunWrite::StageRuns { experiment: experiment.clone(), stage: LifecycleStage::Deleted }]).await.unwrap();
    assert_eq!(refused(store.1.log(&id(2), RunLog::default()).await), "run/deleted");
    write(&store, vec![RunWrite::StageRuns { experiment, stage: LifecycleStage::Active }]).await.unwrap();
    for n in [1, 2] {
        store.1.log(&id(n), RunLog { tags: vec![Tag::new("back", "yes")], ..RunLog::default() }).await.unwrap();
    }
}

async fn runs_that_cannot_be(store: Both) {
    create(&store, vec![run(1)]).await;
    assert_eq!(refused(write(&store, vec![RunWrite::CreateRun(run(1))]).await), "run/exists");
    let lost = Run { experiment: ExperimentId::new("77"), ..run(2) };
    assert_eq!(refused(write(&store, vec![RunWrite::CreateRun(run(3)), RunWrite::CreateRun(lost)]).await), "experiment/not_found");
    assert!(store.1.run(&id(3)).unwrap().is_none(), "all or nothing");
    assert_eq!(refused(write(&store, vec![RunWrite::UpdateRun(run(9))]).await), "run/not_found");
    assert_eq!(refused(store.1.log(&id(9), RunLog::default()).await), "run/not_found");
}

async fn logging_changes_the_revision(store: Both) {
    create(&store, vec![run(1), run(2)]).await;
    let revision = |n| store.0.snapshot().unwrap().run(&id(n)).unwrap().unwrap().0;
    let (one, two) = (revision(1), revision(2));
    log_metrics(&store, 1, vec![metric("m", 1.0, 1, 1)]).await;
    assert!(revision(1) > one, "a decision that read the run's metrics must be made again");
    assert_eq!(revision(2), two);
    let mut late = Batch::new(Actor::User("suite".into()), Timestamp::from_ms(0));
    late.expect.push(domain::Expect::Document { collection: Collection::Runs, key: id(1).as_str().into(), revision: one });
    assert!(matches!(store.0.commit(late).await, Err(CommitError::Conflict(_))));
}

/// Six runs of experiment 1, one of experiment 2; run 5 is deleted.
pub(super) async fn searchable(store: &Both) {
    let mut runs: Vec<_> = (1..=7).map(run).collect();
    runs[6].experiment = ExperimentId::new("2");
    runs[4].lifecycle_stage = LifecycleStage::Deleted;
    runs[0].status = RunStatus::Finished;
    runs[0].end = Some(Timestamp::from_ms(5000));
    runs[0].params = vec![param("depth", "3"), param("kind", "Tree")];
    runs[1].params = vec![param("depth", "10"), param("kind", "tree_big%")];
    runs[2].params = vec![param("Depth", "x")];
    runs[0].tags = vec![Tag::new("team", "Blau"), Tag::new("it's \"q\"", "1")];
    runs[1].tags = vec![Tag::new("team", "grün")];
    runs[0].metrics = vec![metric("mae", 1.5, 1, 1), metric("mae", 0.5, 2, 2)];
    runs[1].metrics = vec![metric("mae", f64::NAN, 1, 1), metric("loss", f64::INFINITY, 1, 1)];
    runs[2].metrics = vec![metric("mae", 2.5, 1, 1)];
    runs[3].metrics = vec![metric("loss", -0.0, 1, 1)];
    runs[0].inputs = vec![dataset("train", "training"), dataset("test", "eval")];
    runs[2].inputs = vec![dataset("test", "training")];
    create(store, runs).await;
}

pub(super) fn search(filter: Vec<Clause>) -> RunSearch {
    RunSearch { experiments: vec![ExperimentId::new("1")], filter: Expr(filter), limit: 100, ..RunSearch::default() }
}

/// The runs' numbers, in the order of the answer.
fn found(store: &Both, search: &RunSearch) -> Vec<u32> {
    numbers(&store.1.search(search).unwrap().items)
}

fn numbers(runs: &[Run]) -> Vec<u32> {
    runs.iter().map(|run| u32::from_str_radix(run.id.as_str(), 16).unwrap()).collect()
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

async fn filters_find_what_they_say(store: Both) {
    searchable(&store).await;
    let tag = |key: &str| Field::Tag(key.into());
    let depth = Field::Param("depth".into());
    let kind = Field::Param("kind".into());
    let mae = Field::Metric("mae".into());
    let loss = Field::Metric("loss".into());
    let attribute = |name: &str| Field::Attribute(name.into());
    let list = |ids: &[u32]| Value::List(ids.iter().map(|n| id(*n).as_str().to_owned()).collect());
    let cases: Vec<(Field, Op, Value, &[u32])> = vec![
        (mae.clone(), Op::Lt, Value::Number(1.0), &[1]),
        (mae.clone(), Op::Gt, Value::Number(0.0), &[3, 1]),
        (mae.clone(), Op::Ge, Value::Number(0.5), &[3, 1]),
        (mae.clone(), Op::Le, Value::Number(2.5), &[3, 1]),
        (mae.clone(), Op::Ne, Value::Number(0.5), &[3, 2]),
        (mae.clone(), Op::Eq, Value::Number(2.5), &[3]),
        (loss.clone(), Op::Gt, Value::Number(1e300), &[2]),
        (loss.clone(), Op::Eq, Value::Number(0.0), &[4]),
        (Field::Metric("none".into()), Op::Gt, Value::Number(0.0), &[]),
        (depth.clone(), Op::Eq, text("3"), &[1]),
        (depth.clone(), Op::Ne, text("3"), &[2]),
        (depth.clone(), Op::IsNull, Value::Nothing, &[6, 4, 3]),
        (depth.clone(), Op::IsNotNull, Value::Nothing, &[2, 1]),
        (kind.clone(), Op::Like, text("tree%"), &[2]),
        (kind.clone(), Op::Ilike, text("TREE%"), &[2, 1]),
        (kind.clone(), Op::Like, text("T_ee"), &[1]),
        (tag("team"), Op::Ilike, text("%GRÜN"), &[2]),
        (tag("it's \"q\""), Op::Eq, text("1"), &[1]),
        (tag("team"), Op::Eq, text("' or 1=1 --"), &[]),
        (attribute("run_name"), Op::Eq, text("run 3"), &[3]),
        (attribute("run_name"), Op::Like, text("run _"), &[6, 4, 3, 2, 1]),
        (attribute("status"), Op::Eq, text("FINISHED"), &[1]),
        (attribute("status"), Op::Ne, text("FINISHED"), &[6, 4, 3, 2]),
        (attribute("user_id"), Op::Eq, text("ada"), &[6, 4, 3, 2, 1]),
        (attribute("artifact_uri"), Op::Like, text("%/4/%"), &[4]),
        (attribute("run_id"), Op::In, list(&[1, 3, 5, 7]), &[3, 1]),
        (attribute("run_id"), Op::NotIn, list(&[1, 3]), &[6, 4, 2]),
        (attribute("start_time"), Op::Ge, Value::Number(4000.0), &[6, 4]),
        (attribute("start_time"), Op::Ne, Value::Number(4000.0), &[6, 3, 2, 1]),
        (attribute("end_time"), Op::Lt, Value::Number(5000.5), &[1]),
        (attribute("duration"), Op::Eq, Value::Number(4000.0), &[1]),
        (attribute("duration"), Op::Lt, Value::Number(4000.0), &[]),
        (Field::Dataset("name".into()), Op::Eq, text("test"), &[3, 1]),
        (Field::Dataset("context".into()), Op::Eq, text("eval"), &[1]),
        (Field::Dataset("digest".into()), Op::Like, text("train%"), &[1]),
        (Field::Dataset("name".into()), Op::In, Value::List(vec!["train".into(), "x".into()]), &[1]),
    ];
    for (field, op, value, expected) in cases {
        let clause = Clause { field, op, value };
        assert_eq!(found(&store, &search(vec![clause.clone()])), expected, "{clause:?}");
    }
    let both = vec![
        Clause { field: mae, op: Op::Gt, value: Value::Number(0.0) },
        Clause { field: depth, op: Op::IsNull, value: Value::Nothing },
        Clause { field: tag("team"), op: Op::IsNull, value: Value::Nothing },
    ];
    assert_eq!(found(&store, &search(both)), [3]);
    for (view, expected) in [(ViewType::Active, vec![6, 4, 3, 2, 1]), (ViewType::Deleted, vec![5]), (ViewType::All, vec![6, 5, 4, 3, 2, 1])]
    {
        assert_eq!(found(&store, &RunSearch { view, ..search(Vec::new()) }), expected);
    }
    let two = vec![ExperimentId::new("1"), ExperimentId::new("2"), ExperimentId::new("3")];
    assert_eq!(found(&store, &RunSearch { experiments: two, ..search(Vec::new()) }), [7, 6, 4, 3, 2, 1]);
    assert_eq!(found(&store, &RunSearch { experiments: Vec::new(), ..search(Vec::new()) }), [0u32; 0], "no experiment, no run");
}

async fn orders_put_missing_last(store: Both) {
    searchable(&store).await;
    let by = |field: Field, descending| RunSearch { order: vec![OrderBy { field, descending }], ..search(Vec::new()) };
    let mae = || Field::Metric("mae".into());
    assert_eq!(found(&store, &by(mae(), false)), [1, 3, 2, 6, 4], "numbers, NaN, missing");
    assert_eq!(found(&store, &by(mae(), true)), [3, 1, 2, 6, 4]);
    assert_eq!(found(&store, &by(Field::Metric("loss".into()), true)), [2, 4, 6, 3, 1]);
    assert_eq!(found(&store, &by(Field::Param("depth".into()), false)), [2, 1, 6, 4, 3], "params are text");
    assert_eq!(found(&store, &by(Field::Tag("team".into()), true)), [2, 1, 6, 4, 3]);
    assert_eq!(found(&store, &by(Field::Attribute("start_time".into()), false)), [1, 2, 3, 4, 6]);
    assert_eq!(found(&store, &by(Field::Attribute("end_time".into()), true)), [1, 6, 4, 3, 2]);
    assert_eq!(found(&store, &by(Field::Attribute("duration".into()), true)), [1, 6, 4, 3, 2]);
    assert_eq!(found(&store, &by(Field::Attribute("run_name".into()), true)), [6, 4, 3, 2, 1]);
    let mut two = by(Field::Attribute("status".into()), false);
    two.order.push(OrderBy { field: Field::Attribute("run_id".into()), descending: false });
    assert_eq!(found(&store, &two), [1, 2, 3, 4, 6]);
}

async fn searches_come_in_pages(store: Both) {
    searchable(&store).await;
    let mut asked =
        RunSearch { order: vec![OrderBy { field: Field::Metric("mae".into()), descending: false }], limit: 2, ..search(Vec::new()) };
    let mut all = Vec::new();
    loop {
        let page = store.1.search(&asked).unwrap();
        assert!(page.items.len() <= 2);
        all.extend(numbers(&page.items));
        match page.token {
            Some(token) => asked.token = Some(token),
            None => break,
        }
    }
    assert_eq!(all, [1, 3, 2, 6, 4]);
    let exact = RunSearch { limit: 5, ..search(Vec::new()) };
    assert_eq!(store.1.search(&exact).unwrap().token, None, "nothing is left");
    let bad = RunSearch { token: Some("not a token".into()), ..search(Vec::new()) };
    assert!(matches!(store.1.search(&bad), Err(SearchError::Refused(refusal)) if refusal.code == "search/token"));
    let first = store.1.search(&RunSearch { limit: 1, ..search(Vec::new()) }).unwrap();
    let smaller = RunSearch { limit: 3, token: first.token.clone(), ..search(Vec::new()) };
    assert_eq!(found(&store, &smaller), [4, 3, 2], "the limit may change from page to page");
    for other in [
        RunSearch { view: ViewType::All, ..search(Vec::new()) },
        RunSearch { experiments: vec![ExperimentId::new("2")], ..search(Vec::new()) },
        search(vec![Clause { field: Field::Tag("team".into()), op: Op::IsNull, value: Value::Nothing }]),
        RunSearch { order: vec![OrderBy { field: Field::Attribute("status".into()), descending: false }], ..search(Vec::new()) },
    ] {
        let borrowed = RunSearch { token: first.token.clone(), ..other };
        assert!(matches!(store.1.search(&borrowed), Err(SearchError::Refused(refusal)) if refusal.code == "search/token"), "{borrowed:?}");
    }
}

/// Counting places would give run 1 twice here and never give run 2.
async fn pages_are_stable_while_runs_come_and_go(store: Both) {
    create(&store, (1..=5).map(run).collect()).await;
    let first = RunSearch { limit: 2, ..search(Vec::new()) };
    let page = store.1.search(&first).unwrap();
    assert_eq!(numbers(&page.items), [5, 4]);
    write(&store, (6..=8).map(|n| RunWrite::CreateRun(run(n))).collect()).await.unwrap();
    write(&store, vec![RunWrite::UpdateRun(Run { lifecycle_stage: LifecycleStage::Deleted, ..run(4) })]).await.unwrap();
    let second = store.1.search(&RunSearch { token: page.token, ..first.clone() }).unwrap();
    assert_eq!(numbers(&second.items), [3, 2], "the run that the token names may be gone");
    let third = store.1.search(&RunSearch { token: second.token, ..first }).unwrap();
    assert_eq!((numbers(&third.items), third.token), (vec![1], None));
}

async fn concurrent_loggers_lose_nothing(store: Both) {
    create(&store, vec![run(1)]).await;
    let loggers: Vec<_> = (0..8)
        .map(|logger| {
            let runs = store.1.clone();
            tokio::spawn(async move {
                for step in 0..25 {
                    let tags = vec![Tag::new("shared", format!("{logger}"))];
                    let params = vec![param(&format!("p{logger}"), "same")];
                    let metrics = vec![metric("m", f64::from(logger), 1, step), metric(&format!("m{logger}"), 1.0, 1, step)];
                    runs.log(&id(1), RunLog { metrics, params, tags, ..RunLog::default() }).await.unwrap();
                }
            })
        })
        .collect();
    for logger in loggers {
        logger.await.unwrap();
    }
    assert_eq!(store.1.history(&id(1), "m", None, None).unwrap().points.len(), 200);
    let run = store.1.run(&id(1)).unwrap().unwrap();
    assert_eq!((run.params.len(), run.tags.len(), run.metrics.len()), (8, 1, 9));
}

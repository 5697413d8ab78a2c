//! Random searches over random runs: the same runs in the same order, page by page, as the twin gives and as a filter means.
#![allow(clippy::unwrap_used)]

use crate::Sqlite;
use domain::entity::{DatasetInput, Experiment, LifecycleStage, Metric, Param, Run, RunStatus, Tag};
use domain::filter::{Clause, Expr, Field, Op, OrderBy, Value};
use domain::{Actor, Batch, ExperimentId, RunId, RunWrite, Timestamp};
use ports::memory::MemoryStore;
use ports::{MetadataStore, RunSearch, RunStore, ViewType};
use proptest::prelude::*;
use proptest::sample::select;
use std::cmp::Ordering;

/// Few values, so that many are equal.
const NUMBERS: [f64; 9] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 0.1, 1.0, -2.5, 1e300];
const TEXTS: [&str; 8] = ["", "a", "A", "ab", "a_b", "b%", "Größe", "größe"];
const PATTERNS: [&str; 8] = ["%", "a%", "%B", "_", "A_b", "%%b%", "gr_sse", "GRÖ%"];
const KEYS: [&str; 3] = ["k", "K", "it's `k`"];

fn text() -> impl Strategy<Value = String> {
    select(&TEXTS[..]).prop_map(str::to_owned)
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map(select(&KEYS[..]).prop_map(str::to_owned), text(), 0..3).prop_map(|map| map.into_iter().collect())
}

prop_compose! {
    fn run()(
        (experiment, deleted, status) in (1..3u32, prop::bool::weighted(0.2), select(&RunStatus::ALL[..])),
        (name, user, uri) in (text(), text(), text()),
        (start, end) in (0..4i64, prop::option::of(0..4i64)),
        (params, tags) in (pairs(), pairs()),
        metrics in prop::collection::btree_map(select(&KEYS[..]), select(&NUMBERS[..]), 0..3),
        datasets in prop::collection::btree_map(text(), prop::option::of(text()), 0..3),
    ) -> Run {
        let metric = |(key, value): (&str, f64)| Metric {
            key: key.into(), value, time: Timestamp::from_ms(1), step: 1, model_id: None, dataset_name: None, dataset_digest: None,
        };
        let dataset = |(name, context): (String, Option<String>)| DatasetInput {
            digest: format!("{name}!"), name, source_type: String::new(), source: String::new(), schema: None, profile: None,
            tags: context.map(|context| Tag::new(DatasetInput::CONTEXT_TAG, context)).into_iter().collect(),
        };
        Run {
            id: RunId::new(""),
            experiment: ExperimentId::new(experiment.to_string()),
            name, user, status,
            start: Timestamp::from_ms(start),
            end: end.map(Timestamp::from_ms),
            lifecycle_stage: if deleted { LifecycleStage::Deleted } else { LifecycleStage::Active },
            artifact_uri: uri,
            params: params.into_iter().map(|(key, value)| Param { key, value }).collect(),
            tags: tags.into_iter().map(|(key, value)| Tag { key, value }).collect(),
            metrics: metrics.into_iter().map(metric).collect(),
            inputs: datasets.into_iter().map(dataset).collect(),
            outputs: Vec::new(),
        }
    }
}

fn attribute() -> impl Strategy<Value = Field> {
    select(vec!["run_id", "run_name", "status", "user_id", "artifact_uri", "start_time", "end_time"])
        .prop_map(|name| Field::Attribute(name.into()))
}

fn logged() -> impl Strategy<Value = Field> {
    let key = || select(vec!["k", "K", "it's `k`", "none"]).prop_map(str::to_owned);
    prop_oneof![key().prop_map(Field::Metric), key().prop_map(Field::Param), key().prop_map(Field::Tag)]
}

/// Clauses of every sort, those included that no parser would let through: they must mean the same everywhere.
fn clause() -> impl Strategy<Value = Clause> {
    let field = prop_oneof![
        2 => attribute(),
        4 => logged(),
        1 => select(vec!["name", "digest", "context"]).prop_map(|part| Field::Dataset(part.into())),
    ];
    let number = (
        select(vec![Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]),
        prop_oneof![select(&NUMBERS[1..]), (0..4i32).prop_map(f64::from)].prop_map(Value::Number),
    );
    let equal = (select(vec![Op::Eq, Op::Ne]), prop_oneof![text(), Just("RUNNING".to_owned())].prop_map(Value::Text));
    let pattern = (select(vec![Op::Like, Op::Ilike]), select(&PATTERNS[..]).prop_map(|pattern| Value::Text(pattern.into())));
    let ids = prop::collection::vec(prop_oneof![text(), (0..9u32).prop_map(|n| format!("{n:032x}"))], 1..4);
    let list = (select(vec![Op::In, Op::NotIn]), ids.prop_map(Value::List));
    let null = (select(vec![Op::IsNull, Op::IsNotNull]), Just(Value::Nothing));
    (field, prop_oneof![3 => number, 2 => equal, 2 => pattern, 1 => list, 1 => null]).prop_map(|(field, (op, value))| Clause {
        field,
        op,
        value,
    })
}

prop_compose! {
    fn search()(
        filter in prop::collection::vec(clause(), 0..4),
        order in prop::collection::vec((prop_oneof![attribute(), logged()], any::<bool>()), 0..4),
        (limit, view) in (1..7usize, select(vec![ViewType::Active, ViewType::Deleted, ViewType::All])),
        experiments in select(vec![vec!["1"], vec!["2"], vec!["1", "2"], vec!["2", "1", "2", "9"]]),
    ) -> RunSearch {
        let order = order.into_iter().map(|(field, descending)| OrderBy { field, descending }).collect();
        let experiments = experiments.into_iter().map(ExperimentId::new).collect();
        RunSearch { experiments, filter: Expr(filter), view, order, limit, token: None }
    }
}

async fn filled<S: MetadataStore>(store: &S, runs: &[Run]) {
    let at = Timestamp::from_ms(0);
    let mut batch = Batch::new(Actor::User("test".into()), at);
    for id in ["1", "2"] {
        let (id, name, stage) = (ExperimentId::new(id), id.to_owned(), LifecycleStage::Active);
        let new = Experiment { id, name, artifact_location: String::new(), lifecycle_stage: stage, created: at, updated: at, tags: vec![] };
        batch.run_writes.push(RunWrite::Experiment(new));
    }
    batch.run_writes.extend(runs.iter().cloned().map(RunWrite::CreateRun));
    store.commit(batch).await.unwrap();
}

/// All pages, each no longer than asked for.
fn pages(store: &dyn RunStore, search: &RunSearch) -> Vec<String> {
    let (mut asked, mut found) = (search.clone(), Vec::new());
    loop {
        let page = store.search(&asked).unwrap();
        assert!(page.items.len() <= search.limit && (page.token.is_none() || page.items.len() == search.limit));
        found.extend(page.items.iter().map(|run| run.id.to_string()));
        match page.token {
            Some(token) => asked.token = Some(token),
            None => return found,
        }
    }
}

/// What a search means, by the definitions of the filter alone.
fn meant(runs: &[Run], search: &RunSearch) -> Vec<String> {
    let in_view =
        |run: &Run| search.view == ViewType::All || (search.view == ViewType::Deleted) == (run.lifecycle_stage == LifecycleStage::Deleted);
    let mut found: Vec<&Run> = runs.iter().filter(|run| search.experiments.contains(&run.experiment) && in_view(run)).collect();
    found.retain(|run| search.filter.matches(*run));
    found.sort_by(|a, b| {
        let by_keys = search.order.iter().map(|key| key.compare(*a, *b)).find(|order| *order != Ordering::Equal);
        by_keys.unwrap_or(Ordering::Equal).then(b.start.cmp(&a.start)).then(a.id.cmp(&b.id))
    });
    found.into_iter().map(|run| run.id.to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn searches_mean_the_same_everywhere(
        mut runs in prop::collection::vec(run(), 0..25),
        searches in prop::collection::vec(search(), 20),
    ) {
        for (n, run) in runs.iter_mut().enumerate() {
            // Ids that do not follow the order of creation.
            run.id = RunId::new(format!("{:032x}", (n * 7) % 25));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&dir.path().join("meta.db")).unwrap();
        let twin = MemoryStore::new();
        runtime.block_on(filled(&*sqlite, &runs));
        runtime.block_on(filled(&*twin, &runs));
        for search in &searches {
            let expected = meant(&runs, search);
            prop_assert_eq!(&pages(&*twin, search), &expected, "the twin, {:?}", search);
            prop_assert_eq!(&pages(&*sqlite, search), &expected, "SQLite, {:?}", search);
            prop_assert_eq!(sqlite.count(search).unwrap(), expected.len() as u64);
            prop_assert_eq!(twin.count(search).unwrap(), expected.len() as u64);
        }
    }
}

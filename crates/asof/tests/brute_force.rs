//! Random small cases against a search over all pairs of label and feature row.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow::array::{TimestampMicrosecondArray, TimestampNanosecondArray};
use arrow::datatypes::Int64Type;
use asof::{AsofState, LabelIndex, ViewJoin};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Key (an integer and a text), time.
type Label = (Option<i32>, Option<&'static str>, Option<i64>);
/// Key, time, created. Its values are its own row number (null for every fifth) and a text.
type Row = (Option<i32>, Option<&'static str>, Option<i64>, Option<i64>);

#[derive(Debug, Clone)]
struct Case {
    labels: Vec<Label>,
    rows: Vec<Row>,
    ttl: Option<i64>,
    cutoff: bool,
    has_created: bool,
    /// Whether the integer alone is the key.
    one_key: bool,
    batch_rows: usize,
    n_threads: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let key = || proptest::option::weighted(0.9, 0..4i32);
    let text = || proptest::option::weighted(0.9, prop_oneof![Just(""), Just("a"), Just("a\0")]);
    let time = || proptest::option::weighted(0.9, 0..14i64);
    let labels = proptest::collection::vec((key(), text(), time()), 0..40);
    let rows = proptest::collection::vec((key(), text(), time(), time()), 0..400);
    let ttl = proptest::option::of(0..10i64);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (labels, rows, ttl, flags, 1..60usize, 1..4usize).prop_map(
        |(labels, rows, ttl, (cutoff, has_created, one_key), batch_rows, n_threads)| Case {
            labels,
            rows,
            ttl,
            cutoff: cutoff && has_created,
            has_created,
            one_key,
            batch_rows,
            n_threads,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(59),
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    })]

    #[test]
    fn the_join_is_the_search_over_all_pairs(case in case()) {
        let expected: Vec<Option<usize>> = case.labels.iter().map(|label| winner(&case, label)).collect();
        let columns = join(&case);
        let ids = columns[0].as_primitive::<Int64Type>();
        let texts = columns[1].as_string_view();
        prop_assert_eq!(ids.len(), expected.len());
        for (label, winner) in expected.into_iter().enumerate() {
            let id = winner.filter(|row| row % 5 != 0).map(|row| row as i64);
            prop_assert_eq!(ids.is_valid(label).then(|| ids.value(label)), id, "label {}", label);
            let text = texts.is_valid(label).then(|| texts.value(label).to_owned());
            prop_assert_eq!(text, winner.map(long_text), "label {}", label);
        }
    }
}

fn winner(case: &Case, &(key, text, time): &Label) -> Option<usize> {
    let (key, time) = (key?, time?);
    let is_candidate = |row: &Row| {
        let same_key = row.0 == Some(key) && (case.one_key || (row.1.is_some() && row.1 == text));
        let in_time = row.2.is_some_and(|t| t <= time && case.ttl.is_none_or(|ttl| t >= time - ttl));
        same_key && in_time && (!case.cutoff || row.3.is_some_and(|created| created <= time))
    };
    let rank = |at: usize| (case.rows[at].2, case.rows[at].3.filter(|_| case.has_created), at);
    (0..case.rows.len()).filter(|at| is_candidate(&case.rows[*at])).max_by_key(|at| rank(*at))
}

/// Too long to lie inside a view, so that it needs a buffer.
fn long_text(row: usize) -> String {
    format!("the text of row number {row}")
}

/// Labels in two batches, times in us; feature rows in batches over several threads, times in ns, the integer key wider.
fn join(case: &Case) -> Vec<ArrayRef> {
    let (first, second) = case.labels.split_at(case.labels.len() / 2);
    let names: Vec<String> = if case.one_key { vec!["k".into()] } else { vec!["k".into(), "s".into()] };
    let labels = [label_batch(first), label_batch(second)];
    let index = Arc::new(LabelIndex::build(&labels, "at", &names).unwrap());
    let view = ViewJoin {
        // The view names its keys in another order than the index.
        keys: names.iter().rev().map(|name| (format!("f_{name}"), name.clone())).collect(),
        time: "ts".into(),
        created: case.has_created.then(|| "created".into()),
        features: vec![("id".into(), "x".into()), ("text".into(), "y".into())],
        ttl_ns: case.ttl.map(|ttl| ttl * 1_000),
        created_cutoff: case.cutoff,
    };
    let batches: Vec<(usize, RecordBatch)> = (0..case.rows.len())
        .step_by(case.batch_rows)
        .map(|from| (from, row_batch(case, from, (from + case.batch_rows).min(case.rows.len()))))
        .collect();
    let state = AsofState::new(index, view, row_batch(case, 0, 0).schema()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..case.n_threads {
            let (state, batches) = (&state, &batches);
            scope.spawn(move || {
                for (from, batch) in batches.iter().skip(thread).step_by(case.n_threads) {
                    state.push_at(*from as u64, batch).unwrap();
                }
            });
        }
    });
    state.finish().unwrap()
}

fn label_batch(labels: &[Label]) -> RecordBatch {
    let keys: Int32Array = labels.iter().map(|label| label.0).collect();
    let texts: StringArray = labels.iter().map(|label| label.1).collect();
    let times: TimestampMicrosecondArray = labels.iter().map(|label| label.2).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(keys) as ArrayRef, true),
        ("s", Arc::new(texts) as ArrayRef, true),
        ("at", Arc::new(times) as ArrayRef, true),
    ])
    .unwrap()
}

fn row_batch(case: &Case, from: usize, to: usize) -> RecordBatch {
    let rows = &case.rows[from..to];
    let keys: Int64Array = rows.iter().map(|row| row.0.map(i64::from)).collect();
    let texts: StringViewArray = rows.iter().map(|row| row.1).collect();
    let ns = |t: Option<i64>| t.map(|t| t * 1_000);
    let times: TimestampNanosecondArray = rows.iter().map(|row| ns(row.2)).collect();
    let created: TimestampNanosecondArray = rows.iter().map(|row| ns(row.3)).collect();
    let ids: Int64Array = (from..to).map(|row| (row % 5 != 0).then_some(row as i64)).collect();
    let values: StringViewArray = (from..to).map(|row| Some(long_text(row))).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("f_k", Arc::new(keys) as ArrayRef, true),
        ("f_s", Arc::new(texts) as ArrayRef, true),
        ("ts", Arc::new(times) as ArrayRef, true),
        ("created", Arc::new(created) as ArrayRef, true),
        ("id", Arc::new(ids) as ArrayRef, true),
        ("text", Arc::new(values) as ArrayRef, true),
    ])
    .unwrap()
}

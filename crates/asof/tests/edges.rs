//! What is refused, and how it is said; the odd corners of keys, times and memory.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{Int32Type, Int64Type};
use asof::{AsofState, LabelIndex, ViewJoin, join};

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn seconds(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(values.to_vec()))
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn view(keys: &[&str]) -> ViewJoin {
    ViewJoin {
        keys: keys.iter().map(|key| (key.to_string(), key.to_string())).collect(),
        time: "ts".into(),
        created: None,
        features: vec![("f".into(), "f".into())],
        ttl_ns: None,
        created_cutoff: false,
    }
}

fn refusal(labels: &RecordBatch, view: ViewJoin, rows: &RecordBatch) -> String {
    join(labels, "ts", &[(view, vec![rows.clone()])]).unwrap_err().to_string()
}

/// The one feature of a join on `k`.
fn joined(label_keys: ArrayRef, row_keys: ArrayRef) -> Vec<Option<i64>> {
    let at = |keys: &ArrayRef| seconds(&vec![1; keys.len()]);
    let numbers: Vec<i64> = (0..row_keys.len() as i64).collect();
    let rows = batch([("ts", at(&row_keys)), ("k", row_keys), ("f", ints(&numbers))]);
    let labels = batch([("ts", at(&label_keys)), ("k", label_keys)]);
    let out = join(&labels, "ts", &[(view(&["k"]), vec![rows])]).unwrap();
    out["f"].as_primitive::<Int64Type>().iter().collect()
}

#[test]
fn refusals_name_the_column_and_what_was_found() {
    let labels = batch([("k", ints(&[1])), ("ts", seconds(&[1]))]);
    let rows = batch([("k", ints(&[1])), ("ts", seconds(&[1])), ("f", ints(&[1]))]);
    let missing = ViewJoin { features: vec![("g".into(), "g".into())], ..view(&["k"]) };
    assert_eq!(refusal(&labels, missing, &rows), "no column `g`, there are: k, ts, f");
    let untimely = ViewJoin { time: "f".into(), ..view(&["k"]) };
    assert_eq!(refusal(&labels, untimely, &rows), "column `f` is Int64, a time column is a timestamp or a date");
    let cutoff = ViewJoin { created_cutoff: true, ..view(&["k"]) };
    assert_eq!(refusal(&labels, cutoff, &rows), "a created cut-off needs the view's `created` column");
    let taken = ViewJoin { features: vec![("f".into(), "k".into())], ..view(&["k"]) };
    assert_eq!(refusal(&labels, taken, &rows), "two columns would be named `k`: rename one of them");
    let texts = batch([("k", Arc::new(StringArray::from(vec!["1"])) as ArrayRef), ("ts", seconds(&[1])), ("f", ints(&[1]))]);
    assert_eq!(refusal(&labels, view(&["k"]), &texts), "key `k` is Utf8, but `k` of the labels is Int64: cast one of them");
    let far = batch([("k", ints(&[1])), ("ts", seconds(&[253_402_300_799])), ("f", ints(&[1]))]);
    assert_eq!(
        refusal(&labels, view(&["k"]), &far),
        "column `ts` holds 253402300799 s, nanosecond times reach from 1677-09-21 to 2262-04-11"
    );
    let no_labels = LabelIndex::build(&[], "ts", &[]).err().unwrap();
    assert_eq!(no_labels.to_string(), "no label batches: an empty batch tells the schema");
}

#[test]
fn a_state_refuses_other_keys_and_batches_of_another_type() {
    let labels = batch([("k", ints(&[1])), ("ts", seconds(&[1]))]);
    let rows = batch([("k", ints(&[1])), ("ts", seconds(&[1])), ("f", ints(&[1]))]);
    let index = Arc::new(LabelIndex::build(&[labels], "ts", &["k".into()]).unwrap());
    let other = AsofState::new(index.clone(), view(&[]), rows.schema()).err().unwrap();
    assert_eq!(other.to_string(), "the view joins on [-], the label index is built on [k]");
    let state = AsofState::new(index, view(&["k"]), rows.schema()).unwrap();
    let changed = batch([("k", ints(&[1])), ("ts", seconds(&[1])), ("f", seconds(&[1]))]);
    let error = state.push(&changed).unwrap_err().to_string();
    assert_eq!(error, "column `f` is Timestamp(s), the feature schema says Int64");
}

#[test]
fn integer_keys_match_by_value_whatever_their_width() {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, -1, 7]));
    let wide = ints(&[i64::from(i32::MAX) + 2, 7, 1]);
    assert_eq!(joined(narrow.clone(), wide), [Some(2), None, Some(1)]);
    let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 1]));
    assert_eq!(joined(narrow.clone(), unsigned.clone()), [Some(1), None, None]);
    assert_eq!(joined(unsigned, narrow), [None, Some(0)], "-1 is not 2^64 - 1");
}

#[test]
fn text_keys_match_however_they_are_stored() {
    let labels: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
    let rows: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("c")]));
    assert_eq!(joined(Arc::new(labels), rows), [None, None, Some(0)]);
}

#[test]
fn float_keys_match_by_value() {
    let labels: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5]));
    let rows: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.5]));
    assert_eq!(joined(labels, rows), [None, Some(0)]);
}

#[test]
fn without_keys_every_row_is_a_candidate() {
    let labels = batch([("ts", seconds(&[3, 1, 2]))]);
    let rows = batch([("ts", seconds(&[2, 3])), ("f", ints(&[20, 30]))]);
    let out = join(&labels, "ts", &[(view(&[]), vec![rows])]).unwrap();
    let f: Vec<Option<i64>> = out["f"].as_primitive::<Int64Type>().iter().collect();
    assert_eq!(f, [Some(30), None, Some(20)]);
}

#[test]
fn instants_of_different_units_are_compared_in_ns() {
    let labels = batch([("ts", Arc::new(TimestampMillisecondArray::from(vec![5])) as ArrayRef)]);
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![4_999_999, 5_000_001]));
    let rows = batch([("ts", times), ("f", ints(&[1, 2]))]);
    let out = join(&labels, "ts", &[(view(&[]), vec![rows])]).unwrap();
    assert_eq!(out["f"].as_primitive::<Int64Type>().value(0), 1, "one ns in the future is the future");
}

#[test]
fn a_view_without_batches_is_null() {
    let labels = batch([("k", ints(&[1, 2])), ("ts", seconds(&[1, 2]))]);
    let out = join(&labels, "ts", &[(view(&["k"]), vec![])]).unwrap();
    assert_eq!(out["f"].logical_null_count(), 2);
}

#[test]
fn the_earliest_and_latest_label_bound_what_must_be_read() {
    let labels = batch([("ts", seconds(&[3, 1, 2]))]);
    let index = LabelIndex::build(&[labels], "ts", &[]).unwrap();
    assert_eq!(index.time_range(), Some((1_000_000_000, 3_000_000_000)));
    assert_eq!(index.n_labels(), 3);
}

/// Such a key has a number but no bucket, and may be the last one.
#[test]
fn a_key_whose_labels_all_lack_a_time_matches_nothing() {
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(1), None]));
    let labels = batch([("k", ints(&[1, 2])), ("ts", times)]);
    let rows = batch([("k", ints(&[2, 1])), ("ts", seconds(&[1, 1])), ("f", ints(&[20, 10]))]);
    let out = join(&labels, "ts", &[(view(&["k"]), vec![rows])]).unwrap();
    let f: Vec<Option<i64>> = out["f"].as_primitive::<Int64Type>().iter().collect();
    assert_eq!(f, [Some(10), None]);
}

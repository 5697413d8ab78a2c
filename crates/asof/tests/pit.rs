//! The 27 point-in-time cases of `tests/pit` (rules and layout: `tests/pit/README.md`), each a folder of data.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::{cast, concat_batches, kernels::numeric::add};
use arrow::datatypes::{DataType, Float64Type};
use asof::ViewJoin;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

#[test]
fn every_case_gives_the_expected_rows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pit");
    let mut n_cases = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let case = entry.unwrap().path();
        if case.is_dir() {
            check(&case);
            n_cases += 1;
        }
    }
    assert_eq!(n_cases, 27);
}

fn check(folder: &Path) {
    let case = json(&folder.join("case.json"));
    let labels = rows(&folder.join("entity.parquet"));
    let views: Vec<_> = case["views"].as_array().unwrap().iter().map(|v| (view(&case, v), source(folder, v))).collect();
    let joined = asof::join(&labels, "event_timestamp", &views).unwrap();
    let expected = rows(&folder.join("expected.parquet"));
    assert_eq!(joined.num_rows(), expected.num_rows(), "{folder:?}");
    let allowed = json(&folder.join("allowed.json"));
    for (at, field) in expected.schema().fields().iter().enumerate() {
        let actual = match field.name().as_str() {
            "odfv__boosted" => add(&joined["v0__f0"].as_primitive::<Float64Type>(), &floats(&labels["boost"])).unwrap(),
            name => joined.column_by_name(name).unwrap_or_else(|| panic!("{folder:?}: {name}")).clone(),
        };
        compare(folder, field.name(), &actual, expected.column(at), &allowed);
    }
    for tie in allowed.as_array().unwrap() {
        check_tie(folder, tie, &joined);
    }
    let on_demand = usize::from(case["odfv"] == true);
    assert_eq!(joined.num_columns() + on_demand, expected.num_columns(), "{folder:?}");
}

/// All rows equal, less those where several rows may win.
fn compare(folder: &Path, name: &str, actual: &ArrayRef, expected: &ArrayRef, allowed: &Value) {
    if *expected.data_type() == DataType::Null {
        assert_eq!(actual.null_count(), actual.len(), "{folder:?}: {name}");
        return;
    }
    let is_tied = |row: usize| {
        let here = |tie: &&Value| tie["row"] == row && tie["columns"].as_array().unwrap().contains(&name.into());
        allowed.as_array().unwrap().iter().any(|tie| here(&tie))
    };
    for row in (0..actual.len()).filter(|row| !is_tied(*row)) {
        let (actual, expected) = (actual.slice(row, 1), expected.slice(row, 1));
        assert_eq!(&actual, &expected, "{folder:?}: {name}, row {row}");
    }
}

/// The values of a tied row are one of the allowed ones, whole.
fn check_tie(folder: &Path, tie: &Value, joined: &RecordBatch) {
    let row = tie["row"].as_u64().unwrap() as usize;
    let columns = tie["columns"].as_array().unwrap();
    let value = |column: &Value| {
        let values = floats(&joined[column.as_str().unwrap()]);
        values.is_valid(row).then(|| values.value(row))
    };
    let actual: Vec<Option<f64>> = columns.iter().map(value).collect();
    let any_of = tie["any_of"].as_array().unwrap();
    let matches = |one: &&Value| one.as_array().unwrap().iter().map(Value::as_f64).eq(actual.iter().copied());
    assert!(any_of.iter().any(|one| matches(&one)), "{folder:?}: row {row} is {actual:?}");
}

fn view(case: &Value, view: &Value) -> ViewJoin {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let prefix = match (&case["full_feature_names"], &view["alias"]) {
        (Value::Bool(false), _) => String::new(),
        (_, Value::Null) => format!("{}__", text(&view["name"])),
        (_, alias) => format!("{}__", text(alias)),
    };
    let source_column = |feature: &str| {
        let mapping = view["field_mapping"].as_object().unwrap();
        let source = mapping.iter().find(|(_, name)| *name == feature);
        source.map_or(feature.to_owned(), |(source, _)| source.clone())
    };
    let key = |key: &Value| {
        let label = view["join_key_map"].get(key.as_str().unwrap()).unwrap_or(key);
        (text(key), text(label))
    };
    let feature = |name: &Value| (source_column(name.as_str().unwrap()), format!("{prefix}{}", text(name)));
    let ttl_s = view["ttl_s"].as_i64().unwrap();
    ViewJoin {
        keys: view["entities"].as_array().unwrap().iter().map(key).collect(),
        time: text(&view["timestamp_field"]),
        created: view["created_field"].as_str().map(str::to_owned),
        features: view["features"].as_array().unwrap().iter().map(feature).collect(),
        ttl_ns: (ttl_s > 0).then_some(ttl_s * 1_000_000_000),
        created_cutoff: case["created_cutoff"] == true,
    }
}

fn source(folder: &Path, view: &Value) -> Vec<RecordBatch> {
    vec![rows(&folder.join(view["file"].as_str().unwrap()))]
}

fn floats(values: &ArrayRef) -> Float64Array {
    cast(values, &DataType::Float64).unwrap().as_primitive::<Float64Type>().clone()
}

fn rows(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_reader(File::open(path).unwrap()).unwrap()
}

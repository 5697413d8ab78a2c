//! What every expression engine does.

#![allow(clippy::unwrap_used)]

use crate::{ExprEngine, scalar_at};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use domain::Scalar;
use std::sync::Arc;

/// Runs the whole suite.
pub fn suite(engine: &dyn ExprEngine) {
    values_are_computed_a_row(engine);
    nulls_stay_null(engine);
    mistakes_are_refused(engine);
    a_row_query_gives_its_columns_in_its_order(engine);
    what_needs_the_whole_table_is_no_row_query(engine);
}

/// Saturday 2011-01-01 23:00, and Wednesday 1969-12-31 01:00.
fn rows() -> RecordBatch {
    let times = TimestampMillisecondArray::from(vec![Some(1_293_922_800_000), Some(-82_800_000), None]).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 4] = [
        ("city_id", Arc::new(StringArray::from(vec!["dc", "ny", "sf"]))),
        ("temp", Arc::new(Float64Array::from(vec![Some(0.5), Some(-2.0), None]))),
        ("count", Arc::new(Int64Array::from(vec![Some(7), Some(-7), None]))),
        ("request.ts", Arc::new(times)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn named(exprs: &[(&str, &str)]) -> Vec<(String, String)> {
    exprs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn values(rows: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    let column = rows.column_by_name(column).unwrap();
    (0..rows.num_rows()).map(|row| scalar_at(column, row).as_f64()).collect()
}

fn values_are_computed_a_row(engine: &dyn ExprEngine) {
    let cases = [
        ("hour", "extract(hour from request.ts)", [23.0, 1.0]),
        ("weekday", "EXTRACT(dow FROM request.ts)", [6.0, 3.0]),
        ("same", "temp", [0.5, -2.0]),
        ("number", "3", [3.0, 3.0]),
        ("order", "1 + temp * 2 - 0.5", [1.5, -3.5]),
        ("brackets", "(1 + temp) * (2 - 4)", [-3.0, 2.0]),
        ("negative", "-temp", [-0.5, 2.0]),
        ("halves", "temp / 2", [0.25, -1.0]),
        ("whole", "count / 2", [3.0, -3.0]),
        ("mixed", "count * 0.5", [3.5, -3.5]),
        ("of a part", "extract(hour from request.ts) * 2", [46.0, 2.0]),
    ];
    let exprs: Vec<(&str, &str)> = cases.iter().map(|(name, text, _)| (*name, *text)).collect();
    let rows = rows();
    let compiled = engine.expressions(&named(&exprs), rows.schema()).unwrap();
    let names: Vec<_> = compiled.output().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, exprs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "in the order given");
    let all = compiled.evaluate(&rows).unwrap();
    assert_eq!(all.schema(), compiled.output(), "what was said comes out");
    for (name, text, expected) in cases {
        assert_eq!(values(&all, name)[..2], expected.map(Some), "{text}");
    }
    for row in 0..2 {
        let one = compiled.evaluate(&rows.slice(row, 1)).unwrap();
        assert_eq!(one, all.slice(row, 1), "one row alone is as among others");
    }
    let none = compiled.evaluate(&rows.slice(0, 0)).unwrap();
    assert_eq!((none.num_rows(), none.num_columns()), (0, cases.len()));
}

fn nulls_stay_null(engine: &dyn ExprEngine) {
    let rows = rows();
    let exprs = [("a", "temp + 1"), ("b", "count * 2"), ("c", "extract(hour from request.ts)"), ("d", "city_id"), ("e", "1 + 1")];
    let out = engine.expressions(&named(&exprs), rows.schema()).unwrap().evaluate(&rows).unwrap();
    let last: Vec<Scalar> = out.columns().iter().map(|column| scalar_at(column, 2)).collect();
    assert_eq!(last[..3], [Scalar::Null, Scalar::Null, Scalar::Null]);
    assert_eq!((&last[3], last[4].as_f64()), (&Scalar::Text("sf".into()), Some(2.0)));
}

fn mistakes_are_refused(engine: &dyn ExprEngine) {
    for text in ["nowhere + 1", "no_such_function(temp)", "request.nothing", "temp +", ""] {
        let refusal = engine.expressions(&named(&[("x", text)]), rows().schema()).err();
        assert!(refusal.is_some_and(|refusal| refusal.code.starts_with("query/")), "{text}");
    }
}

fn a_row_query_gives_its_columns_in_its_order(engine: &dyn ExprEngine) {
    let rows = rows();
    let compiled = engine.row_query("select temp, city_id from weather", "weather", rows.schema()).unwrap();
    let out = compiled.evaluate(&rows).unwrap();
    assert_eq!(out.schema(), compiled.output());
    let names: Vec<_> = out.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["temp", "city_id"]);
    assert_eq!(values(&out, "temp"), [Some(0.5), Some(-2.0), None]);
    assert_eq!(scalar_at(out.column(1), 1), Scalar::Text("ny".into()));
}

fn what_needs_the_whole_table_is_no_row_query(engine: &dyn ExprEngine) {
    let wrong = [
        "select temp from weather limit 1",
        "select temp from weather order by temp",
        "select city_id, avg(temp) from weather group by city_id",
        "select nowhere from weather",
        "select temp from elsewhere",
        "selec temp from weather",
    ];
    for text in wrong {
        assert!(engine.row_query(text, "weather", rows().schema()).is_err(), "{text}");
    }
}

//! What every offline engine does.

#![allow(clippy::unwrap_used)]

use crate::{FeatureRows, OfflineEngine, PitRequest, PitView, QueryError, TableData, scalar_at};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray};
use domain::{Scalar, Span};
use std::path::Path;
use std::sync::Arc;

const HOUR: i64 = 3_600_000;

/// Runs the whole suite on a new engine. `folder`: empty, for files to read.
pub async fn suite(engine: &dyn OfflineEngine, folder: &Path) {
    a_table_keeps_its_versions_and_takes_a_key_once(engine).await;
    columns_may_come_later_and_keep_their_type(engine).await;
    queries_read_tables_rows_and_files(engine, folder).await;
    mistakes_are_refused(engine).await;
    each_label_sees_what_was_known_at_its_time(engine).await;
    views_join_one_after_the_other(engine).await;
}

type Seen<'a> = (Option<&'a str>, Option<i64>, Option<i64>, Option<f64>);

/// City, hour observed, hour received, temperature.
fn weather(rows: &[Seen]) -> RecordBatch {
    let times = |of: fn(&Seen) -> Option<i64>| -> ArrayRef {
        let micros = rows.iter().map(|row| of(row).map(|hour| hour * HOUR * 1_000));
        Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
    };
    let columns: [(&str, ArrayRef); 4] = [
        ("city_id", Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>())),
        ("observed_at", times(|row| row.1)),
        ("received_at", times(|row| row.2)),
        ("temp", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn hourly(hours: std::ops::Range<i64>) -> RecordBatch {
    let rows: Vec<Seen> = hours.map(|hour| (Some("dc"), Some(hour), Some(hour), Some(hour as f64))).collect();
    weather(&rows)
}

async fn query(engine: &dyn OfflineEngine, sql: &str, data: TableData) -> Result<Vec<RecordBatch>, QueryError> {
    engine.query(&FeatureRows { sql: sql.into(), tables: vec![("weather".into(), data)] }).await
}

fn table(version: Option<i64>) -> TableData {
    TableData::Table { table: "weather".into(), version }
}

fn column(rows: &[RecordBatch], name: &str) -> Vec<Scalar> {
    let of = |batch: &RecordBatch| {
        let column = batch.column_by_name(name).unwrap().clone();
        (0..batch.num_rows()).map(move |row| scalar_at(&column, row)).collect::<Vec<_>>()
    };
    rows.iter().flat_map(of).collect()
}

fn numbers(rows: &[RecordBatch], name: &str) -> Vec<Option<f64>> {
    column(rows, name).iter().map(Scalar::as_f64).collect()
}

fn refused<T: std::fmt::Debug>(result: Result<T, QueryError>, what: &str) -> String {
    match result {
        Err(QueryError::Refused(refusal)) => refusal.code,
        other => panic!("{what}: {other:?}"),
    }
}

async fn a_table_keeps_its_versions_and_takes_a_key_once(engine: &dyn OfflineEngine) {
    assert_eq!(engine.table("weather").await.unwrap(), None);
    let first = engine.append("weather", vec![hourly(0..1), hourly(1..2)], "a").await.unwrap();
    assert_eq!(first.rows, 2);
    assert_eq!(engine.append("weather", vec![hourly(0..2)], "a").await.unwrap(), first, "a key seen before adds nothing");
    let second = engine.append("weather", vec![hourly(2..3)], "b").await.unwrap();
    assert_eq!((second.version, second.rows), (first.version + 1, 3));
    assert_eq!(engine.append("weather", vec![hourly(9..10)], "a").await.unwrap(), second, "whatever comes with it");
    assert_eq!(engine.table("weather").await.unwrap(), Some(second));
    for (version, rows) in [(Some(first.version), 2), (Some(first.version + 1), 3), (None, 3)] {
        let mut found = numbers(&query(engine, "select * from weather", table(version)).await.unwrap(), "temp");
        found.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(found, (0..rows).map(|hour| Some(f64::from(hour))).collect::<Vec<_>>(), "{version:?}");
    }
    refused(query(engine, "select * from weather", table(Some(99))).await, "a version that never was");
}

async fn columns_may_come_later_and_keep_their_type(engine: &dyn OfflineEngine) {
    let with_wind = |column: ArrayRef| {
        let cities: ArrayRef = Arc::new(StringArray::from(vec!["dc"]));
        RecordBatch::try_from_iter_with_nullable([("city_id", cities, true), ("wind", column, true)]).unwrap()
    };
    engine.append("grows", vec![hourly(0..1)], "a").await.unwrap();
    let grown = engine.append("grows", vec![with_wind(Arc::new(Int64Array::from(vec![4])))], "b").await.unwrap();
    let data = || TableData::Table { table: "grows".into(), version: None };
    let rows = query(engine, "select wind, temp from weather", data()).await.unwrap();
    let (mut wind, mut temp) = (numbers(&rows, "wind"), numbers(&rows, "temp"));
    wind.sort_by(|a, b| a.partial_cmp(b).unwrap());
    temp.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!((wind, temp), (vec![None, Some(4.0)], vec![None, Some(0.0)]));
    let wrong = engine.append("grows", vec![with_wind(Arc::new(StringArray::from(vec!["calm"])))], "c").await;
    refused(wrong, "text in a column of numbers");
    assert_eq!(engine.table("grows").await.unwrap(), Some(grown), "nothing of it was kept");
    engine.drop_table("grows").await.unwrap();
    engine.drop_table("grows").await.unwrap();
    assert_eq!(engine.table("grows").await.unwrap(), None);
    assert_eq!(engine.append("grows", vec![hourly(0..1)], "a").await.unwrap().rows, 1, "a dropped table remembers nothing");
}

async fn queries_read_tables_rows_and_files(engine: &dyn OfflineEngine, folder: &Path) {
    let csv = folder.join("weather.csv");
    std::fs::write(&csv, "city_id,observed_at,count,temp\ndc,1970-01-01T00:00:00Z,3,0.5\nny,1970-01-01T01:00:00Z,,1\n").unwrap();
    let file = || TableData::Files(csv.to_string_lossy().into_owned());
    let read = query(engine, "select * from \"weather\"", file()).await.unwrap();
    assert_eq!(column(&read, "city_id"), ["dc", "ny"].map(|city| Scalar::Text(city.into())));
    assert_eq!(numbers(&read, "temp"), [Some(0.5), Some(1.0)]);
    assert_eq!(column(&read, "count"), [Scalar::Int(3), Scalar::Null]);
    let times = ["1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z"].map(|time| Scalar::Text(time.into()));
    assert_eq!(column(&read, "observed_at"), times, "times are read as times");

    let rows = || TableData::Rows(vec![hourly(0..2), hourly(2..4)]);
    let some = query(engine, "select temp, city_id from weather limit 3", rows()).await.unwrap();
    let names: Vec<_> = some[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!((names, column(&some, "temp").len()), (vec!["temp".to_owned(), "city_id".to_owned()], 3));
    for sql in ["select * from \"weather\" limit 0", "select * from (select city_id, observed_at, received_at, temp from weather) limit 0"]
    {
        for data in [table(None), rows()] {
            let none = query(engine, sql, data).await.unwrap();
            assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
            let schema = none[0].schema();
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names, ["city_id", "observed_at", "received_at", "temp"], "an empty answer says its columns");
            assert_eq!(schema.field(1).data_type(), hourly(0..1).schema().field(1).data_type(), "and their types");
        }
    }
}

async fn mistakes_are_refused(engine: &dyn OfflineEngine) {
    let rows = || TableData::Rows(vec![hourly(0..1)]);
    for sql in ["select nowhere from weather", "select * from elsewhere", "selec 1", "drop table weather", "create table x as select 1", ""]
    {
        let code = refused(query(engine, sql, rows()).await, sql);
        assert!(code.starts_with("query/"), "{sql}: {code}");
    }
    let files = TableData::Files("/nowhere/weather.csv".into());
    assert_eq!(refused(query(engine, "select * from weather", files).await, "no file"), "source/no_files");
    let missing = TableData::Table { table: "nowhere".into(), version: None };
    assert_eq!(refused(query(engine, "select * from weather", missing).await, "no table"), "table/not_found");
}

/// Labels of a city at an hour, and their own column.
fn labels(about: &[(Option<&str>, Option<i64>)]) -> RecordBatch {
    let times = about.iter().map(|(_, hour)| hour.map(|hour| hour * HOUR));
    let columns: [(&str, ArrayRef); 3] = [
        ("city", Arc::new(about.iter().map(|(city, _)| *city).collect::<StringArray>())),
        ("ts", Arc::new(TimestampMillisecondArray::from_iter(times).with_timezone("UTC"))),
        ("label", Arc::new(Int64Array::from_iter_values(0..about.len() as i64))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn view(rows: &[Seen]) -> PitView {
    PitView {
        rows: FeatureRows {
            sql: "select city_id, observed_at, received_at, temp from weather".into(),
            tables: vec![("weather".into(), TableData::Rows(vec![weather(rows)]))],
        },
        keys: vec![("city_id".into(), "city".into())],
        time: "observed_at".into(),
        created: Some("received_at".into()),
        features: vec![("temp".into(), "temp".into())],
        ttl: None,
        created_cutoff: false,
    }
}

async fn seen(engine: &dyn OfflineEngine, view: PitView, about: &[(Option<&str>, Option<i64>)]) -> Vec<Option<f64>> {
    let request = PitRequest { labels: vec![labels(about)], time: "ts".into(), views: vec![view] };
    let joined = engine.point_in_time(request).await.unwrap();
    let own = (0..about.len() as i64).map(Scalar::Int).collect::<Vec<_>>();
    assert_eq!(column(std::slice::from_ref(&joined), "label"), own, "one row a label, in order");
    numbers(&[joined], "temp")
}

async fn each_label_sees_what_was_known_at_its_time(engine: &dyn OfflineEngine) {
    let dc = |hour: i64, received: Option<i64>, temp: Option<f64>| (Some("dc"), Some(hour), received, temp);
    let rows = [
        dc(4, Some(4), Some(4.0)),
        dc(2, Some(6), Some(2.0)),
        dc(2, Some(2), Some(2.5)),
        (Some("ny"), Some(3), Some(3), Some(30.0)),
        (None, Some(3), Some(3), Some(99.0)),
        (Some("dc"), None, Some(3), Some(98.0)),
        dc(7, None, Some(7.0)),
        dc(8, Some(8), None),
        dc(10, Some(10), Some(10.0)),
        dc(10, Some(10), Some(10.5)),
    ];
    let at = |hour| (Some("dc"), Some(hour));
    let about = [at(1), at(2), at(3), at(4), at(7), at(9), at(10), at(4), (Some("ny"), Some(9)), (None, Some(9)), (Some("dc"), None)];
    let plain = [None, Some(2.0), Some(2.0), Some(4.0), Some(7.0), None, Some(10.5), Some(4.0), Some(30.0), None, None];
    assert_eq!(seen(engine, view(&rows), &about).await, plain, "the latest, then the latest received, then the last; nulls stay");
    let short = PitView { ttl: Some(Span::from_ms(HOUR)), ..view(&rows) };
    let fresh = [None, Some(2.0), Some(2.0), Some(4.0), Some(7.0), None, Some(10.5), Some(4.0), None, None, None];
    assert_eq!(seen(engine, short, &about).await, fresh, "both ends of a ttl count");
    let honest = PitView { created_cutoff: true, ..view(&rows) };
    let known = [None, Some(2.5), Some(2.5), Some(4.0), Some(4.0), None, Some(10.5), Some(4.0), Some(30.0), None, None];
    assert_eq!(seen(engine, honest, &about).await, known, "what was not received yet is not seen");
    let nothing = PitView { ttl: Some(Span::from_ms(0)), ..view(&[]) };
    assert_eq!(seen(engine, nothing, &about).await, [None; 11]);
    assert_eq!(seen(engine, view(&rows), &[]).await, []);
}

async fn views_join_one_after_the_other(engine: &dyn OfflineEngine) {
    let rows: [Seen; 1] = [(Some("dc"), Some(1), Some(1), Some(1.0))];
    let renamed = |name: &str| PitView { features: vec![("temp".into(), name.into())], ..view(&rows) };
    let request = |second: &str| PitRequest {
        labels: vec![labels(&[(Some("dc"), Some(1))]), labels(&[(Some("dc"), Some(0))])],
        time: "ts".into(),
        views: vec![renamed("b"), renamed(second)],
    };
    let joined = engine.point_in_time(request("a")).await.unwrap();
    let names: Vec<_> = joined.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["city", "ts", "label", "b", "a"]);
    assert_eq!(numbers(&[joined], "a"), [Some(1.0), None]);
    for taken in ["b", "label"] {
        assert_eq!(refused(engine.point_in_time(request(taken)).await, taken), "training_set/name");
    }
}

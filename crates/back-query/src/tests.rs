#![allow(clippy::unwrap_used)]
use super::*;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use domain::Span;
use ports::{ExprEngine, FeatureRows, OfflineEngine, PitRequest, PitView, QueryError, TableData, scalar_at};
use std::sync::Arc;

fn engine() -> (tempfile::TempDir, QueryEngine) {
    let folder = tempfile::tempdir().unwrap();
    let engine = QueryEngine::new(&folder.path().join("tables"), 64 << 20).unwrap();
    (folder, engine)
}

fn times(ms: &[i64]) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(ms.to_vec()).with_timezone("UTC"))
}

fn weather(hours: &[i64], temp: &[f64]) -> RecordBatch {
    let at: Vec<i64> = hours.iter().map(|hour| hour * 3_600_000).collect();
    let cities: ArrayRef = Arc::new(StringArray::from(vec!["dc"; hours.len()]));
    RecordBatch::try_from_iter([
        ("city_id", cities),
        ("observed_at", times(&at)),
        ("temp", Arc::new(Float64Array::from(temp.to_vec())) as ArrayRef),
    ])
    .unwrap()
}

#[tokio::test]
async fn a_table_keeps_its_versions_and_takes_a_key_once() {
    let (_folder, engine) = engine();
    assert_eq!(engine.table("weather").await.unwrap(), None);
    let first = engine.append("weather", vec![weather(&[0, 1], &[1.0, 2.0])], "a").await.unwrap();
    assert_eq!(first.rows, 2);
    assert_eq!(engine.append("weather", vec![weather(&[0, 1], &[1.0, 2.0])], "a").await.unwrap(), first);
    let second = engine.append("weather", vec![weather(&[2], &[3.0])], "b").await.unwrap();
    assert_eq!((second.rows, second.version), (3, first.version + 1));
    for (version, expected) in [(Some(first.version), 2), (None, 3)] {
        let query = FeatureRows {
            sql: "select count(*) as n from weather".into(),
            tables: vec![("weather".into(), TableData::Table { table: "weather".into(), version })],
        };
        let rows = engine.query(&query).await.unwrap();
        assert_eq!(scalar_at(rows[0].column(0), 0), domain::Scalar::Int(expected));
    }
    // A reopened engine goes on where the log stands.
    let again = QueryEngine::new(&_folder.path().join("tables"), 64 << 20).unwrap();
    assert_eq!(again.append("weather", vec![weather(&[2], &[3.0])], "b").await.unwrap(), second);
}

#[tokio::test]
async fn training_rows_come_from_files_and_tables_at_their_time() {
    let (folder, engine) = engine();
    let csv = folder.path().join("weather.csv");
    std::fs::write(&csv, "city_id,observed_at,temp\ndc,1970-01-01T00:00:00Z,1.5\ndc,1970-01-01T02:00:00Z,2.5\n").unwrap();
    let labels = RecordBatch::try_from_iter([
        ("city", Arc::new(StringArray::from(vec!["dc", "dc", "xx"])) as ArrayRef),
        ("ts", times(&[3_600_000, 7_200_000, 0])),
    ])
    .unwrap();
    let view = PitView {
        rows: FeatureRows {
            sql: "select city_id, observed_at, temp from weather".into(),
            tables: vec![("weather".into(), TableData::Files(csv.to_string_lossy().into_owned()))],
        },
        keys: vec![("city_id".into(), "city".into())],
        time: "observed_at".into(),
        created: None,
        features: vec![("temp".into(), "temp".into())],
        ttl: Some(Span::from_ms(7_200_000)),
        created_cutoff: false,
    };
    let joined = engine.point_in_time(PitRequest { labels: vec![labels], time: "ts".into(), views: vec![view] }).await.unwrap();
    let temp: Vec<_> = (0..3).map(|row| scalar_at(joined.column_by_name("temp").unwrap(), row).as_f64()).collect();
    assert_eq!(temp, [Some(1.5), Some(2.5), None]);
}

#[tokio::test]
async fn mistakes_are_refused_with_a_code_and_nothing_can_be_changed_by_a_query() {
    let (_folder, engine) = engine();
    for (sql, code) in [
        ("select nope from t", "query/invalid"),
        ("selec 1", "query/invalid"),
        ("drop table t", "query/invalid"),
        ("create table x as select 1", "query/invalid"),
        ("copy t to 'x.csv'", "query/invalid"),
    ] {
        let query = FeatureRows { sql: sql.into(), tables: vec![("t".into(), TableData::Rows(vec![weather(&[0], &[1.0])]))] };
        match engine.query(&query).await {
            Err(QueryError::Refused(refusal)) => assert_eq!(refusal.code, code, "{sql}: {refusal}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
    let missing = FeatureRows { sql: "select 1 from t".into(), tables: vec![("t".into(), TableData::Files("/nowhere/*.parquet".into()))] };
    assert!(matches!(engine.query(&missing).await, Err(QueryError::Refused(refusal)) if refusal.code == "source/no_files"));
    assert!(matches!(engine.table("../x").await, Err(QueryError::Refused(_))));
}

#[test]
fn expressions_see_request_columns_and_features() {
    let (_folder, engine) = engine();
    let input = Arc::new(Schema::new(vec![
        Field::new("request.ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("temp", DataType::Float64, true),
    ]));
    let exprs = [("hr", "extract(hour from request.ts)"), ("weekday", "extract(dow from request.ts)"), ("warm", "temp * 2 > 1")];
    let exprs: Vec<_> = exprs.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let compiled = engine.expressions(&exprs, input.clone()).unwrap();
    // Saturday 2011-01-01, 23:00.
    let rows = RecordBatch::try_new(input.clone(), vec![times(&[1_293_922_800_000]), Arc::new(Float64Array::from(vec![0.6]))]).unwrap();
    let out = compiled.evaluate(&rows).unwrap();
    let values: Vec<_> = out.columns().iter().map(|column| scalar_at(column, 0).to_string()).collect();
    assert_eq!(values, ["23", "6", "true"]);
    let wrong = engine.expressions(&[("x".into(), "no_such(temp)".into())], input.clone()).err().unwrap();
    assert!(wrong.to_string().contains("no_such"), "{wrong}");
}

#[test]
fn a_pushed_row_goes_through_the_views_query() {
    let (_folder, engine) = engine();
    let rows = weather(&[5, 6], &[0.5, -1.0]);
    let compiled =
        engine.row_query("select city_id, observed_at, temp * 10 as temp10 from weather where temp > 0", "weather", rows.schema()).unwrap();
    let out = compiled.evaluate(&rows).unwrap();
    assert_eq!((out.num_rows(), scalar_at(out.column_by_name("temp10").unwrap(), 0).as_f64()), (1, Some(5.0)));
    for sql in ["select city_id, avg(temp) from weather group by 1", "select * from weather order by temp limit 1"] {
        assert_eq!(engine.row_query(sql, "weather", rows.schema()).err().unwrap().code, "feature/not_by_row", "{sql}");
    }
}

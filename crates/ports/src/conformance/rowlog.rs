//! What every row log does.

use crate::{RowLog, scalar_at};
use domain::{EntityKey, Range, Row, Scalar, Timestamp};
use indexmap::IndexMap;

fn row(id: &str, time: i64, fields: &[(&str, Scalar)]) -> Row {
    Row {
        id: id.into(),
        time: Timestamp::from_ms(time),
        at: Timestamp::from_ms(time + 5),
        key: EntityKey::one("city", "Zürich, \"ZH\""),
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<IndexMap<_, _>>(),
    }
}

/// Appends, seals and reads back; panics where the log does not do as the port says.
pub async fn suite(log: &dyn RowLog) {
    let stream = "prediction/ünicode model";
    assert!(log.seal(stream).await.expect("sealing nothing works").is_none(), "an empty stream seals to nothing");
    assert_eq!(log.open_part(stream).rows, 0);
    let first = vec![
        row("a", 1_000, &[("x", Scalar::Int(1)), ("t", Scalar::Text("ü\n\"".into()))]),
        row("b", 3_000, &[("x", Scalar::Float(2.5)), ("flag", Scalar::Bool(true))]),
    ];
    log.append(stream, first).await.expect("rows are taken");
    log.append(stream, vec![row("a", 1_000, &[("x", Scalar::Int(9))])]).await.expect("a repeated row is taken");
    let open = log.open_part(stream);
    assert_eq!((open.rows, open.time), (2, Some(Range::new(Timestamp::from_ms(1_000), Timestamp::from_ms(3_001)))));
    let found = log.find(stream, "b").await.expect("find works");
    assert_eq!(found.map(|(_, time)| time), Some(Timestamp::from_ms(3_000)), "rows of the open part are found");

    let segment = log.seal(stream).await.expect("sealing works").expect("there are rows");
    assert_eq!((segment.number, segment.rows), (0, 2));
    assert_eq!(log.open_part(stream).rows, 0);
    let batch = log.read(&segment).await.expect("a segment can be read");
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["_id", "_time", "_at", "_key", "x", "t", "flag"]);
    let column = |name: &str| batch.column_by_name(name).expect("listed above").clone();
    assert_eq!(scalar_at(&column("x"), 0), Scalar::Float(1.0), "integers and numbers mixed are numbers");
    assert_eq!(scalar_at(&column("t"), 0), Scalar::Text("ü\n\"".into()));
    assert_eq!(scalar_at(&column("t"), 1), Scalar::Null);
    assert_eq!(scalar_at(&column("flag"), 1), Scalar::Bool(true));

    log.append(stream, vec![row("c", 2_000, &[("x", Scalar::Float(f64::NAN))])]).await.expect("NaN is a value");
    let second = log.seal(stream).await.expect("sealing works").expect("there is a row");
    assert_eq!(second.number, 1);
    let batch = log.read(&second).await.expect("a segment can be read");
    let x = scalar_at(batch.column_by_name("x").expect("the row has it"), 0);
    assert!(matches!(x, Scalar::Float(value) if value.is_nan()), "NaN comes back as NaN, not {x:?}");
    assert_eq!(log.segments(stream).expect("segments are listed").len(), 2);
    assert!(log.streams().contains(&stream.to_owned()));
    let found = log.find(stream, "a").await.expect("find works");
    assert_eq!(found.map(|(key, _)| key), Some(EntityKey::one("city", "Zürich, \"ZH\"")), "rows of segments are found");
    assert!(log.find(stream, "z").await.expect("find works").is_none());
}

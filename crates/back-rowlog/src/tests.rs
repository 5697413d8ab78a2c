#![allow(clippy::unwrap_used)]
use super::*;
use domain::Scalar;
use indexmap::IndexMap;
use std::io::Write;

fn row(id: &str, ms: i64) -> Row {
    Row {
        id: id.into(),
        time: Timestamp::from_ms(ms),
        at: Timestamp::from_ms(ms),
        key: EntityKey::one("k", "v"),
        fields: IndexMap::from([("x".to_owned(), Scalar::Int(ms))]),
    }
}

#[tokio::test]
async fn runs_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    ports::conformance::rowlog::suite(&*FileRowLog::open(folder.path()).unwrap()).await;
}

#[tokio::test]
async fn acknowledged_rows_outlive_the_process_and_a_torn_line_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let log = FileRowLog::open(folder.path()).unwrap();
    log.append("push/w", vec![row("a", -5), row("b", 7)]).await.unwrap();
    drop(log);
    let open = folder.path().join("push/w/0000000000.open");
    std::fs::File::options().append(true).open(&open).unwrap().write_all(b"{\"id\":\"torn").unwrap();
    let log = FileRowLog::open(folder.path()).unwrap();
    assert_eq!(log.open_part("push/w").rows, 2);
    log.append("push/w", vec![row("c", 9)]).await.unwrap();
    let segment = log.seal("push/w").await.unwrap().unwrap();
    assert_eq!(log.read(&segment).await.unwrap().num_rows(), 3);
    // A crash after the segment is there and before the open file is gone.
    std::fs::write(&open, serde_json::to_vec(&row("a", -5)).unwrap()).unwrap();
    let log = FileRowLog::open(folder.path()).unwrap();
    assert_eq!(log.open_part("push/w").rows, 0);
    assert_eq!(log.segments("push/w").unwrap(), vec![segment]);
}

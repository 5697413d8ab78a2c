//! The query engine against the suites of its two ports. Here, because a build of it alone would compile it anew.
#![allow(clippy::unwrap_used)]

use back_query::QueryEngine;
use ports::conformance;

fn engine() -> (tempfile::TempDir, QueryEngine) {
    let folder = tempfile::tempdir().unwrap();
    let engine = QueryEngine::new(&folder.path().join("tables"), 64 << 20).unwrap();
    (folder, engine)
}

#[tokio::test]
async fn the_query_engine_keeps_tables_and_joins() {
    let (folder, engine) = engine();
    conformance::offline::suite(&engine, folder.path()).await;
}

#[test]
fn the_query_engine_computes_expressions() {
    let (_folder, engine) = engine();
    conformance::expr::suite(&engine);
}

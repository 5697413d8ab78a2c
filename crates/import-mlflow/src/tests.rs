#![allow(clippy::unwrap_used)]

use super::*;
use domain::entity::{LifecycleStage, RunStatus};
use std::path::Path;

/// Everything that a source says, and what it leaves behind.
async fn read(address: &str) -> Result<(Vec<Item>, Vec<String>), ImportError> {
    let mut source = open(address).await?;
    let (out, mut items) = mpsc::channel(4);
    let reading = tokio::spawn(async move { source.read(&out).await });
    let mut all = Vec::new();
    while let Some(item) = items.recv().await {
        all.push(item);
    }
    let left = reading.await.map_err(|error| ImportError::reading("the source", error))??;
    Ok((all, left))
}

/// A server's file of some years ago: no workspaces, no logged models, no `run.name`.
fn old_file(path: &Path) -> rusqlite::Result<()> {
    rusqlite::Connection::open(path)?.execute_batch(
        "CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT, lifecycle_stage TEXT);
         INSERT INTO experiments VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active'), (7, 'gone', 's3://b/7', 'deleted');
         CREATE TABLE runs (run_uuid TEXT, user_id TEXT, status TEXT, start_time BIGINT, end_time BIGINT, lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER);
         INSERT INTO runs VALUES ('r1', 'ann', 'FAILED', 1000, 2000, 'deleted', 's3://b/7/r1', 7);
         CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
         INSERT INTO tags VALUES ('mlflow.runName', 'first', 'r1');
         CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
         INSERT INTO params VALUES ('lr', '0.1', 'r1');
         CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN);
         INSERT INTO metrics VALUES ('loss', 0, 5, 'r1', 0, 1), ('loss', 1.7976931348623157e308, 6, 'r1', -1, 0), ('loss', -2.5, 7, 'r1', 2, 0);
         CREATE TABLE registered_models (name TEXT, creation_time BIGINT, last_updated_time BIGINT, description TEXT);
         INSERT INTO registered_models VALUES ('m', 1, 2, NULL);
         CREATE TABLE model_versions (name TEXT, version INTEGER, current_stage TEXT, source TEXT, run_id TEXT, status TEXT);
         INSERT INTO model_versions VALUES ('m', 1, 'Production', 's3://b/m', 'r1', 'READY'), ('m', 2, 'Deleted_Internal', 'x', NULL, 'READY');
         CREATE TABLE trace_info (request_id TEXT);
         INSERT INTO trace_info VALUES ('t');",
    )
}

#[tokio::test]
async fn an_old_file_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlflow.db");
    old_file(&path).unwrap();
    let (items, left) = read(&format!("sqlite:///{}", path.display())).await.unwrap();
    assert_eq!(left, ["1 traces"]);
    let nouns: Vec<&str> = items.iter().map(Item::noun).collect();
    assert_eq!(nouns, ["experiments", "experiments", "runs", "points", "run ends", "registered models", "model versions"]);
    let Item::Run(run) = &items[2] else { panic!("{items:?}") };
    assert_eq!((run.name.as_str(), run.status, run.lifecycle_stage), ("first", RunStatus::Failed, LifecycleStage::Deleted));
    let Item::Points { points, .. } = &items[3] else { panic!("{items:?}") };
    assert!(points[0].value.is_nan() && points[1].value == f64::INFINITY && points[2].value == -2.5);
    assert_eq!(points[1].step, -1);
    let Item::Model(model) = &items[5] else { panic!("{items:?}") };
    assert_eq!(model.next_version, 3, "a deleted version's number is not given again");
}

#[tokio::test]
async fn a_folder_with_a_broken_file_tells_what_it_left() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("0/meta.yaml", "experiment_id: '0'\nname: Default\nartifact_location: file:///a\nlifecycle_stage: active\n");
    write(
        "0/r1/meta.yaml",
        "run_id: r1\nrun_name: ü\nexperiment_id: '0'\nstatus: 4\nstart_time: 1\nend_time: null\nlifecycle_stage: active\n",
    );
    write("0/r1/params/a/b", "1");
    write("0/r1/metrics/val/loss", "5 nan 0\n6 inf 1\nbroken\n7 1e-3 2\n");
    write("0/r2/meta.yaml", "run_id: [unclosed\n");
    write("0/r2/params/x", "1");
    write(".trash/9/meta.yaml", "experiment_id: '9'\nname: old\nlifecycle_stage: deleted\n");
    let (items, left) = read(folder.path().to_str().unwrap()).await.unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    let Item::Run(run) = &items[1] else { panic!("{items:?}") };
    assert_eq!((run.name.as_str(), run.status, run.params[0].key.as_str()), ("ü", RunStatus::Failed, "a/b"));
    let Item::Points { points, .. } = &items[2] else { panic!("{items:?}") };
    assert_eq!((points.len(), points[0].key.as_str()), (3, "val/loss"));
    assert!(matches!(&items[4], Item::Experiment(old) if old.lifecycle_stage == LifecycleStage::Deleted));
}

#[tokio::test]
async fn a_wrong_address_says_what_a_right_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap().to_owned();
    let empty_file = folder.path().join("empty.db");
    std::fs::write(&empty_file, "").unwrap();
    let not_a_store = format!("sqlite:///{}", empty_file.display());
    for (address, code) in [
        ("sqlite:////nowhere/mlflow.db", "import/no_file"),
        ("mysql://host/db", "import/address"),
        (empty.as_str(), "import/no_store"),
        (not_a_store.as_str(), "import/no_tables"),
        ("http://127.0.0.1:1", "import/unreadable"),
    ] {
        let Err(ImportError::Refused(refusal)) = read(address).await else { panic!("{address} was read") };
        assert_eq!(refusal.code, code, "{address}");
        assert!(refusal.hint.is_some());
    }
}

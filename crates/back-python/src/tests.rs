#![allow(clippy::unwrap_used)]
use super::*;
use arrow::array::{ArrayRef, Float64Array};
use arrow::record_batch::RecordBatch;
use domain::spec::{OutputSpec, RuntimeSpec};
use domain::{ModelName, Scalar, VersionNumber};
use ports::memory::MemoryArtifacts;
use ports::{ArtifactInfo, ByteStream, Params, PredictError, Stored};
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As much of pandas and mlflow as the worker asks for. The model answers as the first value says: -1 is held until something is in the pipe
/// `go`, -2 dicts whose keys are numbers, -3 dicts without keys, anything else itself.
const PANDAS: &str = "
class DataFrame(dict):
    def __len__(self):
        return len(next(iter(self.values())))
";
const PYFUNC: &str = "
import types

class Model:
    metadata = types.SimpleNamespace(get_input_schema=lambda: None, load_input_example=lambda folder: None)

    def predict(self, rows):
        values = rows['x']
        if values[0] == -1:
            open('go').read(1)
        if values[0] == -2:
            return [{0: .25, 1: .75} for _ in values]
        if values[0] == -3:
            return [{} for _ in values]
        return values

def load_model(folder):
    return Model()
";
/// A child that answers by ONNX, as far as its frames go: every value is 1.
const ONNX: &str = "
import json, struct, sys

def write(value):
    body = json.dumps(value).encode()
    sys.stdout.buffer.write(struct.pack('>I', len(body)) + body)
    sys.stdout.buffer.flush()

write({'values': []})
while head := sys.stdin.buffer.read(4):
    columns, _ = json.loads(sys.stdin.buffer.read(struct.unpack('>I', head)[0]))['columns']
    write({'values': [1.0 for _ in columns['x']]})
";
const LONG: Duration = Duration::from_secs(60);

struct Bench {
    folder: tempfile::TempDir,
    artifacts: Arc<Slow>,
    runtime: PythonRuntime,
}

impl Bench {
    /// The interpreter of the path sees the modules of the folder that its workers run in.
    async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mlflow")).unwrap();
        let modules =
            [("mlflow/__init__.py", ""), ("mlflow/pyfunc.py", PYFUNC), ("pandas.py", PANDAS), ("sklearn.py", "raise ImportError")];
        for (name, text) in modules.into_iter().chain([("onnx-worker", ONNX)]) {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("go")).status().unwrap().success());
        let artifacts = Arc::new(Slow::default());
        for name in ["MLmodel", "data/model.pkl"] {
            artifacts.put_bytes(&format!("models/1/{name}"), name.into()).await.unwrap();
        }
        let runtime = PythonRuntime::new(artifacts.clone(), folder.path(), &folder.path().join("environments"), "python3".into());
        Bench { folder, artifacts, runtime }
    }

    async fn load(&self, output: Option<OutputSpec>, onnx: Option<OnnxFiles>) -> Arc<dyn ModelHandle> {
        self.runtime.load(&ModelFiles { output, onnx, ..files() }).await.unwrap()
    }
}

fn files() -> ModelFiles {
    ModelFiles {
        model: ModelName::new("m"),
        version: VersionNumber(1),
        artifact_path: "models/1".into(),
        runtime: RuntimeSpec::Python,
        output: None,
        environment: EnvironmentSpec::Project,
        isolate: false,
        scale: None,
        onnx: None,
    }
}

fn rows(values: &[f64]) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
}

/// Artifacts whose pieces come only once others have had their turn; counts what was read.
#[derive(Default)]
struct Slow {
    inner: MemoryArtifacts,
    read: AtomicUsize,
}

#[async_trait]
impl ArtifactStore for Slow {
    async fn put(&self, path: &str, body: ByteStream) -> Result<Stored, Fault> {
        self.inner.put(path, body).await
    }
    async fn get(&self, path: &str) -> Result<Option<(u64, ByteStream)>, Fault> {
        self.read.fetch_add(1, Ordering::SeqCst);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.inner.get(path).await
    }
    async fn get_range(&self, path: &str, range: std::ops::Range<u64>) -> Result<Option<ByteStream>, Fault> {
        self.inner.get_range(path, range).await
    }
    async fn list(&self, folder: &str) -> Result<Vec<ArtifactInfo>, Fault> {
        self.inner.list(folder).await
    }
    async fn delete(&self, path: &str) -> Result<(), Fault> {
        self.inner.delete(path).await
    }
}

/// What was left of a request's deadline was the limit of its worker too: one that came late killed a worker that was well.
#[tokio::test]
async fn a_caller_that_leaves_early_takes_no_worker_with_it() {
    let bench = Bench::new().await;
    let handle = bench.load(None, None).await;
    assert_eq!(handle.predict(&rows(&[1.0]), LONG).await.unwrap(), [Scalar::Float(1.0)]);
    let held = handle.predict(&rows(&[-1.0]), Duration::from_millis(200)).await;
    assert!(matches!(held, Err(PredictError::Timeout)), "{held:?}");
    // For reading and writing: a pipe that is opened so waits for nobody.
    let mut go = std::fs::File::options().read(true).write(true).open(bench.folder.path().join("go")).unwrap();
    go.write_all(b"1").unwrap();
    for value in [2.0, 3.0] {
        assert_eq!(handle.predict(&rows(&[value]), LONG).await.unwrap(), [Scalar::Float(value)], "its own answer, not that of another");
    }
    assert_eq!((handle.crashes(), handle.workers()), (0, Some((1, 0))));
    handle.stop().await;
}

#[tokio::test]
async fn a_worker_that_takes_longer_than_any_deadline_is_killed() {
    let bench = Bench::new().await;
    let handle = bench.load(None, None).await;
    let held = handle.predict(&rows(&[-1.0]), Duration::from_millis(500)).await;
    assert!(matches!(held, Err(PredictError::Timeout)), "{held:?}");
    // Waits for the worker, and hears of its end.
    let _ = handle.predict(&rows(&[1.0]), LONG).await;
    assert_eq!(handle.crashes(), 1);
}

/// Two loads of one version wrote into one folder beside, and removed it from under one another.
#[tokio::test]
async fn two_loads_of_one_version_make_one_copy() {
    let bench = Bench::new().await;
    let shared = &bench.runtime.shared;
    let version = files();
    let (one, two) = tokio::join!(shared.local_copy(&version), shared.local_copy(&version));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one, two);
    for name in ["MLmodel", "data/model.pkl"] {
        assert_eq!(std::fs::read_to_string(one.join(name)).unwrap(), name);
    }
    assert_eq!(bench.artifacts.read.load(Ordering::SeqCst), 2, "each file once");
}

/// Keys that are no texts were sent as they were, and the worker was taken for dead.
#[tokio::test]
async fn dicts_of_any_keys_are_several_values_by_name() {
    let bench = Bench::new().await;
    let handle = bench.load(Some(OutputSpec::Name("1".into())), None).await;
    let predicted = handle.predict_with(&rows(&[-2.0, 0.0]), &Params::default(), LONG).await.unwrap();
    assert_eq!(predicted.values, [Scalar::Float(0.75), Scalar::Float(0.75)]);
    assert_eq!(predicted.several.unwrap().names.as_deref(), Some(&["0".to_owned(), "1".to_owned()][..]));
    match handle.predict(&rows(&[-3.0, 0.0]), LONG).await {
        Err(PredictError::Refused(refusal)) => assert_eq!(refusal.code, "serve/model_raised"),
        other => panic!("{other:?}"),
    }
    assert_eq!(handle.crashes(), 0);
}

/// Within the server the same request was refused; the child let the params fall.
#[tokio::test]
async fn an_isolated_onnx_model_refuses_params() {
    let bench = Bench::new().await;
    let handle = bench.load(None, Some(OnnxFiles { library: "library.so".into(), model: "model.onnx".into() })).await;
    assert_eq!(handle.predict(&rows(&[5.0]), LONG).await.unwrap(), [Scalar::Float(1.0)]);
    let params = Params::from_iter([("alpha".to_owned(), serde_json::json!(2))]);
    match handle.predict_with(&rows(&[5.0]), &params, LONG).await {
        Err(PredictError::Refused(refusal)) => assert_eq!(refusal.code, "serve/params"),
        other => panic!("{other:?}"),
    }
}

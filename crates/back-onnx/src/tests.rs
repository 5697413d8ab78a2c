#![allow(clippy::unwrap_used)]
use super::*;
use domain::spec::EnvironmentSpec;
use domain::{ModelName, VersionNumber};

struct Converter(OnnxCopy);

#[async_trait]
impl OnnxConverter for Converter {
    async fn onnx(&self, _: &ModelFiles, _: bool) -> Result<OnnxCopy, LoadError> {
        Ok(self.0.clone())
    }
}

struct Worker;

#[async_trait]
impl ModelRuntime for Worker {
    async fn load(&self, _: &ModelFiles) -> Result<Arc<dyn ModelHandle>, LoadError> {
        Err(domain::Refusal::invalid("test/worker", "the worker was asked").into())
    }
}

/// Without a copy, without a library, or with a library that is none, the worker is asked.
#[tokio::test]
async fn what_onnx_cannot_answer_goes_to_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("nothing.so");
    std::fs::write(&nothing, "no library").unwrap();
    let copies = [
        OnnxCopy::default(),
        OnnxCopy { why: Some("it is no scikit-learn model".into()), ..OnnxCopy::default() },
        OnnxCopy { library: Some(nothing.clone()), model: Some(folder.path().join("m.onnx")), ..OnnxCopy::default() },
    ];
    for copy in copies {
        for runtime in [RuntimeSpec::Auto, RuntimeSpec::Onnx, RuntimeSpec::Python] {
            let (model, version) = (ModelName::new("m"), VersionNumber(1));
            let environment = EnvironmentSpec::Project;
            let files = ModelFiles {
                model,
                version,
                artifact_path: "a".into(),
                runtime,
                environment,
                output: None,
                isolate: false,
                scale: None,
                onnx: None,
            };
            let loaded = OnnxRuntime::new(Arc::new(Converter(copy.clone())), Arc::new(Worker)).load(&files).await;
            assert!(matches!(loaded, Err(LoadError::Refused(refusal)) if refusal.code == "test/worker"));
        }
    }
}

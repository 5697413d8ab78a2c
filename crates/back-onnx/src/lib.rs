//! ONNX models within the server.
//!
//! A version whose files are ONNX, or whose ONNX copy was proven to answer as it does, is answered by the ONNX runtime in this process: tens
//! of microseconds a row instead of the milliseconds of a worker. Its shared library is that of the project's own onnxruntime package, opened
//! when the first such model loads. Every other version goes to the runtime behind this one, with the reason in the log. Where the file says
//! `isolate = true`, the runtime behind this one keeps a child that answers ([`answer_frames`]).
//!
//! Invariants: nothing is converted or unpickled in this process; a model without a copy, or without the library, is served all the same.

mod child;
mod feed;
mod model;

pub use child::answer_frames;

use async_trait::async_trait;
use domain::entity::EnvironmentLock;
use domain::spec::RuntimeSpec;
use domain::{Digest, Fault};
use ort::environment::Environment;
use parking_lot::Mutex;
use ports::{LoadError, ModelFiles, ModelHandle, ModelRuntime, OnnxConverter, OnnxCopy, OnnxFiles};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One environment a process: that is the library's own rule.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Answers by ONNX where it can, by another runtime where it cannot.
pub struct OnnxRuntime {
    converter: Arc<dyn OnnxConverter>,
    other: Arc<dyn ModelRuntime>,
}

impl OnnxRuntime {
    /// A runtime before another.
    pub fn new(converter: Arc<dyn OnnxConverter>, other: Arc<dyn ModelRuntime>) -> Self {
        OnnxRuntime { converter, other }
    }

    /// `None`: a worker shall answer, as `files` then says.
    async fn open(&self, files: &mut ModelFiles) -> Result<Option<Arc<dyn ModelHandle>>, LoadError> {
        let OnnxCopy { signature, library, model, compared, why } = self.converter.onnx(files, files.runtime == RuntimeSpec::Onnx).await?;
        let (name, version) = (&files.model, files.version);
        let (Some(library), Some(copy)) = (library, model) else {
            match why {
                Some(why) if files.runtime == RuntimeSpec::Onnx => {
                    tracing::warn!(model = %name, %version, why, "served by a worker, not by ONNX")
                }
                Some(why) => tracing::info!(model = %name, %version, why, "served by a worker, not by ONNX"),
                None => {}
            }
            return Ok(None);
        };
        if files.isolate {
            tracing::info!(model = %name, %version, "served by ONNX in a process of its own");
            files.onnx = Some(OnnxFiles { library, model: copy });
            return Ok(None);
        }
        let output = files.output.clone();
        let opened = tokio::task::spawn_blocking(move || model::OnnxModel::open(&library, &copy, signature, output)).await;
        match opened.map_err(|e| domain::Fault::because("opening an ONNX model", e))? {
            Ok(opened) => {
                match compared {
                    Some((rows, difference)) => {
                        tracing::info!(model = %name, %version, rows, difference, "served by its ONNX copy, which answers as it does")
                    }
                    None => tracing::info!(model = %name, %version, "served by ONNX"),
                }
                Ok(Some(Arc::new(opened)))
            }
            Err(why) => {
                tracing::warn!(model = %name, %version, why, "served by a worker, not by ONNX");
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl ModelRuntime for OnnxRuntime {
    async fn load(&self, files: &ModelFiles) -> Result<Arc<dyn ModelHandle>, LoadError> {
        let mut files = files.clone();
        if files.runtime != RuntimeSpec::Python
            && let Some(handle) = self.open(&mut files).await?
        {
            return Ok(handle);
        }
        self.other.load(&files).await
    }

    async fn prepare(&self, files: &ModelFiles) -> Result<Option<EnvironmentLock>, LoadError> {
        self.other.prepare(files).await
    }

    async fn is_prepared(&self, files: &ModelFiles) -> bool {
        self.other.is_prepared(files).await
    }

    async fn free_environments(&self, unused: Duration, kept: &[Digest], dry_run: bool) -> Result<Vec<Digest>, Fault> {
        self.other.free_environments(unused, kept, dry_run).await
    }
}

/// Opens the library, unless it is open.
fn environment(library: &Path) -> Result<Environment, String> {
    let mut open = ENVIRONMENT.lock();
    if open.is_none() {
        let builder = ort::init_from(library).map_err(|e| format!("{} cannot be opened: {e}", library.display()))?;
        *open = Some(builder.with_name("trimtab").build().map_err(|e| e.to_string())?);
    }
    open.clone().ok_or_else(|| "the ONNX runtime is not open".into())
}

#[cfg(test)]
mod tests;

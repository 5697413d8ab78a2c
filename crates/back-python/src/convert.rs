//! ONNX copies of models, made by the project's own interpreter.

use crate::PythonRuntime;
use async_trait::async_trait;
use domain::Fault;
use ports::{LoadError, ModelFiles, OnnxConverter, OnnxCopy, Signature};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const PROGRAM: &str = include_str!("onnx.py");
/// How long a conversion may take.
const LIMIT: Duration = Duration::from_secs(180);
/// What came of a conversion, beside the model's files: a version's files never change.
const TOLD: &str = "trimtab.onnx.json";

#[derive(Serialize, Deserialize)]
struct Told {
    library: Option<PathBuf>,
    model: Option<PathBuf>,
    #[serde(default)]
    rows: u64,
    difference: Option<f64>,
    why: Option<String>,
}

#[async_trait]
impl OnnxConverter for PythonRuntime {
    async fn onnx(&self, files: &ModelFiles, convert: bool) -> Result<OnnxCopy, LoadError> {
        let folder = self.shared.local_copy(files).await?;
        let mlmodel = tokio::fs::read_to_string(folder.join("MLmodel")).await.unwrap_or_default();
        let signature = Signature::parse(&mlmodel);
        let is_onnx = mlmodel.lines().any(|line| line.trim_end() == "  onnx:");
        if !convert && !is_onnx {
            return Ok(OnnxCopy { signature, ..OnnxCopy::default() });
        }
        let has_params = mlmodel.lines().any(|line| line.trim_start().strip_prefix("params:").is_some_and(|rest| rest.trim() != "null"));
        if has_params {
            let why = Some("its signature has params, which only a worker hands on".into());
            return Ok(OnnxCopy { signature, why, ..OnnxCopy::default() });
        }
        let told = match read(&folder).await {
            Some(told) => told,
            None => self.run(&folder, files).await?,
        };
        let compared = told.difference.map(|difference| (told.rows, difference));
        Ok(OnnxCopy { signature, library: told.library, model: told.model, compared, why: told.why })
    }
}

/// An earlier answer, if all that it names is still there. A conversion that did not come about is tried again.
async fn read(folder: &Path) -> Option<Told> {
    let told: Told = serde_json::from_slice(&tokio::fs::read(folder.join(TOLD)).await.ok()?).ok()?;
    let is_there = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.is_file());
    (is_there(&told.library) && is_there(&told.model)).then_some(told)
}

impl PythonRuntime {
    async fn run(&self, folder: &Path, files: &ModelFiles) -> Result<Told, LoadError> {
        let environment = self.shared.environment(files, folder).await?;
        let python = environment.map_or_else(|| self.shared.python.lock().clone(), |environment| environment.python.clone());
        let mut command = Command::new(&python);
        command.args(["-c", PROGRAM]).arg(folder).env_clear().current_dir(folder).process_group(0).kill_on_drop(true);
        command.envs(crate::worker::PASSED_ON.iter().filter_map(|name| Some((name, std::env::var(name).ok()?))));
        command.env("MLFLOW_DISABLE_TELEMETRY", "true").env("DO_NOT_TRACK", "true").env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let no = |why: String| Told { library: None, model: None, rows: 0, difference: None, why: Some(why) };
        let output = match tokio::time::timeout(LIMIT, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Ok(no(format!("the interpreter {} cannot be started: {error}", python.display()))),
            Err(_) => return Ok(no(format!("the conversion did not end within {LIMIT:?}"))),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text.lines().last().and_then(|line| serde_json::from_str::<Told>(line).ok());
        let Some(told) = told else { return Ok(no(format!("the conversion ended without an answer ({})", output.status))) };
        let body = serde_json::to_vec(&told).map_err(|e| Fault::because("keeping what came of a conversion", e))?;
        tokio::fs::write(folder.join(TOLD), body).await.map_err(|e| Fault::because("keeping what came of a conversion", e))?;
        Ok(told)
    }
}

//! One worker process and its frames.

use domain::{Fault, Refusal};
use indexmap::IndexMap;
use ports::{LoadError, OnnxFiles, Said};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PROGRAM: &str = include_str!("worker.py");
/// What workers say on their standard error.
const LOG: &str = "workers.log";
/// How long the libraries, and then a model, may take to load.
const LOAD_LIMIT: Duration = Duration::from_secs(180);
/// The largest frame that is read: no answer for one batch is as long.
const FRAME_LIMIT: u32 = 256 << 20;
/// Variables of this process that a worker sees.
pub(crate) const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

pub(crate) struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request<'a> {
    Load(&'a str),
    /// With what the caller sent beside them.
    Columns(&'a IndexMap<String, Vec<serde_json::Value>>, &'a ports::Params),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    said: Said,
    #[serde(default)]
    error: Option<String>,
}

/// What became of a request to a worker.
pub(crate) enum Reply {
    Said(Said),
    /// The model raised; the worker lives.
    Raised(String),
    /// The worker died or broke the protocol.
    Died(String),
}

impl Worker {
    /// Starts a worker of an interpreter and waits until its libraries are loaded.
    pub(crate) async fn start(python: &Path, folder: &Path) -> Result<Worker, LoadError> {
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM]);
        for threads in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"] {
            command.env(threads, "1");
        }
        command.env("MLFLOW_DISABLE_TELEMETRY", "true").env("DO_NOT_TRACK", "true").env("PYTHONDONTWRITEBYTECODE", "1");
        let started = Worker::spawn(command, folder, |error| {
            Refusal::invalid("project/python", format!("the interpreter {} cannot be started: {error}", python.display()))
                .hint("set `python` under [project] in trimtab.toml")
        });
        started.await?.map_err(|why| {
            let what = format!("a model worker of {} does not start: {why}", python.display());
            let hint = format!("this interpreter needs mlflow and pandas; see {}", folder.join(LOG).display());
            Refusal::invalid("project/python", what).hint(hint).into()
        })
    }

    /// Starts a child of `program` that answers by ONNX; its model is loaded when this returns.
    pub(crate) async fn start_onnx(program: &Path, files: &OnnxFiles, folder: &Path) -> Result<Worker, LoadError> {
        let mut command = Command::new(program);
        command.arg("onnx-worker").arg("--library").arg(&files.library).arg("--model").arg(&files.model);
        let refusal = |why: String| {
            Refusal::invalid("model/cannot_load", format!("the ONNX worker does not start: {why}"))
                .hint(format!("see {}; without `isolate` the model is answered within the server", folder.join(LOG).display()))
        };
        let started = Worker::spawn(command, folder, |error| refusal(error.to_string()));
        started.await?.map_err(|why| refusal(why).into())
    }

    /// A process that speaks frames; the inner `Err`: why it did not say that it is ready.
    async fn spawn(
        mut command: Command,
        folder: &Path,
        refuse: impl FnOnce(std::io::Error) -> Refusal,
    ) -> Result<Result<Worker, String>, LoadError> {
        let what = |e: std::io::Error| Fault::because("preparing a model worker", e);
        tokio::fs::create_dir_all(folder).await.map_err(what)?;
        let log = std::fs::File::options().create(true).append(true).open(folder.join(LOG)).map_err(what)?;
        let own: Vec<_> = command.as_std().get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        command.env_clear().current_dir(folder).process_group(0).kill_on_drop(true);
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var(name).ok()?))));
        command.envs(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(refuse)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::broken("a worker without standard streams").into());
        };
        let mut worker = Worker { child, requests, answers };
        Ok(match worker.within(LOAD_LIMIT, None).await {
            Reply::Said(_) => Ok(worker),
            Reply::Raised(why) | Reply::Died(why) => Err(why),
        })
    }

    /// Loads a model; what it raises is the refusal.
    pub(crate) async fn load(&mut self, folder: &Path) -> Result<(), LoadError> {
        let path = folder.to_string_lossy();
        match self.within(LOAD_LIMIT, Some(Request::Load(&path))).await {
            Reply::Said(_) => Ok(()),
            Reply::Raised(why) | Reply::Died(why) => Err(Refusal::invalid("model/cannot_load", format!("the model does not load: {why}"))
                .hint("load it with mlflow.pyfunc.load_model in the project's environment")
                .into()),
        }
    }

    /// Sends a request, if there is one, and waits for the answer.
    pub(crate) async fn within(&mut self, limit: Duration, request: Option<Request<'_>>) -> Reply {
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(Ok(Answer { error: Some(error), .. })) => Reply::Raised(error),
            Ok(Ok(answer)) => Reply::Said(answer.said),
            Ok(Err(error)) => Reply::Died(match self.child.try_wait() {
                Ok(Some(status)) => format!("the worker ended ({status})"),
                _ => error.to_string(),
            }),
            Err(_) => Reply::Died(format!("no answer within {limit:?}")),
        }
    }

    async fn exchange(&mut self, request: Option<Request<'_>>) -> std::io::Result<Answer> {
        if let Some(request) = request {
            let body = serde_json::to_vec(&request)?;
            let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
            self.requests.write_all(&length.to_be_bytes()).await?;
            self.requests.write_all(&body).await?;
            self.requests.flush().await?;
        }
        let length = self.answers.read_u32().await?;
        if length > FRAME_LIMIT {
            return Err(std::io::Error::other("the worker's frame is too long"));
        }
        let mut body = vec![0; length as usize];
        self.answers.read_exact(&mut body).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Its number, while it lives.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

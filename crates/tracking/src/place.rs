//! Where a URI's files are in the artifact store.

use domain::entity::{LoggedModel, ModelVersion, RegisteredModel};
use domain::{Refusal, RunId};
use ports::refusals::no_run;
use ports::{CommitError, World};

/// The scheme of everything that this server keeps.
const SCHEME: &str = "mlflow-artifacts:";

/// The URI of a path in the artifact store.
pub fn uri(path: &str) -> String {
    format!("{SCHEME}/{path}")
}

/// The path in the artifact store of an `mlflow-artifacts:` URI, with or without a host; `None` for any other scheme and for
/// paths that climb.
///
/// ```
/// use tracking::place::relative;
/// assert_eq!(relative("mlflow-artifacts:/0/r/artifacts/model").as_deref(), Some("0/r/artifacts/model"));
/// assert_eq!(relative("mlflow-artifacts://host:5055/0/r").as_deref(), Some("0/r"));
/// assert_eq!(relative("mlflow-artifacts:/0/../../etc"), None);
/// assert_eq!(relative("s3://bucket/0"), None);
/// ```
pub fn relative(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix(SCHEME)?;
    let path = match rest.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    join("", path)
}

/// A path below a folder; `None` if it climbs out of it. Empty parts are left out.
pub fn join(folder: &str, path: &str) -> Option<String> {
    let parts: Vec<&str> = folder.split('/').chain(path.split('/')).filter(|part| !part.is_empty()).collect();
    let is_plain = parts.iter().all(|part| *part != "." && *part != ".." && !part.contains('\\') && !part.chars().any(char::is_control));
    is_plain.then(|| parts.join("/"))
}

/// The folder of a model's files, from what a client gave as a version's source: `models:/m-ID`, `models:/NAME/VERSION`,
/// `models:/NAME@ALIAS`, `runs:/RUN/PATH`, `mlflow-artifacts:/PATH`.
pub fn of_source(world: &World, source: &str) -> Result<String, CommitError> {
    let found = if let Some(model) = source.strip_prefix("models:/") {
        of_model(world, model.trim_start_matches('/'))?
    } else if let Some(rest) = source.strip_prefix("runs:/") {
        let (run, path) = rest.trim_start_matches('/').split_once('/').unwrap_or((rest, ""));
        let id = RunId::new(run);
        let run = world.run(&id)?.ok_or_else(|| no_run(&id))?;
        relative(&run.artifact_uri).and_then(|folder| join(&folder, path))
    } else {
        relative(source)
    };
    found.filter(|path| !path.is_empty()).ok_or_else(|| {
        let hint = "log the model to this server first, and register models:/m-..., runs:/RUN/PATH or mlflow-artifacts:/PATH";
        Refusal::invalid("version/source", format!("`{source}` is not in this server's artifact store")).hint(hint).into()
    })
}

fn of_model(world: &World, model: &str) -> Result<Option<String>, CommitError> {
    if let Some(logged) = world.get::<LoggedModel>(model)? {
        return Ok(relative(&logged.artifact_uri));
    }
    let version = match model.split_once('@') {
        Some((name, alias)) => {
            let registered = world.get::<RegisteredModel>(name)?;
            registered.and_then(|registered| registered.aliases.get(alias).map(|version| format!("{name}/{version}")))
        }
        None => Some(model.to_owned()),
    };
    let Some(key) = version else { return Ok(None) };
    Ok(world.get::<ModelVersion>(&key)?.map(|version| version.artifact_path))
}

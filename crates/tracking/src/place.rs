//! Where a URI's files are in the artifact store.

use crate::{aliases, registry};
use domain::entity::{LoggedModel, ModelVersion};
use domain::{ModelName, Refusal, RunId, VersionNumber};
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

/// Where a version came from, as far as its source tells.
#[derive(Debug, PartialEq)]
pub struct Origin {
    /// The source, with an alias replaced by the version that it points to now.
    pub source: String,
    /// The folder in the artifact store; empty when the files are elsewhere.
    pub artifact_path: String,
    pub run: Option<RunId>,
    pub model_id: Option<String>,
}

/// The sources of prompts, which have no files.
const PROMPT_SOURCES: [&str; 2] = ["dummy-source", "prompt-template"];

/// What a client gave as a version's source: `models:/m-ID`, `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `runs:/RUN/PATH`,
/// `mlflow-artifacts:/PATH`, or a store that only clients open (`s3://...`). The server's own disk is not for clients to name.
pub fn of_source(world: &World, source: &str) -> Result<Origin, CommitError> {
    let origin = |artifact_path: String, run, model_id| Origin { source: source.into(), artifact_path, run, model_id };
    if climbs(source) || is_local(source) {
        return Err(elsewhere(source).into());
    }
    if let Some(model) = source.strip_prefix("models:/") {
        return of_model(world, source, model.trim_start_matches('/'));
    }
    if let Some(rest) = source.strip_prefix("runs:/") {
        let (run, path) = rest.trim_start_matches('/').split_once('/').unwrap_or((rest, ""));
        let id = RunId::new(run);
        let run = world.run(&id)?.ok_or_else(|| no_run(&id))?;
        let folder = relative(&run.artifact_uri).map(|folder| join(&folder, path).ok_or_else(|| elsewhere(source))).transpose()?;
        return Ok(origin(folder.unwrap_or_default(), Some(id), None));
    }
    if source.starts_with(SCHEME) {
        let folder = relative(source).filter(|path| !path.is_empty()).ok_or_else(|| elsewhere(source))?;
        return Ok(origin(folder, None, None));
    }
    Ok(origin(String::new(), None, None))
}

/// The source of a prompt's version says nothing.
pub fn of_prompt(source: &str) -> Result<Origin, Refusal> {
    if PROMPT_SOURCES.contains(&source) {
        return Ok(Origin { source: source.into(), artifact_path: String::new(), run: None, model_id: None });
    }
    let what = format!("`{source}` cannot be the source of a prompt");
    Err(Refusal::invalid("version/source", what).hint(format!("give `{}`", PROMPT_SOURCES[0])))
}

/// Where clients find the files of a version.
pub fn of_version(world: &World, version: &ModelVersion) -> Result<String, CommitError> {
    if !version.artifact_path.is_empty() {
        return Ok(uri(&version.artifact_path));
    }
    let logged = match version.source.strip_prefix("models:/") {
        Some(id) => world.get::<LoggedModel>(id)?,
        None => None,
    };
    Ok(logged.map_or_else(|| version.source.clone(), |logged| logged.artifact_uri))
}

fn elsewhere(source: &str) -> Refusal {
    let hint = "log the model to this server first, and register models:/m-..., runs:/RUN/PATH or mlflow-artifacts:/PATH";
    Refusal::invalid("version/source", format!("`{source}` is no place that a version can come from")).hint(hint)
}

/// A path, or a file URI.
fn is_local(source: &str) -> bool {
    let scheme = source.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    match scheme {
        Some(scheme) if is_scheme(scheme) => scheme.eq_ignore_ascii_case("file"),
        _ => true,
    }
}

/// Whether a part of it leads up, also if it is decoded again.
fn climbs(source: &str) -> bool {
    let decoded = source.to_ascii_lowercase().replace("%25", "%").replace("%25", "%").replace("%2e", ".").replace("%2f", "/");
    decoded.contains(['\0', '\\']) || decoded.contains("%00") || decoded.split('/').any(|part| part == "..")
}

fn of_model(world: &World, source: &str, model: &str) -> Result<Origin, CommitError> {
    if let Some(logged) = world.get::<LoggedModel>(model)? {
        let artifact_path = relative(&logged.artifact_uri).unwrap_or_default();
        return Ok(Origin { source: source.into(), artifact_path, run: logged.source_run, model_id: Some(logged.id) });
    }
    let (name, number) = match (model.split_once('@'), model.split_once('/')) {
        (Some((name, alias)), _) => {
            let registered = registry::find_model(world, &ModelName::parse(name)?)?;
            (name, registered.aliases.get(alias).copied().ok_or_else(|| aliases::none(alias))?)
        }
        (None, Some((name, number))) => {
            registry::find_model(world, &ModelName::parse(name)?)?;
            (name, VersionNumber(number.parse().map_err(|_| elsewhere(source))?))
        }
        (None, None) => return Err(elsewhere(source).into()),
    };
    let version = registry::find_version(world, &ModelName::parse(name)?, number)?;
    if registry::is_prompt(&version.tags) {
        return Err(Refusal::invalid("version/source", format!("`{source}` is a prompt")).hint("give a model").into());
    }
    Ok(Origin {
        source: format!("models:/{name}/{number}"),
        artifact_path: version.artifact_path,
        run: version.run,
        model_id: version.model_id,
    })
}

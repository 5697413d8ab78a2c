//! A model version: where it came from, how it was judged, and when it served.

use crate::chart::{Scene, WindowChart};
use crate::format::{figure, time};
use crate::gate::Gate;
use crate::made::TrainingSetView;
use crate::models::signature::{Described, described};
use crate::models::{Numbered, Reign, previous, quoted, reign};
use crate::page::{PageError, show};
use crate::{WebState, link};
use axum::extract::{Path, State};
use axum::response::Response;
use domain::entity::*;
use domain::{ModelName, Range, VersionNumber};
use ports::World;
use serde::Serialize;

#[derive(Serialize)]
struct Page {
    model: String,
    number: u64,
    role: String,
    is_champion: bool,
    aliases: Vec<String>,
    created: String,
    status: &'static str,
    description: String,
    source: String,
    model_id: Option<String>,
    trained_until: Option<String>,
    run: Option<Linked>,
    pipeline_run: Option<Linked>,
    incident: Option<Linked>,
    training_set: Option<TrainingSetView>,
    gate: Option<Gate>,
    chart: Option<WindowChart>,
    history: Vec<Reign>,
    versions: Vec<Linked>,
    tags: Vec<(String, String)>,
    model_href: String,
    card_href: String,
    metrics: Vec<(String, String)>,
    params: Vec<(String, String)>,
    described: Option<Described>,
    folder: String,
    /// Serves this version from now on.
    promote_command: String,
    /// What a rollback would do, if this is the champion.
    rollback: Option<Numbered>,
    rollback_command: String,
    predict: Option<String>,
    environment: Option<Environment>,
}

/// The locked environment, or why there is none.
#[derive(Serialize)]
struct Environment {
    sha256: Option<String>,
    python: String,
    packages: Vec<String>,
    path: String,
    problem: Option<String>,
}

impl From<VersionEnvironment> for Environment {
    fn from(found: VersionEnvironment) -> Self {
        let problem = found.problem.map(|problem| problem.to_string());
        match found.lock {
            Some(EnvironmentLock { sha256, path, python, packages }) => {
                Environment { sha256: Some(sha256.to_string()), python, packages, path, problem }
            }
            None => Environment { sha256: None, python: String::new(), packages: Vec::new(), path: String::new(), problem },
        }
    }
}

#[derive(Serialize)]
struct Linked {
    text: String,
    href: String,
}

/// `GET /models/NAME/versions/N`.
pub(crate) async fn page(State(state): State<WebState>, Path((model, number)): Path<(String, String)>) -> Result<Response, PageError> {
    let mut page = state
        .read(move |state| {
            let missing = || PageError::missing("model version", format!("{model} {number}"));
            let number = VersionNumber(number.parse().map_err(|_| missing())?);
            let world = state.world()?;
            let version = world.get::<ModelVersion>(&format!("{model}/{number}"))?.ok_or_else(missing)?;
            read(state, &world, version)
        })
        .await?;
    page.described = described(&state, &page.folder).await?;
    show("version.html", &format!("{} version {}", page.model, page.number), "models", &page)
}

fn read(state: &WebState, world: &World, version: ModelVersion) -> Result<Page, PageError> {
    let (model, number) = (version.model.clone(), version.version);
    let registered = world.get::<RegisteredModel>(model.as_str())?;
    let deployment = world.get::<Deployment>(model.as_str())?.unwrap_or_else(|| Deployment::new(model.clone()));
    let run = version.run.as_ref().map(|id| state.runs.run(id)).transpose()?.flatten();
    let set = version.training_set.as_ref().map(|set| world.get::<TrainingSet>(set.as_str())).transpose()?.flatten();
    let report = world.get::<GateReport>(&format!("{model}/{number}"))?;
    let aliases = registered.iter().flat_map(|model| &model.aliases).filter(|(_, at)| **at == number).map(|(alias, _)| alias.clone());
    Ok(Page {
        role: role(&deployment, number),
        is_champion: deployment.champion == Some(number),
        aliases: aliases.collect(),
        created: time(version.created),
        status: match version.status {
            VersionStatus::PendingRegistration => "being registered",
            VersionStatus::Ready => "ready",
            VersionStatus::FailedRegistration => "failed",
        },
        trained_until: version.trained_until.map(time),
        metrics: run.iter().flat_map(|run| &run.metrics).map(|metric| (metric.key.clone(), figure(metric.value))).take(40).collect(),
        params: run.iter().flat_map(|run| &run.params).map(|param| (param.key.clone(), param.value.clone())).take(60).collect(),
        model_href: link::model(&model),
        card_href: format!("{}/card.md", link::version(&model, number)),
        described: None,
        folder: version.artifact_path,
        promote_command: format!("trimtab model promote {} {number}", quoted(model.as_str())),
        rollback: (deployment.champion == Some(number)).then(|| previous(&deployment)).flatten().map(|number| Numbered::of(&model, number)),
        rollback_command: format!("trimtab model rollback {}", quoted(model.as_str())),
        predict: (deployment.champion == Some(number)).then(|| format!("/serve/{}/invocations", link::part(model.as_str()))),
        run: run.map(|run| Linked { text: run.name, href: link::run(&run.id) }),
        incident: incident(world, version.pipeline_run.as_ref())?,
        pipeline_run: version.pipeline_run.map(|id| Linked { text: id.to_string(), href: link::pipeline_run(&id) }),
        training_set: set.as_ref().map(TrainingSetView::from),
        gate: report.as_ref().map(Gate::from),
        environment: world.get::<VersionEnvironment>(&format!("{model}/{number}"))?.map(Environment::from),
        chart: chart(world, &deployment, number)?,
        history: deployment.history.iter().rev().map(|promotion| reign(&model, promotion, Some(number))).collect(),
        versions: others(world, &model)?,
        tags: version.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        description: version.description,
        source: version.source,
        model_id: version.model_id,
        model: model.to_string(),
        number: number.0,
    })
}

fn role(deployment: &Deployment, number: VersionNumber) -> String {
    let reign = deployment.history.iter().position(|promotion| promotion.version == number);
    let since = deployment.champion_since().map(time).unwrap_or_default();
    match reign {
        _ if deployment.champion == Some(number) => format!("champion since {since}"),
        _ if deployment.challenger.as_ref().is_some_and(|shadow| shadow.version == number) => "challenger, in the shadow".into(),
        _ if deployment.shadows.contains(&number) => "a standing shadow, for comparison".into(),
        Some(at) => {
            let until = deployment.history.get(at + 1).map_or(String::new(), |next| format!(" to {}", time(next.at)));
            format!("was champion from {}{until}", time(deployment.history[at].at))
        }
        None => "does not serve".into(),
    }
}

fn incident(world: &World, id: Option<&domain::PipelineRunId>) -> Result<Option<Linked>, PageError> {
    let Some(run) = id.map(|id| world.get::<PipelineRun>(id.as_str())).transpose()?.flatten() else { return Ok(None) };
    Ok(match run.trigger.kind {
        TriggerKind::Incident { incident } => Some(Linked { href: link::incident(&incident), text: incident.to_string() }),
        _ => None,
    })
}

/// The windows that this version served, if any.
fn chart(world: &World, deployment: &Deployment, number: VersionNumber) -> Result<Option<WindowChart>, PageError> {
    let mut windows = world.scope::<Window>(deployment.model.as_str())?;
    windows.retain(|window| window.version == number);
    let from = windows.iter().map(|window| window.range.from).min();
    let to = windows.iter().map(|window| window.range.to).max();
    let Some((from, to)) = from.zip(to) else { return Ok(None) };
    Ok(Scene { windows: &windows, promotions: &deployment.history, span: Range::new(from, to), shade: None, evidence: &[] }.chart())
}

fn others(world: &World, model: &ModelName) -> Result<Vec<Linked>, PageError> {
    let mut versions = world.scope::<ModelVersion>(model.as_str())?;
    versions.sort_by_key(|version| version.version);
    Ok(versions.iter().map(|version| Linked { text: version.version.to_string(), href: link::version(model, version.version) }).collect())
}

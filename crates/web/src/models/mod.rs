//! Registered models: all of them, and the ladder of one model's versions.

mod card;
mod ladder;
mod rollout;
mod signature;
mod version;

pub(crate) use card::serve as card;
pub(crate) use version::page as version;

use crate::WebState;
use crate::format::{count, figure, time};
use crate::link;
use crate::page::{PageError, show};
use crate::plot::{Scale, line};
use axum::extract::{Path, State};
use axum::response::Response;
use domain::ModelName;
use domain::entity::{Deployment, GateReport, Incident, IncidentState, ModelVersion, RegisteredModel};
use ladder::Ladder;
use ports::World;
use serde::Serialize;

/// MLflow keeps prompts as registered models with this tag.
const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";
/// A course of gated figures in the list.
const SPARK: (f64, f64) = (96.0, 22.0);

#[derive(Serialize)]
struct List {
    rows: Vec<Row>,
    url: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    href: String,
    description: String,
    champion: Option<Numbered>,
    since: Option<String>,
    challenger: Option<Numbered>,
    aliases: Vec<(String, u64)>,
    versions: String,
    metric: Option<String>,
    figure: Option<String>,
    verdict: Option<&'static str>,
    spark: Option<String>,
    incident: Option<(String, String)>,
    updated: String,
}

/// A version's number and its page.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Numbered {
    pub number: u64,
    pub href: String,
}

impl Numbered {
    pub(crate) fn of(model: &ModelName, number: domain::VersionNumber) -> Self {
        Numbered { number: number.0, href: link::version(model, number) }
    }
}

/// `GET /models`.
pub(crate) async fn list(State(state): State<WebState>) -> Result<Response, PageError> {
    let list = state.read(read_list).await?;
    show("models.html", "Models", "models", &list)
}

fn read_list(state: &WebState) -> Result<List, PageError> {
    let world = state.world()?;
    let mut models = world.list::<RegisteredModel>()?;
    models.retain(|model| !model.tags.iter().any(|tag| tag.key == PROMPT_TAG && tag.value == "true"));
    models.sort_by(|a, b| b.updated.cmp(&a.updated).then(a.name.cmp(&b.name)));
    let incidents = world.list::<Incident>()?;
    let rows = models.into_iter().map(|model| row(&world, model, &incidents)).collect::<Result<_, _>>()?;
    Ok(List { rows, url: format!("http://{}", state.facts.server()?.listen) })
}

fn row(world: &World, model: RegisteredModel, incidents: &[Incident]) -> Result<Row, PageError> {
    let name = model.name.clone();
    let deployment = world.get::<Deployment>(name.as_str())?.unwrap_or_else(|| Deployment::new(name.clone()));
    let mut reports = world.scope::<GateReport>(name.as_str())?;
    reports.sort_by_key(|report| report.challenger);
    let newest = reports.last();
    let open = incidents.iter().filter(|incident| incident.model == name && incident.state == IncidentState::Open);
    // The model's own before one of how it is served.
    let open = open.min_by_key(|incident| incident.system);
    Ok(Row {
        href: link::model(&name),
        description: model.description,
        champion: deployment.champion.map(|number| Numbered::of(&name, number)),
        since: deployment.champion_since().map(time),
        challenger: deployment.challenger.as_ref().map(|shadow| Numbered::of(&name, shadow.version)),
        aliases: model.aliases.into_iter().map(|(alias, number)| (alias, number.0)).collect(),
        versions: count(world.scope::<ModelVersion>(name.as_str())?.len() as u64),
        metric: newest.map(|report| report.figure.metric.clone()),
        figure: deployment.gated.or_else(|| newest.and_then(|report| report.figure.challenger)).map(figure),
        verdict: newest.map(|report| report.verdict.word()),
        spark: spark(&reports),
        incident: open.map(|incident| (incident.id.to_string(), link::incident(&incident.id))),
        updated: time(model.updated),
        name: name.to_string(),
    })
}

/// The challengers' figures, gate after gate.
fn spark(reports: &[GateReport]) -> Option<String> {
    let figures: Vec<f64> = reports.iter().filter_map(|report| report.figure.challenger).filter(|value| value.is_finite()).collect();
    if figures.len() < 2 {
        return None;
    }
    let x = Scale::new([0.0, (figures.len() - 1) as f64].into_iter(), false, (2.0, SPARK.0 - 2.0))?;
    let y = Scale::new(figures.iter().copied(), false, (SPARK.1 - 3.0, 3.0))?;
    Some(line(figures.iter().enumerate().map(|(at, value)| Some((x.at(at as f64)?, y.at(*value)?)))))
}

#[derive(Serialize)]
struct Page {
    name: String,
    description: String,
    tags: Vec<(String, String)>,
    metric: Option<String>,
    champion: Option<Numbered>,
    since: Option<String>,
    challenger: Option<Challenger>,
    shadows: Vec<Numbered>,
    best: Option<String>,
    gated: Option<String>,
    ladder: Ladder,
    /// What a rollback would do; `None`: there is no champion before this one.
    rollback: Option<Numbered>,
    rollback_command: String,
    promote_command: String,
    /// A client may not move the alias `champion`.
    is_protected: bool,
    rollout: Option<rollout::Rollout>,
    history: Vec<Reign>,
    incidents: Vec<(String, String, &'static str)>,
    url: String,
}

#[derive(Serialize)]
struct Challenger {
    version: Numbered,
    since: String,
    needs: Option<u64>,
}

/// A champion and why it became one.
#[derive(Debug, Serialize)]
pub(crate) struct Reign {
    pub at: String,
    pub version: u64,
    pub href: String,
    pub is_this: bool,
    pub why: String,
}

/// `GET /models/NAME`.
pub(crate) async fn page(State(state): State<WebState>, Path(name): Path<String>) -> Result<Response, PageError> {
    let page = state.read(move |state| read(state, &name)).await?;
    show("model.html", &format!("Model {}", page.name), "models", &page)
}

fn read(state: &WebState, name: &str) -> Result<Page, PageError> {
    let world = state.world()?;
    let model = world.get::<RegisteredModel>(name)?.ok_or_else(|| PageError::missing("model", name))?;
    let name = model.name.clone();
    let deployment = world.get::<Deployment>(name.as_str())?.unwrap_or_else(|| Deployment::new(name.clone()));
    let declared = world.project()?.and_then(|project| project.spec.model.get(name.as_str()).cloned());
    let mut incidents = world.list::<Incident>()?;
    incidents.retain(|incident| incident.model == name);
    incidents.sort_by_key(|incident| std::cmp::Reverse(incident.opened));
    let incident = |incident: &Incident| (incident.id.to_string(), link::incident(&incident.id), crate::line::state(incident.state));
    Ok(Page {
        metric: declared.as_ref().map(|declared| declared.metric.clone()),
        champion: deployment.champion.map(|number| Numbered::of(&name, number)),
        since: deployment.champion_since().map(time),
        challenger: deployment.challenger.as_ref().map(|shadow| Challenger {
            version: Numbered::of(&name, shadow.version),
            since: time(shadow.since),
            needs: shadow.needs,
        }),
        shadows: deployment.shadows.iter().map(|number| Numbered::of(&name, *number)).collect(),
        best: deployment.best.map(figure),
        gated: deployment.gated.map(figure),
        ladder: ladder::ladder(state, &world, &model, &deployment)?,
        rollback: previous(&deployment).map(|number| Numbered::of(&name, number)),
        rollback_command: format!("trimtab model rollback {}", quoted(name.as_str())),
        promote_command: format!("trimtab model promote {} VERSION", quoted(name.as_str())),
        rollout: rollout::rollout(&world, &name, &deployment)?,
        is_protected: declared.is_some_and(|declared| declared.protected),
        history: deployment.history.iter().rev().map(|promotion| reign(&name, promotion, None)).collect(),
        incidents: incidents.iter().take(20).map(incident).collect(),
        description: model.description,
        tags: model.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        url: format!("http://{}", state.facts.server()?.listen),
        name: name.to_string(),
    })
}

/// The champion before the present one.
pub(crate) fn previous(deployment: &Deployment) -> Option<domain::VersionNumber> {
    deployment.history.last().filter(|last| Some(last.version) == deployment.champion)?.previous
}

pub(crate) fn reign(model: &ModelName, promotion: &domain::entity::Promotion, this: Option<domain::VersionNumber>) -> Reign {
    Reign {
        at: time(promotion.at),
        version: promotion.version.0,
        href: link::version(model, promotion.version),
        is_this: this == Some(promotion.version),
        why: promotion.why.clone(),
    }
}

/// As a shell wants it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if is_plain { word.into() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

//! Gates: reports in every form, a gate asked for now; who let what out; rollouts.

use super::models::known;
use crate::Api;
use crate::error::ApiError;
use crate::page::{Page, PageQuery};
use crate::request::{Asked, Caller, Sent};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use delivery::report;
use domain::entity::{Approval, Canary, Deployment, GateReport, GateRequest, ModelVersion, Shadow};
use domain::spec::RolloutSpec;
use domain::{Event, ModelName, Refusal, Timestamp, VersionNumber};
use ports::World;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// Newest first.
pub(super) async fn list(State(api): State<Api>, Asked(page): Asked<PageQuery>) -> Result<Json<Page<GateReport>>, ApiError> {
    let mut reports = api.world()?.list::<GateReport>()?;
    reports.sort_by_key(|report| Reverse(report.decided));
    Ok(Json(page.of(reports)?))
}

#[derive(Deserialize)]
pub(super) struct FormatQuery {
    /// `json`, `junit`, `md` or `html`.
    #[serde(default)]
    format: Option<String>,
}

pub(super) async fn show(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u64)>,
    Asked(query): Asked<FormatQuery>,
) -> Result<Response, ApiError> {
    let world = api.world()?;
    let model = known(&world, &name)?;
    let key = format!("{model}/{version}");
    let Some(report) = world.get::<GateReport>(&key)? else {
        return Err(if world.get::<GateRequest>(&key)?.is_some() {
            Refusal::not_found("gate/under_way", format!("the gate of version {version} of `{model}` is under way")).hint("ask again")
        } else {
            Refusal::not_found("gate/not_judged", format!("no gate has judged version {version} of `{model}`"))
                .hint(format!("trimtab gate run {model}@{version}"))
        }
        .into());
    };
    let typed = |kind: &'static str, body: String| ([(header::CONTENT_TYPE, kind)], body).into_response();
    match query.format.as_deref() {
        None | Some("json") => Ok(Json(report).into_response()),
        Some("junit") => Ok(typed("application/xml; charset=utf-8", report::junit(&report))),
        Some("md") => Ok(typed("text/markdown; charset=utf-8", report::markdown(&report))),
        Some("html") => Ok(typed("text/html; charset=utf-8", report::html(&report))),
        Some(other) => {
            Err(Refusal::invalid("gate/format", format!("`{other}` is no form of a report")).hint("json, junit, md or html").into())
        }
    }
}

#[derive(Deserialize)]
pub(super) struct RunBody {
    /// Without one: the newest.
    #[serde(default)]
    version: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Run {
    model: ModelName,
    version: VersionNumber,
}

/// Asks for a gate now; its report comes under `GET gates/MODEL/VERSION`.
pub(super) async fn run(
    State(api): State<Api>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<RunBody>,
) -> Result<Json<Run>, ApiError> {
    let world = api.world()?;
    let model = known(&world, &name)?;
    let version = match body.version {
        Some(version) => VersionNumber(version),
        None => newest(&world, &model)?,
    };
    drop(world);
    api.decide(&actor, |world, actor, now| delivery::commands::request_gate(world, &model, version, actor, now)).await?;
    Ok(Json(Run { model, version }))
}

fn newest(world: &World, model: &ModelName) -> Result<VersionNumber, ApiError> {
    let newest = world.scope::<ModelVersion>(model.as_str())?.into_iter().map(|version| version.version).max();
    Ok(newest.ok_or_else(|| {
        Refusal::not_found("model_version/not_found", format!("model `{model}` has no version")).hint("register one: mlflow.register_model")
    })?)
}

#[derive(Deserialize)]
pub(super) struct VoteBody {
    version: u64,
    #[serde(default)]
    reason: String,
    /// Although the gate did not pass.
    #[serde(default, rename = "override")]
    set_aside: bool,
}

pub(super) async fn approve(
    State(api): State<Api>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<VoteBody>,
) -> Result<Json<Approval>, ApiError> {
    let model = known(&api.world()?, &name)?;
    let (version, reason) = (VersionNumber(body.version), body.reason.as_str());
    let decision = |world: &World, actor: &_, now| delivery::approval::approve(world, &model, version, reason, body.set_aside, actor, now);
    Ok(Json(api.decide(&actor, decision).await?))
}

pub(super) async fn reject(
    State(api): State<Api>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<VoteBody>,
) -> Result<Json<Approval>, ApiError> {
    let model = known(&api.world()?, &name)?;
    let (version, reason) = (VersionNumber(body.version), body.reason.as_str());
    Ok(Json(api.decide(&actor, |world, actor, now| delivery::approval::reject(world, &model, version, reason, actor, now)).await?))
}

/// What is kept of an audit: the newest.
const AUDIT: usize = 1000;
/// Events that are read at once.
const READ: usize = 1000;

#[derive(Serialize)]
pub(super) struct Audited {
    seq: u64,
    at: Timestamp,
    by: String,
    event: &'static str,
    sentence: String,
}

/// Who let what out, and why: the newest thousand events of a model's gates, approvals, rollouts and promotions.
pub(super) async fn audit(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Page<Audited>>, ApiError> {
    let model = known(&api.world()?, &name)?;
    let items = api.apart(move |api| {
        let (mut items, mut after) = (VecDeque::new(), 0);
        loop {
            let events = api.store.events(after, READ)?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            for recorded in events.into_iter().filter(|recorded| of_delivery(&recorded.event) == Some(&model)) {
                let (by, event, sentence) = (recorded.actor.to_string(), recorded.event.name(), recorded.event.sentence().to_string());
                items.push_back(Audited { seq: recorded.seq, at: recorded.at, by, event, sentence });
                if items.len() > AUDIT {
                    items.pop_front();
                }
            }
        }
        Ok::<_, domain::Fault>(items)
    });
    Ok(Json(Page { items: items.await?.into(), next: None }))
}

/// The model that an event lets out, or not.
fn of_delivery(event: &Event) -> Option<&ModelName> {
    match event {
        Event::GateDecided { model, .. }
        | Event::ApprovalRequested { model, .. }
        | Event::ApprovalGiven { model, .. }
        | Event::ApprovalRejected { model, .. }
        | Event::ApprovalExpired { model, .. }
        | Event::RolloutAdvanced { model, .. }
        | Event::RolloutPaused { model, .. }
        | Event::RolloutResumed { model, .. }
        | Event::RolloutAborted { model, .. }
        | Event::ChampionPromoted { model, .. }
        | Event::AliasSet { model, .. } => Some(model),
        _ => None,
    }
}

#[derive(Serialize)]
pub(super) struct Rollout {
    model: ModelName,
    /// `none`, `waiting` for people, `shadow`, `canary` or `paused`.
    state: &'static str,
    champion: Option<VersionNumber>,
    shadow: Option<Shadow>,
    canary: Option<Canary>,
    waiting: Vec<Approval>,
    declared: Option<RolloutSpec>,
}

pub(super) async fn rollout(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Rollout>, ApiError> {
    let world = api.world()?;
    let model = known(&world, &name)?;
    let deployment = world.get::<Deployment>(model.as_str())?.unwrap_or_else(|| Deployment::new(model.clone()));
    let mut waiting = world.scope::<Approval>(model.as_str())?;
    waiting.retain(|approval| approval.state == domain::entity::ApprovalState::Waiting);
    let state = match (&deployment.canary, &deployment.challenger) {
        (Some(canary), _) if canary.paused.is_some() => "paused",
        (Some(_), _) => "canary",
        (None, Some(_)) => "shadow",
        (None, None) if !waiting.is_empty() => "waiting",
        (None, None) => "none",
    };
    let declared = delivery::commands::declared(&world, &model)?.and_then(|spec| spec.serve).map(|serve| serve.rollout);
    let Deployment { champion, challenger: shadow, canary, .. } = deployment;
    Ok(Json(Rollout { model, state, champion, shadow, canary, waiting, declared }))
}

pub(super) async fn resume(State(api): State<Api>, Path(name): Path<String>, Caller(actor): Caller) -> Result<Json<Run>, ApiError> {
    let model = known(&api.world()?, &name)?;
    let version = api.decide(&actor, |world, actor, now| delivery::rollout::resume(world, &model, actor, now)).await?;
    Ok(Json(Run { model, version }))
}

#[derive(Deserialize)]
pub(super) struct EndBody {
    #[serde(default)]
    reason: String,
}

pub(super) async fn abort(
    State(api): State<Api>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    Sent(body): Sent<EndBody>,
) -> Result<Json<Run>, ApiError> {
    let model = known(&api.world()?, &name)?;
    let version = api.decide(&actor, |world, actor, now| delivery::rollout::end(world, &model, &body.reason, actor, now)).await?;
    Ok(Json(Run { model, version }))
}

//! Decisions: a gate is asked for, its report is recorded, a version is let out, promoted, or taken back.

use crate::gate::parse_holdout;
use crate::rollout;
use domain::entity::{
    Approval, Deployment, GateReport, GateRequest, ModelVersion, PipelineRun, Promotion, RegisteredModel, Shadow, TriggerKind,
};
use domain::spec::ModelSpec;
use domain::{Actor, Batch, Event, Fault, ModelName, Range, Recorded, Refusal, Timestamp, Verdict, VersionNumber};
use ports::{CommitError, World};
use stats::Metric;

/// The alias that names who serves.
pub const CHAMPION: &str = "champion";
/// More failed shadow answers than this part of the good ones end a rollout.
const FAILED_SHARE: f64 = 0.01;

/// The model as the project file declares it.
pub fn declared(world: &World, model: &ModelName) -> Result<Option<ModelSpec>, Fault> {
    let project = world.project()?;
    Ok(project.and_then(|project| project.spec.model.get(model.as_str()).cloned()))
}

/// What serves the model. A champion that was named before the model was declared counts too.
pub fn deployment(world: &World, model: &ModelName) -> Result<Deployment, Fault> {
    let mut deployment = world.get::<Deployment>(model.as_str())?.unwrap_or_else(|| Deployment::new(model.clone()));
    if deployment.champion.is_none() {
        deployment.champion = alias(world, model)?;
    }
    Ok(deployment)
}

fn alias(world: &World, model: &ModelName) -> Result<Option<VersionNumber>, Fault> {
    let registered = world.get::<RegisteredModel>(model.as_str())?;
    Ok(registered.and_then(|registered| registered.aliases.get(CHAMPION).copied()))
}

fn version(world: &World, model: &ModelName, version: VersionNumber) -> Result<Option<ModelVersion>, Fault> {
    world.get::<ModelVersion>(&format!("{model}/{version}"))
}

/// The story that a version belongs to: the incident that asked for it, or the pipeline run that made it.
pub(crate) fn thread_of(world: &World, model: &ModelName, number: VersionNumber) -> Result<Option<String>, Fault> {
    let Some(id) = version(world, model, number)?.and_then(|version| version.pipeline_run) else { return Ok(None) };
    let run = world.get::<PipelineRun>(id.as_str())?;
    Ok(Some(match run.map(|run| run.trigger.kind) {
        Some(TriggerKind::Incident { incident }) => incident.to_string(),
        _ => id.to_string(),
    }))
}

/// A batch that reacts on behalf of a version, in the thread of its story.
pub(crate) fn reacting(world: &World, name: &str, to: &Recorded, model: &ModelName, number: VersionNumber) -> Result<Batch, Fault> {
    let mut batch = Batch::reacting(name, to);
    if batch.thread.is_none() {
        batch.thread = thread_of(world, model, number)?;
    }
    Ok(batch)
}

/// A person asks for a gate: for a version that was not judged, or once more. The holdout ends now.
pub fn request_gate(
    world: &World,
    model: &ModelName,
    number: VersionNumber,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, ()), CommitError> {
    let gate = declared(world, model)?.and_then(|spec| spec.gate);
    let Some(gate) = gate else {
        let what = format!("model `{model}` has no gate");
        return Err(Refusal::not_found("gate/none", what).hint(format!("declare [model.{model}.gate] and run trimtab apply")).into());
    };
    if version(world, model, number)?.is_none() {
        let what = format!("model `{model}` has no version {number}");
        return Err(Refusal::not_found("model_version/not_found", what).hint(format!("trimtab model show {model}")).into());
    }
    if deployment(world, model)?.champion == Some(number) {
        let what = format!("version {number} of `{model}` is the champion");
        return Err(Refusal::conflict("gate/champion", what).hint("judge a challenger").into());
    }
    let key = format!("{model}/{number}");
    let judged = world.get::<GateReport>(&key)?.is_some();
    if !judged && world.get::<GateRequest>(&key)?.is_some() {
        let what = format!("the gate of version {number} of `{model}` is under way");
        return Err(Refusal::conflict("gate/under_way", what).hint("trimtab status").into());
    }
    let mut batch = Batch::new(actor.clone(), now);
    batch.thread = thread_of(world, model, number)?;
    if judged {
        batch.delete::<GateReport>(key.clone());
    }
    if world.get::<Approval>(&key)?.is_some() {
        batch.delete::<Approval>(key);
    }
    ask(&mut batch, &gate.holdout, model, number, now, now)?;
    Ok((batch, ()))
}

/// Writes the request of a gate. `holdout`: as the file says it.
pub(crate) fn ask(
    batch: &mut Batch,
    holdout: &str,
    model: &ModelName,
    challenger: VersionNumber,
    to: Timestamp,
    until: Timestamp,
) -> Result<(), Refusal> {
    let holdout = Range::new(to - parse_holdout(holdout)?, to);
    batch.write(&GateRequest { model: model.clone(), challenger, holdout, until });
    batch.say(Event::GateRequested { model: model.clone(), challenger, holdout });
    Ok(())
}

/// Records what a gate found. Refused when another version has become champion since it judged: then it must judge anew.
pub fn record_gate(world: &World, report: &GateReport, request: &Recorded) -> Result<(Batch, ()), CommitError> {
    let (model, challenger) = (&report.model, report.challenger);
    let mut batch = reacting(world, "delivery.gate", request, model, challenger)?;
    if world.get::<GateReport>(&format!("{model}/{challenger}"))?.is_some() {
        return Ok((batch, ()));
    }
    if deployment(world, model)?.champion != report.champion {
        return Err(Refusal::conflict("gate/stale", "the champion changed while the gate judged").into());
    }
    batch.write(report);
    batch.say(Event::GateDecided {
        model: model.clone(),
        challenger,
        champion: report.champion,
        verdict: report.verdict,
        challenger_figure: report.figure.challenger,
        champion_figure: report.figure.champion,
        why: report.why.clone(),
    });
    if report.verdict != Verdict::Pass {
        let title = format!("{model}: the gate refused version {challenger} ({}): {}", report.verdict.word(), report.why);
        batch.say(Event::AlertRaised { topic: "gate.fail".into(), model: Some(model.clone()), title });
    }
    Ok((batch, ()))
}

/// Lets a version out that passed its gate against `champion`: into the shadow first, if the file says so.
pub(crate) fn roll_out(
    world: &World,
    batch: &mut Batch,
    model: &ModelName,
    number: VersionNumber,
    champion: Option<VersionNumber>,
) -> Result<(), Fault> {
    let mut deployment = deployment(world, model)?;
    if deployment.champion == Some(number) {
        return Ok(());
    }
    if deployment.champion != champion {
        abort(batch, model, number, "the champion changed since the gate");
        return Ok(());
    }
    let needs = declared(world, model)?.and_then(|spec| spec.serve).map_or(0, |serve| serve.rollout.shadow.min_requests);
    if champion.is_none() || needs == 0 {
        return rollout::begin(world, batch, deployment, number, &Reason::gate(world, model, number)?);
    }
    if let Some(other) = deployment.canary.take() {
        abort(batch, model, other.version, &format!("version {number} takes its place"));
    }
    if let Some(other) = deployment.challenger.filter(|other| other.version != number) {
        abort(batch, model, other.version, &format!("version {number} takes its place"));
    }
    deployment.challenger = Some(Shadow { version: number, since: batch.at, needs: Some(needs), served: false });
    batch.write(&deployment);
    batch.say(Event::RolloutAdvanced { model: model.clone(), version: number, stage: "shadow".into() });
    Ok(())
}

pub(crate) fn abort(batch: &mut Batch, model: &ModelName, version: VersionNumber, why: &str) {
    batch.say(Event::RolloutAborted { model: model.clone(), version, why: why.into() });
}

/// Goes on after the shadow has answered: promotes, or gives up when too many answers failed.
pub(crate) fn after_shadow(
    world: &World,
    batch: &mut Batch,
    model: &ModelName,
    number: VersionNumber,
    answered: u64,
    failed: u64,
) -> Result<(), Fault> {
    let mut deployment = deployment(world, model)?;
    let needs = deployment.challenger.as_ref().filter(|shadow| shadow.version == number).and_then(|shadow| shadow.needs);
    let Some(needs) = needs else { return Ok(()) };
    if failed as f64 > answered as f64 * FAILED_SHARE {
        deployment.challenger = None;
        batch.write(&deployment);
        abort(batch, model, number, &format!("{failed} shadow answers failed, {answered} were good"));
        return Ok(());
    }
    if answered < needs {
        return Ok(());
    }
    rollout::begin(world, batch, deployment, number, &Reason::gate(world, model, number)?)
}

/// By whom and why a version becomes champion.
pub(crate) struct Reason {
    by: String,
    why: String,
    /// The alias stands at the version already: a client moved it.
    alias_moved: bool,
}

impl Reason {
    /// The gate, with the people who approved of it or set it aside.
    pub(crate) fn gate(world: &World, model: &ModelName, number: VersionNumber) -> Result<Self, Fault> {
        let key = format!("{model}/{number}");
        let report = world.get::<GateReport>(&key)?;
        let why = report.as_ref().map_or_else(|| "passed its gate".into(), |report| report.why.clone());
        let votes = world.get::<Approval>(&key)?.map(|approval| approval.votes).unwrap_or_default();
        let people: Vec<&str> = votes.iter().filter(|vote| vote.approves).map(|vote| vote.by.as_str()).collect();
        let set_aside = report.is_some_and(|report| !report.overrides.is_empty());
        let reasons: Vec<&str> = votes.iter().filter(|vote| vote.approves).map(|vote| vote.reason.as_str()).collect();
        let (by, why) = match people.join(", ") {
            none if none.is_empty() => ("gate".into(), why),
            people if set_aside => (people, format!("override: {}; the gate had said {why}", reasons.join("; "))),
            people => (format!("gate and {people}"), format!("{why}; approved: {}", reasons.join("; "))),
        };
        Ok(Reason { by, why, alias_moved: false })
    }
}

/// Makes a version champion: alias, deployment, history and events in one batch.
///
/// The alias must stand at the champion that the deployment knows (compare-and-set), else the rollout is given up.
pub(crate) fn promote(
    world: &World,
    batch: &mut Batch,
    mut deployment: Deployment,
    number: VersionNumber,
    reason: &Reason,
) -> Result<(), Fault> {
    let model = deployment.model.clone();
    let Some(mut registered) = world.get::<RegisteredModel>(model.as_str())? else {
        return Err(Fault::broken(format!("version {number} of `{model}` is to be promoted, but the model is not registered")));
    };
    let moved_to = registered.aliases.get(CHAMPION).copied().filter(|found| Some(*found) != deployment.champion);
    if let (Some(other), false) = (moved_to, reason.alias_moved) {
        (deployment.challenger, deployment.canary) = (None, None);
        batch.write(&deployment);
        abort(batch, &model, number, &format!("the alias `{CHAMPION}` was moved to version {other} by hand"));
        return Ok(());
    }
    let spec = declared(world, &model)?;
    let previous = deployment.champion;
    let rolled_out = [deployment.challenger.take().map(|shadow| shadow.version), deployment.canary.take().map(|canary| canary.version)];
    for other in rolled_out.into_iter().flatten().filter(|other| *other != number) {
        abort(batch, &model, other, &format!("version {number} became champion"));
    }
    let kept = spec.as_ref().and_then(|spec| spec.serve.as_ref()).map_or(&[][..], |serve| &serve.keep_shadow);
    deployment.shadows.extend(previous.filter(|previous| kept.contains(&previous.to_string()) && !deployment.shadows.contains(previous)));
    deployment.shadows.retain(|shadow| *shadow != number);
    deployment.champion = Some(number);
    deployment.history.push(Promotion { version: number, previous, at: batch.at, why: reason.why.clone() });
    deployment.gated = gated_figure(world, &model, number)?;
    let higher_is_better = spec.and_then(|spec| Metric::parse(&spec.metric)).is_some_and(Metric::higher_is_better);
    deployment.best = deployment.best.into_iter().chain(deployment.gated).reduce(if higher_is_better { f64::max } else { f64::min });
    batch.write(&deployment);
    if !reason.alias_moved {
        registered.aliases.insert(CHAMPION.into(), number);
        registered.updated = batch.at;
        batch.write(&registered);
    }
    let title = format!("{model}: version {number} is champion, by {}: {}", reason.by, reason.why);
    let (by, why) = (reason.by.clone(), reason.why.clone());
    batch.say(Event::ChampionPromoted { model: model.clone(), version: number, previous, by, why });
    batch.say(Event::AlertRaised { topic: "promotion".into(), model: Some(model), title });
    Ok(())
}

/// The figure with which a version passed its gate.
fn gated_figure(world: &World, model: &ModelName, number: VersionNumber) -> Result<Option<f64>, Fault> {
    let report = world.get::<GateReport>(&format!("{model}/{number}"))?.filter(|report| report.verdict == Verdict::Pass);
    Ok(report.and_then(|report| report.figure.challenger))
}

/// A client has moved the alias `champion` by hand: the deployment follows, and the log says who it was.
pub(crate) fn follow_alias(world: &World, batch: &mut Batch, model: &ModelName, number: VersionNumber, by: &Actor) -> Result<(), Fault> {
    // The alias stands at the new version already, so the champion before it is the deployment's own.
    let deployment = world.get::<Deployment>(model.as_str())?.unwrap_or_else(|| Deployment::new(model.clone()));
    if deployment.champion == Some(number) || alias(world, model)? != Some(number) || declared(world, model)?.is_none() {
        return Ok(());
    }
    let why = format!("override: the alias `{CHAMPION}` was set by hand, without a gate");
    promote(world, batch, deployment, number, &Reason { by: by.to_string(), why, alias_moved: true })
}

/// A person takes the model back to the champion before this one. Gives the version that serves then.
pub fn rollback(world: &World, model: &ModelName, actor: &Actor, now: Timestamp) -> Result<(Batch, VersionNumber), CommitError> {
    let deployment = deployment(world, model)?;
    let last = deployment.history.last().filter(|last| Some(last.version) == deployment.champion);
    let Some((from, to)) = last.and_then(|last| Some((last.version, last.previous?))) else {
        let what = format!("model `{model}` has no champion before this one");
        return Err(Refusal::conflict("rollback/none", what).hint(format!("trimtab model show {model}")).into());
    };
    if version(world, model, to)?.is_none() {
        let what = format!("version {to} of `{model}`, the champion before, is deleted");
        return Err(Refusal::conflict("rollback/deleted", what).hint("register it again, and let the gate judge it").into());
    }
    let mut batch = Batch::new(actor.clone(), now);
    let why = format!("rolled back from version {from}");
    promote(world, &mut batch, deployment, to, &Reason { by: actor.to_string(), why, alias_moved: false })?;
    Ok((batch, to))
}

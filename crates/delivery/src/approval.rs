//! Approvals: people let a version out, or not; each with a name and a reason.

use crate::commands::{declared, deployment, thread_of};
use domain::entity::{Approval, ApprovalState, GateReport, Override, Vote};
use domain::{Actor, Batch, Event, Fault, Kind, ModelName, Refusal, Timestamp, Verdict, VersionNumber};
use ports::{CommitError, World};

/// What a caller is named who did not say who it is.
const NOBODY: &str = "api";

/// Has a passed version wait for people, if the file asks for them. False: nobody is needed.
pub(crate) fn request(world: &World, batch: &mut Batch, model: &ModelName, version: VersionNumber) -> Result<bool, Fault> {
    let rule = declared(world, model)?.and_then(|spec| spec.gate).and_then(|gate| gate.approve.rule());
    let Some(rule) = rule else { return Ok(false) };
    let expires = rule.expires.map(|span| batch.at + span);
    batch.write(&Approval {
        model: model.clone(),
        version,
        people: rule.people,
        asked: batch.at,
        expires,
        state: ApprovalState::Waiting,
        votes: Vec::new(),
        overrides: false,
    });
    batch.say(Event::ApprovalRequested { model: model.clone(), version, people: rule.people, expires });
    let people = if rule.people == 1 { "a person".to_owned() } else { format!("{} people", rule.people) };
    let title = format!("{model}: version {version} passed its gate and waits for {people}: trimtab model approve {model}@{version}");
    batch.say(Event::AlertRaised { topic: "approval".into(), model: Some(model.clone()), title });
    Ok(true)
}

/// A person approves of a version that passed, or, with `set_aside`, of one that did not: recorded as an override.
pub fn approve(
    world: &World,
    model: &ModelName,
    version: VersionNumber,
    reason: &str,
    set_aside: bool,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, Approval), CommitError> {
    let by = identity(actor, reason)?;
    let mut report = judged(world, model, version)?;
    let passed = report.verdict == Verdict::Pass;
    let spec = declared(world, model)?;
    if !passed && !set_aside {
        let what = format!("the gate did not pass version {version} of `{model}` ({}): {}", report.verdict.word(), report.why);
        let hint = format!("trimtab model approve {model}@{version} --override --reason \"...\" sets the gate aside, and is recorded");
        return Err(Refusal::new(Kind::Forbidden, "approval/not_passed", what).hint(hint).into());
    }
    if !passed && spec.as_ref().is_some_and(|spec| spec.protected) {
        let what = format!("model `{model}` is protected: no gate of it is set aside");
        let hint = format!("let the gate judge it again (trimtab gate run {model}@{version}), or take `protected` out of [model.{model}]");
        return Err(Refusal::new(Kind::Forbidden, "approval/protected", what).hint(hint).into());
    }
    if deployment(world, model)?.champion == Some(version) {
        return Err(Refusal::conflict("approval/champion", format!("version {version} of `{model}` is champion already")).into());
    }
    let rule = spec.and_then(|spec| spec.gate).and_then(|gate| gate.approve.rule());
    let found = world.get::<Approval>(&format!("{model}/{version}"))?;
    if passed && found.is_none() && rule.is_none() {
        let what = format!("version {version} of `{model}` passed its gate and needs nobody");
        return Err(Refusal::conflict("approval/not_needed", what).hint(format!("trimtab rollout status {model}")).into());
    }
    let mut approval = found.unwrap_or_else(|| Approval {
        model: model.clone(),
        version,
        people: rule.map_or(1, |rule| rule.people),
        asked: now,
        expires: None,
        state: ApprovalState::Waiting,
        votes: Vec::new(),
        overrides: !passed,
    });
    open(&approval, now)?;
    if approval.votes.iter().any(|vote| vote.by == by) {
        let what = format!("{by} has approved of version {version} of `{model}` already; {} different people are needed", approval.people);
        return Err(Refusal::conflict("approval/twice", what).hint("another person must approve").into());
    }
    approval.votes.push(Vote { by: by.clone(), at: now, approves: true, reason: reason.trim().into() });
    let (given, people) = (approval.given(), approval.people);
    let mut batch = Batch::new(actor.clone(), now);
    batch.thread = thread_of(world, model, version)?;
    if given >= people {
        approval.state = ApprovalState::Approved;
    }
    if !passed {
        report.overrides.push(Override { by: by.clone(), reason: reason.trim().into(), at: now });
        batch.write(&report);
    }
    batch.write(&approval);
    let reason = reason.trim().to_owned();
    batch.say(Event::ApprovalGiven { model: model.clone(), version, by, reason, given, people, overrides: !passed });
    Ok((batch, approval))
}

/// A person rejects a version that waits.
pub fn reject(
    world: &World,
    model: &ModelName,
    version: VersionNumber,
    reason: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, Approval), CommitError> {
    let by = identity(actor, reason)?;
    judged(world, model, version)?;
    let Some(mut approval) = world.get::<Approval>(&format!("{model}/{version}"))? else {
        let what = format!("version {version} of `{model}` waits for nobody");
        return Err(Refusal::conflict("approval/not_needed", what).hint(format!("trimtab model show {model}")).into());
    };
    open(&approval, now)?;
    approval.votes.push(Vote { by: by.clone(), at: now, approves: false, reason: reason.trim().into() });
    approval.state = ApprovalState::Rejected;
    let mut batch = Batch::new(actor.clone(), now);
    batch.thread = thread_of(world, model, version)?;
    batch.write(&approval);
    batch.say(Event::ApprovalRejected { model: model.clone(), version, by, reason: reason.trim().into() });
    Ok((batch, approval))
}

/// Ends approvals that waited too long. Called now and then.
pub fn expire(world: &World, now: Timestamp) -> Result<(Batch, ()), CommitError> {
    let mut batch = Batch::new(Actor::System("delivery.approvals".into()), now);
    for mut approval in world.list::<Approval>()? {
        if approval.state == ApprovalState::Waiting && approval.expires.is_some_and(|expires| expires <= now) {
            approval.state = ApprovalState::Expired;
            batch.write(&approval);
            batch.say(Event::ApprovalExpired { model: approval.model.clone(), version: approval.version });
        }
    }
    Ok((batch, ()))
}

/// Who it is; both the name and the reason are asked for.
fn identity(actor: &Actor, reason: &str) -> Result<String, Refusal> {
    if reason.trim().is_empty() {
        return Err(Refusal::invalid("approval/reason", "an approval needs a reason").hint("--reason \"...\""));
    }
    match actor {
        Actor::User(name) if name != NOBODY && !name.trim().is_empty() => Ok(name.clone()),
        _ => Err(Refusal::invalid("approval/identity", "an approval needs a name")
            .hint("set TRIMTAB_ACTOR, or send the header `x-trimtab-actor: NAME`")),
    }
}

fn judged(world: &World, model: &ModelName, version: VersionNumber) -> Result<GateReport, CommitError> {
    let report = world.get::<GateReport>(&format!("{model}/{version}"))?;
    Ok(report.ok_or_else(|| {
        let what = format!("no gate has judged version {version} of `{model}`");
        Refusal::not_found("gate/not_judged", what).hint(format!("trimtab gate run {model}@{version}"))
    })?)
}

/// Whether it can still be decided.
fn open(approval: &Approval, now: Timestamp) -> Result<(), Refusal> {
    let (model, version) = (&approval.model, approval.version);
    let again = format!("trimtab gate run {model}@{version} judges it again");
    match approval.state {
        ApprovalState::Waiting if approval.expires.is_some_and(|expires| expires <= now) => {
            Err(Refusal::conflict("approval/expired", format!("version {version} of `{model}` waited too long for people")).hint(again))
        }
        ApprovalState::Waiting => Ok(()),
        ApprovalState::Expired => {
            Err(Refusal::conflict("approval/expired", format!("version {version} of `{model}` waited too long for people")).hint(again))
        }
        ApprovalState::Approved => Err(Refusal::conflict("approval/decided", format!("version {version} of `{model}` is approved"))
            .hint(format!("trimtab rollout status {model}"))),
        ApprovalState::Rejected => {
            let who = approval.votes.last().map_or(String::new(), |vote| format!(" by {}: {}", vote.by, vote.reason));
            Err(Refusal::conflict("approval/decided", format!("version {version} of `{model}` was rejected{who}")).hint(again))
        }
    }
}

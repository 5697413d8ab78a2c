//! What is on its way to the champion's place: versions that wait for people, shadow, canary; and what may be done about it.

use super::{Numbered, quoted};
use crate::format::{count, counted, figure, span, time};
use crate::link;
use domain::entity::{Approval, ApprovalState, Deployment, GateReport};
use domain::{Fault, ModelName, Verdict};
use ports::World;
use serde::Serialize;

/// Votes that are shown.
const VOTES: usize = 20;

#[derive(Serialize)]
pub(super) struct Rollout {
    waiting: Vec<Waiting>,
    shadow: Option<Stage>,
    canary: Option<Stage>,
    /// The newest first: who said what of which version.
    votes: Vec<Said>,
    resume: Option<Button>,
    abort: Option<Button>,
}

/// A version that waits for people.
#[derive(Serialize)]
struct Waiting {
    version: Numbered,
    verdict: Option<&'static str>,
    /// `1 of 2`.
    given: String,
    asked: String,
    expires: Option<String>,
    approve: Button,
    reject: Button,
}

#[derive(Serialize)]
struct Stage {
    version: Numbered,
    word: &'static str,
    since: String,
    /// Percent of the entities.
    weight: Option<u8>,
    paused: Option<String>,
    facts: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Said {
    at: String,
    by: String,
    said: &'static str,
    version: Numbered,
    reason: String,
}

#[derive(Serialize)]
struct Button {
    title: &'static str,
    post: String,
    body: String,
    command: String,
}

/// What is under way for a model; `None`: nothing is, and nobody ever said anything.
pub(super) fn rollout(world: &World, model: &ModelName, deployment: &Deployment) -> Result<Option<Rollout>, Fault> {
    let approvals = world.scope::<Approval>(model.as_str())?;
    let api = |verb: &str| format!("/api/v1/models/{}/{verb}", link::part(model.as_str()));
    let name = quoted(model.as_str());
    let mut waiting = Vec::new();
    for approval in approvals.iter().filter(|approval| approval.state == ApprovalState::Waiting) {
        let report = world.get::<GateReport>(&format!("{model}/{}", approval.version))?;
        let verdict = report.map(|report| report.verdict);
        let set_aside = verdict.is_some_and(|verdict| verdict != Verdict::Pass);
        let vote = |title, verb: &str| {
            let more = if set_aside && verb == "approve" { " --override" } else { "" };
            Button {
                title,
                post: api(verb),
                body: serde_json::json!({"version": approval.version, "override": set_aside && verb == "approve"}).to_string(),
                command: format!("trimtab model {verb} {name}@{}{more} --reason '...'", approval.version),
            }
        };
        waiting.push(Waiting {
            version: Numbered::of(model, approval.version),
            verdict: verdict.map(Verdict::word),
            given: format!("{} of {}", approval.given(), approval.people),
            asked: time(approval.asked),
            expires: approval.expires.map(time),
            approve: vote("Approve", "approve"),
            reject: vote("Reject", "reject"),
        });
    }
    let mut votes: Vec<_> = approvals.iter().flat_map(|approval| approval.votes.iter().map(move |vote| (approval.version, vote))).collect();
    votes.sort_by_key(|(_, vote)| std::cmp::Reverse(vote.at));
    let said = |(version, vote): &(domain::VersionNumber, &domain::entity::Vote)| Said {
        at: time(vote.at),
        by: vote.by.clone(),
        said: if vote.approves { "approved" } else { "rejected" },
        version: Numbered::of(model, *version),
        reason: vote.reason.clone(),
    };
    let shadow = deployment.challenger.as_ref().map(|shadow| Stage {
        version: Numbered::of(model, shadow.version),
        word: "shadow",
        since: time(shadow.since),
        weight: None,
        paused: None,
        facts: shadow.needs.map(|needs| ("answers before it goes on".to_owned(), count(needs))).into_iter().collect(),
    });
    let canary = deployment.canary.as_ref().map(|canary| canary_stage(model, canary));
    let is_paused = deployment.canary.as_ref().is_some_and(|canary| canary.paused.is_some());
    let button = |title, verb: &str, command: String| Button { title, post: api(&format!("rollout/{verb}")), body: "{}".into(), command };
    let resume = is_paused.then(|| button("Let it go on", "resume", format!("trimtab rollout resume {name}")));
    let under_way = shadow.is_some() || canary.is_some();
    let abort = under_way.then(|| button("Give it up", "abort", format!("trimtab rollout abort {name} --reason '...'")));
    if waiting.is_empty() && !under_way && votes.is_empty() {
        return Ok(None);
    }
    Ok(Some(Rollout { waiting, shadow, canary, votes: votes.iter().take(VOTES).map(said).collect(), resume, abort }))
}

fn canary_stage(model: &ModelName, canary: &domain::entity::Canary) -> Stage {
    let seen = &canary.seen;
    let mut facts = vec![
        ("answered".to_owned(), format!("{} of {}", count(seen.answered), counted(canary.min_requests, "request"))),
        ("failed".to_owned(), count(seen.failed)),
        ("champion answered".to_owned(), count(seen.champion_answered)),
        ("stays at this share for".to_owned(), span(canary.hold)),
    ];
    facts.extend(seen.latency_ratio.map(|ratio| ("latency over the champion's".to_owned(), figure(ratio))));
    facts.extend(seen.score_psi.map(|psi| ("PSI of its scores".to_owned(), figure(psi))));
    if let Some(labels) = &seen.labels {
        let rows = labels.champion_rows + labels.canary_rows;
        facts.push(("mean loss, canary and champion".into(), format!("{} and {}", figure(labels.canary), figure(labels.champion))));
        facts.push(("always-valid p".into(), format!("{}, {}", figure(labels.p), counted(rows, "labelled row"))));
    }
    Stage {
        version: Numbered::of(model, canary.version),
        word: if canary.paused.is_some() { "paused" } else { "canary" },
        since: time(canary.since),
        weight: Some(canary.weight),
        paused: canary.paused.clone(),
        facts,
    }
}

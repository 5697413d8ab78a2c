//! What a git host is told of a commit: its state, and a report in Markdown. Pure.

use crate::checks::report_of;
use domain::entity::{
    CheckReport, CommitState, GateReport, ModelVersion, PipelineRun, PipelineStep, PipelineVersion, RunState, StepState, TriggerKind,
};
use domain::spec::{GitHost, GitSpec};
use domain::{Fault, Verdict};
use ports::{Post, World};
use serde_json::{Value, json};

/// Characters that a host keeps of a description.
const DESCRIPTION: usize = 140;
/// Cases that a report names.
const CASES: usize = 20;

/// What the commit of a pipeline run is, and why in a few words.
///
/// A run that succeeded and registered a version that a gate is to judge is pending until the gate has; a version that may not be let out
/// is a failure, one that could not be judged too: no evidence is never a success.
pub fn state(world: &World, run: &PipelineRun) -> Result<(CommitState, String), Fault> {
    let first = |text: &Option<String>| text.as_deref().and_then(|text| text.lines().next()).unwrap_or("a step did not succeed").to_owned();
    match run.state {
        RunState::Queued | RunState::Running => return Ok((CommitState::Pending, format!("{} is under way", run.id))),
        RunState::Failed => return Ok((CommitState::Failure, first(&run.error))),
        RunState::Cancelled => return Ok((CommitState::Error, "cancelled".into())),
        RunState::Succeeded => {}
    }
    let mut judged = Vec::new();
    for version in versions(world, run)? {
        let label = format!("{} version {}", version.model, version.version);
        match world.get::<GateReport>(&format!("{}/{}", version.model, version.version))? {
            Some(report) if report.verdict == Verdict::Pass => judged.push(format!("the gate passed {label}")),
            Some(report) if report.verdict == Verdict::Fail => {
                return Ok((CommitState::Failure, format!("the gate refused {label}: {}", report.why)));
            }
            Some(report) => return Ok((CommitState::Failure, format!("the gate could not decide on {label}: {}", report.why))),
            None if has_gate(world, &version)? => return Ok((CommitState::Pending, format!("the gate looks at {label}"))),
            None => {}
        }
    }
    let steps = world.scope::<PipelineStep>(run.id.as_str())?;
    let cases: u64 = reports(world, &steps)?.iter().map(|report| report.counts.cases).sum();
    let checked = if cases > 0 { format!(", {cases} cases") } else { String::new() };
    judged.insert(0, format!("{} steps{checked}", steps.len()));
    Ok((CommitState::Success, judged.join("; ")))
}

fn versions(world: &World, run: &PipelineRun) -> Result<Vec<ModelVersion>, Fault> {
    Ok(world.list::<ModelVersion>()?.into_iter().filter(|version| version.pipeline_run.as_ref() == Some(&run.id)).collect())
}

fn has_gate(world: &World, version: &ModelVersion) -> Result<bool, Fault> {
    let project = world.project()?;
    Ok(project.is_some_and(|project| project.spec.model.get(version.model.as_str()).is_some_and(|model| model.gate.is_some())))
}

fn reports(world: &World, steps: &[PipelineStep]) -> Result<Vec<CheckReport>, Fault> {
    let found: Result<Vec<_>, Fault> = steps.iter().map(|step| report_of(world, step, None)).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// The report as a comment. `gates` is what the gates say of the versions that came of the run, in Markdown.
pub fn markdown(world: &World, run: &PipelineRun, url: Option<&str>, gates: &str) -> Result<String, Fault> {
    let (state, why) = state(world, run)?;
    let TriggerKind::Git { commit, .. } = &run.trigger.kind else { return Ok(String::new()) };
    let name = url.map_or(format!("`{}`", run.id), |url| format!("[{}]({}/pipeline-runs/{})", run.id, url.trim_end_matches('/'), run.id));
    let mut text = format!(
        "### {} {}: {}\n\n{name} of commit {}: {}\n",
        mark(state),
        plain(&run.pipeline),
        state.word(),
        commit.get(..10).unwrap_or(commit),
        plain(&why)
    );
    let version = world.get::<PipelineVersion>(&format!("{}/{}", run.pipeline, run.version))?;
    let mut steps = world.scope::<PipelineStep>(run.id.as_str())?;
    steps.sort_by_key(|step| version.as_ref().and_then(|version| version.spec.step.get_index_of(&step.name)));
    text.push_str("\n| step | state | took | why |\n|---|---|---|---|\n");
    for step in &steps {
        let spent: i64 = step.attempts.iter().filter_map(|attempt| Some((attempt.ended? - attempt.started).ms())).sum();
        let error = step.attempts.last().and_then(|last| last.error.as_deref()).filter(|_| step.state == StepState::Failed);
        let why = error.or(step.why.as_deref()).unwrap_or_default().lines().next().unwrap_or_default();
        text.push_str(&format!("| {} | {} | {:.1} s | {} |\n", plain(&step.name), word(step.state), spent as f64 / 1e3, plain(why)));
    }
    for report in reports(world, &steps)? {
        let counts = report.counts;
        let summary = format!(
            "{} cases: {} passed, {} failed, {} skipped, {} flaky",
            counts.cases,
            counts.passed,
            counts.bad(),
            counts.skipped,
            counts.flaky
        );
        text.push_str(&format!("\n**{}**: {summary}\n", plain(&report.step)));
        let notable = report.cases.iter().filter(|case| case.state.is_bad() || case.flaky.is_some());
        for case in notable.take(CASES) {
            let said = case.message.as_deref().and_then(|text| text.lines().next()).unwrap_or_default();
            let flaky = case.flaky.as_ref().map_or(String::new(), |why| format!(" (flaky: {})", plain(why)));
            text.push_str(&format!("- {} {}{flaky}: {}\n", case.state.word(), code(&case.name), plain(said)));
        }
    }
    if !gates.trim().is_empty() {
        text.push_str(&format!("\n{}\n", gates.trim()));
    }
    Ok(text)
}

fn mark(state: CommitState) -> &'static str {
    match state {
        CommitState::Success => "✅",
        CommitState::Pending => "⏳",
        CommitState::Failure | CommitState::Error => "❌",
    }
}

fn word(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "waiting",
        StepState::Running => "running",
        StepState::Succeeded => "succeeded",
        StepState::Cached => "cached",
        StepState::Failed => "**failed**",
        StepState::Skipped => "skipped",
        StepState::Cancelled => "cancelled",
        StepState::UpstreamFailed => "not run: a step before it failed",
    }
}

/// Text of others as text: no link, no mention of people, no table cell's end, no HTML.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().filter(|c| !c.is_control()).take(300) {
        if "\\`*_{}[]<>|#!~@&".contains(c) {
            plain.push('\\');
        }
        plain.push(c);
        if c == '@' {
            // A mention needs the name right behind the sign.
            plain.push('\u{200b}');
        }
    }
    plain
}

fn code(text: &str) -> String {
    let inside: String = text.chars().filter(|c| !c.is_control() && *c != '`').take(300).collect();
    format!("`{}`", inside.replace('|', "¦"))
}

/// The request that sets a commit's state; told twice, it is the same.
pub fn status_post(spec: &GitSpec, token: &str, run: &PipelineRun, commit: &str, state: CommitState, description: &str) -> Option<Post> {
    let api = spec.api.as_deref()?.trim_end_matches('/');
    let mut description: String = description.chars().filter(|c| !c.is_control()).collect();
    if description.chars().count() > DESCRIPTION {
        description = description.chars().take(DESCRIPTION - 1).chain(['…']).collect();
    }
    let context = format!("trimtab/{}", run.pipeline);
    let target = spec.url.as_ref().map(|url| format!("{}/pipeline-runs/{}", url.trim_end_matches('/'), run.id));
    let body = match spec.host {
        GitHost::Github => json!({"state": state.word(), "context": context, "description": description, "target_url": target}),
        GitHost::Gitlab => {
            let state = match state {
                CommitState::Pending => "running",
                CommitState::Success => "success",
                CommitState::Failure => "failed",
                CommitState::Error => "canceled",
            };
            json!({"state": state, "name": context, "description": description, "target_url": target})
        }
    };
    Some(post(spec, token, format!("{api}/statuses/{commit}"), body))
}

/// The request that posts a report, to the pull request or to the commit itself.
pub fn report_post(spec: &GitSpec, token: &str, commit: &str, number: Option<u64>, text: &str) -> Option<Post> {
    let api = spec.api.as_deref()?.trim_end_matches('/');
    let (path, body) = match (spec.host, number) {
        (GitHost::Github, Some(number)) => (format!("issues/{number}/comments"), json!({"body": text})),
        (GitHost::Github, None) => (format!("commits/{commit}/comments"), json!({"body": text})),
        (GitHost::Gitlab, Some(number)) => (format!("merge_requests/{number}/notes"), json!({"body": text})),
        (GitHost::Gitlab, None) => (format!("repository/commits/{commit}/comments"), json!({"note": text})),
    };
    Some(post(spec, token, format!("{api}/{path}"), body))
}

fn post(spec: &GitSpec, token: &str, url: String, body: Value) -> Post {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut headers = vec![header("Content-Type", "application/json"), header("User-Agent", "trimtab")];
    match spec.host {
        GitHost::Github => headers.extend([
            header("Authorization", &format!("Bearer {token}")),
            header("Accept", "application/vnd.github+json"),
            header("X-GitHub-Api-Version", "2022-11-28"),
        ]),
        GitHost::Gitlab => headers.push(header("PRIVATE-TOKEN", token)),
    }
    Post { url, headers, body: body.to_string() }
}

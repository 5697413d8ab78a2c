//! The canary: a version answers more and more of the entities, as long as what is seen of it is good.
//!
//! At every step it is judged by guardrails as soon as something was seen, by labels when they come, and at the end of the
//! step by all of it: failed gives up, inconclusive stands still until a person says more, good goes on.

use crate::commands::{Reason, abort, declared, deployment, promote};
use domain::entity::{Canary, CanaryLabels, CanarySeen, Deployment, Interval};
use domain::spec::RolloutSpec;
use domain::{Actor, Batch, Event, Fault, ModelName, Refusal, Timestamp, VersionNumber};
use ports::{CommitError, World};
use stats::{Msprt, wilson};

/// Guardrails of a canary whose file names none.
const USUAL: &str = "error_rate > 1%";
/// Confidence with which a guardrail is passed or broken.
const CONFIDENCE: f64 = 0.95;
/// Labelled answers of both sides before labels say anything: the test is asymptotic.
pub const MIN_LABELS: u64 = 50;
/// Fewer failed requests than this are no rate: a canary is looked at after every one of the first.
const MIN_FAILED: u64 = 3;
/// The always-valid p at which labels end a canary.
const ALPHA: f64 = 0.05;

/// What must not happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Guard {
    /// Share of its requests that fail.
    ErrorRate(f64),
    /// Median latency over the champion's.
    LatencyRatio(f64),
    /// PSI of its scores against the champion's.
    ScorePsi(f64),
}

/// What follows from what was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// More must be seen.
    Wait,
    Advance,
    Abort(String),
    Pause(String),
}

/// Understands `abort_if`.
///
/// ```
/// use delivery::rollout::{Guard, parse_guards};
/// assert_eq!(parse_guards("error_rate > 1% or latency_ratio > 1.5").unwrap(), [Guard::ErrorRate(0.01), Guard::LatencyRatio(1.5)]);
/// assert!(parse_guards("error > 1%").is_err());
/// ```
pub fn parse_guards(text: &str) -> Result<Vec<Guard>, Refusal> {
    let wrong = |part: &str| {
        Refusal::invalid("rollout/abort_if", format!("`{part}` is not a guardrail"))
            .hint("write \"error_rate > 1%\", \"latency_ratio > 1.5\" or \"score_psi > 0.25\", joined by or")
    };
    let guard = |part: &str| {
        let (name, limit) = part.split_once('>')?;
        let limit = limit.trim();
        let limit: f64 = match limit.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
            None => limit.parse().ok()?,
        };
        let limit = Some(limit).filter(|limit| limit.is_finite() && *limit >= 0.0)?;
        match name.trim() {
            "error_rate" => Some(Guard::ErrorRate(limit)),
            "latency_ratio" => Some(Guard::LatencyRatio(limit)),
            "score_psi" => Some(Guard::ScorePsi(limit)),
            _ => None,
        }
    };
    text.split(" or ").map(|part| guard(part).ok_or_else(|| wrong(part.trim()))).collect()
}

/// Checks `rollout = {..}`.
pub fn check(spec: &RolloutSpec) -> Result<(), Refusal> {
    if let Some(text) = &spec.abort_if {
        parse_guards(text)?;
    }
    let rising = spec.canary.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || spec.canary.iter().any(|weight| *weight == 0 || *weight > 100) {
        let what = format!("canary = {:?} does not rise from above 0 to at most 100", spec.canary);
        return Err(Refusal::invalid("rollout/canary", what).hint("canary = [5, 25, 100]"));
    }
    if spec.canary.is_empty() && (spec.each.is_some() || spec.abort_if.is_some()) {
        let what = "`each` and `abort_if` are about a canary, and there is none";
        return Err(Refusal::invalid("rollout/canary", what).hint("canary = [5, 25, 100]"));
    }
    Ok(())
}

/// What follows from what was seen of a canary by `now`.
///
/// A broken guardrail gives up at once: an error rate whose whole Wilson interval lies above the limit, a latency ratio or
/// score PSI above it. At the end of a step (enough requests and time) an error rate above its limit that could be chance, or
/// a guardrail of which nothing is known, is inconclusive.
pub fn judge(guards: &[Guard], canary: &Canary, now: Timestamp) -> Step {
    let CanarySeen { answered, labels, .. } = &canary.seen;
    let done = *answered >= canary.min_requests && now - canary.since >= canary.hold;
    if let Some(labels) = labels.as_ref().filter(|labels| labels.p <= ALPHA && labels.canary > labels.champion) {
        let n = labels.canary_rows;
        return Step::Abort(format!(
            "labels say it is worse: {:.4} against {:.4} on {n} rows, p {:.2e}",
            labels.canary, labels.champion, labels.p
        ));
    }
    let mut unsure = None;
    for guard in guards {
        match look(*guard, &canary.seen) {
            Look::Broken(what) => return Step::Abort(what),
            Look::Unsure(what) => unsure = unsure.or(Some(what)),
            Look::Fine => {}
        }
    }
    match (done, unsure) {
        (false, _) => Step::Wait,
        (true, Some(why)) => Step::Pause(why),
        (true, None) => Step::Advance,
    }
}

enum Look {
    Fine,
    Broken(String),
    Unsure(String),
}

fn look(guard: Guard, seen: &CanarySeen) -> Look {
    let over = |name: &str, found: Option<f64>, limit: f64| match found {
        Some(found) if found > limit => Look::Broken(format!("{name} {found:.3}, limit {limit}")),
        Some(_) => Look::Fine,
        None => Look::Unsure(format!("{name} is not known: one side has too few requests")),
    };
    match guard {
        Guard::ErrorRate(limit) => {
            let (failed, asked) = (seen.failed, seen.answered + seen.failed);
            let Some((low, high)) = wilson(failed, asked, CONFIDENCE) else { return Look::Fine };
            let what =
                format!("error_rate {failed} of {asked} in [{:.2} %, {:.2} %], limit {} %", low * 100.0, high * 100.0, limit * 100.0);
            if low > limit && failed >= MIN_FAILED {
                Look::Broken(what)
            } else if failed as f64 > limit * asked as f64 {
                Look::Unsure(what)
            } else {
                Look::Fine
            }
        }
        Guard::LatencyRatio(limit) => over("latency_ratio", seen.latency_ratio, limit),
        Guard::ScorePsi(limit) => over("score_psi", seen.score_psi, limit),
    }
}

/// After the shadow, or at once without one: the first step of the canary, or the champion's place where there is none.
pub(crate) fn begin(
    world: &World,
    batch: &mut Batch,
    mut deployment: Deployment,
    number: VersionNumber,
    reason: &Reason,
) -> Result<(), Fault> {
    let model = deployment.model.clone();
    let spec = rollout_of(world, &model)?;
    let Some(weight) = spec.canary.first().copied().filter(|weight| *weight < 100 && deployment.champion.is_some()) else {
        return promote(world, batch, deployment, number, reason);
    };
    if deployment.challenger.as_ref().is_some_and(|shadow| shadow.version == number) {
        deployment.challenger = None;
    }
    if let Some(other) = deployment.canary.take().filter(|other| other.version != number) {
        abort(batch, &model, other.version, &format!("version {number} takes its place"));
    }
    step(batch, deployment, &spec, number, weight);
    Ok(())
}

fn step(batch: &mut Batch, mut deployment: Deployment, spec: &RolloutSpec, version: VersionNumber, weight: u8) {
    let each = spec.each.clone().unwrap_or_default();
    let (since, seen) = (batch.at, CanarySeen::default());
    deployment.canary = Some(Canary { version, weight, since, min_requests: each.min_requests, hold: each.hold, paused: None, seen });
    batch.write(&deployment);
    batch.say(Event::RolloutAdvanced { model: deployment.model, version, stage: format!("{weight} %") });
}

fn rollout_of(world: &World, model: &ModelName) -> Result<RolloutSpec, Fault> {
    Ok(declared(world, model)?.and_then(|spec| spec.serve).map(|serve| serve.rollout).unwrap_or_default())
}

/// Goes on after something was seen of a canary.
pub(crate) fn after_canary(world: &World, batch: &mut Batch, model: &ModelName, number: VersionNumber) -> Result<(), Fault> {
    let mut deployment = deployment(world, model)?;
    let Some(canary) = deployment.canary.clone().filter(|canary| canary.version == number && canary.paused.is_none()) else {
        return Ok(());
    };
    let spec = rollout_of(world, model)?;
    let guards = parse_guards(spec.abort_if.as_deref().unwrap_or(USUAL)).map_err(|refusal| Fault::because("reading abort_if", refusal))?;
    match judge(&guards, &canary, batch.at) {
        Step::Wait => {}
        Step::Abort(why) => {
            deployment.canary = None;
            batch.write(&deployment);
            give_up(batch, model, number, &format!("at {} %: {why}", canary.weight));
        }
        Step::Pause(why) => {
            deployment.canary = Some(Canary { paused: Some(why.clone()), ..canary.clone() });
            batch.write(&deployment);
            pause(batch, model, number, &format!("at {} %, not sure: {why}", canary.weight));
        }
        Step::Advance => match spec.canary.iter().copied().find(|weight| *weight > canary.weight && *weight < 100) {
            Some(weight) => step(batch, deployment, &spec, number, weight),
            None => promote(world, batch, deployment, number, &Reason::gate(world, model, number)?)?,
        },
    }
    Ok(())
}

fn give_up(batch: &mut Batch, model: &ModelName, number: VersionNumber, why: &str) {
    abort(batch, model, number, why);
    let title = format!("{model}: the canary of version {number} was given up {why}");
    batch.say(Event::AlertRaised { topic: "rollout".into(), model: Some(model.clone()), title });
}

fn pause(batch: &mut Batch, model: &ModelName, number: VersionNumber, why: &str) {
    batch.say(Event::RolloutPaused { model: model.clone(), version: number, why: why.into() });
    let title = format!("{model}: the canary of version {number} stands still {why}: trimtab rollout resume {model}, or abort");
    batch.say(Event::AlertRaised { topic: "rollout".into(), model: Some(model.clone()), title });
}

/// Takes what labels say of a canary's step into its state and the log. Counts never go back.
pub(crate) fn observe(world: &World, of: &Canary, model: &ModelName, labels: CanaryLabels, batch: &mut Batch) -> Result<(), Fault> {
    let mut deployment = deployment(world, model)?;
    let same_step = |canary: &&mut Canary| canary.version == of.version && canary.weight == of.weight && canary.since == of.since;
    let Some(canary) = deployment.canary.as_mut().filter(same_step) else { return Ok(()) };
    let number = canary.version;
    if canary.seen.labels.as_ref().is_some_and(|before| before.canary_rows >= labels.canary_rows) {
        return Ok(());
    }
    batch.say(Event::CanaryLabelled {
        model: model.clone(),
        version: number,
        champion_rows: labels.champion_rows,
        canary_rows: labels.canary_rows,
        champion_loss: labels.champion,
        canary_loss: labels.canary,
        p: labels.p,
    });
    canary.seen.labels = Some(labels);
    batch.write(&deployment);
    Ok(())
}

/// What an always-valid test has seen, once both sides have enough labelled answers.
pub fn labels_of(test: &Msprt) -> Option<CanaryLabels> {
    let (champion_rows, canary_rows) = test.n();
    let (champion, canary) = test.means()?;
    let method = "mSPRT confidence sequence".to_owned();
    let interval = test.interval(CONFIDENCE).map(|(low, high)| Interval { low, high, confidence: CONFIDENCE, method });
    let enough = champion_rows.min(canary_rows) >= MIN_LABELS;
    enough.then(|| CanaryLabels { champion_rows, canary_rows, champion, canary, interval, p: test.p() })
}

/// A person lets a canary go on that stands still: its step begins anew.
pub fn resume(world: &World, model: &ModelName, actor: &Actor, now: Timestamp) -> Result<(Batch, VersionNumber), CommitError> {
    let mut deployment = deployment(world, model)?;
    let Some(canary) = deployment.canary.as_mut().filter(|canary| canary.paused.is_some()) else {
        let what = format!("no rollout of `{model}` stands still");
        return Err(Refusal::conflict("rollout/not_paused", what).hint(format!("trimtab rollout status {model}")).into());
    };
    let version = canary.version;
    (canary.paused, canary.since, canary.seen) = (None, now, CanarySeen::default());
    let mut batch = Batch::new(actor.clone(), now);
    batch.thread = crate::commands::thread_of(world, model, version)?;
    batch.write(&deployment);
    batch.say(Event::RolloutResumed { model: model.clone(), version, by: actor.to_string() });
    Ok((batch, version))
}

/// A person ends what is being rolled out: canary and shadow; the champion stays.
pub fn end(world: &World, model: &ModelName, reason: &str, actor: &Actor, now: Timestamp) -> Result<(Batch, VersionNumber), CommitError> {
    let mut deployment = deployment(world, model)?;
    let shadow = deployment.challenger.take().map(|shadow| shadow.version);
    let Some(version) = deployment.canary.take().map(|canary| canary.version).or(shadow) else {
        let what = format!("nothing of `{model}` is being rolled out");
        return Err(Refusal::conflict("rollout/none", what).hint(format!("trimtab model show {model}")).into());
    };
    let mut batch = Batch::new(actor.clone(), now);
    batch.thread = crate::commands::thread_of(world, model, version)?;
    batch.write(&deployment);
    let why = if reason.trim().is_empty() { String::new() } else { format!(": {}", reason.trim()) };
    for version in [Some(version), shadow.filter(|shadow| *shadow != version)].into_iter().flatten() {
        abort(&mut batch, model, version, &format!("by {actor}{why}"));
    }
    Ok((batch, version))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::Span;

    fn canary(answered: u64, failed: u64) -> Canary {
        Canary {
            version: VersionNumber(2),
            weight: 5,
            since: Timestamp::from_ms(0),
            min_requests: 500,
            hold: Span::from_ms(900_000),
            paused: None,
            seen: CanarySeen { answered, failed, champion_answered: 9500, ..CanarySeen::default() },
        }
    }

    #[test]
    fn a_step_has_four_ends() {
        let (early, late) = (Timestamp::from_ms(899_999), Timestamp::from_ms(900_000));
        let rate = [Guard::ErrorRate(0.01)];
        let judged = |guards: &[Guard], canary: &Canary, now| match judge(guards, canary, now) {
            Step::Wait => "wait",
            Step::Advance => "advance",
            Step::Abort(_) => "abort",
            Step::Pause(_) => "pause",
        };
        let cases = [
            (canary(499, 0), late, "wait"),
            (canary(500, 0), early, "wait"),
            (canary(500, 0), late, "advance"),
            (canary(500, 5), late, "advance"),
            (canary(500, 8), late, "pause"),
            (canary(500, 8), early, "wait"),
            (canary(10, 2), early, "wait"),
            (canary(20, 4), early, "abort"),
            (canary(150, 1), early, "wait"),
        ];
        for (canary, now, expected) in cases {
            assert_eq!(judged(&rate, &canary, now), expected, "{:?}", canary.seen);
        }
        let with = |ratio, psi| {
            let mut canary = canary(500, 0);
            (canary.seen.latency_ratio, canary.seen.score_psi) = (ratio, psi);
            canary
        };
        let guards = [Guard::LatencyRatio(1.5), Guard::ScorePsi(0.25)];
        assert_eq!(judged(&guards, &with(Some(1.2), Some(0.1)), late), "advance");
        assert_eq!(judged(&guards, &with(Some(1.2), None), late), "pause", "nothing known is not healthy");
        assert_eq!(judged(&guards, &with(Some(1.2), None), early), "wait");
        assert_eq!(judged(&guards, &with(Some(1.6), None), early), "abort");
        assert_eq!(judged(&guards, &with(None, Some(0.3)), early), "abort");
    }

    #[test]
    fn labels_end_a_canary_that_is_worse_and_no_other() {
        let labelled = |canary_loss: f64, p| {
            let labels = CanaryLabels { champion_rows: 900, canary_rows: 60, champion: 10.0, canary: canary_loss, interval: None, p };
            let mut canary = canary(60, 0);
            canary.seen.labels = Some(labels);
            judge(&[], &canary, Timestamp::from_ms(1))
        };
        assert!(matches!(labelled(20.0, 0.01), Step::Abort(_)));
        assert_eq!(labelled(20.0, 0.06), Step::Wait);
        assert_eq!(labelled(5.0, 0.01), Step::Wait, "better is no reason to stop");
    }

    #[test]
    fn steps_rise_and_guards_are_words() {
        let spec = |canary: &[u8], abort_if: Option<&str>| RolloutSpec {
            canary: canary.to_vec(),
            abort_if: abort_if.map(str::to_owned),
            ..RolloutSpec::default()
        };
        assert!(check(&spec(&[5, 25, 100], Some("error_rate > 1% or score_psi > 0.25"))).is_ok());
        assert!(check(&spec(&[], None)).is_ok());
        for (canary, abort_if) in
            [(&[25, 5][..], None), (&[0], None), (&[101], None), (&[5], Some("errors > 1%")), (&[], Some("error_rate > 1%"))]
        {
            assert!(check(&spec(canary, abort_if)).is_err(), "{canary:?} {abort_if:?}");
        }
    }
}

//! What starts a pipeline besides a person: schedules, events, backfills. Decisions; `work::triggers` carries them out.

use crate::check;
use crate::commands::{self, Fingerprint, Request};
use crate::cron::{Due, Schedule, due};
use domain::entity::{Backfill, PipelineRun, RunState, ScheduleMark, Trigger, TriggerKind};
use domain::spec::{ParamValue, PipelineSpec};
use domain::{Actor, Batch, Event, PipelineRunId, Recorded, Refusal, Span, Timestamp};
use indexmap::IndexMap;
use ports::{CommitError, World};

/// Instants that a backfill may have.
const MOST_INSTANTS: i64 = 100_000;

/// The cron expressions of a pipeline.
pub fn crons(spec: &PipelineSpec) -> impl Iterator<Item = &str> {
    spec.on.iter().filter_map(|on| on.strip_prefix("cron:")).map(str::trim)
}

/// The zone that they are meant in.
pub fn zone(spec: &PipelineSpec) -> &str {
    spec.tz.as_deref().unwrap_or("UTC")
}

/// The next firings of a pipeline after an instant, with their expressions.
pub fn upcoming(spec: &PipelineSpec, after: Timestamp, count: usize) -> Vec<(Timestamp, String)> {
    let of = |cron: &str| {
        let schedule = Schedule::parse(cron, zone(spec)).ok();
        schedule.into_iter().flat_map(|schedule| schedule.upcoming(after, count)).map(|at| (at, cron.to_owned())).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = crons(spec).flat_map(of).collect();
    all.sort();
    all.truncate(count);
    all
}

/// What the event is for a pipeline that waits for it: the entry of its `on`. What came of a run of the pipeline itself does not start it.
pub fn wanted<'a>(spec: &'a PipelineSpec, event: &Event, made_by: Option<&str>, name: &str) -> Option<&'a str> {
    if made_by == Some(name) {
        return None;
    }
    spec.on.iter().map(String::as_str).find(|on| {
        let Some((kind, what)) = on.split_once(':') else { return false };
        match (kind, event) {
            ("model", Event::ModelVersionRegistered { model, .. }) | ("promotion", Event::ChampionPromoted { model, .. }) => {
                model.as_str() == what
            }
            ("source", Event::TableWritten { source, rows, .. }) => source == what && *rows > 0,
            ("pipeline", Event::PipelineRunFinished { pipeline, state: RunState::Succeeded, .. }) => pipeline == what,
            _ => false,
        }
    })
}

/// One cron expression of a pipeline, at its time.
pub struct Firing<'a> {
    pub pipeline: &'a str,
    pub cron: &'a str,
    pub spec: &'a PipelineSpec,
    pub fingerprint: &'a Fingerprint,
}

/// Decides on a cron expression: a pipeline run if it is due, and the mark that says so. An expression that is seen for the first time
/// fires from now on. What cannot be started is said in the log.
pub fn fire(world: &World, firing: &Firing, actor: &Actor, now: Timestamp) -> Result<(Batch, Option<PipelineRunId>), CommitError> {
    let Firing { pipeline, cron, spec, .. } = *firing;
    let tz = zone(spec);
    let known = world.get::<ScheduleMark>(&ScheduleMark::key_of(pipeline, cron, tz))?;
    let fresh = || ScheduleMark { pipeline: pipeline.into(), cron: cron.into(), tz: tz.into(), last: now, missed: 0 };
    let Some(mut mark) = known else {
        return Ok((Batch::new(actor.clone(), now).put(&fresh()), None));
    };
    let (at, missed, is_late) = match due(&Schedule::parse(cron, tz)?, mark.last, now, spec.catchup.unwrap_or_default()) {
        Due::Nothing => return Ok((Batch::new(actor.clone(), now), None)),
        Due::Fire { at, missed } => (at, missed, false),
        Due::TooLate { at, missed } => (at, missed, true),
    };
    mark.last = at;
    mark.missed += missed;
    let trigger = Trigger { kind: TriggerKind::Schedule { at }, time: at, holdout_to: at };
    let why = format!("it was due at {at}, too long ago; `catchup` says how late it may be");
    let request = if is_late {
        Err(Refusal::conflict("pipeline/late", why).into())
    } else {
        request(world, firing, None, trigger.clone(), actor, now)
    };
    let (batch, id) = started_or_said(request, pipeline, &trigger.kind, actor, now)?;
    Ok((batch.put(&mark), id))
}

/// Decides on an event that a pipeline waits for; hearing of it twice makes one run.
pub fn hear(
    world: &World,
    firing: &Firing,
    on: &str,
    recorded: &Recorded,
    actor: &Actor,
) -> Result<(Batch, Option<PipelineRunId>), CommitError> {
    let id = PipelineRunId::new(format!("{}-on-{}", firing.pipeline, recorded.seq));
    let kind = TriggerKind::Event { on: on.into(), seq: recorded.seq };
    let trigger = Trigger { kind: kind.clone(), time: recorded.at, holdout_to: recorded.at };
    let request = request(world, firing, Some(id), trigger, actor, recorded.at);
    let (mut batch, id) = started_or_said(request, firing.pipeline, &kind, actor, recorded.at)?;
    batch.cause = Some(recorded.seq);
    Ok((batch, id))
}

fn request(
    world: &World,
    firing: &Firing,
    id: Option<PipelineRunId>,
    trigger: Trigger,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, PipelineRunId), CommitError> {
    let request = Request { id, ..Request::new(firing.pipeline, trigger, firing.fingerprint.clone()) };
    commands::request(world, &request, actor, now)
}

/// The request's batch; a refusal becomes an event, so that nothing that should have run is silently not there.
fn started_or_said(
    request: Result<(Batch, PipelineRunId), CommitError>,
    pipeline: &str,
    kind: &TriggerKind,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, Option<PipelineRunId>), CommitError> {
    match request {
        Ok((batch, id)) => Ok((batch, Some(id))),
        Err(CommitError::Refused(refusal)) => {
            let mut batch = Batch::new(actor.clone(), now);
            batch.say(Event::TriggerSkipped { pipeline: pipeline.into(), trigger: kind.clone(), why: refusal.to_string() });
            Ok((batch, None))
        }
        Err(other) => Err(other),
    }
}

/// A backfill as it is asked for.
#[derive(Clone, Debug)]
pub struct BackfillRequest {
    pub pipeline: String,
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
    pub every: Span,
    pub parallel: u32,
    pub params: IndexMap<String, ParamValue>,
}

/// Begins a backfill; its runs are asked for a few at a time by [`advance`].
pub fn backfill(world: &World, asked: &BackfillRequest, actor: &Actor, now: Timestamp) -> Result<(Batch, Backfill), CommitError> {
    let spec = commands::declared(world, &asked.pipeline)?;
    check::check(&asked.pipeline, &spec)?;
    commands::merge_params(&spec, &asked.params)?;
    if asked.every.ms() <= 0 || asked.from >= asked.to {
        return Err(Refusal::invalid("backfill/range", format!("nothing lies between {} and {}", asked.from, asked.to))
            .hint("--from 2026-01-01 --to 2026-02-01 --every 1d; the end does not belong to it")
            .into());
    }
    let runs = ((asked.to - asked.from).ms() + asked.every.ms() - 1) / asked.every.ms();
    if runs > MOST_INSTANTS {
        return Err(Refusal::invalid("backfill/range", format!("{runs} pipeline runs are more than {MOST_INSTANTS}"))
            .hint("make `every` longer")
            .into());
    }
    if !(1..=64).contains(&asked.parallel) {
        return Err(Refusal::invalid("backfill/parallel", format!("{} at a time; 1 to 64 may be", asked.parallel)).into());
    }
    let taken = world.list::<Backfill>()?.iter().filter(|one| one.pipeline == asked.pipeline).count();
    let made = Backfill {
        id: format!("{}-backfill-{}", asked.pipeline, taken + 1),
        pipeline: asked.pipeline.clone(),
        from: asked.from,
        to: asked.to,
        every: asked.every,
        parallel: asked.parallel,
        params: asked.params.clone(),
        requested: now,
        next: asked.from,
        running: Vec::new(),
        succeeded: 0,
        failed: Vec::new(),
        cancelled: false,
    };
    let event = Event::BackfillRequested {
        backfill: made.id.clone(),
        pipeline: made.pipeline.clone(),
        from: made.from,
        to: made.to,
        runs: runs as u64,
    };
    let mut batch = Batch::new(actor.clone(), now).put(&made);
    batch.thread = Some(made.id.clone());
    batch.say(event);
    Ok((batch, made))
}

/// Goes on with a backfill: counts what has ended, asks for as many runs as there is room for. Nothing to do is an empty batch.
pub fn advance(world: &World, id: &str, fingerprint: &Fingerprint, actor: &Actor, now: Timestamp) -> Result<(Batch, ()), CommitError> {
    let mut batch = Batch::new(actor.clone(), now);
    let Some(mut backfill) = world.get::<Backfill>(id)? else { return Ok((batch, ())) };
    if backfill.is_over() {
        return Ok((batch, ()));
    }
    batch.thread = Some(backfill.id.clone());
    let before = backfill.clone();
    let mut running = Vec::new();
    for id in std::mem::take(&mut backfill.running) {
        match world.get::<PipelineRun>(id.as_str())?.map(|run| run.state) {
            Some(RunState::Succeeded) => backfill.succeeded += 1,
            Some(RunState::Queued | RunState::Running) => running.push(id),
            Some(RunState::Failed | RunState::Cancelled) | None => backfill.failed.push(id),
        }
    }
    backfill.running = running;
    while !backfill.cancelled && backfill.next < backfill.to && backfill.running.len() < backfill.parallel as usize {
        let at = backfill.next;
        let number = (at - backfill.from).ms() / backfill.every.ms() + 1;
        let kind = TriggerKind::Backfill { backfill: backfill.id.clone(), at };
        let trigger = Trigger { kind: kind.clone(), time: at, holdout_to: at };
        let request = Request {
            id: Some(PipelineRunId::new(format!("{}-{number}", backfill.id))),
            params: backfill.params.clone(),
            thread: Some(backfill.id.clone()),
            ..Request::new(backfill.pipeline.clone(), trigger, fingerprint.clone())
        };
        match commands::request(world, &request, actor, now) {
            Ok((asked, id)) => {
                batch.puts.extend(asked.puts);
                batch.events.extend(asked.events);
                backfill.running.push(id);
                backfill.next = at + backfill.every;
                // A second version of the pipeline could be made by the next request, which does not see this one yet.
                break;
            }
            Err(CommitError::Refused(refusal)) => {
                batch.say(Event::TriggerSkipped { pipeline: backfill.pipeline.clone(), trigger: kind, why: refusal.to_string() });
                backfill.cancelled = true;
            }
            Err(other) => return Err(other),
        }
    }
    if backfill.is_over() {
        batch.say(Event::BackfillFinished {
            backfill: backfill.id.clone(),
            pipeline: backfill.pipeline.clone(),
            succeeded: backfill.succeeded,
            failed: backfill.failed.len() as u64,
            cancelled: backfill.cancelled,
        });
    }
    if backfill != before {
        batch.write(&backfill);
    }
    Ok((batch, ()))
}

/// Ends a backfill: no further runs are asked for, those under way are cancelled.
pub fn cancel_backfill(world: &World, id: &str, actor: &Actor, now: Timestamp) -> Result<(Batch, ()), CommitError> {
    let mut backfill = world.get::<Backfill>(id)?.ok_or_else(|| {
        Refusal::not_found("backfill/not_found", format!("there is no backfill `{id}`")).hint("trimtab pipeline backfills")
    })?;
    let mut batch = Batch::new(actor.clone(), now);
    if backfill.is_over() || backfill.cancelled {
        return Ok((batch, ()));
    }
    batch.thread = Some(backfill.id.clone());
    for run in &backfill.running {
        let (cancel, ()) = commands::cancel(world, run, actor, now)?;
        batch.puts.extend(cancel.puts);
        batch.events.extend(cancel.events);
    }
    backfill.cancelled = true;
    if backfill.is_over() {
        batch.say(Event::BackfillFinished {
            backfill: backfill.id.clone(),
            pipeline: backfill.pipeline.clone(),
            succeeded: backfill.succeeded,
            failed: backfill.failed.len() as u64,
            cancelled: true,
        });
    }
    batch.write(&backfill);
    Ok((batch, ()))
}

/// Refuses an entry of `on` that starts nothing.
pub fn check_on(pipeline: &str, spec: &PipelineSpec) -> Result<(), Refusal> {
    if spec.tz.is_some() {
        Schedule::parse("* * * * *", zone(spec)).map_err(|refusal| refusal.at(format!("pipeline.{pipeline}.tz")))?;
    }
    for on in &spec.on {
        let place = |refusal: Refusal| refusal.at(format!("pipeline.{pipeline}.on"));
        if on == "api" || crate::hooks::is_git(on) {
            continue;
        }
        match on.split_once(':') {
            Some(("cron", expression)) => drop(Schedule::parse(expression.trim(), zone(spec)).map_err(place)?),
            Some(("pipeline", other)) if other == pipeline => {
                return Err(place(Refusal::invalid("pipeline/trigger", format!("{pipeline} would start itself for ever"))));
            }
            Some(("incident" | "model" | "promotion" | "source" | "pipeline", what)) if !what.is_empty() => {}
            _ => {
                let what = format!("`{on}` does not start a pipeline");
                let hint = "`api`, `cron:0 3 * * *`, `incident:MODEL`, `model:MODEL`, `promotion:MODEL`, `source:SOURCE`, `pipeline:PIPELINE`, \
                     `push:BRANCH`, `pull_request` or `tag:v*`";
                return Err(place(Refusal::invalid("pipeline/trigger", what).hint(hint)));
            }
        }
    }
    if spec.tz.is_some() && crons(spec).next().is_none() {
        let what = format!("{pipeline} has a time zone, but no `cron:` under `on`");
        return Err(Refusal::invalid("pipeline/tz", what).at(format!("pipeline.{pipeline}.tz")));
    }
    Ok(())
}

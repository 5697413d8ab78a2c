//! Decisions that people and the clock ask for.

use crate::case::Loaded;
use crate::declared::Declared;
use crate::windows::{Calendar, set_closed_to};
use domain::entity::{Incident, IncidentState, Monitor, Window, WindowKind};
use domain::{Actor, Batch, Event, Fault, IncidentId, PipelineRunId, Refusal, Span, Timestamp};
use ports::{CommitError, World};

/// A window closes this long after its end and the label delay even if no watermark says so.
const IDLE: Span = Span::days(1);

/// A person starts a retraining of an open incident; cool-down and weekly cap do not hold it back.
///
/// The holdout ends where the newest judged performance window does, because its labels are there.
pub fn retrain(world: &World, id: &IncidentId, actor: &Actor, now: Timestamp) -> Result<(Batch, PipelineRunId), CommitError> {
    let Some(incident) = world.list::<Incident>()?.into_iter().find(|incident| incident.id == *id) else {
        return Err(Refusal::not_found("incident/not_found", format!("there is no incident `{id}`")).hint("trimtab status").into());
    };
    if incident.state != IncidentState::Open {
        let hint = format!("trimtab why {id}");
        return Err(Refusal::conflict("incident/closed", format!("incident {id} is closed")).hint(hint).into());
    }
    if incident.system {
        let what = format!("incident {id} is about how serving behaves: {}", incident.rule);
        let hint = format!("a retraining would not help; trimtab serve show {}", incident.model);
        return Err(Refusal::conflict("incident/system", what).hint(hint).into());
    }
    let Some(mut loaded) = Loaded::model(world, &incident.model)? else {
        let what = format!("`{}` has no rule for incidents any more", incident.model);
        return Err(Refusal::conflict("incident/no_rule", what).hint("declare `incident_if` and run trimtab apply").into());
    };
    let judged = world.scope::<Window>(incident.model.as_str())?;
    let judged = judged.iter().filter(|window| window.kind == WindowKind::Performance && window.verdict.is_some());
    let holdout_to = judged.map(|window| window.range.to).max().unwrap_or(now);
    let said = loaded.step(|case, policy| case.ask_by_hand(policy, holdout_to, now, &actor.to_string()).into_iter().collect());
    let Some(Event::RetrainRequested { pipeline_run, .. }) = said.first().cloned() else {
        let (what, hint) = match loaded.declared.monitor.on_incident {
            None => ("the model names no pipeline that retrains it".into(), "declare `on_incident` and run trimtab apply".into()),
            Some(_) => (format!("a retraining of incident {id} is under way"), format!("trimtab why {id}")),
        };
        return Err(Refusal::conflict("incident/cannot_retrain", what).hint(hint).into());
    };
    let mut batch = Batch::new(actor.clone(), now);
    loaded.write(&mut batch, said);
    Ok((batch, pipeline_run))
}

/// Closes the windows that ended longer ago than the label delay and a day: what a clock calls now and then, so that a
/// model whose rows or labels stop does not look healthy for ever.
pub fn close_idle(world: &World, now: Timestamp) -> Result<(Batch, ()), CommitError> {
    let mut batch = Batch::new(Actor::System("monitoring.idle".into()), now);
    close_windows(world, &mut batch, None)?;
    Ok((batch, ()))
}

/// Closes what the idle time-out closes at the batch's time, and what a watermark of one model does besides.
pub(crate) fn close_windows(world: &World, batch: &mut Batch, sealed: Option<(&str, WindowKind, Timestamp)>) -> Result<(), Fault> {
    for (model, declared) in Declared::all(world)? {
        let before = world.scope::<Monitor>(model.as_str())?;
        let mut monitors = before.clone();
        let idle = batch.at - declared.label_delay - IDLE;
        for kind in [WindowKind::Input, WindowKind::Performance] {
            let own = sealed.filter(|(name, of, _)| *name == model.as_str() && *of == kind);
            // No window ends in the future, whatever a row claims about its time.
            let told = own.map(|(_, _, watermark)| watermark.min(batch.at));
            if kind == WindowKind::Input {
                monitors.iter_mut().for_each(|monitor| monitor.newest = monitor.newest.max(told));
            }
            let calendar = Calendar::of(&declared.monitor);
            let silent = idle.min(calendar.silence(&monitors));
            close_kind(batch, &mut monitors, calendar, kind, told.map_or(silent, |told| told.max(silent)));
        }
        let changed = monitors.iter().zip(&before).filter(|(now, before)| now != before);
        changed.for_each(|(monitor, _)| batch.write(monitor));
    }
    Ok(())
}

/// One event a window and version, oldest first.
fn close_kind(batch: &mut Batch, monitors: &mut [Monitor], calendar: Calendar, kind: WindowKind, watermark: Timestamp) {
    let mut closed = Vec::new();
    for monitor in monitors {
        let windows = calendar.closed_by(monitor, kind, watermark);
        if let Some((newest, _)) = windows.last() {
            set_closed_to(monitor, kind, newest.to);
        }
        closed.extend(windows.into_iter().map(|(range, whole)| (range, monitor.version, whole, monitor.model.clone())));
    }
    closed.sort_unstable();
    for (range, version, whole, model) in closed {
        batch.write(&Window {
            model: model.clone(),
            version,
            kind,
            range,
            whole,
            closed: batch.at,
            lost: 0,
            rows: 0,
            verdict: None,
            why: None,
            drift: Vec::new(),
            performance: None,
            late: 0,
            segments: 0,
        });
        batch.say(Event::WindowClosed { model, version, kind, range, whole });
    }
}

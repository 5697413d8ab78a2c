//! The state machine of an incident: from the first bad windows over retrainings to the end. Pure.
//!
//! - N bad windows in a row open an incident and ask for a retraining; a good window resets the count and resolves it.
//! - Windows that are inconclusive or not whole neither count nor reset.
//! - The count starts afresh after each retraining decision; cool-down and weekly cap hold it back, and it is asked again
//!   at the next judged window.
//! - A retraining did not help if it gave no challenger, if its challenger was refused or its rollout given up, or if the
//!   new champion's first N windows are bad. After `escalate_after` such in a row people are called and the incident is closed.

use domain::entity::{Incident, IncidentState, RetrainAttempt, RetrainOutcome};
use domain::spec::IncidentAction;
use domain::{Event, IncidentId, ModelName, PipelineRunId, Range, Span, Timestamp, Verdict, VersionNumber};

/// The week of `max_per_week`.
const WEEK: Span = Span::days(7);

/// What the file says about incidents of a model.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// As the file says it.
    pub rule: &'a str,
    /// Bad windows in a row.
    pub windows: u32,
    pub action: Option<&'a IncidentAction>,
}

/// A judged performance window of the champion.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    pub range: Range,
    /// Whether the version served the whole of it.
    pub whole: bool,
    pub verdict: Verdict,
    pub why: &'a str,
}

/// A retraining that gave no new champion.
#[derive(Clone, Copy, Debug)]
pub struct Nothing<'a> {
    pub run: &'a PipelineRunId,
    pub challenger: Option<VersionNumber>,
    pub outcome: RetrainOutcome,
    pub why: &'a str,
}

/// A model with its incident, if one is open. Each method changes it and tells what is to be said.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub model: ModelName,
    pub champion: VersionNumber,
    /// The bad windows of the champion that count.
    pub bad: Vec<Range>,
    /// The open incident; after a method also one that it closed.
    pub incident: Option<Incident>,
    /// When retrainings were asked for, in this incident and earlier ones.
    pub asked: Vec<Timestamp>,
    /// Incidents so far, the open one included.
    pub incidents: usize,
}

impl Case {
    /// A window of the champion was judged.
    pub fn window(&mut self, policy: &Policy, judged: &Judged, at: Timestamp) -> Vec<Event> {
        let mut said = Vec::new();
        match judged.verdict {
            Verdict::Pass if judged.whole => {
                self.bad.clear();
                self.resolve(judged, at, &mut said);
                return said;
            }
            Verdict::Fail if judged.whole => self.bad.push(judged.range),
            _ => {}
        }
        if self.bad.len() >= policy.windows as usize {
            self.enough(policy, judged, at, &mut said);
        }
        self.count();
        said
    }

    /// A retraining of the open incident came to nothing: `Failed` or `Refused`.
    pub fn came_to_nothing(&mut self, policy: &Policy, nothing: &Nothing, at: Timestamp) -> Vec<Event> {
        let mut said = Vec::new();
        let Some(attempt) = self.attempt(nothing.run) else { return said };
        let other = attempt.challenger.is_some() && nothing.challenger.is_some() && attempt.challenger != nothing.challenger;
        if attempt.outcome != RetrainOutcome::Open || other {
            return said;
        }
        attempt.outcome = nothing.outcome;
        attempt.challenger = nothing.challenger.or(attempt.challenger);
        attempt.why = nothing.why.into();
        self.bad.clear();
        self.unhelpful(policy, nothing.run, nothing.why, at, &mut said);
        self.count();
        said
    }

    /// The pipeline of a retraining has registered a challenger; `waiting`: why nobody judges it, if so.
    pub fn registered(&mut self, run: &PipelineRunId, version: VersionNumber, waiting: Option<String>) {
        let Some(attempt) = self.attempt(run).filter(|attempt| attempt.outcome == RetrainOutcome::Open) else { return };
        attempt.challenger = Some(version);
        if let Some(incident) = &mut self.incident {
            incident.waiting = waiting;
        }
    }

    /// Another version is champion; if it is the challenger of a retraining, its windows will tell whether that helped.
    pub fn promoted(&mut self, run: Option<&PipelineRunId>, version: VersionNumber, why: &str) {
        let Some(incident) = &mut self.incident else { return };
        incident.bad_windows = 0;
        incident.waiting = None;
        let Some(attempt) = run.and_then(|run| self.attempt(run)) else { return };
        // One that was tried before and is promoted again, by a rollback, is not tried twice.
        if !matches!(attempt.outcome, RetrainOutcome::Unhelpful | RetrainOutcome::Helped) {
            attempt.outcome = RetrainOutcome::Promoted;
            attempt.challenger = Some(version);
            attempt.why = why.into();
        }
    }

    fn attempt(&mut self, run: &PipelineRunId) -> Option<&mut RetrainAttempt> {
        self.incident.as_mut()?.attempts.iter_mut().find(|attempt| attempt.pipeline_run == *run)
    }

    /// A person asks for a retraining: neither cool-down nor cap holds it back. `None`: one is under way, or none is declared.
    pub fn ask_by_hand(&mut self, policy: &Policy, holdout_to: Timestamp, at: Timestamp, by: &str) -> Option<Event> {
        let incident = self.incident.as_ref()?;
        if in_progress(incident) {
            return None;
        }
        let event = self.ask(policy.action?, holdout_to, at, false, format!("{by} asked for it"));
        self.count();
        Some(event)
    }

    /// N windows are bad: an incident opens, or the last retraining did not help; then one is asked for.
    fn enough(&mut self, policy: &Policy, judged: &Judged, at: Timestamp, said: &mut Vec<Event>) {
        match &mut self.incident {
            None => self.open(policy, judged, at, said),
            Some(incident) => {
                let (champion, bad) = (self.champion, self.bad.len());
                let tried =
                    |attempt: &&mut RetrainAttempt| attempt.outcome == RetrainOutcome::Promoted && attempt.challenger == Some(champion);
                if let Some(attempt) = incident.attempts.iter_mut().find(tried) {
                    attempt.outcome = RetrainOutcome::Unhelpful;
                    attempt.why = format!("the first {bad} windows of version {champion} are bad: {}", judged.why);
                    let (run, why) = (attempt.pipeline_run.clone(), attempt.why.clone());
                    if self.unhelpful(policy, &run, &why, at, said) {
                        return;
                    }
                }
            }
        }
        self.ask_if_allowed(policy, judged, at, said);
    }

    fn open(&mut self, policy: &Policy, judged: &Judged, at: Timestamp, said: &mut Vec<Event>) {
        self.incidents += 1;
        let id = IncidentId::new(format!("{}-{}", self.model, self.incidents));
        let bad = self.bad.len();
        let why = format!("{bad} bad windows of version {} in a row ({}): {}", self.champion, policy.rule, judged.why);
        let incident = Incident {
            id: id.clone(),
            model: self.model.clone(),
            state: IncidentState::Open,
            opened: at,
            closed: None,
            rule: policy.rule.into(),
            system: false,
            evidence: self.bad.clone(),
            bad_windows: 0,
            attempts: Vec::new(),
            unhelpful: 0,
            waiting: None,
            why: why.clone(),
        };
        self.incident = Some(incident);
        let title = format!("{id}: {why}");
        said.push(Event::IncidentOpened { incident: id, model: self.model.clone(), version: self.champion, why });
        said.push(self.alert("incident", title));
    }

    fn resolve(&mut self, judged: &Judged, at: Timestamp, said: &mut Vec<Event>) {
        let champion = self.champion;
        let Some(incident) = &mut self.incident else { return };
        let tried = |attempt: &&mut RetrainAttempt| attempt.outcome == RetrainOutcome::Promoted && attempt.challenger == Some(champion);
        if let Some(attempt) = incident.attempts.iter_mut().find(tried) {
            attempt.outcome = RetrainOutcome::Helped;
            attempt.why = judged.why.into();
        }
        let why = format!("version {champion}, window {}: {}", judged.range, judged.why);
        close(incident, IncidentState::Resolved, &why, at);
        said.push(Event::IncidentResolved { incident: incident.id.clone(), model: self.model.clone(), why });
    }

    fn ask_if_allowed(&mut self, policy: &Policy, judged: &Judged, at: Timestamp, said: &mut Vec<Event>) {
        let (Some(action), Some(incident)) = (policy.action, &mut self.incident) else { return };
        if in_progress(incident) {
            return;
        }
        incident.waiting = holds_back(action, &self.asked, at, &incident.id);
        if incident.waiting.is_none() {
            said.push(self.ask(action, judged.range.to, at, true, judged.why.into()));
        }
    }

    fn ask(&mut self, action: &IncidentAction, holdout_to: Timestamp, at: Timestamp, auto: bool, why: String) -> Event {
        let incident = self.incident.as_mut().expect("a retraining is asked for by an open incident");
        let pipeline_run = PipelineRunId::new(format!("{}-{}-{}", action.run, incident.id, incident.attempts.len() + 1));
        incident.attempts.push(RetrainAttempt {
            pipeline_run: pipeline_run.clone(),
            asked: at,
            challenger: None,
            outcome: RetrainOutcome::Open,
            why: String::new(),
        });
        incident.waiting = None;
        self.asked.push(at);
        self.bad.clear();
        let (incident, model, pipeline) = (incident.id.clone(), self.model.clone(), action.run.clone());
        Event::RetrainRequested { incident, model, pipeline, pipeline_run, holdout_to, auto, why }
    }

    /// Counts an unhelpful retraining; true if that was one too many and the incident is escalated.
    fn unhelpful(&mut self, policy: &Policy, run: &PipelineRunId, why: &str, at: Timestamp, said: &mut Vec<Event>) -> bool {
        let Some(incident) = &mut self.incident else { return false };
        incident.unhelpful += 1;
        said.push(Event::RetrainUnhelpful {
            incident: incident.id.clone(),
            model: self.model.clone(),
            pipeline_run: run.clone(),
            in_a_row: incident.unhelpful,
            why: why.into(),
        });
        if policy.action.is_none_or(|action| incident.unhelpful < action.escalate_after) {
            return false;
        }
        let evidence = incident.attempts.iter().filter(|attempt| !attempt.why.is_empty()).map(story);
        let why = format!("{} retrainings in a row did not help: {}", incident.unhelpful, evidence.collect::<Vec<_>>().join("; "));
        let id = incident.id.clone();
        close(incident, IncidentState::Escalated, &why, at);
        self.bad.clear();
        let title = format!("{id}: {why}");
        said.push(Event::IncidentEscalated { incident: id, model: self.model.clone(), why });
        said.push(self.alert("escalation", title));
        true
    }

    fn alert(&self, topic: &str, title: String) -> Event {
        Event::AlertRaised { topic: topic.into(), model: Some(self.model.clone()), title }
    }

    fn count(&mut self) {
        if let Some(incident) = &mut self.incident {
            incident.bad_windows = self.bad.len() as u32;
        }
    }
}

/// Whether a retraining of the incident is under way.
fn in_progress(incident: &Incident) -> bool {
    incident.attempts.iter().any(|attempt| attempt.outcome == RetrainOutcome::Open)
}

fn close(incident: &mut Incident, state: IncidentState, why: &str, at: Timestamp) {
    incident.state = state;
    incident.closed = Some(at);
    incident.waiting = None;
    incident.why = why.into();
}

/// One retraining, as the evidence tells it.
fn story(attempt: &RetrainAttempt) -> String {
    match attempt.challenger {
        Some(version) => format!("{} gave version {version}: {}", attempt.pipeline_run, attempt.why),
        None => format!("{}: {}", attempt.pipeline_run, attempt.why),
    }
}

/// Why a retraining has to wait, if it has to. `asked`: when retrainings of this model were asked for.
fn holds_back(action: &IncidentAction, asked: &[Timestamp], at: Timestamp, incident: &IncidentId) -> Option<String> {
    if !action.auto {
        return Some(format!("waiting for a person: trimtab incident retrain {incident}"));
    }
    if let Some(until) = asked.iter().max().map(|last| *last + action.cooldown)
        && until > at
    {
        return Some(format!("cool-down until {until}"));
    }
    let mut this_week: Vec<Timestamp> = asked.iter().copied().filter(|asked| *asked + WEEK > at).collect();
    this_week.sort_unstable();
    let too_many = this_week.len().checked_sub(action.max_per_week as usize)?;
    let free = this_week.get(too_many).map_or(at, |oldest| *oldest + WEEK);
    Some(format!("{} retrainings within a week, at most {}: the next from {free}", this_week.len(), action.max_per_week))
}

#[cfg(test)]
#[path = "incident_tests.rs"]
mod tests;

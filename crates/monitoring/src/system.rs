//! Serving watched like data: `watch = ["latency_p99 < 50ms", "error_rate < 1% for 10m"]` under `[model.NAME.serve]`.
//!
//! Each says what must hold over the last minutes. What does not hold opens an incident of its own, which closes when it holds again; nothing is
//! retrained for it. Too few requests are no evidence, neither for nor against; so is a server that has just started.

use crate::declared::deployment;
use domain::entity::{Incident, IncidentState};
use domain::{Actor, Batch, Event, Fault, IncidentId, ModelName, Refusal, Span, Timestamp};
use ports::{Behaviour, CommitError, World};

/// Fewer requests in the window than this are no evidence of latencies and errors.
const MIN_REQUESTS: u64 = 20;
/// The window if the file names none.
const USUAL: Span = Span::from_ms(5 * 60_000);
/// What is kept of the past.
const LONGEST: Span = Span::from_ms(3 * 3_600_000);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// The share of answered requests that were as fast, in ms.
    Latency(f64),
    ErrorRate,
    FeatureMisses,
    Restarts,
}

/// A condition as the file declares it, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// As the file says it.
    pub text: String,
    measure: Measure,
    /// Whether the limit itself is in range.
    or_equal: bool,
    /// In ms, shares of 1, or a count.
    limit: f64,
    /// In minutes.
    pub window: u32,
}

/// What a window says of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Holds(String),
    Broken(String),
    /// Too little was seen.
    Unknown,
}

impl Condition {
    /// Understands `latency_p99 < 50ms`, `error_rate <= 1% for 10m`, `feature_misses < 0.05`, `restarts < 3 for 1h`.
    ///
    /// ```
    /// use monitoring::system::Condition;
    /// assert_eq!(Condition::parse("latency_p99 < 50ms for 10m").unwrap().window, 10);
    /// assert!(Condition::parse("latency_99 < 50ms").unwrap_err().to_string().contains("did you mean `latency_p99`"));
    /// ```
    pub fn parse(text: &str) -> Result<Condition, Refusal> {
        let wrong =
            |what: String| Refusal::invalid("serve/watch", what).hint("such as \"latency_p99 < 50ms for 10m\", \"error_rate < 1%\"");
        let (comparison, window) = match text.split_once(" for ") {
            None => (text, USUAL),
            Some((comparison, window)) => {
                let span = Span::parse(window.trim()).filter(|span| *span >= Span::from_ms(60_000) && *span <= LONGEST);
                (comparison, span.ok_or_else(|| wrong(format!("`{window}` in `{text}` is not a minute to three hours")))?)
            }
        };
        let split = ["<=", "<"].into_iter().find_map(|sign| Some((comparison.split_once(sign)?, sign == "<=")));
        let ((name, limit), or_equal) = split.ok_or_else(|| wrong(format!("`{text}` does not say what must hold")))?;
        let (name, limit) = (name.trim(), limit.trim());
        let measure = measure_of(name)?;
        let limit = limit_of(measure, limit).ok_or_else(|| wrong(format!("`{limit}` in `{text}` is no limit of {name}")))?;
        let window = u32::try_from((window.ms() + 59_999) / 60_000).unwrap_or(u32::MAX);
        Ok(Condition { text: text.into(), measure, or_equal, limit, window })
    }

    /// Judges what was seen in the window, of which so much was `measured`.
    pub fn judge(&self, seen: &Behaviour, measured: Span) -> Verdict {
        let value = match self.measure {
            Measure::Latency(q) if seen.latency.count() >= MIN_REQUESTS => seen.latency.quantile(q).map(|us| us / 1000.0),
            Measure::ErrorRate if seen.requests >= MIN_REQUESTS => seen.error_rate(),
            Measure::FeatureMisses if seen.requests >= MIN_REQUESTS => seen.missing_rate(),
            Measure::Restarts => Some(seen.restarts as f64),
            _ => None,
        };
        let Some(value) = value else { return Verdict::Unknown };
        let told = match self.measure {
            Measure::Latency(_) => format!("{value:.1} ms"),
            Measure::ErrorRate => format!("{:.2}% of {} requests", 100.0 * value, seen.requests),
            Measure::FeatureMisses => format!("{:.2}% of {} values", 100.0 * value, seen.values),
            Measure::Restarts => format!("{value} restarts"),
        };
        let told = if self.window == 1 { format!("{told} in a minute") } else { format!("{told} in {} minutes", self.window) };
        let holds = value < self.limit || (self.or_equal && value == self.limit);
        match (holds, self.measure) {
            // A server that has just started knows of no restart before it.
            (true, Measure::Restarts) if measured < Span::from_ms(60_000 * i64::from(self.window)) => Verdict::Unknown,
            (true, _) => Verdict::Holds(told),
            (false, _) => Verdict::Broken(told),
        }
    }
}

const MEASURES: [(&str, Measure); 8] = [
    ("latency_p50", Measure::Latency(0.5)),
    ("latency_p90", Measure::Latency(0.9)),
    ("latency_p95", Measure::Latency(0.95)),
    ("latency_p99", Measure::Latency(0.99)),
    ("latency_p999", Measure::Latency(0.999)),
    ("error_rate", Measure::ErrorRate),
    ("feature_misses", Measure::FeatureMisses),
    ("restarts", Measure::Restarts),
];

fn measure_of(name: &str) -> Result<Measure, Refusal> {
    let found = MEASURES.iter().find(|(known, _)| *known == name);
    found.map(|(_, measure)| *measure).ok_or_else(|| {
        let nearest = MEASURES.iter().map(|(known, _)| (strsim::damerau_levenshtein(name, known), *known)).min();
        let hint = match nearest {
            Some((distance, known)) if distance <= 3 => format!("did you mean `{known}`?"),
            _ => format!("known here: {}", MEASURES.map(|(known, _)| known).join(", ")),
        };
        Refusal::invalid("serve/watch", format!("`{name}` is not measured")).hint(hint)
    })
}

fn limit_of(measure: Measure, text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let limit = match measure {
        Measure::Latency(_) => match text.strip_suffix("ms") {
            Some(ms) => number(ms)?,
            None => 1000.0 * number(text.strip_suffix('s')?)?,
        },
        Measure::ErrorRate | Measure::FeatureMisses => match text.strip_suffix('%') {
            Some(percent) => number(percent)? / 100.0,
            None => number(text)?,
        },
        Measure::Restarts => number(text)?,
    };
    let most = if matches!(measure, Measure::ErrorRate | Measure::FeatureMisses) { 1.0 } else { f64::MAX };
    (limit > 0.0 && limit <= most).then_some(limit)
}

/// Checks `watch` of a model; the place of a refusal is the key inside the model.
pub fn check(watch: &[String]) -> Result<(), Refusal> {
    watch.iter().try_for_each(|text| Condition::parse(text).map(|_| ()).map_err(|refusal| refusal.at("serve.watch")))
}

/// Judges the conditions of the file over what serving measured of a model in so many minutes (`None`: it is not served), at most `since` then, and
/// opens or closes one incident: a batch is one incident's thread, so a clock calls this until it says false. An incident whose condition, or
/// whose model, is no longer in the file is closed.
pub fn watch(
    world: &World,
    measured: &(dyn Fn(&ModelName, u32) -> Option<Behaviour> + Sync),
    since: Timestamp,
    now: Timestamp,
) -> Result<(Batch, bool), CommitError> {
    let mut batch = Batch::new(Actor::System("monitoring.system".into()), now);
    let Some(project) = world.project()? else { return Ok((batch, false)) };
    let all = world.list::<Incident>()?;
    for (name, spec) in &project.spec.model {
        let model = ModelName::new(name.clone());
        let declared = spec.serve.as_ref().map_or(&[][..], |serve| &serve.watch);
        let known: Vec<&Incident> = all.iter().filter(|incident| incident.model == model).collect();
        let open =
            |text: &str| known.iter().find(|incident| incident.system && incident.state == IncidentState::Open && incident.rule == text);
        for text in declared {
            let condition =
                Condition::parse(text).map_err(|refusal| Fault::because("reading a condition of the applied project", refusal))?;
            let seen = measured(&model, condition.window);
            let verdict = seen.as_ref().map_or(Verdict::Unknown, |seen| condition.judge(seen, now - since));
            match (open(text), verdict) {
                (None, Verdict::Broken(why)) => {
                    let Some(version) = deployment(world, &model)?.champion else { continue };
                    let why = format!("`{text}` does not hold: {why}");
                    let id = IncidentId::new(format!("{model}-{}", known.len() + 1));
                    batch.thread = Some(id.to_string());
                    batch.write(&Incident { id: id.clone(), model: model.clone(), why: why.clone(), ..fresh(text, now) });
                    batch.say(Event::IncidentOpened { incident: id.clone(), model: model.clone(), version, why: why.clone() });
                    batch.say(Event::AlertRaised { topic: "incident".into(), model: Some(model.clone()), title: format!("{id}: {why}") });
                    return Ok((batch, true));
                }
                (Some(incident), Verdict::Holds(why)) => {
                    return Ok((closed(batch, incident, format!("`{text}` holds again: {why}")), true));
                }
                _ => {}
            }
        }
    }
    let is_watched = |incident: &Incident| {
        let serve = project.spec.model.get(incident.model.as_str()).and_then(|spec| spec.serve.as_ref());
        serve.is_some_and(|serve| serve.watch.contains(&incident.rule))
    };
    let mut open = all.iter().filter(|incident| incident.system && incident.state == IncidentState::Open);
    if let Some(incident) = open.find(|incident| !is_watched(incident)) {
        return Ok((closed(batch, incident, format!("`{}` is watched no longer", incident.rule)), true));
    }
    Ok((batch, false))
}

fn fresh(rule: &str, now: Timestamp) -> Incident {
    Incident {
        id: IncidentId::new(""),
        model: ModelName::new(""),
        state: IncidentState::Open,
        opened: now,
        closed: None,
        rule: rule.into(),
        system: true,
        evidence: Vec::new(),
        bad_windows: 0,
        attempts: Vec::new(),
        unhelpful: 0,
        waiting: None,
        why: String::new(),
    }
}

fn closed(mut batch: Batch, incident: &Incident, why: String) -> Batch {
    batch.thread = Some(incident.id.to_string());
    let closed = Incident { state: IncidentState::Resolved, closed: Some(batch.at), why: why.clone(), ..incident.clone() };
    batch.write(&closed);
    batch.say(Event::IncidentResolved { incident: incident.id.clone(), model: incident.model.clone(), why });
    batch
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;

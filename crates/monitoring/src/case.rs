//! A model's [`Case`] from the store and back.

use crate::declared::{Declared, deployment};
use crate::incident::{Case, Policy};
use crate::rule::Rule;
use domain::entity::{Incident, IncidentState, Monitor};
use domain::{Batch, Event, Fault, ModelName};
use ports::World;

/// A model's case with the entities that it was read from.
pub(crate) struct Loaded {
    pub case: Case,
    pub declared: Declared,
    rule: Rule,
    monitor: Option<Monitor>,
    before: Case,
}

impl Loaded {
    /// `None` when no rule opens incidents of the model, or nobody serves it.
    pub fn model(world: &World, model: &ModelName) -> Result<Option<Self>, Fault> {
        let Some(declared) = Declared::model(world, model)? else { return Ok(None) };
        let Some(text) = &declared.monitor.incident_if else { return Ok(None) };
        let rule = Rule::parse(text).map_err(|refusal| Fault::because("reading a rule of the applied project", refusal))?;
        let Some(champion) = deployment(world, model)?.champion else { return Ok(None) };
        let monitor = world.get::<Monitor>(&format!("{model}/{champion}"))?;
        let incidents = world.scope::<Incident>(model.as_str())?;
        let asked = incidents.iter().flat_map(|incident| &incident.attempts).map(|attempt| attempt.asked).collect();
        let case = Case {
            model: model.clone(),
            champion,
            bad: monitor.as_ref().map_or_else(Vec::new, |monitor| monitor.bad.clone()),
            asked,
            incidents: incidents.len(),
            incident: incidents.into_iter().find(|incident| !incident.system && incident.state == IncidentState::Open),
        };
        Ok(Some(Loaded { before: case.clone(), case, declared, rule, monitor }))
    }

    /// Lets the case take a step, by what the file says.
    pub fn step(&mut self, step: impl FnOnce(&mut Case, &Policy) -> Vec<Event>) -> Vec<Event> {
        let action = self.declared.monitor.on_incident.as_ref();
        step(&mut self.case, &Policy { rule: &self.rule.text, windows: self.rule.windows, action })
    }

    /// Writes what changed; the batch belongs to the incident's thread.
    pub fn write(self, batch: &mut Batch, said: Vec<Event>) {
        if let Some(mut monitor) = self.monitor.filter(|_| self.case.bad != self.before.bad) {
            monitor.bad = self.case.bad;
            batch.write(&monitor);
        }
        if let Some(incident) = self.case.incident {
            batch.thread = Some(incident.id.to_string());
            if Some(&incident) != self.before.incident.as_ref() {
                batch.write(&incident);
            }
        }
        said.into_iter().for_each(|event| batch.say(event));
    }
}

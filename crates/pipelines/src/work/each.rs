//! Steps with `each`: their items are found when what they need is done; what the items made is collected when all are over.

use super::drive::Outcome;
use super::step::Ended;
use super::{Engine, Job, StepFailure, as_fault, files};
use crate::schedule::{Schedule, item_name};
use domain::entity::{Item, PipelineStep, StepState};
use domain::spec::{Items, StepSpec};
use domain::{Fault, Refusal, Scalar};
use indexmap::IndexMap;
use std::collections::BTreeSet;

/// Items that one step may have.
const MOST_ITEMS: usize = 10_000;

impl Engine {
    /// Finds the items of a step and commits them, each with a step of its own. An item that was done already stays done.
    pub(super) async fn expand(&self, job: &Job, name: &str) -> Result<Outcome, Fault> {
        let mut step = job.step(name);
        let Some(spec) = job.version.spec.find(name) else { return Err(Fault::broken(format!("step {name} is not in the definition"))) };
        // A condition that names an item's values is each item's own.
        let is_whole = !spec.when.as_deref().is_some_and(|condition| condition.contains("each."));
        if is_whole {
            match self.is_wanted(job, name, &Item::new()).await {
                Ok(None) => {}
                Ok(Some(why)) => return Ok(Outcome::Ended(job.ended(name, StepState::Skipped, Some(why)))),
                Err(failure) => return Ok(Outcome::Ended(self.fail_unstarted(job, step, failure))),
            }
        }
        let items = match self.items(job, spec).await {
            Ok(items) => items,
            Err(failure) => return Ok(Outcome::Ended(self.fail_unstarted(job, step, failure))),
        };
        let mut children = Vec::new();
        for (number, item) in items.iter().enumerate() {
            let name = item_name(name, number);
            let child = match job.steps.get(&name).filter(|known| known.item == *item) {
                Some(known) if known.state.is_done() && !step.fresh => known.clone(),
                Some(known) => PipelineStep { state: StepState::Waiting, ..known.clone() },
                None => PipelineStep { item: item.clone(), fresh: step.fresh, ..PipelineStep::waiting(job.run.id.clone(), &name) },
            };
            children.push(child);
        }
        step.state = StepState::Running;
        step.why = Some(format!("{} items", items.len()));
        step.items = Some(items);
        let mut batch = job.batch(self.clock.event_now()).put(&step);
        children.iter().for_each(|child| batch.write(child));
        self.store.commit(batch).await.map_err(|e| as_fault("finding a step's items", e))?;
        Ok(Outcome::Expanded(step, children))
    }

    /// Every combination of the values, the last name running fastest.
    async fn items(&self, job: &Job, spec: &StepSpec) -> Result<Vec<Item>, StepFailure> {
        let mut all = vec![Item::new()];
        for (name, items) in &spec.each {
            let values = self.values(job, items).await?;
            if all.len().saturating_mul(values.len()) > MOST_ITEMS {
                return Err(Refusal::invalid("step/each", format!("`each` makes more than {MOST_ITEMS} items")).into());
            }
            let with = |item: &Item| {
                values
                    .iter()
                    .map(|value| item.iter().map(|(n, v)| (n.clone(), v.clone())).chain([(name.clone(), value.clone())]).collect::<Item>())
                    .collect::<Vec<_>>()
            };
            all = all.iter().flat_map(with).collect();
        }
        Ok(all)
    }

    async fn values(&self, job: &Job, items: &Items) -> Result<Vec<Scalar>, StepFailure> {
        let source = match items {
            Items::List(values) => return Ok(values.clone()),
            Items::From(source) => source,
        };
        let missing = || Refusal::invalid("step/each", format!("`{source}` has not been written"));
        let (from, what) = source.split_once('.').ok_or_else(missing)?;
        if from == "params" {
            return Ok(job.run.params.get(what).ok_or_else(missing)?.values().to_vec());
        }
        let artifact = job.steps.get(from).and_then(|step| step.outputs.get(what)).ok_or_else(missing)?;
        let read = files::read_json(&*self.artifacts, artifact).await?;
        serde_json::from_value(read).map_err(|_| {
            let what = format!("`{source}` is no JSON list of texts, numbers or booleans");
            StepFailure::Refused(Refusal::invalid("step/each", what).hint("write for instance [\"eu\", \"us\"]"))
        })
    }

    /// Ends a step whose items are over: its outputs are lists of theirs.
    pub(super) async fn gather(&self, job: &Job, name: &str, cancelled: bool) -> Result<Ended, Fault> {
        let mut step = job.step(name);
        let items: Vec<&PipelineStep> = Schedule::items_of(&job.steps, name).collect();
        let states: BTreeSet<u8> = items.iter().map(|item| item.state as u8).collect();
        let any = |state: StepState| states.contains(&(state as u8));
        step.state = match () {
            _ if any(StepState::Failed) || any(StepState::UpstreamFailed) => StepState::Failed,
            _ if cancelled || any(StepState::Cancelled) => StepState::Cancelled,
            _ if !items.is_empty() && items.iter().all(|item| item.state == StepState::Cached) => StepState::Cached,
            _ => StepState::Succeeded,
        };
        let failed: Vec<&str> = items.iter().filter(|item| item.state == StepState::Failed).map(|item| item.name.as_str()).collect();
        if !failed.is_empty() {
            let some = failed.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            let more = if failed.len() > 5 { ", .." } else { "" };
            step.why = Some(format!("{} of {} items failed: {some}{more}", failed.len(), items.len()));
        }
        if step.state.is_done() {
            let mut outputs = IndexMap::new();
            let declared = job.version.spec.find(name).map(|spec| &spec.output);
            for (output, file) in declared.into_iter().flatten() {
                let made = |item: &&PipelineStep| {
                    let artifact = item.outputs.get(output)?.clone();
                    Some(files::Collected { item: item.item.clone(), artifact })
                };
                let list: Vec<_> = items.iter().filter_map(made).collect();
                outputs.insert(output.clone(), files::keep_list(&*self.artifacts, &list, file).await?);
            }
            step.outputs = outputs;
        }
        Ok(step.into())
    }
}

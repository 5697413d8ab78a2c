//! Where a run came from and what came of it.

use crate::format::{counted, time};
use crate::link;
use crate::page::PageError;
use crate::run::{Linked, PIPELINE_RUN_TAG};
use crate::versions::{Made, VersionLink};
use domain::PipelineRunId;
use domain::entity::{LoggedModel, PipelineRun, PipelineStep, Run, TrainingSet, TriggerKind};
use ports::World;
use serde::Serialize;

/// What went in, who asked, and what came out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Lineage {
    pub datasets: Vec<Dataset>,
    pub training_sets: Vec<Set>,
    pub pipeline_run: Option<Linked>,
    pub step: Option<String>,
    pub incident: Option<Linked>,
    pub models_in: Vec<Model>,
    pub models: Vec<Model>,
    pub versions: Vec<VersionLink>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Dataset {
    name: String,
    digest: String,
    context: String,
    source: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Set {
    id: String,
    rows: String,
    content: String,
    cutoff: String,
}

/// A logged model.
#[derive(Debug, Serialize)]
pub(crate) struct Model {
    id: String,
    name: String,
}

pub(crate) fn lineage(world: &World, run: &Run, made: &Made) -> Result<Lineage, PageError> {
    let mut found = Lineage { datasets: datasets(run), versions: made.of_run(&run.id), ..Lineage::default() };
    for output in &run.outputs {
        let name = world.get::<LoggedModel>(&output.model_id)?.map_or(String::new(), |model| model.name);
        let list = if output.input { &mut found.models_in } else { &mut found.models };
        list.push(Model { id: output.model_id.clone(), name });
    }
    let Some(id) = run.tag(PIPELINE_RUN_TAG).map(PipelineRunId::new) else { return Ok(found) };
    let Some(pipeline_run) = world.get::<PipelineRun>(id.as_str())? else { return Ok(found) };
    if let TriggerKind::Incident { incident } = &pipeline_run.trigger.kind {
        found.incident = Some(Linked { text: incident.to_string(), href: link::incident(incident) });
    }
    found.pipeline_run = Some(Linked { text: id.to_string(), href: link::pipeline_run(&id) });
    found.step = run.tag("trimtab.step").map(str::to_owned);
    for step in world.scope::<PipelineStep>(id.as_str())? {
        let Some(set) = step.training_set.map(|set| world.get::<TrainingSet>(set.as_str())).transpose()?.flatten() else { continue };
        found.training_sets.push(Set {
            id: set.id.to_string(),
            rows: counted(set.rows, "row"),
            content: set.content.short().into(),
            cutoff: time(set.cutoff),
        });
    }
    Ok(found)
}

fn datasets(run: &Run) -> Vec<Dataset> {
    let dataset = |input: &domain::entity::DatasetInput| Dataset {
        name: input.name.clone(),
        digest: input.digest.clone(),
        context: input.context().unwrap_or_default().to_owned(),
        source: input.source.chars().take(300).collect(),
    };
    run.inputs.iter().map(dataset).collect()
}

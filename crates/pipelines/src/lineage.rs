//! What happened to pipelines, as OpenLineage run events (specification 2-0-2). Pure.
//!
//! A pipeline run is a run of the job `PIPELINE`, a step one of `PIPELINE.STEP` with the pipeline run as its parent. What a step wrote is
//! the data set `PIPELINE.STEP.OUTPUT`, its version the hash of its content; a training set has its columns and the tables that it was made of.

use domain::entity::{PipelineRun, PipelineStep, PipelineVersion, RunState, StepArtifact, StepState, TrainingSet, TriggerKind};
use domain::spec::{LineageSpec, step_of};
use domain::{Digest, Event, Fault, Recorded, Refusal};
use ports::World;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Who makes the events.
const PRODUCER: &str = concat!("urn:trimtab:", env!("CARGO_PKG_VERSION"));
const FACETS: &str = "https://openlineage.io/spec/facets";
/// Characters of an error.
const MESSAGE: usize = 4_000;

/// Refuses a `[lineage]` that could not work.
pub fn check(spec: &LineageSpec) -> Result<(), Refusal> {
    let is_file = spec.to.strip_prefix("file:").is_some_and(|path| !path.is_empty());
    let is_address = (spec.to.starts_with("https://") || spec.to.starts_with("http://")) && !spec.to.contains([' ', '@']);
    if !is_file && !is_address {
        return Err(Refusal::invalid("lineage/to", format!("`{}` is neither a file nor an address", spec.to))
            .hint("to = \"file:lineage.jsonl\" or \"https://HOST/api/v1/lineage\"")
            .at("lineage.to"));
    }
    let is_pointer = |text: &String| text.starts_with("env:") || text.starts_with("file:");
    if !spec.token.as_ref().is_none_or(is_pointer) {
        let refusal = Refusal::invalid("lineage/token", "`token` holds no pointer to a secret");
        return Err(refusal.hint("token = \"env:NAME\" or \"file:PATH\"").at("lineage.token"));
    }
    Ok(())
}

/// Whether an event of the log has something to tell.
pub fn wants(event: &Event) -> bool {
    use Event::{PipelineRunFinished, PipelineRunRequested, StepFinished, StepStarted};
    matches!(event, PipelineRunRequested { .. } | StepStarted { .. } | StepFinished { .. } | PipelineRunFinished { .. })
}

/// A pipeline run's version; whoever tells many events remembers it.
pub type VersionOf<'a> = &'a dyn Fn(&PipelineRun) -> Result<Option<Arc<PipelineVersion>>, Fault>;

/// The run events that an event of the log is told as.
pub fn events(world: &World, namespace: &str, version_of: VersionOf<'_>, recorded: &Recorded) -> Result<Vec<Value>, Fault> {
    let (id, step, kinds, error) = match &recorded.event {
        Event::PipelineRunRequested { pipeline_run, .. } => (pipeline_run, None, &["START"][..], None),
        Event::StepStarted { pipeline_run, step, attempt, .. } => {
            (pipeline_run, Some(step), if *attempt == 1 { &["START"][..] } else { &["RUNNING"][..] }, None)
        }
        Event::StepFinished { pipeline_run, step, state, error, .. } => match state {
            StepState::Succeeded => (pipeline_run, Some(step), &["COMPLETE"][..], None),
            // It had no beginning of its own.
            StepState::Cached => (pipeline_run, Some(step), &["START", "COMPLETE"][..], None),
            StepState::Failed => (pipeline_run, Some(step), &["FAIL"][..], error.as_deref()),
            StepState::Cancelled => (pipeline_run, Some(step), &["ABORT"][..], None),
            _ => return Ok(Vec::new()),
        },
        Event::PipelineRunFinished { pipeline_run, state, error, .. } => match state {
            RunState::Succeeded => (pipeline_run, None, &["COMPLETE"][..], None),
            RunState::Failed => (pipeline_run, None, &["FAIL"][..], error.as_deref()),
            RunState::Cancelled => (pipeline_run, None, &["ABORT"][..], None),
            RunState::Queued | RunState::Running => return Ok(Vec::new()),
        },
        _ => return Ok(Vec::new()),
    };
    let Some(run) = world.get::<PipelineRun>(id.as_str())? else { return Ok(Vec::new()) };
    let teller = Teller { world, run: &run, namespace, version_of };
    kinds.iter().map(|kind| teller.event(kind, step.map(String::as_str), error, &recorded.at.to_string())).collect()
}

/// The run id of a thing: the same thing has the same, on every telling.
fn uuid(parts: &[&str]) -> String {
    let digest = Digest::of_parts(parts.iter().map(|part| part.as_bytes()));
    let hex = digest.as_str();
    // Version 8 of RFC 9562: made by a rule of one's own.
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

fn facet(name: &str, version: &str, fields: Value) -> Value {
    let mut facet = json!({"_producer": PRODUCER, "_schemaURL": format!("{FACETS}/{version}/{name}.json#/$defs/{name}")});
    if let (Some(facet), Value::Object(fields)) = (facet.as_object_mut(), fields) {
        facet.extend(fields);
    }
    facet
}

struct Teller<'a> {
    world: &'a World<'a>,
    run: &'a PipelineRun,
    namespace: &'a str,
    version_of: VersionOf<'a>,
}

impl Teller<'_> {
    fn event(&self, kind: &str, step: Option<&str>, error: Option<&str>, at: &str) -> Result<Value, Fault> {
        let run = self.run;
        let since = run.requested.to_string();
        let parent = uuid(&[self.namespace, run.id.as_str(), &since]);
        let mut facets = Map::new();
        let engine = json!({"version": env!("CARGO_PKG_VERSION"), "name": "Trimtab"});
        facets.insert("processing_engine".into(), facet("ProcessingEngineRunFacet", "1-1-1", engine));
        let (id, name, what) = match step {
            None => (parent.clone(), run.pipeline.clone(), "PIPELINE"),
            Some(step) => (uuid(&[self.namespace, run.id.as_str(), &since, step]), format!("{}.{}", run.pipeline, step_of(step)), "STEP"),
        };
        if step.is_some() {
            let of = json!({"run": {"runId": parent}, "job": {"namespace": self.namespace, "name": run.pipeline}});
            facets.insert("parent".into(), facet("ParentRunFacet", "1-2-0", of));
        }
        if let TriggerKind::Schedule { at } = &run.trigger.kind {
            facets.insert("nominalTime".into(), facet("NominalTimeRunFacet", "1-0-1", json!({"nominalStartTime": at.to_string()})));
        }
        if let Some(error) = error {
            let message: String = error.chars().take(MESSAGE).collect();
            facets.insert(
                "errorMessage".into(),
                facet("ErrorMessageRunFacet", "1-0-1", json!({"message": message, "programmingLanguage": "unknown"})),
            );
        }
        let kind_of_job = json!({"processingType": "BATCH", "integration": "TRIMTAB", "jobType": what});
        let (inputs, outputs) = match step {
            Some(step) => self.data(step)?,
            None => (Vec::new(), Vec::new()),
        };
        Ok(json!({
            "eventTime": at,
            "eventType": kind,
            "producer": PRODUCER,
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": id, "facets": facets},
            "job": {"namespace": self.namespace, "name": name, "facets": {"jobType": facet("JobTypeJobFacet", "2-0-4", kind_of_job)}},
            "inputs": inputs,
            "outputs": outputs,
        }))
    }

    /// What a step took and what it has written so far.
    fn data(&self, name: &str) -> Result<(Vec<Value>, Vec<Value>), Fault> {
        let run = self.run;
        let version = (self.version_of)(run)?;
        let spec = version.as_ref().and_then(|version| version.spec.find(step_of(name)));
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for source in spec.iter().flat_map(|spec| spec.input.values()).flat_map(|source| source.split('|')) {
            let Some((from, output)) = source.trim().split_once('.') else { continue };
            let made = self.world.get::<PipelineStep>(&format!("{}/{from}", run.id))?;
            if let Some(kept) = made.and_then(|made| made.outputs.get(output).cloned()) {
                inputs.push(self.dataset(from, output, &kept, None));
            }
        }
        let Some(step) = self.world.get::<PipelineStep>(&format!("{}/{name}", run.id))? else { return Ok((inputs, outputs)) };
        let set = match &step.training_set {
            Some(id) => self.world.get::<TrainingSet>(id.as_str())?,
            None => None,
        };
        for (source, number) in set.iter().flat_map(|set| &set.table_versions) {
            let version = facet("DatasetVersionDatasetFacet", "1-0-1", json!({"datasetVersion": number.to_string()}));
            inputs.push(json!({"namespace": self.namespace, "name": format!("source.{source}"), "facets": {"version": version}}));
        }
        outputs.extend(step.outputs.iter().map(|(output, kept)| self.dataset(step_of(name), output, kept, set.as_ref())));
        Ok((inputs, outputs))
    }

    fn dataset(&self, step: &str, output: &str, kept: &StepArtifact, set: Option<&TrainingSet>) -> Value {
        let mut facets = Map::new();
        let version = json!({"datasetVersion": kept.digest.to_string()});
        facets.insert("version".into(), facet("DatasetVersionDatasetFacet", "1-0-1", version));
        let place = json!({"name": "artifacts", "uri": format!("urn:sha256:{}", kept.digest)});
        facets.insert("dataSource".into(), facet("DatasourceDatasetFacet", "1-0-1", place));
        if let Some(set) = set {
            let columns = set.features.iter().chain([&set.label, &set.time_column]);
            let fields: Vec<Value> = columns.map(|name| json!({"name": name})).collect();
            facets.insert("schema".into(), facet("SchemaDatasetFacet", "1-2-0", json!({"fields": fields})));
        }
        json!({"namespace": self.namespace, "name": format!("{}.{step}.{output}", self.run.pipeline), "facets": facets})
    }
}

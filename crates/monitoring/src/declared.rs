//! What the applied project says about a model's monitor.

use domain::entity::Deployment;
use domain::spec::{ModelSpec, MonitorSpec, Project};
use domain::{Fault, ModelName, Span};
use ports::World;

/// A model with a monitor.
#[derive(Clone, Debug)]
pub struct Declared {
    pub spec: ModelSpec,
    pub monitor: MonitorSpec,
    /// How long after its event a label arrives.
    pub label_delay: Span,
}

impl Declared {
    fn of(project: &Project, model: &str) -> Option<Self> {
        let spec = project.model.get(model)?.clone();
        let monitor = spec.monitor.clone()?;
        Some(Declared { spec, monitor, label_delay: label_delay(project, model) })
    }

    /// The model as the project declares it; `None` without a monitor.
    pub fn model(world: &World, model: &ModelName) -> Result<Option<Self>, Fault> {
        let project = world.project()?;
        Ok(project.and_then(|project| Declared::of(&project.spec, model.as_str())))
    }

    /// All models with a monitor, in the order of the file.
    pub fn all(world: &World) -> Result<Vec<(ModelName, Self)>, Fault> {
        let Some(project) = world.project()? else { return Ok(Vec::new()) };
        let named = |name: &String| Some((ModelName::new(name.clone()), Declared::of(&project.spec, name)?));
        Ok(project.spec.model.keys().filter_map(named).collect())
    }
}

/// The longest delay of the sources whose labels train the model.
fn label_delay(project: &Project, model: &str) -> Span {
    let steps = project.pipeline.values().flat_map(|pipeline| pipeline.step.values());
    let sources = steps.filter_map(|step| step.training_set.as_ref()).filter(|set| set.model == model).map(|set| &set.labels);
    sources.filter_map(|source| project.source.get(source)?.label_delay).max().unwrap_or_default()
}

/// What serves the model.
pub fn deployment(world: &World, model: &ModelName) -> Result<Deployment, Fault> {
    Ok(world.get::<Deployment>(model.as_str())?.unwrap_or_else(|| Deployment::new(model.clone())))
}

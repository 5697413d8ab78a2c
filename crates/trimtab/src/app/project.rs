//! Plan and apply: from the text of a project file to what is in force.

use super::App;
use crate::config;
use domain::spec::Project;
use domain::{Actor, Refusal};
use features::{Change, Described, FeatureError};
use ports::World;
use std::path::Path;

impl App {
    /// What applying the file would change. Changes nothing.
    pub fn plan(&self, text: &str, name: &str, profile: Option<&str>) -> Result<Vec<Change>, FeatureError> {
        let wanted = config::parse(text, name, profile)?;
        let applied = World::new(self.ports.store.snapshot()?).project()?;
        let empty = Project::default();
        Ok(features::diff(applied.as_ref().map_or(&empty, |applied| &applied.spec), &wanted))
    }

    /// Makes the file the applied project: loads its files, versions its views, fills the online store.
    pub async fn apply(&self, root: &str, wanted: Project, actor: &Actor) -> Result<Vec<Change>, FeatureError> {
        let folder = Path::new(root).canonicalize().map_err(|e| {
            Refusal::invalid("project/root", format!("the project's folder {root} cannot be opened: {e}"))
                .hint("run trimtab apply in the folder of trimtab.toml")
        })?;
        for (name, source) in &wanted.source {
            self.tables.load_files(&folder, name, source).await?;
        }
        let described = self.describe(&wanted).await?;
        let now = self.ports.clock.event_now();
        let root = folder.to_string_lossy();
        let changes = ports::decide(&*self.ports.store, |world| features::apply(world, &wanted, &root, &described, actor, now)).await?;
        self.catalog.reload().await?;
        let applied = self.catalog.project()?;
        (self.on_project)(&applied);
        self.ports.compute.configure(&applied.spec.compute)?;
        for view in self.catalog.views().into_iter().filter(|view| view.online) {
            self.tables.materialize(&*self.ports.online, &view).await?;
        }
        Ok(changes)
    }

    async fn describe(&self, wanted: &Project) -> Result<Vec<Described>, FeatureError> {
        let mut described = Vec::new();
        for (name, feature) in &wanted.feature {
            let schema = match &feature.from {
                Some(source) => self.catalog.table_schema(source).await?,
                None => None,
            };
            let features = match self.catalog.describe(wanted, name, feature, schema).await? {
                Some(view) => view.features.iter().map(|field| field.name().clone()).collect(),
                None => feature.on_demand.keys().cloned().collect(),
            };
            described.push(Described { name: name.clone(), features });
        }
        Ok(described)
    }
}

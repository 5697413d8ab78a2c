//! What the native API asks of features and of the project.

use super::App;
use crate::config;
use api_native::{FeaturesApi, OnlineAnswer, ProjectFile};
use async_trait::async_trait;
use domain::{Actor, EntityKey, Scalar, Timestamp};
use features::{Change, FeatureError, Lookup, PushReport};
use indexmap::IndexMap;

#[async_trait]
impl FeaturesApi for App {
    async fn push(&self, source: &str, rows: Vec<IndexMap<String, Scalar>>) -> Result<PushReport, FeatureError> {
        self.pusher.push(source, rows).await
    }

    async fn online(
        &self,
        views: &[String],
        entities: Vec<IndexMap<String, Scalar>>,
        at: Option<Timestamp>,
    ) -> Result<OnlineAnswer, FeatureError> {
        let keys = self.catalog.entity_columns(views);
        let now = at.unwrap_or_else(|| self.ports.clock.event_now());
        let lookups = entities.into_iter().map(|columns| {
            let (own, request): (IndexMap<_, _>, IndexMap<_, _>) = columns.into_iter().partition(|(name, _)| keys.contains(name));
            let key = own.into_iter().map(|(name, value)| (name, value.to_string()));
            Lookup { key: EntityKey(key.collect()), time: now, request }
        });
        let lookups: Vec<Lookup> = lookups.collect();
        Ok(self.catalog.online(&*self.ports.online, views, &lookups)?.into())
    }

    async fn materialize(&self, views: &[String]) -> Result<IndexMap<String, u64>, FeatureError> {
        let all = self.catalog.views().into_iter().filter(|view| view.online).map(|view| view.name);
        let views: Vec<String> = if views.is_empty() { all.collect() } else { views.to_vec() };
        let mut written = IndexMap::new();
        for view in views {
            let rows = self.bridge.materialize(&view).await?;
            written.insert(view, rows);
        }
        Ok(written)
    }

    async fn plan(&self, file: &ProjectFile) -> Result<Vec<Change>, FeatureError> {
        App::plan(self, &file.text, &file.name, file.profile.as_deref())
    }

    async fn apply(&self, file: &ProjectFile, actor: &Actor) -> Result<Vec<Change>, FeatureError> {
        let wanted = config::parse(&file.text, &file.name, file.profile.as_deref())?;
        App::apply(self, &file.root, wanted, actor).await
    }
}

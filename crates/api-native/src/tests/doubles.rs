//! The features block, doubled: what the routes and the gateway ask of it.

use crate::{FeaturesApi, OnlineAnswer, ProjectFile};
use async_trait::async_trait;
use domain::*;
use features::{Change, FeatureError, PushReport, Status};
use indexmap::IndexMap;
use parking_lot::Mutex;
use serving::{FeatureRequest, FeatureSource, ServeError};

/// The features block: keeps what it was asked; some sources do not work.
#[derive(Default)]
pub(super) struct Features(Mutex<Vec<String>>);

impl Features {
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    fn ask(&self, what: String) {
        self.0.lock().push(what);
    }
}

#[async_trait]
impl FeaturesApi for Features {
    async fn push(&self, source: &str, rows: Vec<IndexMap<String, Scalar>>) -> Result<PushReport, FeatureError> {
        match source {
            "nobody" => return Err(Refusal::not_found("source/not_found", "there is no source `nobody`").into()),
            "busy" => return Err(Refusal::new(Kind::Busy, "push/busy", "the queue is full").hint("try again").into()),
            "broken" => return Err(Fault::broken("password of the database: s3cret").into()),
            "full" => return Err(Fault::Full("/home/s3cret".into()).into()),
            _ => self.ask(format!("push {source} {rows:?}")),
        }
        Ok(PushReport { rows: rows.len() as u64, online: rows.len() as u64, late: 0 })
    }

    async fn online(
        &self,
        _: &[String],
        entities: Vec<IndexMap<String, Scalar>>,
        at: Option<Timestamp>,
    ) -> Result<OnlineAnswer, FeatureError> {
        let rows = entities.iter().map(|_| vec![Scalar::Float(0.5)]).collect();
        Ok(OnlineAnswer { columns: vec!["temp".into()], rows, statuses: vec![vec![Status::Present]], times: vec![vec![at]] })
    }

    async fn materialize(&self, views: &[String]) -> Result<IndexMap<String, u64>, FeatureError> {
        Ok(views.iter().map(|view| (view.clone(), 7)).collect())
    }

    async fn plan(&self, file: &ProjectFile) -> Result<Vec<Change>, FeatureError> {
        self.ask(format!("plan {}", file.name));
        Ok(vec![Change { action: "add", what: "model demand".into(), keys: vec![] }])
    }

    async fn apply(&self, file: &ProjectFile, actor: &Actor) -> Result<Vec<Change>, FeatureError> {
        self.ask(format!("apply {} by {actor}", file.name));
        Ok(vec![Change { action: "add", what: "model demand".into(), keys: vec![] }])
    }
}

/// The gateway looks nothing up here.
pub(super) struct NoFeatures;

#[async_trait]
impl FeatureSource for NoFeatures {
    fn entity_columns(&self, _: &ModelName) -> Result<Vec<String>, Refusal> {
        Ok(vec![])
    }

    async fn features(&self, _: &ModelName, _: &[FeatureRequest]) -> Result<arrow::record_batch::RecordBatch, ServeError> {
        Err(Fault::broken("no features here").into())
    }
}

//! The features block as this API sees it; the wiring brings it in.

use async_trait::async_trait;
use domain::{Actor, Scalar, Timestamp};
use features::{Change, FeatureError, OnlineRows, PushReport, Status};
use indexmap::IndexMap;
use ports::scalar_at;
use serde::{Deserialize, Serialize};

/// A project file as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProjectFile {
    /// The folder of the file, absolute: where the server finds what the file names.
    pub root: String,
    /// The file's name, for messages.
    #[serde(default = "default_name")]
    pub name: String,
    /// The file's text: TOML, or YAML where the name ends so.
    #[serde(alias = "toml")]
    pub text: String,
    /// The profile to lay over it.
    #[serde(default)]
    pub profile: Option<String>,
}

fn default_name() -> String {
    "trimtab.toml".into()
}

/// Feature values now: one row an entity, all lists by row, then by column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnlineAnswer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Scalar>>,
    /// How each value was found.
    pub statuses: Vec<Vec<Status>>,
    /// The event time of each value, where it has one.
    pub times: Vec<Vec<Option<Timestamp>>>,
}

impl From<OnlineRows> for OnlineAnswer {
    fn from(found: OnlineRows) -> Self {
        let rows = 0..found.batch.num_rows();
        OnlineAnswer {
            columns: found.batch.schema().fields().iter().map(|field| field.name().clone()).collect(),
            rows: rows.clone().map(|row| found.batch.columns().iter().map(|column| scalar_at(column, row)).collect()).collect(),
            statuses: rows.clone().map(|row| found.statuses.iter().map(|column| column[row]).collect()).collect(),
            times: rows.map(|row| found.times.iter().map(|column| column[row]).collect()).collect(),
        }
    }
}

/// What the routes ask of features and of the project.
#[async_trait]
pub trait FeaturesApi: Send + Sync {
    /// Takes all rows of a source or none.
    async fn push(&self, source: &str, rows: Vec<IndexMap<String, Scalar>>) -> Result<PushReport, FeatureError>;
    /// The columns of the views, in order, one row an entity. `at`: without it, now. An entity's columns that are no join
    /// key are the request's own, for on-demand features.
    async fn online(
        &self,
        views: &[String],
        entities: Vec<IndexMap<String, Scalar>>,
        at: Option<Timestamp>,
    ) -> Result<OnlineAnswer, FeatureError>;
    /// Brings the online values of views up to their tables; gives the rows written of each.
    async fn materialize(&self, views: &[String]) -> Result<IndexMap<String, u64>, FeatureError>;
    /// What applying the file would change. Changes nothing.
    async fn plan(&self, file: &ProjectFile) -> Result<Vec<Change>, FeatureError>;
    /// Makes the file the applied project; gives what changed.
    async fn apply(&self, file: &ProjectFile, actor: &Actor) -> Result<Vec<Change>, FeatureError>;
}

//! Model versions beside the things they came of: aliases, gate verdicts, what serves.

use crate::link;
use crate::page::PageError;
use domain::RunId;
use domain::entity::{Deployment, GateReport, ModelVersion, RegisteredModel};
use ports::World;
use serde::Serialize;

/// A model version in a few words.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VersionLink {
    pub text: String,
    pub href: String,
    pub aliases: Vec<String>,
    /// The gate's verdict, if one has judged it.
    pub gate: Option<&'static str>,
    /// `champion`, `challenger`, `shadow`, if it answers.
    pub role: Option<&'static str>,
}

/// Model versions with their models' aliases, gates and deployments.
pub(crate) struct Made {
    versions: Vec<ModelVersion>,
    models: Vec<RegisteredModel>,
    reports: Vec<GateReport>,
    deployments: Vec<Deployment>,
}

impl Made {
    pub(crate) fn read(world: &World) -> Result<Self, PageError> {
        Ok(Made { versions: world.list()?, models: world.list()?, reports: world.list()?, deployments: world.list()? })
    }

    /// Links to the versions that fit.
    pub(crate) fn of(&self, fits: impl Fn(&ModelVersion) -> bool) -> Vec<VersionLink> {
        self.versions.iter().filter(|version| fits(version)).map(|version| self.link(version)).collect()
    }

    /// Links to the versions that came of a run.
    pub(crate) fn of_run(&self, run: &RunId) -> Vec<VersionLink> {
        self.of(|version| version.run.as_ref() == Some(run))
    }

    fn link(&self, version: &ModelVersion) -> VersionLink {
        let model = self.models.iter().find(|model| model.name == version.model);
        let aliases = model.into_iter().flat_map(|model| &model.aliases).filter(|(_, number)| **number == version.version);
        let report = self.reports.iter().find(|report| report.model == version.model && report.challenger == version.version);
        let deployment = self.deployments.iter().find(|deployment| deployment.model == version.model);
        VersionLink {
            text: format!("{} version {}", version.model, version.version),
            href: link::version(&version.model, version.version),
            aliases: aliases.map(|(alias, _)| alias.clone()).collect(),
            gate: report.map(|report| report.verdict.word()),
            role: deployment.and_then(|deployment| role(deployment, version.version)),
        }
    }
}

/// How a version answers, if it does.
pub(crate) fn role(deployment: &Deployment, number: domain::VersionNumber) -> Option<&'static str> {
    match () {
        () if deployment.champion == Some(number) => Some("champion"),
        () if deployment.challenger.as_ref().is_some_and(|shadow| shadow.version == number) => Some("challenger"),
        () if deployment.shadows.contains(&number) => Some("shadow"),
        () => None,
    }
}

//! Applying a project: the decision.

use crate::diff::{Change, diff};
use domain::entity::{AppliedProject, FeatureViewVersion};
use domain::spec::Project;
use domain::{Actor, Batch, Digest, Event, Timestamp};
use ports::{CommitError, World};

/// A feature view whose columns are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub name: String,
    pub features: Vec<String>,
}

/// Makes the file the applied project: a feature view whose definition (with its source's) is new gets the next version.
pub fn apply(
    world: &World,
    spec: &Project,
    root: &str,
    described: &[Described],
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, Vec<Change>), CommitError> {
    let before = world.project()?;
    let empty = Project::default();
    let changes = diff(before.as_ref().map_or(&empty, |applied| &applied.spec), spec);
    let mut batch = Batch::new(actor.clone(), now);
    let moved = before.as_ref().is_some_and(|applied| applied.root != root);
    if before.is_some() && changes.is_empty() && !moved {
        return Ok((batch, changes));
    }
    for view in described {
        let Some(feature) = spec.feature.get(&view.name) else { continue };
        let source = feature.from.as_ref().and_then(|from| spec.source.get(from));
        let hash = Digest::of_json(&(feature, source));
        let versions = world.scope::<FeatureViewVersion>(&view.name)?;
        let newest = versions.iter().max_by_key(|version| version.version);
        if newest.is_some_and(|version| version.hash == hash) {
            continue;
        }
        let version = newest.map_or(1, |version| version.version + 1);
        batch.write(&FeatureViewVersion {
            name: view.name.clone(),
            version,
            hash: hash.clone(),
            spec: feature.clone(),
            created: now,
            features: view.features.clone(),
        });
        batch.say(Event::FeatureViewVersioned { view: view.name.clone(), version, hash });
    }
    let applied = AppliedProject { spec: spec.clone(), hash: spec.hash(), root: root.into(), applied: now };
    batch.write(&applied);
    batch.say(Event::ProjectApplied { hash: applied.hash.clone(), changes: changes.iter().map(Change::to_string).collect() });
    Ok((batch, changes))
}

//! Aliases, and what a hand-made champion means for serving.

use crate::webhooks::{self, Told};
use crate::{CHAMPION, Decision, check, registry};
use domain::entity::{Deployment, Promotion};
use domain::spec::ModelSpec;
use domain::{Actor, Batch, Event, Fault, Kind, ModelName, Refusal, Timestamp, VersionNumber};
use ports::{CommitError, World};
use serde_json::json;

/// Points an alias to a version.
///
/// `champion` says who serves. For a model of the project file delivery follows the event, with its rollouts and figures;
/// the deployment of any other model is kept in step here.
pub fn set(world: &World, name: &ModelName, alias: &str, version: VersionNumber, actor: &Actor, now: Timestamp) -> Decision<()> {
    check::alias(alias)?;
    registry::find_version(world, name, version)?;
    let mut model = registry::find_model(world, name)?;
    let mut batch = Batch::new(actor.clone(), now);
    let previous = model.aliases.insert(alias.to_owned(), version);
    if previous == Some(version) {
        return Ok((batch, ()));
    }
    if alias == CHAMPION {
        refuse_if_protected(world, name)?;
    }
    model.updated = now;
    batch.write(&model);
    batch.say(Event::AliasSet { model: name.clone(), alias: alias.to_owned(), version: Some(version), previous });
    let data = json!({"name": name, "alias": alias, "version": version.to_string()});
    webhooks::tell(world, &mut batch, &model, Told::Alias, "created", &data)?;
    if alias == CHAMPION && declared(world, name)?.is_none() {
        deploy(world, &mut batch, name, version, actor)?;
    }
    Ok((batch, ()))
}

/// An alias that is not there is an invalid parameter to MLflow's clients, not a missing thing.
pub fn none(alias: &str) -> Refusal {
    Refusal::invalid("alias/not_found", format!("Registered model alias {alias} not found.")).hint("set it first")
}

/// Deletes an alias; one that is not there is no error.
pub fn delete(world: &World, name: &ModelName, alias: &str, actor: &Actor, now: Timestamp) -> Decision<()> {
    let mut model = registry::find_model(world, name)?;
    let mut batch = Batch::new(actor.clone(), now);
    let Some(previous) = model.aliases.remove(alias) else { return Ok((batch, ())) };
    check_free(world, name, alias)?;
    model.updated = now;
    batch.write(&model);
    batch.say(Event::AliasSet { model: name.clone(), alias: alias.to_owned(), version: None, previous: Some(previous) });
    webhooks::tell(world, &mut batch, &model, Told::Alias, "deleted", &json!({"name": name, "alias": alias}))?;
    if alias == CHAMPION {
        undeploy(world, &mut batch, name)?;
    }
    Ok((batch, ()))
}

/// The model as the project file declares it.
pub(crate) fn declared(world: &World, name: &ModelName) -> Result<Option<ModelSpec>, Fault> {
    let project = world.project()?;
    Ok(project.and_then(|project| project.spec.model.get(name.as_str()).cloned()))
}

/// The champion of a declared model is replaced, never taken away: the loop would stand without it.
pub(crate) fn check_free(world: &World, name: &ModelName, alias: &str) -> Result<(), CommitError> {
    if alias != CHAMPION || declared(world, name)?.is_none() {
        return Ok(());
    }
    refuse_if_protected(world, name)?;
    let what = format!("`{CHAMPION}` says which version of `{name}` serves and cannot be taken away");
    Err(Refusal::conflict("alias/in_use", what).hint("point it to another version first").into())
}

fn refuse_if_protected(world: &World, name: &ModelName) -> Result<(), CommitError> {
    if declared(world, name)?.is_some_and(|spec| spec.protected) {
        let what = format!("model `{name}` is protected: its champion moves only through the gate");
        let hint = format!("let the gate judge the version, or take `protected` out of [model.{name}]");
        return Err(Refusal::new(Kind::Forbidden, "alias/protected", what).hint(hint).into());
    }
    Ok(())
}

fn deploy(world: &World, batch: &mut Batch, name: &ModelName, version: VersionNumber, actor: &Actor) -> Result<(), Fault> {
    let mut deployment = world.get::<Deployment>(name.as_str())?.unwrap_or_else(|| Deployment::new(name.clone()));
    let previous = deployment.champion.replace(version);
    let why = format!("the alias `{CHAMPION}` was set by {actor}, without a gate");
    deployment.gated = None;
    deployment.challenger = deployment.challenger.filter(|challenger| challenger.version != version);
    deployment.canary = deployment.canary.filter(|canary| canary.version != version);
    deployment.shadows.retain(|shadow| *shadow != version);
    deployment.history.push(Promotion { version, previous, at: batch.at, why: why.clone() });
    batch.write(&deployment);
    batch.say(Event::ChampionPromoted { model: name.clone(), version, previous, by: "override".into(), why });
    Ok(())
}

/// Nobody serves the model any more.
pub(crate) fn undeploy(world: &World, batch: &mut Batch, name: &ModelName) -> Result<(), Fault> {
    if let Some(mut deployment) = world.get::<Deployment>(name.as_str())? {
        deployment.champion = None;
        deployment.gated = None;
        batch.write(&deployment);
    }
    Ok(())
}

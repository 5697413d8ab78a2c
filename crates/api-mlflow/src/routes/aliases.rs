//! Aliases of model versions.

use super::models::name;
use super::versions::answer;
use crate::caller::Caller;
use crate::convert::version;
use crate::message::{Done, Message, Reply, done, required};
use crate::{MlflowApi, dto};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use domain::Refusal;
use tracking::{aliases, registry};

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new().route("/registered-models/alias", get(one).post(set).delete(delete))
}

/// An alias that is not there is an invalid parameter to MLflow, not a missing thing.
async fn one(State(api): State<MlflowApi>, Message(m): Message<dto::AliasRef>) -> Reply<dto::OneVersion> {
    let (name, alias, world) = (name(m.name)?, required(m.alias, "alias")?, api.world()?);
    let model = registry::find_model(&world, &name)?;
    let missing = || Refusal::invalid("alias/not_found", format!("Registered model alias {alias} not found.")).hint("set it first");
    let number = *model.aliases.get(&alias).ok_or_else(missing)?;
    answer(&world, registry::find_version(&world, &name, number)?)
}

async fn set(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::SetAlias>) -> Reply<Done> {
    let (name, alias, number) = (name(m.name)?, required(m.alias, "alias")?, version(m.version)?);
    api.decide(&caller, |world, actor, now| aliases::set(world, &name, &alias, number, actor, now)).await?;
    done()
}

async fn delete(State(api): State<MlflowApi>, caller: Caller, Message(m): Message<dto::AliasRef>) -> Reply<Done> {
    let (name, alias) = (name(m.name)?, required(m.alias, "alias")?);
    api.decide(&caller, |world, actor, now| aliases::delete(world, &name, &alias, actor, now)).await?;
    done()
}

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
use domain::entity::ModelVersion;
use tracking::{aliases, registry};

pub(super) fn routes() -> Router<MlflowApi> {
    Router::new().route("/registered-models/alias", get(one).post(set).delete(delete))
}

/// What the alias points to; `latest` is no alias, and is the newest version.
async fn one(State(api): State<MlflowApi>, Message(m): Message<dto::AliasRef>) -> Reply<dto::OneVersion> {
    let (name, alias, world) = (name(m.name)?, required(m.alias, "alias")?, api.world()?);
    let model = registry::find_model(&world, &name)?;
    let number = if alias.eq_ignore_ascii_case("latest") {
        world.scope::<ModelVersion>(name.as_str())?.into_iter().map(|version| version.version).max()
    } else {
        model.aliases.get(&alias).copied()
    };
    let number = number.ok_or_else(|| aliases::none(&alias))?;
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

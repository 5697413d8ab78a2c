//! Webhooks of git hosts: who signed, which commit, and what becomes of it. Pure: [`crate::work::hooks`] fetches and runs.
//!
//! A payload is hostile until its signature is checked, and its names are hostile after that: they become parts of commands and pages.

mod payload;
pub mod status;

pub use payload::{Heard, Sender, read};

use crate::commands::declared;
use domain::entity::{Arrival, GitEvent, HookDelivery};
use domain::spec::{GitSpec, PipelineSpec};
use domain::{Actor, Batch, Digest, Event, Kind, PipelineRunId, Refusal, Span, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use ports::{CommitError, World};
use sha2::Sha256;

/// Deliveries of a pipeline that are remembered.
const REMEMBERED: usize = 500;

/// How far apart two words of the same new tag may be.
const TWICE: Span = Span::from_ms(600_000);

/// Refuses a `[git]` that could not work.
pub fn check(spec: &GitSpec) -> Result<(), Refusal> {
    let place = |refusal: Refusal, key: &str| refusal.at(format!("git.{key}"));
    let is_pointer = |text: &str| text.strip_prefix("env:").or(text.strip_prefix("file:")).is_some_and(|rest| !rest.is_empty());
    for (key, secret) in [("secret", Some(&spec.secret)), ("token", spec.token.as_ref())] {
        if secret.is_some_and(|secret| !is_pointer(secret)) {
            let refusal = Refusal::invalid("git/secret", format!("`{key}` holds no pointer to a secret"));
            return Err(place(
                refusal.hint(format!("{key} = \"env:NAME\" or \"file:PATH\": the secret itself stays out of the file")),
                key,
            ));
        }
    }
    let is_address = |text: &str| (text.starts_with("https://") || text.starts_with("http://")) && !text.contains([' ', '@']);
    for (key, address) in [("api", &spec.api), ("url", &spec.url)] {
        if address.as_ref().is_some_and(|address| !is_address(address)) {
            let refusal = Refusal::invalid("git/address", format!("`{key}` is no address"));
            return Err(place(refusal.hint("https://HOST/PATH, without user or password"), key));
        }
    }
    if spec.api.is_some() != spec.token.is_some() {
        let refusal = Refusal::invalid("git/token", "statuses need both `api` and `token`");
        return Err(place(refusal.hint("api = \"https://api.github.com/repos/OWNER/NAME\", token = \"env:GIT_TOKEN\""), "api"));
    }
    let leads_out = |path: &String| path.starts_with('/') || path.split('/').any(|part| part == "..");
    if spec.path.as_ref().is_some_and(leads_out) {
        return Err(place(Refusal::invalid("git/path", "`path` leads out of the repository"), "path"));
    }
    Ok(())
}

/// Checks who sent a body: GitHub's HMAC over it, or GitLab's token. Both are compared in constant time.
pub fn verify(sender: &Sender<'_>, body: &[u8], secret: &str) -> Result<(), Refusal> {
    let refuse = |what: &str| {
        Refusal::new(Kind::Unauthorized, "hook/signature", what.to_owned())
            .hint("the secret of the webhook and `secret` under [git] must be the same")
    };
    // Comparing MACs of both sides tells nothing of where they differ.
    let mac = |text: &[u8]| Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length").chain_update(text);
    match sender {
        Sender::Github { signature, .. } => {
            let signature = signature.ok_or_else(|| refuse("the webhook is not signed"))?;
            let given = signature.strip_prefix("sha256=").and_then(|text| hex::decode(text).ok());
            let given = given.ok_or_else(|| refuse("the signature is none of SHA-256"))?;
            mac(body).verify_slice(&given).map_err(|_| refuse("the signature does not fit the content"))
        }
        Sender::Gitlab { token, .. } => {
            let token = token.ok_or_else(|| refuse("the webhook brings no token"))?;
            mac(token.as_bytes())
                .verify(&mac(secret.as_bytes()).finalize().into_bytes())
                .map_err(|_| refuse("the token is not the right one"))
        }
    }
}

/// What a delivery led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A pipeline run will come of it.
    Taken,
    /// Nothing comes of it, for this reason.
    Ignored(String),
}

/// Decides on a commit that a host told of: known deliveries and what the pipeline does not list are ignored.
pub fn receive(
    world: &World,
    pipeline: &str,
    id: &str,
    digest: &Digest,
    arrival: &Arrival,
    now: Timestamp,
) -> Result<(Batch, Outcome), CommitError> {
    let mut batch = Batch::new(Actor::User(arrival.by.clone()), now);
    let spec = declared(world, pipeline)?;
    let ignored = |batch: Batch, why: String| Ok((batch, Outcome::Ignored(why)));
    let deliveries = world.scope::<HookDelivery>(pipeline)?;
    if deliveries.iter().any(|known| known.digest == *digest || known.id == id) {
        return ignored(batch, "this delivery has come before".into());
    }
    if wanted(&spec, arrival).is_none() {
        let on = if spec.on.is_empty() { "nothing".to_owned() } else { spec.on.join(", ") };
        return ignored(batch, format!("pipeline {pipeline} waits for {on}, not for {} {}", arrival.event.word(), arrival.reference));
    }
    let same_tag = |known: &&HookDelivery| known.arrival.event == GitEvent::Tag && known.arrival.reference == arrival.reference;
    // A host tells of a new tag twice: that it was made, and that it was pushed.
    if arrival.event == GitEvent::Tag && deliveries.iter().filter(same_tag).any(|known| now - known.at < TWICE) {
        return ignored(batch, format!("tag {} is known by another delivery", arrival.reference));
    }
    let mut oldest: Vec<&HookDelivery> = deliveries.iter().collect();
    oldest.sort_by_key(|known| known.at);
    for known in oldest.iter().take((deliveries.len() + 1).saturating_sub(REMEMBERED)) {
        batch.delete::<HookDelivery>(&format!("{pipeline}/{}", known.digest));
    }
    batch.write(&HookDelivery {
        pipeline: pipeline.into(),
        digest: digest.clone(),
        id: id.into(),
        at: now,
        arrival: arrival.clone(),
        pipeline_run: None,
        refused: None,
    });
    batch.say(Event::CommitArrived {
        pipeline: pipeline.into(),
        delivery: digest.clone(),
        event: arrival.event,
        reference: arrival.reference.clone(),
        commit: arrival.commit.clone(),
        by: arrival.by.clone(),
    });
    Ok((batch, Outcome::Taken))
}

/// The id of the pipeline run that a delivery asks for: asked for twice, it is one.
pub fn run_id(delivery: &HookDelivery, commit: &str) -> PipelineRunId {
    PipelineRunId::new(format!("{}-{}-{}", delivery.pipeline, commit.get(..7).unwrap_or(commit), &delivery.digest.as_str()[..4]))
}

/// The entry of a pipeline's `on` that a commit is wanted by: `push`, `push:main`, `pull_request`, `pull_request:main` (the branch that it
/// goes to), `tag:v*`.
pub fn wanted<'a>(spec: &'a PipelineSpec, arrival: &Arrival) -> Option<&'a str> {
    let name = match arrival.event {
        GitEvent::PullRequest => arrival.target.as_deref().unwrap_or_default(),
        GitEvent::Push | GitEvent::Tag => &arrival.reference,
    };
    spec.on.iter().map(String::as_str).find(|on| match on.split_once(':') {
        Some((kind, pattern)) => kind == arrival.event.word() && fits(pattern, name),
        None => *on == arrival.event.word(),
    })
}

/// Whether an entry of `on` is one of these.
pub(crate) fn is_git(on: &str) -> bool {
    let (kind, pattern) = on.split_once(':').unwrap_or((on, "*"));
    matches!(kind, "push" | "pull_request" | "tag") && !pattern.is_empty() && !pattern.chars().any(char::is_whitespace)
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;

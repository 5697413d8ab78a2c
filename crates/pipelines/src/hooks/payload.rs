//! What GitHub and GitLab send. Of much only a little is read, and nothing is taken that is not a name of git.

use domain::entity::{Arrival, GitEvent};
use domain::{Digest, Refusal};
use serde::Deserialize;

/// Who says that it sends, by its headers.
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    Github { event: &'a str, delivery: Option<&'a str>, signature: Option<&'a str> },
    Gitlab { event: &'a str, delivery: Option<&'a str>, token: Option<&'a str> },
}

impl<'a> Sender<'a> {
    /// Looks at the headers; names are in lower case.
    pub fn of(header: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Refusal> {
        if let Some(event) = header("x-github-event") {
            return Ok(Sender::Github { event, delivery: header("x-github-delivery"), signature: header("x-hub-signature-256") });
        }
        if let Some(event) = header("x-gitlab-event") {
            let delivery = header("idempotency-key").or(header("x-gitlab-event-uuid"));
            return Ok(Sender::Gitlab { event, delivery, token: header("x-gitlab-token") });
        }
        Err(Refusal::invalid("hook/sender", "neither GitHub nor GitLab sends like this")
            .hint("its webhooks have the header X-GitHub-Event or X-Gitlab-Event"))
    }

    /// The delivery's id; that of its content if the host gives none.
    pub fn delivery(&self, digest: &Digest) -> String {
        let (Sender::Github { delivery, .. } | Sender::Gitlab { delivery, .. }) = self;
        let plain = |text: &&str| !text.is_empty() && text.len() <= 100 && text.chars().all(|c| c.is_ascii_graphic());
        delivery.filter(plain).map_or_else(|| digest.to_string(), str::to_owned)
    }
}

/// What a payload tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The host tries whether somebody listens.
    Ping,
    /// Nothing that a pipeline could run for, and why.
    Ignored(String),
    Commit(Arrival),
}

/// Reads a payload whose sender is known.
pub fn read(sender: &Sender<'_>, json: &[u8]) -> Result<Heard, Refusal> {
    match sender {
        Sender::Github { event: "ping", .. } => Ok(Heard::Ping),
        Sender::Github { event: "push", .. } => pushed(parsed::<Push>(json)?),
        Sender::Github { event: "pull_request", .. } => requested(parsed::<PullRequest>(json)?),
        Sender::Github { event: "create", .. } => created(parsed::<Create>(json)?),
        Sender::Gitlab { event: "Push Hook" | "Tag Push Hook", .. } => pushed(parsed::<Push>(json)?),
        Sender::Gitlab { event: "Merge Request Hook", .. } => merge_requested(parsed::<MergeRequest>(json)?),
        Sender::Github { event, .. } | Sender::Gitlab { event, .. } => {
            let event: String = event.chars().filter(|c| !c.is_control()).take(40).collect();
            Ok(Heard::Ignored(format!("no pipeline runs for `{event}`")))
        }
    }
}

#[derive(Deserialize)]
struct Push {
    r#ref: String,
    after: String,
    #[serde(default)]
    pusher: Option<Named>,
    #[serde(default)]
    user_username: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    login: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Create {
    r#ref: String,
    ref_type: String,
    sender: Option<Named>,
}

#[derive(Deserialize)]
struct PullRequest {
    action: String,
    number: u64,
    pull_request: PullRequestBody,
}

#[derive(Deserialize)]
struct PullRequestBody {
    head: End,
    base: End,
    user: Option<Named>,
}

#[derive(Deserialize)]
struct End {
    r#ref: String,
    sha: String,
    /// Gone, if the repository was deleted.
    repo: Option<Repository>,
}

#[derive(Deserialize, PartialEq)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct MergeRequest {
    user: Option<Named>,
    object_attributes: MergeRequestBody,
}

#[derive(Deserialize)]
struct MergeRequestBody {
    action: Option<String>,
    iid: u64,
    source_branch: String,
    target_branch: String,
    source_project_id: Option<u64>,
    target_project_id: Option<u64>,
    last_commit: LastCommit,
    /// Set if commits came; without it, only words changed.
    oldrev: Option<String>,
}

#[derive(Deserialize)]
struct LastCommit {
    id: String,
}

fn parsed<T: for<'a> Deserialize<'a>>(json: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(json)
        .map_err(|error| Refusal::invalid("hook/payload", format!("the payload is not as its event has it: {error}")))
}

fn pushed(push: Push) -> Result<Heard, Refusal> {
    let by = who(push.user_username.or(push.pusher.and_then(name_of)));
    if push.after.chars().all(|c| c == '0') {
        return Ok(Heard::Ignored("a branch or tag was deleted".into()));
    }
    let (event, name) = match (push.r#ref.strip_prefix("refs/heads/"), push.r#ref.strip_prefix("refs/tags/")) {
        (Some(branch), _) => (GitEvent::Push, branch),
        (_, Some(tag)) => (GitEvent::Tag, tag),
        _ => return Ok(Heard::Ignored("neither a branch nor a tag was pushed".into())),
    };
    // What an annotated tag names is found when it is fetched.
    let commit = if event == GitEvent::Tag { None } else { Some(commit(&push.after)?) };
    Ok(Heard::Commit(Arrival { event, reference: reference(name)?, target: None, number: None, commit, fork: false, by }))
}

fn created(create: Create) -> Result<Heard, Refusal> {
    if create.ref_type != "tag" {
        return Ok(Heard::Ignored("a new branch is heard of when it is pushed".into()));
    }
    let by = who(create.sender.and_then(name_of));
    let reference = reference(&create.r#ref)?;
    Ok(Heard::Commit(Arrival { event: GitEvent::Tag, reference, target: None, number: None, commit: None, fork: false, by }))
}

fn requested(request: PullRequest) -> Result<Heard, Refusal> {
    if !["opened", "synchronize", "reopened"].contains(&request.action.as_str()) {
        return Ok(Heard::Ignored("the code of the pull request is as it was".into()));
    }
    let PullRequestBody { head, base, user } = request.pull_request;
    Ok(Heard::Commit(Arrival {
        event: GitEvent::PullRequest,
        reference: reference(&head.r#ref)?,
        target: Some(reference(&base.r#ref)?),
        number: Some(request.number),
        commit: Some(commit(&head.sha)?),
        fork: head.repo.is_none() || head.repo != base.repo,
        by: who(user.and_then(name_of)),
    }))
}

fn merge_requested(request: MergeRequest) -> Result<Heard, Refusal> {
    let body = request.object_attributes;
    let has_code = match body.action.as_deref() {
        Some("open" | "reopen") => true,
        Some("update") => body.oldrev.is_some(),
        _ => false,
    };
    if !has_code {
        return Ok(Heard::Ignored("the code of the merge request is as it was".into()));
    }
    Ok(Heard::Commit(Arrival {
        event: GitEvent::PullRequest,
        reference: reference(&body.source_branch)?,
        target: Some(reference(&body.target_branch)?),
        number: Some(body.iid),
        commit: Some(commit(&body.last_commit.id)?),
        fork: body.source_project_id.is_none() || body.source_project_id != body.target_project_id,
        by: who(request.user.and_then(name_of)),
    }))
}

fn name_of(named: Named) -> Option<String> {
    named.login.or(named.username).or(named.name)
}

fn who(name: Option<String>) -> String {
    let plain: String = name.unwrap_or_default().chars().filter(|c| !c.is_control()).take(80).collect();
    if plain.trim().is_empty() { "somebody".into() } else { plain.trim().to_owned() }
}

fn commit(text: &str) -> Result<String, Refusal> {
    let is_one = matches!(text.len(), 40 | 64) && text.chars().all(|c| c.is_ascii_hexdigit());
    is_one.then(|| text.to_ascii_lowercase()).ok_or_else(|| Refusal::invalid("hook/commit", "the payload names no commit"))
}

/// A branch or a tag, as `git check-ref-format` allows it, and without what shells or pages could take for something else.
fn reference(name: &str) -> Result<String, Refusal> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./+#=@".contains(c);
    let is_fine = !name.is_empty()
        && name.len() <= 200
        && name.chars().all(is_plain)
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.ends_with(".lock")
        && !["..", "//", "@{", "/."].iter().any(|part| name.contains(part));
    is_fine
        .then(|| name.to_owned())
        .ok_or_else(|| Refusal::invalid("hook/reference", "the payload names no branch or tag that can be used"))
}

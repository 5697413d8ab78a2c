#![allow(clippy::unwrap_used)]
//! Payloads as hosts send them, cut to what matters, and as they would not.

use super::*;
use domain::spec::Project;
use ports::MetadataStore;
use ports::memory::MemoryStore;
use serde_json::{Value, json};

const COMMIT: &str = "9c8b4f0de1a2b3c4d5e6f708192a3b4c5d6e7f80";

fn github<'a>(event: &'a str, signature: Option<&'a str>) -> Sender<'a> {
    Sender::Github { event, delivery: None, signature }
}

fn gitlab<'a>(event: &'a str, token: Option<&'a str>) -> Sender<'a> {
    Sender::Gitlab { event, delivery: None, token }
}

fn heard(sender: &Sender<'_>, body: &Value) -> String {
    match read(sender, body.to_string().as_bytes()) {
        Err(refusal) => refusal.code,
        Ok(Heard::Ping) => "ping".into(),
        Ok(Heard::Ignored(why)) => format!("ignored: {why}"),
        Ok(Heard::Commit(arrival)) => {
            let commit = arrival.commit.map_or("?".into(), |commit| commit[..7].to_owned());
            let target = arrival.target.map_or(String::new(), |target| format!(" to {target}"));
            let fork = if arrival.fork { " of a fork" } else { "" };
            format!("{} {}{target}{fork} {commit} by {}", arrival.event.word(), arrival.reference, arrival.by)
        }
    }
}

fn pull_request(action: &str, head: &str, from: Value) -> Value {
    json!({"action": action, "number": 7, "pull_request": {"user": {"login": "bob"},
        "head": {"ref": head, "sha": COMMIT, "repo": from}, "base": {"ref": "main", "sha": COMMIT, "repo": {"full_name": "a/b"}}}})
}

#[test]
fn what_hosts_send_is_understood_and_the_rest_ignored_with_a_reason() {
    let push = |reference: &str, after: &str| json!({"ref": reference, "after": after, "pusher": {"name": "ann"}});
    let own = json!({"full_name": "a/b"});
    let merge = |action: &str, oldrev: Value| {
        json!({"user": {"username": "bob"}, "object_attributes": {"action": action, "iid": 3, "source_branch": "fix",
        "target_branch": "main", "source_project_id": 1, "target_project_id": 1, "last_commit": {"id": COMMIT}, "oldrev": oldrev}})
    };
    let zero = "0".repeat(40);
    let cases = [
        (github("ping", None), json!({"zen": "x"}), "ping"),
        (github("push", None), push("refs/heads/main", COMMIT), "push main 9c8b4f0 by ann"),
        (github("push", None), push("refs/heads/feature/x", COMMIT), "push feature/x 9c8b4f0 by ann"),
        (github("push", None), push("refs/tags/v1.0", COMMIT), "tag v1.0 ? by ann"),
        (github("push", None), push("refs/heads/main", &zero), "ignored: a branch or tag was deleted"),
        (github("push", None), push("refs/notes/x", COMMIT), "ignored: neither a branch nor a tag was pushed"),
        (github("create", None), json!({"ref": "v2", "ref_type": "tag", "sender": {"login": "ann"}}), "tag v2 ? by ann"),
        (github("create", None), json!({"ref": "x", "ref_type": "branch"}), "ignored: a new branch is heard of when it is pushed"),
        (github("pull_request", None), pull_request("opened", "fix", own.clone()), "pull_request fix to main 9c8b4f0 by bob"),
        (
            github("pull_request", None),
            pull_request("synchronize", "fix", json!({"full_name": "eve/b"})),
            "pull_request fix to main of a fork 9c8b4f0 by bob",
        ),
        (github("pull_request", None), pull_request("opened", "fix", Value::Null), "pull_request fix to main of a fork 9c8b4f0 by bob"),
        (github("pull_request", None), pull_request("labeled", "fix", own.clone()), "ignored: the code of the pull request is as it was"),
        (github("star", None), json!({}), "ignored: no pipeline runs for `star`"),
        (gitlab("Push Hook", None), json!({"ref": "refs/heads/main", "after": COMMIT, "user_username": "ann"}), "push main 9c8b4f0 by ann"),
        (gitlab("Tag Push Hook", None), json!({"ref": "refs/tags/v1", "after": COMMIT, "user_username": "ann"}), "tag v1 ? by ann"),
        (gitlab("Merge Request Hook", None), merge("open", Value::Null), "pull_request fix to main 9c8b4f0 by bob"),
        (gitlab("Merge Request Hook", None), merge("update", json!(COMMIT)), "pull_request fix to main 9c8b4f0 by bob"),
        (gitlab("Merge Request Hook", None), merge("update", Value::Null), "ignored: the code of the merge request is as it was"),
        (gitlab("Pipeline Hook", None), json!({}), "ignored: no pipeline runs for `Pipeline Hook`"),
        (github("push", None), json!({"ref": 7}), "hook/payload"),
        (github("push", None), push("refs/heads/main", "--upload-pack=x"), "hook/commit"),
        (github("push", None), push("refs/heads/main", "9c8b4f0"), "hook/commit"),
    ];
    for (sender, body, expected) in cases {
        assert_eq!(heard(&sender, &body), expected, "{body}");
    }
    for name in ["-x", "a b", "a..b", "a;touch x", "$(x)", "a\nb", "/a", "a.lock", "a@{1}", "<b>", "", "refs/../x", &"x".repeat(201)] {
        assert_eq!(heard(&github("push", None), &push(&format!("refs/heads/{name}"), COMMIT)), "hook/reference", "{name:?}");
        assert_eq!(heard(&github("pull_request", None), &pull_request("opened", name, own.clone())), "hook/reference", "{name:?}");
    }
    assert_eq!(read(&github("push", None), b"\xff{").unwrap_err().code, "hook/payload");
}

/// GitHub's own example: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries.
#[test]
fn only_the_right_signature_is_taken() {
    let (body, secret) = (b"Hello, World!", "It's a Secret to Everybody");
    let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(verify(&github("push", Some(right)), body, secret), Ok(()));
    assert_eq!(verify(&gitlab("Push Hook", Some(secret)), body, secret), Ok(()));
    let other = right.replace("75710", "75711");
    for sender in [
        github("push", None),
        github("push", Some(&other)),
        github("push", Some("sha256=zz")),
        github("push", Some("sha1=757107ea")),
        github("push", Some(&right[..40])),
        gitlab("Push Hook", None),
        gitlab("Push Hook", Some("It's")),
        gitlab("Push Hook", Some("")),
    ] {
        let refusal = verify(&sender, body, secret).unwrap_err();
        assert_eq!((refusal.kind, refusal.kind.http_status()), (Kind::Unauthorized, 401), "{sender:?}");
    }
    assert!(verify(&github("push", Some(right)), b"Hello, World?", secret).is_err());
}

#[test]
fn patterns_are_names_with_stars() {
    for (pattern, name, is_fit) in [
        ("main", "main", true),
        ("main", "mainly", false),
        ("*", "feature/x", true),
        ("v*", "v1.0", true),
        ("v*", "1.v", false),
        ("release/*/x*", "release/1/x2", true),
        ("release/*/x*", "release/1", false),
        ("*a*a", "a", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
    ] {
        assert_eq!(fits(pattern, name), is_fit, "{pattern} {name}");
    }
    let on = |words: &[&str]| words.iter().all(|word| is_git(word));
    assert!(on(&["push", "push:main", "pull_request", "pull_request:release/*", "tag:v*", "tag"]));
    assert!(![("push:"), ("pushed"), ("tag:v 1")].into_iter().any(is_git));
}

#[tokio::test]
async fn a_delivery_is_taken_once_whatever_it_is_called() {
    let store = MemoryStore::new();
    let file = json!({"pipeline": {"ci": {"on": ["push:main", "tag:v*", "pull_request"], "step": {"t": {"run": ["true"]}}}}});
    let spec: Project = serde_json::from_value(file).unwrap();
    let project = domain::entity::AppliedProject { hash: spec.hash(), spec, root: "/".into(), applied: Timestamp::from_ms(0) };
    store.commit(Batch::new(Actor::User("ann".into()), Timestamp::from_ms(0)).put(&project)).await.unwrap();
    let told = |id: &'static str, content: &'static str, event: GitEvent, reference: &'static str| {
        let store = store.clone();
        async move {
            let commit = (event != GitEvent::Tag).then(|| COMMIT.to_owned());
            let target = (event == GitEvent::PullRequest).then(|| "main".to_owned());
            let arrival = Arrival { event, reference: reference.into(), target, number: None, commit, fork: false, by: "ann".into() };
            let digest = Digest::of(content.as_bytes());
            let outcome = ports::decide(&*store, |world| receive(world, "ci", id, &digest, &arrival, Timestamp::from_ms(0))).await;
            match outcome.unwrap() {
                Outcome::Taken => "taken".to_owned(),
                Outcome::Ignored(why) => why,
            }
        }
    };
    assert_eq!(told("1", "a", GitEvent::Push, "main").await, "taken");
    assert_eq!(told("1", "b", GitEvent::Push, "main").await, "this delivery has come before");
    assert_eq!(told("2", "a", GitEvent::Push, "main").await, "this delivery has come before", "played again under another name");
    assert!(told("3", "c", GitEvent::Push, "other").await.contains("waits for push:main"));
    assert_eq!(told("4", "d", GitEvent::PullRequest, "fix").await, "taken");
    assert_eq!(told("5", "e", GitEvent::Tag, "v1").await, "taken");
    assert!(told("6", "f", GitEvent::Tag, "v1").await.contains("another delivery"));
    assert_eq!(store.events(0, 100).unwrap().len(), 3);
}

#[test]
fn secrets_stay_out_of_the_file() {
    let spec = |text: &str| -> GitSpec { toml::from_str(text).unwrap() };
    let cases = [
        ("secret = 'env:HOOK'", ""),
        ("secret = 'file:hook.txt'\napi = 'https://api.github.com/repos/a/b'\ntoken = 'env:TOKEN'", ""),
        ("secret = 's3cret'", "git/secret"),
        ("secret = 'env:'", "git/secret"),
        ("secret = 'env:HOOK'\ntoken = 'ghp_x'\napi = 'https://x'", "git/secret"),
        ("secret = 'env:HOOK'\napi = 'https://x'", "git/token"),
        ("secret = 'env:HOOK'\napi = 'ftp://x'\ntoken = 'env:T'", "git/address"),
        ("secret = 'env:HOOK'\nurl = 'https://user:pw@x'", "git/address"),
        ("secret = 'env:HOOK'\npath = '../x'", "git/path"),
    ];
    for (text, code) in cases {
        let found = check(&spec(text)).err();
        assert_eq!(found.as_ref().map_or("", |refusal| refusal.code.as_str()), code, "{text}");
        assert!(found.is_none_or(|refusal| !refusal.to_string().contains("s3cret") && refusal.place.is_some()));
    }
}

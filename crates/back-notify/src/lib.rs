//! Notifications by webhook: one POST of the notification's JSON an attempt.
//!
//! A target is `env:NAME`, `file:PATH` or an address. It is looked up at every attempt, so that a changed secret is used at
//! once, and its value is in no message: an address often is the secret.

mod public;
mod secret;

pub use public::PublicPoster;
pub use secret::secret;

use async_trait::async_trait;
use domain::entity::Notification;
use ports::{Delivery, Notifier};
use reqwest::{Client, StatusCode, Url};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// How long an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The notification's id: the same in every attempt, so that a receiver can tell a repetition.
const ID_HEADER: &str = "x-trimtab-id";

/// Posts to webhooks.
pub struct Webhook {
    /// Made for the first notification: it reads the machine's certificates, which a start should not wait for.
    client: LazyLock<Client>,
    /// `file:PATH` is relative to it.
    root: PathBuf,
}

impl Webhook {
    /// A notifier for the project in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Webhook {
        Webhook { client: LazyLock::new(client), root: root.into() }
    }

    /// The address of a target; an error never holds what was looked up.
    async fn address(&self, webhook: &str) -> Result<Url, String> {
        let (text, place) = if let Some(name) = webhook.strip_prefix("env:") {
            let value =
                std::env::var(name).map_err(|_| format!("environment variable {name} is not set; set it and start the server again"))?;
            (value, format!("environment variable {name}"))
        } else if let Some(path) = webhook.strip_prefix("file:") {
            let read = tokio::fs::read_to_string(self.root.join(path)).await;
            (read.map_err(|e| format!("file {path} cannot be read: {e}"))?, format!("file {path}"))
        } else {
            (webhook.to_owned(), "the webhook in the project file".to_owned())
        };
        let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.ok_or_else(|| format!("{place} holds no address; write https://HOST/PATH"))
    }
}

/// A webhook that points elsewhere is refused, not followed: the body is for the target that the file names.
fn client() -> Client {
    let client = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
    client.expect("the TLS roots are built in, and no option can conflict")
}

#[async_trait]
impl Notifier for Webhook {
    async fn deliver(&self, webhook: &str, notification: &Notification) -> Delivery {
        let url = match self.address(webhook).await {
            Ok(url) => url,
            Err(why) => return Delivery::Rejected(why),
        };
        let request = self.client.post(url).header("content-type", "application/json").header(ID_HEADER, &notification.id);
        match request.body(notification.body.clone()).send().await {
            Ok(answer) => outcome(answer.status()),
            Err(error) => Delivery::Failed(cause(&error)),
        }
    }
}

/// What a status says of the attempt: only "not like this" is final.
fn outcome(status: StatusCode) -> Delivery {
    let answered = format!("the receiver answered {}", status.as_u16());
    match status {
        _ if status.is_success() => Delivery::Delivered,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Delivery::Failed(answered),
        _ if status.is_client_error() => Delivery::Rejected(answered),
        _ => Delivery::Failed(answered),
    }
}

/// Why there was no answer. The client's own message has the address in it, so it is not used.
fn cause(error: &reqwest::Error) -> String {
    let what = match error {
        _ if error.is_timeout() => "the receiver did not answer within 10 s",
        _ if error.is_connect() => "the receiver cannot be reached",
        _ => "the connection broke before the answer",
    };
    what.to_owned()
}

#[cfg(test)]
mod tests;

//! Posts to addresses that users name: only to the public internet.
//!
//! The address is looked at when the connection is made, not before: a name that pointed outside when it was checked may
//! point inside when it is called.

use super::{Url, cause};
use async_trait::async_trait;
use futures::StreamExt;
use ports::{Post, Posted, Poster, is_public};
use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How long an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are kept.
const KEPT: usize = 4_096;

/// Posts by HTTPS to public addresses.
pub struct PublicPoster {
    /// Made for the first post, as a webhook's is.
    client: LazyLock<Client>,
    /// The address is the operator's, not a user's.
    anywhere: bool,
}

impl PublicPoster {
    /// A poster that follows no redirection and uses no proxy: either would lead where nobody looked.
    pub fn new() -> Self {
        let client = || client().dns_resolver(Arc::new(PublicNames)).build().expect(BUILT);
        PublicPoster { client: LazyLock::new(client), anywhere: false }
    }
}

impl PublicPoster {
    /// A poster to addresses that the operator's own file names: they may be in its own network, and need no TLS there.
    pub fn to_named_places() -> Self {
        PublicPoster { client: LazyLock::new(|| client().build().expect(BUILT)), anywhere: true }
    }
}

const BUILT: &str = "the TLS roots are built in, and no option can conflict";

fn client() -> reqwest::ClientBuilder {
    Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy()
}

impl Default for PublicPoster {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks names up, and gives none of the addresses if one of them is not public.
struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().all(|address| is_public(address.ip())) {
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            Err("the name leads to an address that is not public".into())
        })
    }
}

#[async_trait]
impl Poster for PublicPoster {
    async fn post(&self, post: &Post) -> Posted {
        let Ok(url) = Url::parse(&post.url) else { return Posted::Refused("the address cannot be read".into()) };
        if !self.anywhere && !may_go_to(&url) {
            return Posted::Refused("webhooks go by https to public addresses only".into());
        }
        let mut request = self.client.post(url).body(post.body.clone());
        for (name, value) in &post.headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let mut body = Vec::new();
                let mut pieces = answer.bytes_stream();
                while let Some(Ok(piece)) = pieces.next().await {
                    body.extend_from_slice(&piece[..piece.len().min(KEPT - body.len())]);
                    if body.len() == KEPT {
                        break;
                    }
                }
                Posted::Answered { status, body: String::from_utf8_lossy(&body).into_owned() }
            }
            Err(error) => Posted::Unreachable(cause(&error)),
        }
    }
}

/// Names are looked at when they are looked up; addresses are looked at here.
fn may_go_to(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    url.scheme() == "https" && !host.is_empty() && host.parse::<IpAddr>().map_or(true, is_public)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::post;

    fn to(url: &str) -> Post {
        Post { url: url.into(), headers: vec![("X-MLflow-Delivery-Id".into(), "7".into())], body: "{}".into() }
    }

    #[tokio::test]
    async fn nothing_goes_into_the_servers_own_network() {
        let poster = PublicPoster::new();
        for url in ["https://127.0.0.1:1/x", "http://1.1.1.1/x", "https://[::1]/x", "https://[::ffff:10.0.0.1]/x", "nonsense"] {
            assert!(matches!(poster.post(&to(url)).await, Posted::Refused(_)), "{url}");
        }
        // A name that leads here is found out when it is looked up.
        assert!(matches!(poster.post(&to("https://localhost:1/x")).await, Posted::Unreachable(_)));
    }

    #[tokio::test]
    async fn the_answer_is_told_and_cut() {
        let answer = |headers: HeaderMap, body: String| async move {
            format!("{} {body} {}", headers["x-mlflow-delivery-id"].to_str().unwrap(), "x".repeat(2 * KEPT))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/x", post(answer))).await.unwrap() });
        let poster = PublicPoster::to_named_places();
        let Posted::Answered { status, body } = poster.post(&to(&url)).await else { panic!("no answer") };
        assert_eq!((status, body.len(), body.starts_with("7 {} xxx")), (200, KEPT, true));
    }
}

//! Pages of other sites may not act here with a reader's browser: what changes anything is taken from this server's own pages and from
//! programs, which name no origin.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Refuses a request that would change something and comes from a page of another site.
pub async fn guard(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_read || is_own(request.headers()) {
        return next.run(request).await;
    }
    let problem = serde_json::json!({
        "type": "about:blank", "title": "refused", "status": 403, "code": "request/origin",
        "detail": "a page of another site asked for this", "hint": "use this server's own pages, the command line, or a program",
    });
    (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response()
}

/// Whether no browser says that another site asks. `Sec-Fetch-Site` is the browser's word; older ones send only `Origin`.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else { return true };
    let host = text("host").unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::is_own;
    use axum::http::{HeaderMap, HeaderName};

    #[test]
    fn only_pages_of_other_sites_are_turned_away() {
        let own = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            is_own(&pairs.collect::<HeaderMap>())
        };
        assert!(own(&[("host", "127.0.0.1:5055")]), "a program");
        assert!(own(&[("host", "127.0.0.1:5055"), ("origin", "http://127.0.0.1:5055")]));
        assert!(own(&[("host", "box"), ("origin", "https://box"), ("sec-fetch-site", "same-origin")]), "behind a proxy that ends TLS");
        assert!(!own(&[("host", "127.0.0.1:5055"), ("origin", "http://127.0.0.1:8000")]));
        assert!(!own(&[("host", "127.0.0.1:5055"), ("origin", "null")]));
        assert!(!own(&[("host", "127.0.0.1:5055"), ("sec-fetch-site", "cross-site")]));
        assert!(!own(&[("host", "127.0.0.1:5055"), ("origin", "http://evil.test"), ("sec-fetch-site", "cross-site")]));
    }
}

//! How a page is rendered, and what is shown when there is none.

use crate::assets;
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use domain::{Fault, Refusal};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use std::sync::LazyLock;

/// No inline script, no outside host, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum PageError {
    /// What is not there, and where to look instead.
    NotFound {
        what: String,
    },
    /// What the reader asked for cannot be.
    Refused(Refusal),
    Fault(Fault),
}

impl From<Fault> for PageError {
    fn from(fault: Fault) -> Self {
        PageError::Fault(fault)
    }
}

impl From<ports::SearchError> for PageError {
    fn from(error: ports::SearchError) -> Self {
        match error {
            ports::SearchError::Refused(refusal) => PageError::Refused(refusal),
            ports::SearchError::Fault(fault) => PageError::Fault(fault),
        }
    }
}

impl PageError {
    pub(crate) fn missing(noun: &str, id: impl std::fmt::Display) -> Self {
        PageError::NotFound { what: format!("no {noun} `{id}`") }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        PageError::Refused(Refusal::invalid("page/question", what))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            PageError::NotFound { what } => lost(StatusCode::NOT_FOUND, &what),
            PageError::Refused(refusal) => {
                let status = StatusCode::from_u16(refusal.kind.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
                lost(status, &refusal.to_string())
            }
            PageError::Fault(fault) => {
                tracing::error!(error = %fault, "a page could not be made");
                let shown = Lost { what: "this page could not be made".into(), is_fault: true };
                let html = render("lost.html", "Something broke", "", &shown)
                    .unwrap_or_else(|_| "this page could not be made; the log says why".into());
                (StatusCode::INTERNAL_SERVER_ERROR, headers(), Html(html)).into_response()
            }
        }
    }
}

#[derive(Serialize)]
struct Lost {
    what: String,
    is_fault: bool,
}

fn lost(status: StatusCode, what: &str) -> Response {
    let title = if status == StatusCode::NOT_FOUND { "Not found" } else { "Not understood" };
    match render("lost.html", title, "", &Lost { what: what.into(), is_fault: false }) {
        Ok(html) => (status, headers(), Html(html)).into_response(),
        Err(error) => error.into_response(),
    }
}

/// The page that says so.
pub(crate) fn no_page() -> Response {
    lost(StatusCode::NOT_FOUND, "no page has this address")
}

/// The fallback: a page for readers, a problem for programs.
pub(crate) async fn not_found(method: Method, uri: Uri) -> Response {
    if !uri.path().starts_with("/api/") {
        return no_page();
    }
    let problem = serde_json::json!({
        "type": "about:blank", "title": "not found", "status": 404, "code": "request/path",
        "detail": format!("{method} {} is no request of this server", uri.path()), "hint": "trimtab --help, or the paths in the README",
    });
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response()
}

/// A whole page; `section` is the part of the navigation that it belongs to.
pub(crate) fn show(template: &str, title: &str, section: &str, page: &impl Serialize) -> Result<Response, PageError> {
    show_as(StatusCode::OK, template, title, section, page)
}

/// A whole page with another status.
pub(crate) fn show_as(
    status: StatusCode,
    template: &str,
    title: &str,
    section: &str,
    page: &impl Serialize,
) -> Result<Response, PageError> {
    Ok((status, headers(), Html(render(template, title, section, page)?)).into_response())
}

/// A template filled in; `page` is what it calls `page`.
pub(crate) fn render(template: &str, title: &str, section: &str, page: &impl Serialize) -> Result<String, PageError> {
    let found = TEMPLATES.get_template(template);
    let html = found.and_then(|found| found.render(context! { title, section, page => Serde(page) }));
    Ok(html.map_err(|e| Fault::because(format!("rendering {template}"), e))?)
}

fn headers() -> [(HeaderName, &'static str); 4] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-cache"),
    ]
}

/// Names end in `.html`, so everything is escaped. A name that a template gets wrong is an error, not an empty place.
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_loader(|name| {
        assets::template(name).map_err(|_| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "the template is not text"))
    });
    environment.add_filter("begin", |text: String| {
        let mut chars = text.chars();
        chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect::<String>())
    });
    environment.add_function("asset", |name: String| {
        let missing = || minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("no asset {name}"));
        assets::address(&name).ok_or_else(missing)
    });
    environment
});

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_template_compiles() {
        for name in assets::Templates::iter() {
            TEMPLATES.get_template(&name).unwrap();
        }
    }
}

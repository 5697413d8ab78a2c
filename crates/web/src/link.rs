//! Where things are: the paths of pages, with names percent-encoded.

use domain::{IncidentId, ModelName, PipelineRunId, RunId, VersionNumber};
use std::fmt::Write as _;

/// One part of a path or query, with every byte encoded that is not plainly a letter, a digit, `-`, `_`, `.` or `~`.
pub(crate) fn part(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            _ => write!(encoded, "%{byte:02X}").expect("writing into a string does not fail"),
        }
    }
    encoded
}

pub(crate) fn run(id: &RunId) -> String {
    format!("/runs/{}", part(id.as_str()))
}

pub(crate) fn incident(id: &IncidentId) -> String {
    format!("/incidents/{}", part(id.as_str()))
}

pub(crate) fn pipeline_run(id: &PipelineRunId) -> String {
    format!("/pipeline-runs/{}", part(id.as_str()))
}

pub(crate) fn version(model: &ModelName, number: VersionNumber) -> String {
    format!("/models/{}/versions/{number}", part(model.as_str()))
}

pub(crate) fn experiment(id: &str) -> String {
    format!("/runs?experiment={}", part(id))
}

pub(crate) fn model(name: &ModelName) -> String {
    format!("/models/{}", part(name.as_str()))
}

/// A model on the page Serving.
pub(crate) fn serving(name: &ModelName) -> String {
    format!("/serving?model={}", part(name.as_str()))
}

pub(crate) fn pipeline(name: &str) -> String {
    format!("/pipelines/{}", part(name))
}

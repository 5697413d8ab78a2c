//! What is different between two versions of a pipeline: as text, and as a graph.

use crate::graph::{Edge, edges};
use domain::entity::{KeptCode, PipelineVersion};
use domain::spec::{PipelineSpec, StepSpec};
use serde::Serialize;
use std::collections::BTreeSet;

/// The differences, from the older version to the newer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionDiff {
    pub from: u64,
    pub to: u64,
    /// The definitions as TOML, as a unified patch; empty if they are the same.
    pub definition: String,
    pub steps_added: Vec<String>,
    pub steps_removed: Vec<String>,
    pub steps_changed: Vec<String>,
    /// `step <- needed`.
    pub edges_added: Vec<String>,
    pub edges_removed: Vec<String>,
    /// Code files that are new, gone or changed; `None` if one version's code was not kept.
    pub code: Option<Vec<String>>,
    pub code_changed: bool,
    pub environment_changed: bool,
    pub commits: [Option<String>; 2],
    /// Whether the working tree differed from its commit.
    pub dirty: [bool; 2],
}

/// Compares two versions; the code files by what was kept of them.
pub fn versions(from: &PipelineVersion, to: &PipelineVersion, kept: [Option<&KeptCode>; 2]) -> VersionDiff {
    let (old, new) = (all_steps(&from.spec), all_steps(&to.spec));
    let names = |steps: &[(&String, &StepSpec)]| steps.iter().map(|(name, _)| (*name).clone()).collect::<BTreeSet<_>>();
    let (old_names, new_names) = (names(&old), names(&new));
    let changed = old.iter().filter(|(name, step)| new.iter().any(|(other, new)| other == name && new != step));
    let (old_edges, new_edges) = (edges(&from.spec), edges(&to.spec));
    let told = |edge: &Edge| format!("{} <- {}", edge.step, edge.needs);
    VersionDiff {
        from: from.number,
        to: to.number,
        definition: patch(from, to),
        steps_added: new_names.difference(&old_names).cloned().collect(),
        steps_removed: old_names.difference(&new_names).cloned().collect(),
        steps_changed: changed.map(|(name, _)| (*name).clone()).collect(),
        edges_added: new_edges.difference(&old_edges).map(told).collect(),
        edges_removed: old_edges.difference(&new_edges).map(told).collect(),
        code: kept[0].zip(kept[1]).map(|(old, new)| files(old, new)),
        code_changed: from.code != to.code,
        environment_changed: from.environment != to.environment,
        commits: [from.git_commit.clone(), to.git_commit.clone()],
        dirty: [from.git_diff.is_some(), to.git_diff.is_some()],
    }
}

fn all_steps(spec: &PipelineSpec) -> Vec<(&String, &StepSpec)> {
    spec.step.iter().chain(&spec.on_exit).collect()
}

fn patch(from: &PipelineVersion, to: &PipelineVersion) -> String {
    let text = |version: &PipelineVersion| toml::to_string_pretty(&version.spec).unwrap_or_default();
    let (old, new) = (text(from), text(to));
    let named = |version: &PipelineVersion| format!("{} version {}", version.pipeline, version.number);
    similar::TextDiff::from_lines(&old, &new).unified_diff().header(&named(from), &named(to)).to_string()
}

fn files(old: &KeptCode, new: &KeptCode) -> Vec<String> {
    let changed = new.files.iter().filter_map(|(file, artifact)| match old.files.get(file) {
        None => Some(format!("{file} is new")),
        Some(before) if before.digest != artifact.digest => Some(format!("{file} has changed")),
        Some(_) => None,
    });
    let gone = old.files.keys().filter(|file| !new.files.contains_key(*file)).map(|file| format!("{file} is gone"));
    changed.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::{Digest, Timestamp};

    fn version(number: u64, text: &str) -> PipelineVersion {
        PipelineVersion {
            pipeline: "p".into(),
            number,
            hash: Digest::of(text.as_bytes()),
            spec: toml::from_str(text).unwrap(),
            code: Digest::of(b""),
            environment: Digest::of(b""),
            git_commit: None,
            git_diff: None,
            created: Timestamp::from_ms(0),
        }
    }

    #[test]
    fn steps_edges_and_lines() {
        let old = version(1, "step.a = { run = \"x\", out = { t = \"t\" } }\nstep.b = { run = \"y\", after = [\"a\"] }");
        let new = version(2, "step.a = { run = \"x --fast\", out = { t = \"t\" } }\nstep.c = { run = \"z\", in = { t = \"a.t\" } }");
        let diff = versions(&old, &new, [None, None]);
        assert_eq!(
            (diff.steps_added, diff.steps_removed, diff.steps_changed),
            (vec!["c".to_owned()], vec!["b".to_owned()], vec!["a".to_owned()])
        );
        assert_eq!((diff.edges_added, diff.edges_removed), (vec!["c <- a".to_owned()], vec!["b <- a".to_owned()]));
        assert!(diff.definition.contains("--- p version 1") && diff.definition.contains("+    \"--fast\","), "{}", diff.definition);
        assert_eq!(versions(&old, &old, [None, None]).definition, "");
    }
}

//! Which steps wait for which: from inputs, items, conditions, and `after`.

use crate::when;
use domain::spec::{Items, PipelineSpec, StepSpec};
use std::collections::{BTreeMap, BTreeSet};

/// `step` waits for `needs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub step: String,
    pub needs: String,
}

/// Where an artifact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// `STEP.OUTPUT`.
    Output(&'a str, &'a str),
    /// `pipeline.NAME`: given by the step of another pipeline.
    Given(&'a str),
}

/// The alternatives of an input, best first: `fit_a.model | fit_b.model`. `None` for what is no source.
pub fn sources(text: &str) -> impl Iterator<Item = Option<Source<'_>>> {
    text.split('|').map(|one| match one.trim().split_once('.')? {
        ("pipeline", name) => Some(Source::Given(name)),
        (step, output) => Some(Source::Output(step, output)),
    })
}

/// What a step waits for: of each group, one step must be done.
pub fn needs(spec: &PipelineSpec, step: &StepSpec) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    for source in step.input.values() {
        let steps = sources(source).flatten().filter_map(|source| match source {
            Source::Output(step, _) => Some(step.to_owned()),
            Source::Given(_) => None,
        });
        groups.push(steps.collect());
    }
    groups.extend(step.after.iter().map(|after| after.split('|').map(|step| step.trim().to_owned()).collect()));
    for items in step.each.values() {
        if let Items::From(source) = items
            && let Some((from, _)) = source.split_once('.')
            && from != "params"
        {
            groups.push(vec![from.to_owned()]);
        }
    }
    if let Some(condition) = &step.when {
        groups.extend(when::steps_of(condition, spec).into_iter().map(|step| vec![step]));
    }
    groups.retain(|group| !group.is_empty());
    groups.sort();
    groups.dedup();
    groups
}

/// The edges between the steps of a pipeline, its exit steps among themselves.
pub fn edges(spec: &PipelineSpec) -> BTreeSet<Edge> {
    let of = |(step, declared): (&String, &StepSpec)| {
        let step = step.clone();
        needs(spec, declared).into_iter().flatten().map(move |needs| Edge { step: step.clone(), needs })
    };
    spec.step.iter().chain(&spec.on_exit).flat_map(of).collect()
}

/// A step and all that must be done before it.
pub fn needed_for(spec: &PipelineSpec, step: &str) -> BTreeSet<String> {
    reached(step, edges(spec).into_iter().map(|edge| (edge.step, edge.needs)))
}

/// A step and all that waits for it, through others too.
pub fn depending_on(spec: &PipelineSpec, step: &str) -> BTreeSet<String> {
    reached(step, edges(spec).into_iter().map(|edge| (edge.needs, edge.step)))
}

fn reached(start: &str, links: impl Iterator<Item = (String, String)>) -> BTreeSet<String> {
    let mut leads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    links.for_each(|(from, to)| leads.entry(from).or_default().push(to));
    let mut reached = BTreeSet::new();
    let mut waiting = vec![start.to_owned()];
    while let Some(step) = waiting.pop() {
        waiting.extend(leads.remove(&step).unwrap_or_default());
        reached.insert(step);
    }
    reached
}

/// A cycle, as the names along it, if there is one.
pub fn cycle<'a>(names: impl IntoIterator<Item = &'a String>, edges: impl IntoIterator<Item = Edge>) -> Option<Vec<String>> {
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for edge in edges {
        needs.entry(edge.step).or_default().push(edge.needs);
    }
    let mut done = BTreeSet::new();
    for start in names {
        let mut path: Vec<(String, usize)> = vec![(start.clone(), 0)];
        let mut on_path: BTreeSet<String> = [start.clone()].into();
        while let Some((step, next)) = path.pop() {
            let child = needs.get(&step).filter(|_| !done.contains(&step)).and_then(|children| children.get(next)).cloned();
            let Some(child) = child else {
                on_path.remove(&step);
                done.insert(step);
                continue;
            };
            path.push((step, next + 1));
            if on_path.contains(&child) {
                let at = path.iter().position(|(on_path, _)| *on_path == child).unwrap_or_default();
                let mut names: Vec<String> = path[at..].iter().map(|(name, _)| name.clone()).collect();
                names.push(child);
                return Some(names);
            }
            if !done.contains(&child) {
                on_path.insert(child.clone());
                path.push((child, 0));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_before_and_after_a_step() {
        let text = r#"
            step.a = { run = "x", out = { t = "t.csv" } }
            step.b = { run = "x", in = { t = "a.t" }, out = { t = "t.csv" } }
            step.c = { run = "x", after = ["b"] }
            step.d = { run = "x", when = "a.t.rows > 3" }
            step.e = { run = "x", in = { t = "d.t | b.t" } }
        "#;
        let spec: PipelineSpec = toml::from_str(text).expect("a definition");
        let names = |found: BTreeSet<String>| found.into_iter().collect::<String>();
        assert_eq!(names(needed_for(&spec, "c")), "abc");
        assert_eq!(names(depending_on(&spec, "a")), "abcde");
        assert_eq!(names(depending_on(&spec, "b")), "bce");
        assert_eq!(needs(&spec, &spec.step["e"]), [["d", "b"]]);
        assert_eq!(cycle(spec.step.keys(), edges(&spec)), None);
    }
}

//! What is wrong with a pipeline, found before anything runs.

use crate::sweep;
use crate::template::{self, Piece};
use crate::triggers;
use crate::work::SWEEP_OUTPUTS;
use domain::spec::{PipelineSpec, StepSpec};
use domain::{Name, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// `step` waits for `needs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub step: String,
    pub needs: String,
}

/// The edges of a pipeline: from artifacts, and from `after`.
pub fn edges(spec: &PipelineSpec) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    for (step, declared) in &spec.step {
        let from_inputs = declared.input.values().filter_map(|source| source.split_once('.')).map(|(needs, _)| needs);
        for needs in from_inputs.chain(declared.after.iter().map(String::as_str)) {
            edges.insert(Edge { step: step.clone(), needs: needs.into() });
        }
    }
    edges
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

/// Refuses the first thing that could not work, with its place (`pipeline.NAME.step.STEP`).
pub fn check(name: &str, spec: &PipelineSpec) -> Result<(), Refusal> {
    let place = format!("pipeline.{name}");
    Name::parse(name).map_err(|refusal| refusal.at(place.clone()))?;
    if spec.step.is_empty() {
        return Err(Refusal::invalid("pipeline/empty", format!("pipeline {name} has no step")).at(place));
    }
    triggers::check_on(name, spec)?;
    for (step, declared) in &spec.step {
        let place = format!("{place}.step.{step}");
        check_step(step, declared, spec).map_err(|refusal| if refusal.place.is_some() { refusal } else { refusal.at(place) })?;
    }
    match cycle(spec) {
        None => Ok(()),
        Some(path) => Err(Refusal::invalid("pipeline/cycle", format!("the steps wait for each other: {}", path.join(" -> ")))
            .at(place)
            .hint("take one of these edges away")),
    }
}

fn check_step(name: &str, step: &StepSpec, pipeline: &PipelineSpec) -> Result<(), Refusal> {
    Name::parse(name)?;
    let kinds = [!step.run.is_empty(), step.training_set.is_some(), !step.materialize.is_empty(), step.gate.is_some()];
    if kinds.iter().filter(|is| **is).count() != 1 {
        return Err(Refusal::invalid(
            "step/kind",
            format!("step {name} must have exactly one of `run`, `training_set`, `materialize`, `gate`"),
        ));
    }
    for (input, source) in &step.input {
        check_source(input, source, pipeline)?;
    }
    for needs in &step.after {
        known_step(needs, pipeline)?;
    }
    for (output, file) in &step.output {
        Name::parse(output)?;
        if file.is_empty() || file.contains('/') || file.contains("..") {
            return Err(Refusal::invalid("step/output", format!("output `{output}` must be a plain file name, not `{file}`")));
        }
    }
    if step.training_set.is_some() && step.output.len() != 1 {
        return Err(
            Refusal::invalid("step/output", "a training-set step has one output: its rows").hint("out = { rows = \"train.parquet\" }")
        );
    }
    if let Some(searched) = &step.sweep {
        if step.run.is_empty() {
            return Err(Refusal::invalid("step/sweep", format!("step {name} is a sweep without a command"))
                .hint("run = [\"python\", \"train.py\", \"--lr\", \"{sweep.lr}\"]"));
        }
        sweep::check(searched)?;
    }
    step.need.mem_bytes().map_err(|what| Refusal::invalid("step/need", what))?;
    if let Some(retry) = &step.retry
        && (retry.factor < 1.0 || !retry.factor.is_finite() || retry.max > 100)
    {
        return Err(Refusal::invalid("step/retry", "`retry.factor` must be at least 1 and `retry.max` at most 100"));
    }
    check_holes(step, pipeline)
}

fn check_holes(step: &StepSpec, pipeline: &PipelineSpec) -> Result<(), Refusal> {
    for argument in &step.run {
        for piece in template::parse(argument)? {
            let Piece::Hole(kind, name) = piece else { continue };
            let declared: Vec<&str> = match kind.as_str() {
                "in" => step.input.keys().map(String::as_str).collect(),
                "out" => step.output.keys().map(String::as_str).collect(),
                "sweep" => step.sweep.as_ref().map(sweep::names).unwrap_or_default(),
                _ => pipeline.params.keys().map(String::as_str).collect(),
            };
            if !declared.contains(&name.as_str()) {
                return Err(Refusal::invalid("step/placeholder", format!("`{{{kind}.{name}}}` names nothing")).hint(format!(
                    "declared under `{kind}`: {}",
                    if declared.is_empty() { "nothing".into() } else { declared.join(", ") }
                )));
            }
        }
    }
    Ok(())
}

fn known_step<'a>(needs: &str, pipeline: &'a PipelineSpec) -> Result<&'a StepSpec, Refusal> {
    pipeline.step.get(needs).ok_or_else(|| {
        let steps: Vec<&str> = pipeline.step.keys().map(String::as_str).collect();
        Refusal::invalid("step/unknown", format!("there is no step `{needs}`")).hint(format!("steps: {}", steps.join(", ")))
    })
}

fn check_source(input: &str, source: &str, pipeline: &PipelineSpec) -> Result<(), Refusal> {
    let Some((step, output)) = source.split_once('.') else {
        return Err(Refusal::invalid("step/input", format!("input `{input}` must be STEP.OUTPUT, not `{source}`")));
    };
    let of = known_step(step, pipeline)?;
    let made = SWEEP_OUTPUTS.iter().filter(|_| of.sweep.is_some()).map(|(output, _)| *output);
    let outputs: Vec<&str> = of.output.keys().map(String::as_str).chain(made).collect();
    if outputs.contains(&output) {
        return Ok(());
    }
    Err(Refusal::invalid("step/input", format!("step {step} has no output `{output}`"))
        .hint(format!("its outputs: {}", if outputs.is_empty() { "none".into() } else { outputs.join(", ") })))
}

/// A cycle, as the steps along it, if there is one.
fn cycle(spec: &PipelineSpec) -> Option<Vec<String>> {
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for edge in edges(spec) {
        needs.entry(edge.step).or_default().push(edge.needs);
    }
    let mut done = BTreeSet::new();
    for start in spec.step.keys() {
        let mut path: Vec<(String, usize)> = vec![(start.clone(), 0)];
        while let Some((step, next)) = path.pop() {
            if next == 0 && done.contains(&step) {
                continue;
            }
            let Some(child) = needs.get(&step).and_then(|children| children.get(next)).cloned() else {
                done.insert(step);
                continue;
            };
            path.push((step, next + 1));
            if let Some(at) = path.iter().position(|(on_path, _)| *on_path == child) {
                let mut names: Vec<String> = path[at..].iter().map(|(name, _)| name.clone()).collect();
                names.push(child);
                return Some(names);
            }
            path.push((child, 0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use indexmap::IndexMap;

    fn step(run: &[&str], input: &[(&str, &str)], output: &[&str], after: &[&str]) -> StepSpec {
        StepSpec {
            run: run.iter().map(|s| s.to_string()).collect(),
            input: input.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
            output: output.iter().map(|o| (o.to_string(), format!("{o}.csv"))).collect(),
            after: after.iter().map(|s| s.to_string()).collect(),
            cache: true,
            ..StepSpec::default()
        }
    }

    fn refusal(steps: &[(&str, StepSpec)]) -> Option<Refusal> {
        let spec =
            PipelineSpec { step: steps.iter().cloned().map(|(n, s)| (n.to_string(), s)).collect::<IndexMap<_, _>>(), ..Default::default() };
        check("p", &spec).err()
    }

    #[test]
    fn what_is_before_and_after_a_step() {
        let steps = [
            ("a", step(&["x"], &[], &["t"], &[])),
            ("b", step(&["x"], &[("t", "a.t")], &["t"], &[])),
            ("c", step(&["x"], &[], &[], &["b"])),
            ("d", step(&["x"], &[], &[], &["a"])),
        ];
        let spec = PipelineSpec { step: steps.into_iter().map(|(n, s)| (n.to_string(), s)).collect(), ..Default::default() };
        let names = |found: BTreeSet<String>| found.into_iter().collect::<String>();
        assert_eq!(names(needed_for(&spec, "c")), "abc");
        assert_eq!(names(depending_on(&spec, "a")), "abcd");
        assert_eq!(names(depending_on(&spec, "b")), "bc");
        assert_eq!(names(depending_on(&spec, "d")), "d");
    }

    #[test]
    fn each_mistake_has_its_place_and_next_step() {
        let good = [("a", step(&["x", "{out.t}"], &[], &["t"], &[])), ("b", step(&["y", "{in.t}"], &[("t", "a.t")], &[], &[]))];
        assert_eq!(refusal(&good), None);
        let cases: Vec<(Vec<(&str, StepSpec)>, &str, &str)> = vec![
            (vec![], "pipeline/empty", "no step"),
            (vec![("a", step(&[], &[], &[], &[]))], "step/kind", "exactly one"),
            (vec![("a", step(&["x"], &[("t", "b.t")], &[], &[]))], "step/unknown", "no step `b`"),
            (vec![("a", step(&["x"], &[], &["t"], &[])), ("b", step(&["x"], &[("t", "a.u")], &[], &[]))], "step/input", "no output `u`"),
            (vec![("a", step(&["x", "{in.q}"], &[], &[], &[]))], "step/placeholder", "{in.q}"),
            (vec![("a", step(&["x"], &[], &[], &["b"])), ("b", step(&["x"], &[], &[], &["a"]))], "pipeline/cycle", "a -> b -> a"),
            (vec![("a", step(&["x"], &[], &[], &["a"]))], "pipeline/cycle", "a -> a"),
        ];
        for (steps, code, text) in cases {
            let found = refusal(&steps).unwrap();
            assert_eq!(found.code, code);
            assert!(found.what.contains(text) && found.place.is_some(), "{found:?}");
        }
    }
}

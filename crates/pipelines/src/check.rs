//! What is wrong with a pipeline, found before anything runs.

use crate::checks;
use crate::graph::{self, Source};
use crate::sweep;
use crate::template::{self, Piece};
use crate::triggers;
use crate::when;
use crate::work::SWEEP_OUTPUTS;
use domain::spec::{Items, ParamType, ParamValue, PipelineSpec, StepSpec};
use domain::{Name, Refusal, Scalar};
use indexmap::IndexMap;

/// Refuses the first thing that could not work in any of a project's pipelines, what one asks of another included.
pub fn check_all(pipelines: &IndexMap<String, PipelineSpec>) -> Result<(), Refusal> {
    let mut calls = Vec::new();
    for (name, spec) in pipelines {
        check(name, spec)?;
        for (step, declared) in spec.step.iter().chain(&spec.on_exit) {
            let Some(called) = &declared.pipeline else { continue };
            let place = place_of(name, spec, step);
            let target = pipelines.get(called).ok_or_else(|| {
                let names: Vec<&str> = pipelines.keys().map(String::as_str).collect();
                Refusal::invalid("step/pipeline", format!("there is no pipeline `{called}`"))
                    .hint(format!("pipelines: {}", names.join(", ")))
                    .at(place.clone())
            })?;
            check_call(declared, called, target, spec).map_err(|refusal| refusal.at(place))?;
            calls.push(graph::Edge { step: name.clone(), needs: called.clone() });
        }
    }
    match graph::cycle(pipelines.keys(), calls) {
        None => Ok(()),
        Some(path) => {
            let what = format!("the pipelines call each other without end: {}", path.join(" -> "));
            Err(Refusal::invalid("pipeline/cycle", what).at(format!("pipeline.{}", path[0])).hint("take one of these steps away"))
        }
    }
}

/// What a step gives another pipeline, and takes of it.
fn check_call(step: &StepSpec, called: &str, target: &PipelineSpec, caller: &PipelineSpec) -> Result<(), Refusal> {
    for (param, value) in &step.params {
        let Some(declared) = target.params.get(param) else {
            let names: Vec<&str> = target.params.keys().map(String::as_str).collect();
            return Err(Refusal::invalid("step/params", format!("pipeline {called} has no parameter `{param}`"))
                .hint(if names.is_empty() { "it has none".into() } else { format!("parameters: {}", names.join(", ")) }));
        };
        match value {
            // What a placeholder becomes is known when it runs.
            ParamValue::One(Scalar::Text(text)) if text.contains('{') => check_text(text, step, caller)?,
            value => drop(declared.accept(param, value)?),
        }
    }
    let given = |name: &String| step.params.contains_key(name);
    if let Some((missing, _)) = target.params.iter().find(|(name, declared)| declared.default_value().is_none() && !given(name)) {
        return Err(Refusal::invalid("step/params", format!("pipeline {called} must be given its parameter `{missing}`"))
            .hint(format!("params = {{ {missing} = .. }}")));
    }
    if let Some(missing) = target.inputs.iter().find(|input| !step.input.contains_key(*input)) {
        return Err(Refusal::invalid("step/input", format!("pipeline {called} must be given its input `{missing}`"))
            .hint(format!("in = {{ {missing} = \"STEP.OUTPUT\" }}")));
    }
    if let Some(more) = step.input.keys().find(|input| !target.inputs.contains(input)) {
        return Err(Refusal::invalid("step/input", format!("pipeline {called} takes no input `{more}`"))
            .hint(format!("its `inputs`: {}", target.inputs.join(", "))));
    }
    for (output, source) in &step.output {
        check_source(output, source, target)?;
    }
    Ok(())
}

fn place_of(pipeline: &str, spec: &PipelineSpec, step: &str) -> String {
    let part = if spec.step.contains_key(step) { "step" } else { "on_exit" };
    format!("pipeline.{pipeline}.{part}.{step}")
}

/// Refuses the first thing that could not work, with its place (`pipeline.NAME.step.STEP`).
pub fn check(name: &str, spec: &PipelineSpec) -> Result<(), Refusal> {
    let place = format!("pipeline.{name}");
    Name::parse(name).map_err(|refusal| refusal.at(place.clone()))?;
    if spec.step.is_empty() {
        return Err(Refusal::invalid("pipeline/empty", format!("pipeline {name} has no step")).at(place));
    }
    triggers::check_on(name, spec)?;
    for (param, declared) in &spec.params {
        let at = |refusal: Refusal| refusal.at(format!("{place}.params.{param}"));
        Name::parse(param).map_err(at)?;
        declared.check(param).map_err(at)?;
    }
    for (step, declared) in spec.step.iter().chain(&spec.on_exit) {
        let at = |refusal: Refusal| if refusal.place.is_some() { refusal } else { refusal.at(place_of(name, spec, step)) };
        check_step(step, declared, spec).map_err(at)?;
    }
    if let Some(twice) = spec.on_exit.keys().find(|step| spec.step.contains_key(*step)) {
        return Err(Refusal::invalid("step/twice", format!("`{twice}` is a step and an exit step")).at(place_of(name, spec, twice)));
    }
    match graph::cycle(spec.step.keys().chain(spec.on_exit.keys()), graph::edges(spec)) {
        None => Ok(()),
        Some(path) => Err(Refusal::invalid("pipeline/cycle", format!("the steps wait for each other: {}", path.join(" -> ")))
            .at(place)
            .hint("take one of these edges away")),
    }
}

fn check_step(name: &str, step: &StepSpec, pipeline: &PipelineSpec) -> Result<(), Refusal> {
    Name::parse(name)?;
    if when::RESERVED.contains(&name) {
        return Err(Refusal::invalid("step/name", format!("a step cannot be called `{name}`: placeholders and conditions use the word")));
    }
    let is_exit = pipeline.on_exit.contains_key(name) && !pipeline.step.contains_key(name);
    let kinds = [
        !step.run.is_empty(),
        !step.check.is_empty(),
        step.training_set.is_some(),
        !step.materialize.is_empty(),
        step.gate.is_some(),
        step.pipeline.is_some(),
    ];
    if kinds.iter().filter(|is| **is).count() != 1 {
        return Err(Refusal::invalid(
            "step/kind",
            format!("step {name} must have exactly one of `run`, `check`, `training_set`, `materialize`, `gate`, `pipeline`"),
        ));
    }
    let visible = if is_exit { &pipeline.on_exit } else { &pipeline.step };
    for (input, source) in &step.input {
        for one in source.split('|') {
            check_input(input, one.trim(), pipeline, visible)?;
        }
    }
    for needs in step.after.iter().flat_map(|after| after.split('|')) {
        known_step(needs.trim(), visible)?;
    }
    for (output, file) in &step.output {
        Name::parse(output)?;
        let is_plain = !file.is_empty() && !file.contains('/') && !file.contains("..");
        if step.pipeline.is_none() && !is_plain {
            return Err(Refusal::invalid("step/output", format!("output `{output}` must be a plain file name, not `{file}`")));
        }
    }
    if step.training_set.is_some() && step.output.len() != 1 {
        return Err(
            Refusal::invalid("step/output", "a training-set step has one output: its rows").hint("out = { rows = \"train.parquet\" }")
        );
    }
    if !step.params.is_empty() && step.pipeline.is_none() {
        return Err(Refusal::invalid("step/params", format!("step {name} is no other pipeline and takes no `params`"))
            .hint("a command gets them by {params.NAME}"));
    }
    if let Some(searched) = &step.sweep {
        if step.run.is_empty() {
            return Err(Refusal::invalid("step/sweep", format!("step {name} is a sweep without a command"))
                .hint("run = [\"python\", \"train.py\", \"--lr\", \"{sweep.lr}\"]"));
        }
        sweep::check(searched)?;
    }
    check_each(name, step, pipeline)?;
    if let Some(condition) = &step.when {
        if is_exit {
            return Err(Refusal::invalid("step/when", format!("exit step {name} always runs; it takes no `when`")));
        }
        when::check(condition, &step.each.keys().map(String::as_str).collect::<Vec<_>>(), pipeline)?;
    }
    checks::check(name, step)?;
    step.need.mem_bytes().map_err(|what| Refusal::invalid("step/need", what))?;
    let short = |span: &Option<domain::Span>| span.is_some_and(|span| span.ms() <= 0);
    if short(&step.timeout) || short(&step.heartbeat) {
        return Err(Refusal::invalid("step/timeout", format!("step {name}: `timeout` and `heartbeat` must be longer than nothing")));
    }
    if step.heartbeat.is_some() && step.command().is_empty() {
        return Err(Refusal::invalid("step/heartbeat", format!("step {name} has no command whose output could be its heartbeat")));
    }
    if let Some(retry) = &step.retry
        && (retry.factor < 1.0 || !retry.factor.is_finite() || retry.max > 100)
    {
        return Err(Refusal::invalid("step/retry", "`retry.factor` must be at least 1 and `retry.max` at most 100"));
    }
    step.command().iter().try_for_each(|argument| check_text(argument, step, pipeline))?;
    let texts = step.params.values().filter_map(|value| match value {
        ParamValue::One(Scalar::Text(text)) => Some(text),
        _ => None,
    });
    texts.into_iter().try_for_each(|text| check_text(text, step, pipeline))
}

fn check_each(name: &str, step: &StepSpec, pipeline: &PipelineSpec) -> Result<(), Refusal> {
    if step.max_parallel == Some(0) || (step.max_parallel.is_some() && step.each.is_empty()) {
        return Err(Refusal::invalid("step/each", format!("step {name}: `max_parallel` is for a step with `each`, and at least 1")));
    }
    if !step.each.is_empty() && step.sweep.is_some() {
        return Err(Refusal::invalid("step/each", format!("step {name} has both `each` and `sweep`; a sweep runs its trials itself")));
    }
    for (item, items) in &step.each {
        Name::parse(item)?;
        let Items::From(source) = items else { continue };
        let hint = "each = { region = [\"eu\", \"us\"] }, \"params.regions\", or \"STEP.OUTPUT\" of a JSON list";
        match source.split_once('.') {
            Some(("params", param)) => match pipeline.params.get(param) {
                Some(declared) if declared.kind().is_none_or(|kind| kind == ParamType::List) => {}
                Some(_) => {
                    return Err(Refusal::invalid("step/each", format!("parameter `{param}` is no list"))
                        .hint(format!("params = {{ {param} = [..] }}")));
                }
                None => return Err(Refusal::invalid("step/each", format!("there is no parameter `{param}`")).hint(hint)),
            },
            Some(_) if pipeline.on_exit.contains_key(name) => {
                return Err(Refusal::invalid(
                    "step/each",
                    format!("exit step {name} can run over a list or a parameter, not over outputs"),
                ));
            }
            Some(_) => check_source(item, source, pipeline)?,
            None => return Err(Refusal::invalid("step/each", format!("`{source}` is no list")).hint(hint)),
        }
    }
    Ok(())
}

fn check_text(text: &str, step: &StepSpec, pipeline: &PipelineSpec) -> Result<(), Refusal> {
    let is_exit = pipeline.on_exit.values().any(|exit| std::ptr::eq(exit, step));
    for piece in template::parse(text)? {
        let Piece::Hole(kind, name) = piece else { continue };
        let declared: Vec<&str> = match kind.as_str() {
            "in" => step.input.keys().map(String::as_str).collect(),
            "out" => outputs_of(step),
            "sweep" => step.sweep.as_ref().map(sweep::names).unwrap_or_default(),
            "each" => step.each.keys().map(String::as_str).collect(),
            "trigger" => vec!["time"],
            "run" if is_exit => vec!["id", "state", "error"],
            "run" => vec!["id"],
            _ => pipeline.params.keys().map(String::as_str).collect(),
        };
        if !declared.contains(&name.as_str()) {
            return Err(Refusal::invalid("step/placeholder", format!("`{{{kind}.{name}}}` names nothing"))
                .hint(format!("declared under `{kind}`: {}", if declared.is_empty() { "nothing".into() } else { declared.join(", ") })));
        }
    }
    Ok(())
}

/// What a step's command writes; a check's report needs no word.
fn outputs_of(step: &StepSpec) -> Vec<&str> {
    let report = (!step.check.is_empty() && !step.output.contains_key(checks::REPORT)).then_some(checks::REPORT);
    step.output.keys().map(String::as_str).chain(report).collect()
}

fn known_step<'a>(needs: &str, steps: &'a IndexMap<String, StepSpec>) -> Result<&'a StepSpec, Refusal> {
    steps.get(needs).ok_or_else(|| {
        let names: Vec<&str> = steps.keys().map(String::as_str).collect();
        Refusal::invalid("step/unknown", format!("there is no step `{needs}`")).hint(format!("steps: {}", names.join(", ")))
    })
}

fn check_input(input: &str, source: &str, pipeline: &PipelineSpec, visible: &IndexMap<String, StepSpec>) -> Result<(), Refusal> {
    match graph::sources(source).next().flatten() {
        Some(Source::Given(name)) if pipeline.inputs.iter().any(|given| given == name) => Ok(()),
        Some(given @ Source::Given(_)) => {
            Err(Refusal::invalid("step/input", format!("the pipeline has no input for `{}`", when::text_of(given)))
                .hint(format!("its `inputs`: {}", if pipeline.inputs.is_empty() { "none".into() } else { pipeline.inputs.join(", ") })))
        }
        Some(Source::Output(step, output)) => check_output(step, output, visible),
        None => Err(Refusal::invalid("step/input", format!("input `{input}` must be STEP.OUTPUT, not `{source}`"))),
    }
}

fn check_source(input: &str, source: &str, pipeline: &PipelineSpec) -> Result<(), Refusal> {
    match source.split_once('.') {
        Some((step, output)) => check_output(step, output, &pipeline.step),
        None => Err(Refusal::invalid("step/input", format!("`{input}` must be STEP.OUTPUT, not `{source}`"))),
    }
}

fn check_output(step: &str, output: &str, steps: &IndexMap<String, StepSpec>) -> Result<(), Refusal> {
    let of = known_step(step, steps)?;
    let made = SWEEP_OUTPUTS.iter().filter(|_| of.sweep.is_some()).map(|(output, _)| *output);
    let outputs: Vec<&str> = outputs_of(of).into_iter().chain(made).collect();
    if outputs.contains(&output) {
        return Ok(());
    }
    Err(Refusal::invalid("step/input", format!("step {step} has no output `{output}`"))
        .hint(format!("its outputs: {}", if outputs.is_empty() { "none".into() } else { outputs.join(", ") })))
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

//! Conditions of steps: expressions of the template language, evaluated on parameters, items, the trigger and JSON outputs.

use crate::graph::Source;
use domain::Refusal;
use domain::spec::PipelineSpec;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior};
use std::collections::BTreeSet;

/// Names that are not steps.
pub(crate) const RESERVED: [&str; 6] = ["params", "each", "trigger", "run", "pipeline", "in"];
/// Instructions that one condition may take.
const FUEL: u64 = 50_000;

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
}

/// A step's name as a condition spells it: `train-set` is `train_set` there, since `-` subtracts.
pub(crate) fn spelt(step: &str) -> String {
    step.replace('-', "_")
}

fn paths(condition: &str) -> Result<BTreeSet<String>, Refusal> {
    let environment = environment();
    let compiled = environment.compile_expression(condition).map_err(|error| {
        Refusal::invalid("step/when", format!("`{condition}` is no condition: {}", error.detail().unwrap_or("it cannot be read")))
            .hint("for instance: params.mode == \"full\" and split.stats.rows > 1000")
    })?;
    Ok(compiled.undeclared_variables(true).into_iter().collect())
}

/// The steps whose outputs a condition reads; nothing of one that cannot be read.
pub fn steps_of(condition: &str, spec: &PipelineSpec) -> BTreeSet<String> {
    let named = |path: &String| {
        let first = path.split('.').next()?.to_owned();
        spec.step.keys().chain(spec.on_exit.keys()).find(|step| spelt(step) == first).cloned()
    };
    paths(condition).unwrap_or_default().iter().filter_map(named).collect()
}

/// The outputs that a condition reads, as `(step, output)`.
pub fn outputs_of(condition: &str, spec: &PipelineSpec) -> BTreeSet<(String, String)> {
    let named = |path: &String| {
        let mut parts = path.split('.');
        let (first, output) = (parts.next()?, parts.next()?);
        let step = spec.step.keys().chain(spec.on_exit.keys()).find(|step| spelt(step) == first)?;
        Some((step.clone(), output.to_owned()))
    };
    paths(condition).unwrap_or_default().iter().filter_map(named).collect()
}

/// Refuses a condition that cannot be read or that names nothing.
pub fn check(condition: &str, items: &[&str], spec: &PipelineSpec) -> Result<(), Refusal> {
    for path in paths(condition)? {
        let mut parts = path.split('.');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let known: Vec<String> = match first {
            "params" => spec.params.keys().cloned().collect(),
            "each" => items.iter().map(|name| (*name).to_owned()).collect(),
            "trigger" => ["time", "kind"].map(str::to_owned).into(),
            _ => match spec.step.iter().find(|(step, _)| spelt(step) == first) {
                Some((_, step)) => step.output.keys().cloned().collect(),
                None => {
                    let steps: Vec<String> = spec.step.keys().map(|step| spelt(step)).collect();
                    return Err(Refusal::invalid("step/when", format!("`{first}` in `{condition}` names nothing"))
                        .hint(format!("params, each, trigger, or a step: {}", steps.join(", "))));
                }
            },
        };
        if !second.is_some_and(|second| known.iter().any(|known| known == second)) {
            return Err(Refusal::invalid("step/when", format!("`{path}` in `{condition}` names nothing"))
                .hint(format!("declared under `{first}`: {}", if known.is_empty() { "nothing".into() } else { known.join(", ") })));
        }
    }
    Ok(())
}

/// What a condition says, given `params`, `each`, `trigger` and the outputs by step as one object.
///
/// ```
/// let facts = serde_json::json!({ "params": { "mode": "full" }, "split": { "stats": { "rows": 1200 } } });
/// assert_eq!(pipelines::when::is_true("params.mode == 'full' and split.stats.rows > 1000", &facts), Ok(true));
/// assert_eq!(pipelines::when::is_true("not split.stats.rows in [1, 1200]", &facts), Ok(false));
/// assert!(pipelines::when::is_true("split.stats.columns > 3", &facts).unwrap_err().contains("split.stats.columns"));
/// ```
pub fn is_true(condition: &str, facts: &serde_json::Value) -> Result<bool, String> {
    let environment = environment();
    let compiled = environment.compile_expression(condition).map_err(|error| error.to_string())?;
    let value = compiled.eval(Value::from(Serde(facts))).map_err(|error| {
        let named = paths(condition).unwrap_or_default().into_iter().find(|path| {
            let found = path.split('.').try_fold(facts, |value, part| value.get(part));
            found.is_none()
        });
        named.map_or(format!("`{condition}`: {error}"), |path| format!("`{condition}`: there is no {path}"))
    })?;
    Ok(value.is_true())
}

/// The text of a source, for messages.
pub(crate) fn text_of(source: Source<'_>) -> String {
    match source {
        Source::Output(step, output) => format!("{step}.{output}"),
        Source::Given(name) => format!("pipeline.{name}"),
    }
}

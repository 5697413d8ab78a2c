//! Cache keys by component, so that "why did it run again" has an answer.

use domain::Digest;
use domain::entity::Item;
use domain::spec::StepSpec;
use indexmap::IndexMap;

/// What a step's key is made of.
#[derive(Clone, Debug)]
pub struct KeyInput<'a> {
    pub step: &'a StepSpec,
    /// Values of the parameters that the command uses.
    pub params: IndexMap<String, String>,
    /// Input name to content.
    pub inputs: IndexMap<String, Digest>,
    /// The values of the item that the step is for.
    pub item: Item,
    /// What else of the run the command is told: `trigger.time`, `run.id`.
    pub told: IndexMap<&'static str, String>,
    /// File name to content.
    pub code: IndexMap<String, Digest>,
    /// Variables of the allow-list, with their values.
    pub env: IndexMap<String, String>,
    /// Interpreter and lock file.
    pub environment: Digest,
    /// What a built-in step adds of its own.
    pub built_in: Option<Digest>,
}

/// The components by name: `command`, `params.NAME`, `in.NAME`, `each.NAME`, `trigger.time`, `run.id`, `code.FILE`, `env.NAME`, `environment`, `data`.
pub fn parts(input: &KeyInput) -> IndexMap<String, Digest> {
    let mut parts = IndexMap::new();
    let command = (&input.step.run, &input.step.training_set, &input.step.materialize, &input.step.gate, &input.step.output);
    parts.insert("command".into(), Digest::of_json(&command));
    parts.extend(input.step.sweep.iter().map(|sweep| ("sweep".to_owned(), Digest::of_json(sweep))));
    let text = |value: &String| Digest::of(value.as_bytes());
    parts.extend(input.params.iter().map(|(name, value)| (format!("params.{name}"), text(value))));
    parts.extend(input.inputs.iter().map(|(name, digest)| (format!("in.{name}"), digest.clone())));
    parts.extend(input.item.iter().map(|(name, value)| (format!("each.{name}"), text(&value.to_string()))));
    parts.extend(input.told.iter().map(|(name, value)| ((*name).to_owned(), text(value))));
    parts.extend(input.code.iter().map(|(file, digest)| (format!("code.{file}"), digest.clone())));
    parts.extend(input.env.iter().map(|(name, value)| (format!("env.{name}"), text(value))));
    parts.insert("environment".into(), input.environment.clone());
    parts.extend(input.built_in.iter().map(|digest| ("data".to_owned(), digest.clone())));
    parts.sort_keys();
    parts
}

/// The key itself.
pub fn key(parts: &IndexMap<String, Digest>) -> Digest {
    Digest::of_json(parts)
}

/// Why a step runs, given the components of the last time.
///
/// ```
/// use indexmap::IndexMap;
/// let parts = |text: &str| IndexMap::from([("params.depth".to_owned(), domain::Digest::of(text.as_bytes()))]);
/// assert_eq!(pipelines::key::why(None, &parts("3")), "first run");
/// assert_eq!(pipelines::key::why(Some(&parts("3")), &parts("4")), "params.depth changed");
/// ```
pub fn why(last: Option<&IndexMap<String, Digest>>, now: &IndexMap<String, Digest>) -> String {
    let Some(last) = last else { return "first run".into() };
    let changed = now.iter().filter_map(|(name, digest)| match last.get(name) {
        None => Some(format!("{name} is new")),
        Some(before) if before != digest => Some(format!("{name} changed")),
        Some(_) => None,
    });
    let gone = last.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("{name} is gone"));
    let reasons: Vec<String> = changed.chain(gone).collect();
    if reasons.is_empty() { "its last attempt did not succeed, or its outputs are gone".into() } else { reasons.join(", ") }
}

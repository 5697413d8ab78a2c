//! Names, keys and limits: MLflow's, so that an unmodified client meets no surprise.

use domain::entity::{DatasetInput, Param, Tag};
use domain::{ModelName, Refusal};
use ports::RunLog;
use std::collections::HashSet;

const KEY_MAX: usize = 250;
const EXPERIMENT_NAME_MAX: usize = 500;
const PARAM_VALUE_MAX: usize = 6_000;
const TAG_VALUE_MAX: usize = 8_000;
const EXPERIMENT_TAG_VALUE_MAX: usize = 20_000;
/// Prompts are kept in tags of the registry.
const REGISTRY_TAG_VALUE_MAX: usize = 100_000;
const DATASET_NAME_MAX: usize = 500;
const DATASET_DIGEST_MAX: usize = 36;
const DATASET_SOURCE_MAX: usize = 65_535;
const DATASET_SCHEMA_MAX: usize = 1_048_575;
const DATASET_PROFILE_MAX: usize = 16_777_215;
const INPUT_TAG_KEY_MAX: usize = 255;
const INPUT_TAG_VALUE_MAX: usize = 500;
const METRICS_MAX: usize = 1_000;
const PARAMS_MAX: usize = 100;
const TAGS_MAX: usize = 100;
const ITEMS_MAX: usize = 1_000;

/// A key of a param, metric or tag: at most 250 letters, digits, `_-. :/`, and no path that leads elsewhere, because clients
/// make files of keys.
pub fn key(noun: &str, key: &str) -> Result<(), Refusal> {
    let hint = "use at most 250 letters, digits, `_`, `-`, `.`, ` `, `:` and `/`, and no path such as `a//b` or `../a`";
    let is_allowed = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    let is_plain_path = key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if key.chars().count() <= KEY_MAX && key.chars().all(is_allowed) && is_plain_path {
        return Ok(());
    }
    let shown: String = key.chars().take(80).collect();
    Err(Refusal::invalid("key/invalid", format!("`{shown}` cannot be the key of a {noun}")).hint(hint))
}

/// A tag with a good key, and a value cut to what is kept.
pub(crate) fn tag(mut tag: Tag) -> Result<Tag, Refusal> {
    key("tag", &tag.key)?;
    cut(&mut tag.value, TAG_VALUE_MAX);
    Ok(tag)
}

/// A param with a good key, and a value cut to what is kept.
pub(crate) fn param(mut param: Param) -> Result<Param, Refusal> {
    key("param", &param.key)?;
    cut(&mut param.value, PARAM_VALUE_MAX);
    Ok(param)
}

/// An experiment's tag is refused, not cut: it holds documents of the user interface.
pub(crate) fn experiment_tag(tag: Tag) -> Result<Tag, Refusal> {
    whole_tag(tag, EXPERIMENT_TAG_VALUE_MAX)
}

/// A tag of a registered model or version is refused, not cut: half a prompt is another prompt.
pub(crate) fn registry_tag(tag: Tag) -> Result<Tag, Refusal> {
    whole_tag(tag, REGISTRY_TAG_VALUE_MAX)
}

fn whole_tag(tag: Tag, most: usize) -> Result<Tag, Refusal> {
    key("tag", &tag.key)?;
    let what = || format!("the value of tag `{}`", tag.key);
    at_most("tag/too_long", what, &tag.value, most)?;
    Ok(tag)
}

fn at_most(code: &str, what: impl Fn() -> String, text: &str, most: usize) -> Result<(), Refusal> {
    if text.chars().count() <= most {
        return Ok(());
    }
    Err(Refusal::invalid(code, format!("{} has more than {most} characters", what())).hint("store it as an artifact"))
}

/// What a run read: name and digest are there, and nothing is longer than MLflow allows.
fn dataset(input: &DatasetInput) -> Result<(), Refusal> {
    let parts = [
        ("name", Some(&input.name), DATASET_NAME_MAX),
        ("digest", Some(&input.digest), DATASET_DIGEST_MAX),
        ("source", Some(&input.source), DATASET_SOURCE_MAX),
        ("schema", input.schema.as_ref(), DATASET_SCHEMA_MAX),
        ("profile", input.profile.as_ref(), DATASET_PROFILE_MAX),
    ];
    for (part, text, most) in parts {
        let Some(text) = text else { continue };
        at_most("dataset/too_long", || format!("the {part} of a dataset"), text, most)?;
    }
    for tag in &input.tags {
        at_most("dataset/too_long", || "the key of a dataset's tag".into(), &tag.key, INPUT_TAG_KEY_MAX)?;
        at_most("dataset/too_long", || format!("the value of tag `{}`", tag.key), &tag.value, INPUT_TAG_VALUE_MAX)?;
    }
    Ok(())
}

pub(crate) fn experiment_name(name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() || name.chars().count() > EXPERIMENT_NAME_MAX {
        let what = "an experiment's name must have 1 to 500 characters";
        return Err(Refusal::invalid("experiment/name", what).hint("give it a name"));
    }
    Ok(())
}

/// A location may not have a fragment or query: files are appended to it.
pub(crate) fn location(uri: &str) -> Result<(), Refusal> {
    if uri.contains(['#', '?']) || uri.split('/').any(|part| part == "..") {
        return Err(Refusal::invalid("experiment/location", format!("`{uri}` cannot hold artifacts")).hint("leave out `#`, `?` and `..`"));
    }
    Ok(())
}

pub(crate) fn logged_model_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.contains(['/', ':', '.', '%', '"', '\'']) {
        let hint = "leave out `/`, `:`, `.`, `%` and quotes";
        return Err(Refusal::invalid("logged_model/name", format!("`{name}` cannot name a logged model")).hint(hint));
    }
    Ok(())
}

/// An alias: letters, digits, `_` and `-`, at most 255, not `latest` and nothing that looks like a version.
pub(crate) fn alias(alias: &str) -> Result<(), Refusal> {
    let is_allowed = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let lower = alias.to_lowercase();
    let is_version = lower.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()));
    if alias.is_empty() || alias.chars().count() > 255 || !alias.chars().all(is_allowed) || lower == "latest" || is_version {
        let hint = "use letters, digits, `_` and `-`; not `latest`, not `v1`";
        return Err(Refusal::invalid("alias/invalid", format!("`{alias}` cannot be an alias")).hint(hint));
    }
    Ok(())
}

/// The name of a registered model; clients make folders of names.
pub(crate) fn model_name(name: &str) -> Result<ModelName, Refusal> {
    if matches!(name, "." | "..") {
        return Err(Refusal::invalid("model/name", format!("`{name}` cannot name a registered model")).hint("give it a name"));
    }
    ModelName::parse(name)
}

/// What a client wants to log, checked and cut to what is kept.
pub fn checked_log(log: RunLog) -> Result<RunLog, Refusal> {
    for metric in &log.metrics {
        key("metric", &metric.key)?;
        if metric.time.ms() < 0 {
            let what = format!("metric `{}` has a time before 1970", metric.key);
            return Err(Refusal::invalid("metric/time", what).hint("give milliseconds since 1970"));
        }
    }
    log.inputs.iter().try_for_each(dataset)?;
    Ok(RunLog {
        params: log.params.into_iter().map(param).collect::<Result<_, _>>()?,
        tags: log.tags.into_iter().map(tag).collect::<Result<_, _>>()?,
        ..log
    })
}

/// What one batch may hold.
pub fn batch_limits(log: &RunLog) -> Result<(), Refusal> {
    let counts =
        [("metrics", log.metrics.len(), METRICS_MAX), ("params", log.params.len(), PARAMS_MAX), ("tags", log.tags.len(), TAGS_MAX)];
    let all = counts.iter().map(|(_, count, _)| count).sum();
    for (noun, count, most) in counts.into_iter().chain([("items in all", all, ITEMS_MAX)]) {
        if count > most {
            return Err(Refusal::invalid("batch/too_large", format!("a batch has {count} {noun}, at most {most} are allowed"))
                .hint("send several batches"));
        }
    }
    let mut keys = HashSet::new();
    match log.params.iter().find(|param| !keys.insert(param.key.as_str())) {
        Some(twice) => {
            Err(Refusal::invalid("batch/duplicate", format!("param `{}` is in the batch twice", twice.key)).hint("send it once"))
        }
        None => Ok(()),
    }
}

/// Cuts text to a number of characters.
fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_lead_nowhere_else() {
        for good in ["a", "a/b", "größe", "lr-0.1 x:y", "_", "a..b", ".hidden"] {
            assert!(key("param", good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\nb", "a%b", "a#", &"x".repeat(251)] {
            assert!(key("param", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_do_not_look_like_versions() {
        for (name, good) in
            [("champion", true), ("v", true), ("va1", true), ("V12", false), ("v1", false), ("Latest", false), ("a b", false), ("", false)]
        {
            assert_eq!(alias(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let long = Param { key: "p".into(), value: "ü".repeat(PARAM_VALUE_MAX + 5) };
        assert_eq!(param(long).unwrap().value, "ü".repeat(PARAM_VALUE_MAX));
    }

    #[test]
    fn batches_have_limits() {
        let params = |n: usize| (0..n).map(|n| Param { key: format!("p{n}"), value: String::new() }).collect();
        assert!(batch_limits(&RunLog { params: params(100), ..RunLog::default() }).is_ok());
        assert!(batch_limits(&RunLog { params: params(101), ..RunLog::default() }).is_err());
        let twice = vec![Param { key: "p".into(), value: "1".into() }; 2];
        assert_eq!(batch_limits(&RunLog { params: twice, ..RunLog::default() }).unwrap_err().code, "batch/duplicate");
    }
}

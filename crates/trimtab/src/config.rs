//! The project file: TOML or YAML into a [`Project`], every mistake with its line and the next step.

mod place;

use domain::spec::Project;
use domain::{ModelName, Refusal};
use place::locate;
use serde_json::Value;

/// Keys that users may look for and that do nothing in this version; better said than "unknown".
const NOT_YET: [(&str, &str); 1] = [("schedule", "write `on = [\"cron:0 3 * * *\"]`")];

/// How a project file is written: by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Toml,
    Yaml,
}

impl Form {
    fn of(name: &str) -> Form {
        let is_yaml = name.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"));
        if is_yaml { Form::Yaml } else { Form::Toml }
    }
}

/// Reads a project file's text and checks all blocks, those of every `[profile.NAME]` too; the project with that profile laid over it, if
/// one is named. `name` is the file's name: it ends in `.toml`, `.yaml` or `.yml`.
pub fn parse(text: &str, name: &str, profile: Option<&str>) -> Result<Project, Refusal> {
    let form = Form::of(name);
    let mut project = read(text, name, form)?;
    let profiles = std::mem::take(&mut project.profile);
    check(&project).map_err(|refusal| locate(refusal, text, name))?;
    let mut chosen = None;
    for (profiled, overlay) in &profiles {
        let laid = overlaid(text, name, form, profiled, overlay)?;
        if profile == Some(profiled) {
            chosen = Some(laid);
        }
    }
    match (profile, chosen) {
        (Some(profile), None) => {
            let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
            Err(suggest(Refusal::not_found("project/profile", format!("{name} has no [profile.{profile}]")), profile, &known))
        }
        (_, chosen) => Ok(chosen.unwrap_or(project)),
    }
}

fn read(text: &str, name: &str, form: Form) -> Result<Project, Refusal> {
    match form {
        Form::Toml => toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            explain(error.message(), line, name)
        }),
        Form::Yaml => serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let line = error.location().map(|location| location.line() as usize);
            explain(&error.to_string(), line, name)
        }),
    }
}

/// The project with a profile's tables laid over its own: tables are merged, everything else is replaced.
fn overlaid(text: &str, name: &str, form: Form, profile: &str, overlay: &Value) -> Result<Project, Refusal> {
    let bad = |what: String| Refusal::invalid("project/profile", what).at(format!("profile.{profile}"));
    let whole = match form {
        Form::Toml => toml::from_str::<Value>(text).map_err(|error| bad(error.message().into())),
        Form::Yaml => serde_saphyr::from_str::<Value>(text).map_err(|error| bad(error.to_string())),
    };
    let mut whole = whole.map_err(|refusal| locate(refusal, text, name))?;
    if let Some(root) = whole.as_object_mut() {
        root.remove("profile");
    }
    if !overlay.is_object() || overlay.get("profile").is_some() {
        return Err(locate(
            bad("a profile holds tables of the project file, such as [profile.prod.model.demand.serve]".into()),
            text,
            name,
        ));
    }
    lay(&mut whole, overlay);
    let project: Project = serde_path_to_error::deserialize(whole).map_err(|error| {
        let place = format!("profile.{profile}.{}", error.path());
        let refusal = explain(&error.inner().to_string(), None, name);
        let unplaced = Refusal { place: Some(place), ..refusal };
        locate(unplaced, text, name)
    })?;
    check(&project).map_err(|refusal| {
        let place = refusal.place.as_ref().map_or_else(|| format!("profile.{profile}"), |place| format!("profile.{profile}.{place}"));
        locate(Refusal { place: Some(place), ..refusal }, text, name)
    })?;
    Ok(project)
}

fn lay(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// What the blocks have to say about the whole file.
fn check(project: &Project) -> Result<(), Refusal> {
    features::check(project)?;
    pipelines::check::check_all(&project.pipeline)?;
    compute::check::check(project)?;
    project.lineage.as_ref().map_or(Ok(()), pipelines::lineage::check)?;
    project.git.as_ref().map_or(Ok(()), pipelines::hooks::check)?;
    for (name, model) in &project.model {
        let place = |refusal: Refusal, block: &str| match &refusal.place {
            Some(inner) if inner.starts_with("model.") => refusal,
            Some(inner) => {
                let at = format!("model.{name}.{inner}");
                refusal.at(at)
            }
            None => refusal.at(format!("model.{name}.{block}")),
        };
        ModelName::parse(name).map_err(|refusal| place(refusal, ""))?;
        if stats::Metric::parse(&model.metric).is_none() {
            let known: Vec<&str> = stats::Metric::ALL.iter().map(|metric| metric.name()).collect();
            let refusal = Refusal::invalid("model/metric", format!("there is no metric `{}`", model.metric));
            return Err(suggest(refusal, &model.metric, &known).at(format!("model.{name}.metric")));
        }
        if let Some(gate) = &model.gate {
            delivery::gate::parse_gate(gate).map_err(|refusal| place(refusal, "gate"))?;
        }
        if let Some(serve) = &model.serve {
            delivery::rollout::check(&serve.rollout).map_err(|refusal| place(refusal, "serve"))?;
            monitoring::system::check(&serve.watch).map_err(|refusal| place(refusal, "serve"))?;
            serving::check(serve).map_err(|refusal| place(refusal, "serve"))?;
        }
        monitoring::check(project, name).map_err(|refusal| place(refusal, "monitor"))?;
    }
    for (name, notify) in &project.notify {
        monitoring::check_notify(notify).map_err(|refusal| refusal.at(format!("notify.{name}")))?;
    }
    Ok(())
}

/// A message of the reader in our own words.
fn explain(message: &str, line: Option<usize>, name: &str) -> Refusal {
    let place = line.map_or(name.to_owned(), |line| format!("{name}:{line}"));
    let Some(unknown) = between(message, "unknown field `", "`") else {
        return Refusal::invalid("project/invalid", message.to_owned()).at(place);
    };
    if let Some((_, instead)) = NOT_YET.iter().find(|(key, _)| *key == unknown) {
        return Refusal::invalid("project/not_yet", format!("`{unknown}` does not work in this version"))
            .hint(format!("leave it out: {instead}"))
            .at(place);
    }
    // "expected one of `a`, `b`" or "expected one of a, b", as the reader words it.
    let listed = message.split("expected").nth(1).unwrap_or_default().lines().next().unwrap_or_default();
    let listed = listed.split(" at line").next().unwrap_or_default();
    let names = listed.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let known: Vec<&str> = names.filter(|word| !["", "one", "of", "or"].contains(word)).collect();
    suggest(Refusal::invalid("project/unknown_key", format!("unknown key `{unknown}`")), unknown, &known).at(place)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    let end = text[start..].find(after)?;
    Some(&text[start..start + end])
}

/// Adds "did you mean", or the list.
fn suggest(refusal: Refusal, wrong: &str, known: &[&str]) -> Refusal {
    let nearest = known.iter().map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 2.max(wrong.len() / 3) => refusal.hint(format!("did you mean `{name}`?")),
        _ if known.is_empty() => refusal,
        _ => refusal.hint(format!("known here: {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = include_str!("../../../examples/bikeshare/trimtab.toml");

    #[test]
    fn the_example_is_good() {
        let project = parse(GOOD, "trimtab.toml", None).unwrap();
        assert_eq!(project.project.name, "bikeshare");
    }

    #[test]
    fn each_mistake_has_its_line_and_next_step() {
        let cases = [
            ("online = true", "onlin = true", "project/unknown_key", "did you mean `online`"),
            ("ttl    = \"2h\"", "ttl = \"2 hours\"", "project/invalid", "not a length of time"),
            ("shadow = { min_requests = 24 }", "canary = [25, 5]", "rollout/canary", "canary = [5, 25, 100]"),
            ("shadow = { min_requests = 24 }", "canary = [5], abort_if = \"errors > 1%\"", "rollout/abort_if", "error_rate > 1%"),
            ("metric = \"mae\"", "metric = \"maee\"", "model/metric", "did you mean `mae`"),
            ("from   = \"weather\"", "from = \"wether\"", "source/not_found", "weather"),
            ("rows = \"training_set.rows\"", "rows = \"trainin_set.rows\"", "step/unknown", "training_set"),
            ("\"mae < 60\"", "\"memory < 2GB\"", "", "does not work"),
            ("\"mae < 60\"", "\"latency_99 < 20ms\"", "gate/metric", "did you mean `latency_p99`"),
            ("window    = \"7d\"", "window = \"0d\"", "monitor/window", "length"),
        ];
        for (from, to, code, text) in cases {
            assert!(GOOD.contains(from), "{from}");
            let refusal = parse(&GOOD.replacen(from, to, 1), "trimtab.toml", None).unwrap_err();
            assert!(code.is_empty() || refusal.code == code, "{to}: {refusal:?}");
            assert!(
                refusal.to_string().contains(text) && refusal.place.as_ref().unwrap().starts_with("trimtab.toml:"),
                "{to}: {refusal:?}"
            );
        }
    }

    /// The same file in YAML is the same project, and its mistakes have their lines too.
    #[test]
    fn yaml_is_the_same() {
        let value: Value = toml::from_str(GOOD).unwrap();
        let yaml = yaml_of(&value, 0);
        let (from_toml, from_yaml) = (parse(GOOD, "trimtab.toml", None).unwrap(), parse(&yaml, "trimtab.yaml", None).unwrap());
        // As values: the tables were sorted on their way to YAML.
        assert_eq!(serde_json::to_value(&from_toml).unwrap(), serde_json::to_value(&from_yaml).unwrap());
        let cases = [
            (" gate:\n", " gaet:\n", "project/unknown_key", "did you mean `gate`"),
            ("rows: \"training_set.rows\"", "rows: \"trainin_set.rows\"", "step/unknown", "training_set"),
            ("metric: \"mae\"", "metric: \"maee\"", "model/metric", "did you mean `mae`"),
        ];
        for (from, to, code, text) in cases {
            let at = 1 + yaml[..yaml.find(from).unwrap()].matches('\n').count();
            let refusal = parse(&yaml.replacen(from, to, 1), "trimtab.yaml", None).unwrap_err();
            let line: usize = refusal.place.as_ref().unwrap().split([':', ' ']).nth(1).unwrap().parse().unwrap();
            assert!(refusal.code == code && refusal.to_string().contains(text), "{to}: {refusal:?}");
            assert!(line.abs_diff(at) <= 6, "{to}: line {line}, not about {at}: {refusal:?}");
        }
    }

    /// A block style that people write; strings are quoted.
    fn yaml_of(value: &Value, depth: usize) -> String {
        match value {
            Value::Object(map) => map.iter().fold(String::new(), |text, (key, value)| {
                let inner = if value.is_object() { format!("\n{}", yaml_of(value, depth + 1)) } else { format!(" {value}\n") };
                format!("{text}{}{key}:{inner}", "  ".repeat(depth))
            }),
            other => format!("{}{other}\n", "  ".repeat(depth)),
        }
    }

    #[test]
    fn a_profile_is_laid_over_the_file() {
        let text = format!(
            "{GOOD}\n[profile.prod.model.demand.gate]\nholdout = \"last 14d\"\n[profile.test.pipeline.retrain.params]\nmax_iter = 5\n"
        );
        let holdout = |profile| parse(&text, "trimtab.toml", profile).unwrap().model["demand"].gate.as_ref().unwrap().holdout.to_string();
        assert_ne!(holdout(None), holdout(Some("prod")));
        assert_eq!(holdout(None), holdout(Some("test")));
        let refusal = parse(&text, "trimtab.toml", Some("prd")).unwrap_err();
        assert!(refusal.to_string().contains("did you mean `prod`"), "{refusal}");
        // A mistake in a profile is found whichever is in force.
        let bad = text.replace("holdout = \"last 14d\"", "hold = \"last 14d\"");
        let refusal = parse(&bad, "trimtab.toml", None).unwrap_err();
        assert_eq!(refusal.code, "project/unknown_key");
        assert!(refusal.place.as_ref().unwrap().contains("profile.prod.model.demand.gate"), "{refusal:?}");
    }
}

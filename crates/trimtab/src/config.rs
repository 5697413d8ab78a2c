//! The project file: TOML into a [`Project`], every mistake with its line and the next step.

use domain::spec::Project;
use domain::{ModelName, Refusal};

/// Keys that users may look for and that do nothing in this version; better said than "unknown".
const NOT_YET: [(&str, &str); 5] = [
    ("gpu", "steps ask for cpu and mem"),
    ("schedule", "write `on = [\"cron:0 3 * * *\"]`"),
    ("when", "steps always run"),
    ("profile", "one file, one profile"),
    ("compute", "steps run on the local pool"),
];

/// Reads a project file's text and checks all blocks. `name` is the file's name, for messages.
pub fn parse(text: &str, name: &str) -> Result<Project, Refusal> {
    let project: Project = toml::from_str(text).map_err(|error| explain(&error, text, name))?;
    check(&project).map_err(|refusal| locate(refusal, text, name))?;
    Ok(project)
}

/// What the blocks have to say about the whole file.
fn check(project: &Project) -> Result<(), Refusal> {
    features::check(project)?;
    for (name, pipeline) in &project.pipeline {
        pipelines::check::check(name, pipeline)?;
    }
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
        }
        monitoring::check(project, name).map_err(|refusal| place(refusal, "monitor"))?;
    }
    for (name, notify) in &project.notify {
        monitoring::check_notify(notify).map_err(|refusal| refusal.at(format!("notify.{name}")))?;
    }
    Ok(())
}

/// A message of the TOML reader in our own words.
fn explain(error: &toml::de::Error, text: &str, name: &str) -> Refusal {
    let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let place = line.map_or(name.to_owned(), |line| format!("{name}:{line}"));
    let message = error.message();
    let Some(unknown) = between(message, "unknown field `", "`") else {
        return Refusal::invalid("project/invalid", message.to_owned()).at(place);
    };
    if let Some((_, instead)) = NOT_YET.iter().find(|(key, _)| *key == unknown) {
        return Refusal::invalid("project/not_yet", format!("`{unknown}` does not work in this version"))
            .hint(format!("leave it out: {instead}"))
            .at(place);
    }
    let known: Vec<&str> = message.split("expected").nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
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

/// Turns `model.demand.gate` into `trimtab.toml:12` where that table begins.
fn locate(refusal: Refusal, text: &str, name: &str) -> Refusal {
    let Some(place) = refusal.place.clone() else { return refusal.at(name) };
    let mut path = place.trim_end_matches('.').to_owned();
    loop {
        if let Some(line) = line_of(text, &path) {
            return refusal.at(format!("{name}:{line} [{place}]"));
        }
        match path.rsplit_once('.') {
            Some((shorter, _)) => path = shorter.into(),
            None => return refusal.at(format!("{name} [{place}]")),
        }
    }
}

/// The line of `[path]`, or of the key that ends the path within its table.
fn line_of(text: &str, path: &str) -> Option<usize> {
    let table =
        |path: &str| text.lines().position(|line| line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) == Some(path));
    if let Some(line) = table(path) {
        return Some(line + 1);
    }
    let (parent, key) = path.rsplit_once('.')?;
    let start = table(parent)?;
    let inside = text.lines().enumerate().skip(start + 1).take_while(|(_, line)| !line.trim_start().starts_with('['));
    inside.into_iter().find(|(_, line)| line.split('=').next().is_some_and(|left| left.trim() == key)).map(|(line, _)| line + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = include_str!("../../../examples/bikeshare/trimtab.toml");

    #[test]
    fn the_example_is_good() {
        let project = parse(GOOD, "trimtab.toml").unwrap();
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
            let refusal = parse(&GOOD.replacen(from, to, 1), "trimtab.toml").unwrap_err();
            assert!(code.is_empty() || refusal.code == code, "{to}: {refusal:?}");
            assert!(
                refusal.to_string().contains(text) && refusal.place.as_ref().unwrap().starts_with("trimtab.toml:"),
                "{to}: {refusal:?}"
            );
        }
    }
}

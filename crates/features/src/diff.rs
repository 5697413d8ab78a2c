//! What applying a project file would change.

use domain::spec::Project;
use serde::Serialize;
use serde_json::Value;

/// One difference between what is applied and what the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `add`, `change`, `remove`.
    pub action: &'static str,
    /// `feature weather_hourly`, `model demand`.
    pub what: String,
    /// For a change: each key with its value before and after.
    pub keys: Vec<KeyChange>,
}

/// One key of a changed thing, by its path; `None` is "not there".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    pub key: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.action, self.what)
    }
}

/// Differences by noun and name, in the order of the file; removed things last.
pub fn diff(applied: &Project, wanted: &Project) -> Vec<Change> {
    let (before, after) = (nouns(applied), nouns(wanted));
    let mut changes = Vec::new();
    for (what, value) in &after {
        match before.iter().find(|(known, _)| known == what) {
            None => changes.push(Change { action: "add", what: what.clone(), keys: Vec::new() }),
            Some((_, old)) if old == value => {}
            Some((_, old)) => {
                let mut keys = Vec::new();
                compare("", Some(old), Some(value), &mut keys);
                changes.push(Change { action: "change", what: what.clone(), keys });
            }
        }
    }
    let gone = before.iter().filter(|(what, _)| !after.iter().any(|(known, _)| known == what));
    changes.extend(gone.map(|(what, _)| Change { action: "remove", what: what.clone(), keys: Vec::new() }));
    changes
}

fn nouns(project: &Project) -> Vec<(String, Value)> {
    let json = serde_json::to_value(project).expect("a project is plain data and has a JSON form");
    let mut nouns = Vec::new();
    for noun in ["project", "source", "entity", "feature", "pipeline", "model", "compute", "notify", "git", "lineage"] {
        match json.get(noun) {
            Some(value) if ["project", "compute", "git", "lineage"].contains(&noun) => nouns.push((noun.to_owned(), value.clone())),
            Some(Value::Object(named)) => nouns.extend(named.iter().map(|(name, value)| (format!("{noun} {name}"), value.clone()))),
            _ => {}
        }
    }
    nouns
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, keys: &mut Vec<KeyChange>) {
    if before == after {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) {
        let mut names: Vec<&String> = new.keys().collect();
        names.extend(old.keys().filter(|name| !new.contains_key(*name)));
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            compare(&path, old.get(name), new.get(name), keys);
        }
        return;
    }
    keys.push(KeyChange { key: path.into(), before: before.map(Value::to_string), after: after.map(Value::to_string) });
}

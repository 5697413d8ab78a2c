//! What full-text search over runs means: the one definition that every store agrees with.

use crate::TextHit;
use domain::entity::Run;
use domain::filter::Field;

/// Characters of a value that an excerpt holds at most.
pub const EXCERPT: usize = 200;

/// Characters of a value that are looked at: the rest of a long one is no text for people.
pub const LOOKED_AT: usize = 4000;

/// Words of a query that count; more narrow a search no further.
const WORDS: usize = 32;

/// The client writes this prefix into tags of every run: only their values say something.
const SYSTEM: &str = "mlflow.";

/// The name again.
const NAME_TAG: &str = "mlflow.runName";

/// The words of a text: letters and digits, without case.
///
/// ```
/// assert_eq!(ports::text::words("Random-Forest, lr=0.1"), ["random", "forest", "lr", "0", "1"]);
/// ```
pub fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// The words of a query, each once.
pub fn asked(query: &str) -> Vec<String> {
    let mut all = words(query);
    all.sort();
    all.dedup();
    all.truncate(WORDS);
    all
}

/// What of a run is looked at: the field, and its text.
pub fn fields(run: &Run) -> Vec<(Field, String)> {
    let mut all = vec![(Field::Attribute("run_name".into()), run.name.clone())];
    let cut = |value: &str| value.chars().take(LOOKED_AT).collect::<String>();
    all.extend(run.params.iter().map(|param| (Field::Param(param.key.clone()), format!("{} {}", param.key, cut(&param.value)))));
    for tag in run.tags.iter().filter(|tag| tag.key != NAME_TAG) {
        let key = if tag.key.starts_with(SYSTEM) { "" } else { &tag.key };
        all.push((Field::Tag(tag.key.clone()), format!("{key} {}", cut(&tag.value))));
    }
    all
}

/// Whether a run holds all the words, and where.
pub fn hit(run: &Run, asked: &[String]) -> Option<TextHit> {
    let mut missing: Vec<&String> = asked.iter().collect();
    let mut best: Option<(usize, Field)> = None;
    for (field, text) in fields(run) {
        let held = words(&text);
        let holds = |word: &String| held.iter().any(|known| known.starts_with(word.as_str()));
        let here = asked.iter().filter(|word| holds(word)).count();
        missing.retain(|word| !holds(word));
        if here > best.as_ref().map_or(0, |(most, _)| *most) {
            best = Some((here, field));
        }
    }
    let (_, field) = best.filter(|_| missing.is_empty())?;
    let value = match &field {
        Field::Param(key) => run.params.iter().find(|param| param.key == *key).map(|param| param.value.as_str()),
        Field::Tag(key) => run.tag(key),
        _ => Some(run.name.as_str()),
    };
    let excerpt = value.unwrap_or_default().chars().take(EXCERPT).collect();
    Some(TextHit { run: run.id.clone(), field, excerpt })
}

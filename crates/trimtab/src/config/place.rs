//! The line of a place in a project file.

use domain::Refusal;

/// Turns `model.demand.gate` into `trimtab.toml:12` where that table begins.
pub(super) fn locate(refusal: Refusal, text: &str, name: &str) -> Refusal {
    let Some(place) = refusal.place.clone() else { return refusal.at(name) };
    let mut path = place.trim_end_matches('.').to_owned();
    loop {
        let line = if name.ends_with("ml") && !name.ends_with(".toml") { line_of_yaml(text, &path) } else { line_of(text, &path) };
        if let Some(line) = line {
            return refusal.at(format!("{name}:{line} [{place}]"));
        }
        match path.rsplit_once('.') {
            Some((shorter, _)) => path = shorter.into(),
            None => return refusal.at(format!("{name} [{place}]")),
        }
    }
}

/// The line of the key that the path leads to, in block style.
fn line_of_yaml(text: &str, path: &str) -> Option<usize> {
    let mut above: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let Some((key, _)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with(['#', '-'])) else { continue };
        let indent = line.len() - trimmed.len();
        above.retain(|(depth, _)| *depth < indent);
        above.push((indent, key.trim().trim_matches(['"', '\'']).to_owned()));
        if above.iter().map(|(_, key)| key.as_str()).eq(path.split('.')) {
            return Some(number + 1);
        }
    }
    None
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

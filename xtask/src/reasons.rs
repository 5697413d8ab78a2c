//! Each dependency of a crate says why it is there, in a comment at the end of its line.

/// What is wrong with a manifest, by line.
pub(crate) fn complaints(place: &str, manifest: &str) -> Vec<String> {
    let (mut found, mut is_inside) = (Vec::new(), false);
    for (number, line) in (1..).zip(manifest.lines()) {
        let line = line.trim();
        if line.starts_with('[') {
            is_inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if is_inside && line.contains('=') && !line.starts_with('#') && !has_comment(line) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or(line);
            found.push(format!("{place}:{number}: {name} does not say why it is there: add a comment to its line"));
        }
    }
    found
}

/// Whether a `#` outside of quotes is followed by words.
fn has_comment(line: &str) -> bool {
    let mut is_quoted = false;
    let begin = line.find(|c| {
        is_quoted ^= c == '"';
        c == '#' && !is_quoted
    });
    begin.is_some_and(|at| !line[at + 1..].trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_noticed() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true # \"why\"\nb.workspace = true\nc = { version = \"#1\" }\n\n# words\n\
                        [dev-dependencies]\nd = \"1\" #\n[features]\ne = []\n";
        let found = complaints("x/Cargo.toml", manifest);
        assert_eq!(found.len(), 3, "{found:?}");
        for (complaint, start) in found.iter().zip(["x/Cargo.toml:5: b ", "x/Cargo.toml:6: c ", "x/Cargo.toml:10: d "]) {
            assert!(complaint.starts_with(start), "{complaint}");
        }
    }
}

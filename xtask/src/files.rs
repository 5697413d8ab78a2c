//! Every file of the repository: how long it is, and that it names no place of one machine.

use std::path::Path;
use std::process::Command;

/// Lines of a Rust file at most; a file that needs more is two files.
const MOST_LINES: usize = 500;

/// Folders that only some machines have. Written in two parts, so that this file does not name them either.
const PLACES: [&str; 2] = [concat!("/t", "mp"), concat!("/w", "ork")];

/// Where packages come from is the machine's own affair.
const HOSTS: [&str; 5] = [
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("index", ".crates.io"),
    concat!("static", ".crates.io"),
    concat!("registry", ".npmjs.org"),
];

/// Files that others write.
const WRITTEN_BY_TOOLS: [&str; 1] = ["Cargo.lock"];

/// What is wrong with the files that are tracked or are going to be.
pub(crate) fn complaints(root: &Path) -> Result<Vec<String>, String> {
    let said = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root).output();
    let said = said.map_err(|e| format!("git ls-files: {e}"))?;
    if !said.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&said.stderr)));
    }
    let names = String::from_utf8_lossy(&said.stdout);
    let mut found = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty() && !WRITTEN_BY_TOOLS.contains(name)) {
        // A file that is deleted but still listed, or that is not text, has no lines.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        found.extend(complain(name, &text));
    }
    Ok(found)
}

fn complain(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if name.ends_with(".rs") && lines > MOST_LINES {
        found.push(format!("{name}: {lines} lines, at most {MOST_LINES}: split it by noun"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let named = PLACES.iter().find(|place| names_place(line, place)).or_else(|| HOSTS.iter().find(|host| line.contains(**host)));
        if let Some(what) = named {
            found.push(format!("{name}:{number}: names {what}, which is of one machine"));
        }
    }
    found
}

/// Whether the line names the folder or something in it, and not a path that only contains the same letters.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + place.len()..].chars().next();
        let is_path = |c: char| c.is_alphanumeric() || "_-.*}/~".contains(c);
        !before.is_some_and(is_path) && !after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_machine_are_noticed_and_others_are_not() {
        let [first, second] = PLACES;
        for line in [format!("cd {first}/x"), format!("\"{second}\""), format!("({second}/main)"), first.to_owned()] {
            assert!(PLACES.iter().any(|place| names_place(&line, place)), "{line}");
        }
        for line in
            [format!("src{second}/mod.rs"), format!("{second}er"), format!("{second}space"), format!("$HOME{first}"), format!("}}{first}")]
        {
            assert!(!PLACES.iter().any(|place| names_place(&line, place)), "{line}");
        }
    }

    #[test]
    fn a_long_file_is_noticed() {
        assert!(complain("a.rs", &"x\n".repeat(MOST_LINES)).is_empty());
        assert_eq!(complain("a.rs", &"x\n".repeat(MOST_LINES + 1)).len(), 1);
        assert!(complain("a.csv", &"x\n".repeat(MOST_LINES + 1)).is_empty());
        assert_eq!(complain("a.md", &format!("see {}", HOSTS[0])).len(), 1);
    }
}

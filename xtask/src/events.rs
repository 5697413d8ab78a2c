//! `docs/events.md`, made from the closed list of events.

use domain::{Event, Topic};
use std::fmt::Write as _;
use std::path::Path;

const PLACE: &str = "docs/events.md";

/// Writes the page, or says that it is stale.
pub(crate) fn tidy(root: &Path, check: bool) -> Result<Vec<String>, String> {
    let path = root.join(PLACE);
    let page = page();
    if std::fs::read_to_string(&path).is_ok_and(|written| written == page) {
        return Ok(Vec::new());
    }
    if check {
        return Ok(vec![format!("{PLACE} is stale: run cargo xtask tidy")]);
    }
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(root.join("docs"))?;
        std::fs::write(&path, page)
    };
    write().map_err(|e| format!("{PLACE}: {e}"))?;
    Ok(Vec::new())
}

fn page() -> String {
    let catalogue = Event::catalogue();
    let mut page = format!(
        "<!-- Made by `cargo xtask tidy` from crates/domain/src/event.rs. -->\n# Events\n\n\
         The log is a list of these {}, version {}; nothing else happens. Each also has a number (`seq`), a time (`at`, event clock),\n\
         an `actor`, the event that led to it (`cause`), and the incident or request that it belongs to (`thread`).\n",
        catalogue.len(),
        Event::VERSION
    );
    let mut topic: Option<Topic> = None;
    for (name, of, fields, meaning) in catalogue {
        if topic != Some(of) {
            let title = format!("{of:?}");
            write!(page, "\n## {title}\n\n| event | meaning | fields |\n|---|---|---|\n").expect("writing into a string does not fail");
            topic = Some(of);
        }
        let fields: Vec<String> = fields.iter().map(|(field, kind)| format!("`{field}: {}`", kind.replace(' ', ""))).collect();
        let row = format!("| `{name}` | {} | {} |", meaning.replace('|', "\\|"), fields.join(", "));
        writeln!(page, "{row}").expect("writing into a string does not fail");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_on_the_page_once() {
        let page = page();
        for (name, _, _, _) in Event::catalogue() {
            assert_eq!(page.matches(&format!("| `{name}` |")).count(), 1, "{name}");
        }
    }
}

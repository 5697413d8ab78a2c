//! What a file holds, shown without running any of it: text is escaped, a table is read, a picture is only ever an image.

use crate::WebState;
use crate::format::{bytes, count};
use crate::page::PageError;
use crate::run::files::{address, picture_type};
use domain::{Fault, RunId};
use futures::StreamExt;
use serde::Serialize;
use tracking::place;

/// Bytes of a file that are read, characters that are shown, pictures that are loaded.
const READ: usize = 256 << 10;
const SHOWN: usize = 32 << 10;
const PICTURE: u64 = 16 << 20;
/// Of a table.
const ROWS: usize = 100;
const COLUMNS: usize = 40;
const CELL: usize = 200;

/// A file and what is shown of it.
#[derive(Debug, Serialize)]
pub(crate) struct Preview {
    pub path: String,
    pub size: String,
    pub download: String,
    /// `image`, `text`, `table` or `none`.
    pub kind: &'static str,
    pub text: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// What is left out, or why nothing is shown.
    pub note: Option<String>,
}

/// The preview of a file below a folder; `None` if it is not there.
pub(crate) async fn preview(state: &WebState, run: &RunId, folder: &str, path: &str) -> Result<Option<Preview>, PageError> {
    let Some(whole) = place::join(folder, path).filter(|whole| whole != folder) else { return Ok(None) };
    let Some((size, mut stream)) = state.artifacts.get(&whole).await? else { return Ok(None) };
    let mut shown = Preview {
        path: path.into(),
        size: bytes(size),
        download: address(run, path),
        kind: "none",
        text: String::new(),
        head: Vec::new(),
        rows: Vec::new(),
        note: None,
    };
    if picture_type(path).is_some() {
        match size <= PICTURE {
            true => shown.kind = "image",
            false => shown.note = Some(format!("pictures over {} are not loaded into the page", bytes(PICTURE))),
        }
        return Ok(Some(shown));
    }
    let mut read = Vec::new();
    while read.len() < READ {
        let Some(piece) = stream.next().await else { break };
        read.extend_from_slice(&piece.map_err(|e| Fault::because(format!("reading artifact {whole}"), e))?);
    }
    read.truncate(READ);
    fill(&mut shown, &read, size);
    Ok(Some(shown))
}

fn fill(shown: &mut Preview, read: &[u8], size: u64) {
    let is_whole = read.len() as u64 >= size;
    let Some(text) = text(read, is_whole) else {
        shown.note = Some("this is no text, no picture and no table that a page can show".into());
        return;
    };
    let name = shown.path.to_lowercase();
    let separator = if name.ends_with(".csv") { Some(',') } else { name.ends_with(".tsv").then_some('\t') };
    if let Some(separator) = separator {
        table(shown, text, separator, is_whole);
        return;
    }
    shown.kind = "text";
    let pretty = (name.ends_with(".json") && is_whole).then(|| serde_json::from_str::<serde_json::Value>(text).ok()).flatten();
    let text = pretty.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned());
    let cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() || !is_whole {
        shown.note = Some(format!("the first {} of {}", bytes(cut.len() as u64), bytes(size.max(text.len() as u64))));
    }
    shown.text = cut;
}

/// UTF-8 without control characters other than white space; the last character of a part may be torn.
fn text(read: &[u8], is_whole: bool) -> Option<&str> {
    let text = match std::str::from_utf8(read) {
        Ok(text) => text,
        Err(error) if !is_whole && error.valid_up_to() + 4 > read.len() => std::str::from_utf8(&read[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    (!text.chars().any(|c| c.is_control() && !c.is_whitespace() && c != '\u{1b}')).then_some(text)
}

fn table(shown: &mut Preview, text: &str, separator: char, is_whole: bool) {
    let mut records = records(text, separator, ROWS + 2);
    let is_more = records.len() > ROWS + 1 || !is_whole;
    if !is_whole {
        records.pop();
    }
    records.truncate(ROWS + 1);
    let width = records.iter().map(Vec::len).max().unwrap_or(0);
    let cut = |record: Vec<String>| {
        let short = |cell: String| if cell.chars().count() > CELL { cell.chars().take(CELL).collect::<String>() + "…" } else { cell };
        record.into_iter().take(COLUMNS).map(short).collect::<Vec<_>>()
    };
    let mut records = records.into_iter().map(cut);
    shown.head = records.next().unwrap_or_default();
    shown.rows = records.collect();
    shown.kind = "table";
    let mut notes = Vec::new();
    if is_more {
        notes.push(format!("the first {} rows", count(shown.rows.len() as u64)));
    }
    if width > COLUMNS {
        notes.push(format!("{COLUMNS} of {} columns", count(width as u64)));
    }
    shown.note = (!notes.is_empty()).then(|| notes.join(", "));
}

/// At most `most` records of RFC 4180.
fn records(text: &str, separator: char, most: usize) -> Vec<Vec<String>> {
    let (mut all, mut record, mut cell, mut is_quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if cell.is_empty() => is_quoted = true,
            _ if is_quoted => cell.push(c),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut cell));
                all.push(std::mem::take(&mut record));
                if all.len() == most {
                    return all;
                }
            }
            _ if c == separator => record.push(std::mem::take(&mut cell)),
            _ => cell.push(c),
        }
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(cell);
        all.push(record);
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(path: &str, read: &[u8], size: u64) -> Preview {
        let mut shown = Preview {
            path: path.into(),
            size: String::new(),
            download: String::new(),
            kind: "none",
            text: String::new(),
            head: Vec::new(),
            rows: Vec::new(),
            note: None,
        };
        fill(&mut shown, read, size);
        shown
    }

    #[test]
    fn a_table_is_read_with_its_quotes() {
        let shown = of("a.csv", b"x,y\r\n1,\"a,\"\"b\"\"\nc\"\n2,\n", 22);
        assert_eq!((shown.kind, shown.head, shown.note), ("table", vec!["x".to_owned(), "y".into()], None));
        assert_eq!(shown.rows, [["1", "a,\"b\"\nc"], ["2", ""]]);
        let long: String = (0..1_000).map(|n| format!("{n},{n}\n")).collect();
        assert_eq!(of("a.csv", long.as_bytes(), long.len() as u64).note.as_deref(), Some("the first 100 rows"));
        let wide = "a,".repeat(100);
        assert!(of("a.csv", wide.as_bytes(), wide.len() as u64).note.unwrap().contains("40 of 101 columns"));
    }

    #[test]
    fn text_is_text_json_is_laid_out_and_the_rest_is_not_shown() {
        assert_eq!(of("a.json", b"{\"b\":[1]}", 9).text, "{\n  \"b\": [\n    1\n  ]\n}");
        assert_eq!(of("a.json", b"{broken", 7).text, "{broken");
        assert_eq!(of("a.html", b"<script>", 8).kind, "text");
        assert_eq!(of("a.bin", &[0, 159, 146, 150], 4).kind, "none");
        let torn = "é".as_bytes();
        assert_eq!(of("a.txt", &torn[..1], 2).text, "");
        let long = "x".repeat(READ);
        assert!(of("a.txt", long.as_bytes(), 10_000_000).note.unwrap().contains("32.8 kB of 10.0 MB"));
    }
}

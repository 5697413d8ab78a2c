//! JSON for people: tables for lists, lines for one thing.

use super::table::Table;
use serde_json::{Map, Value};
use std::io::{BufWriter, Write};

/// Prints a value: JSON as it is, or for people.
pub fn print(value: &Value, json: bool) -> std::io::Result<()> {
    // Standard output writes at each line's end, and a pipeline run of thousands of steps has many lines.
    let mut out = BufWriter::new(std::io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
    } else {
        match value.get("items").and_then(Value::as_array) {
            Some(items) => write_page(&mut out, items, value.get("next"))?,
            None => write_value(&mut out, value, 0)?,
        }
    }
    out.flush()
}

/// A page of a list; events are told in their sentences.
fn write_page(out: &mut impl Write, items: &[Value], next: Option<&Value>) -> std::io::Result<()> {
    if items.iter().all(|item| item.get("sentence").is_some()) && !items.is_empty() {
        for item in items {
            let at = item.get("at").and_then(Value::as_str).unwrap_or_default();
            let seq = item.get("seq").and_then(Value::as_u64).unwrap_or_default();
            let at = at.get(..16).unwrap_or(at).replace('T', " ");
            writeln!(out, "{seq:>6}  {at}  {}", cell(&item["sentence"]))?;
        }
    } else {
        write_value(out, &Value::Array(items.to_vec()), 0)?;
    }
    match next {
        None | Some(Value::Null) => Ok(()),
        Some(next) => writeln!(out, "more after {}", cell(next)),
    }
}

fn write_value(out: &mut impl Write, value: &Value, indent: usize) -> std::io::Result<()> {
    match value {
        Value::Array(items) if items.iter().all(Value::is_object) && !items.is_empty() => write_table(out, items, indent),
        Value::Array(items) if items.is_empty() => writeln!(out, "{:indent$}none", ""),
        Value::Array(items) => items.iter().try_for_each(|item| writeln!(out, "{:indent$}{}", "", cell(item))),
        Value::Object(fields) => write_fields(out, fields, indent),
        other => writeln!(out, "{:indent$}{}", "", cell(other)),
    }
}

fn write_fields(out: &mut impl Write, fields: &Map<String, Value>, indent: usize) -> std::io::Result<()> {
    let width = fields.keys().map(|name| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Object(inner) if !inner.is_empty() => {
                writeln!(out, "{:indent$}{name}:", "")?;
                write_fields(out, inner, indent + 2)?;
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                writeln!(out, "{:indent$}{name}:", "")?;
                write_value(out, value, indent + 2)?;
            }
            Value::String(text) if text.contains('\n') => {
                writeln!(out, "{:indent$}{name}:", "")?;
                text.lines().try_for_each(|line| writeln!(out, "{:indent$}  {line}", ""))?;
            }
            other => writeln!(out, "{:indent$}{name:<width$}  {}", "", cell(other))?,
        }
    }
    Ok(())
}

/// Columns that are plain in at least one row, in the order of first sight.
fn write_table(out: &mut impl Write, rows: &[Value], indent: usize) -> std::io::Result<()> {
    let mut columns: Vec<&str> = Vec::new();
    for fields in rows.iter().filter_map(Value::as_object) {
        for (name, value) in fields {
            let plain =
                !value.is_object() && !value.is_null() && !matches!(value, Value::Array(items) if items.iter().any(Value::is_object));
            if plain && !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
    }
    let text = |row: &Value, name: &str| row.get(name).filter(|value| !value.is_object()).map(cell).unwrap_or_default();
    let cells = rows.iter().map(|row| columns.iter().map(|name| text(row, name)).collect());
    let table = Table { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows: cells.collect() };
    table.write_table(out, indent)
}

/// A value as people read it: numbers short, what is not there a dash.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float != 0.0 && !(1e-4..1e9).contains(&float.abs()) => format!("{float:e}"),
            Some(float) => format!("{float:.6}").trim_end_matches('0').trim_end_matches('.').to_owned(),
            None => number.to_string(),
        },
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

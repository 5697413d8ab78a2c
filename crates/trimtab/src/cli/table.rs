//! Rows as a table, JSON, CSV or Markdown.

use clap::ValueEnum;
use serde_json::{Map, Value};
use std::io::Write;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Csv,
    Md,
}

/// Rows with named columns; every cell is text.
#[derive(Debug, Default)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// The widest cell that a table shows whole.
const WIDEST: usize = 60;

impl Table {
    /// A table with these columns.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Table { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Writes it to standard output.
    pub fn print(&self, output: Output) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        match output {
            Output::Table => self.write_table(&mut out, 0),
            Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&self.objects())?),
            Output::Csv => self.write_csv(&mut out),
            Output::Md => self.write_markdown(&mut out),
        }
    }

    fn objects(&self) -> Vec<Map<String, Value>> {
        let object = |row: &Vec<String>| self.columns.iter().cloned().zip(row.iter().cloned().map(Value::String)).collect();
        self.rows.iter().map(object).collect()
    }

    /// In columns, each line after some spaces.
    pub fn write_table(&self, out: &mut impl Write, indent: usize) -> std::io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(out, "{:indent$}none", "");
        }
        let longest = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(at, name)| longest(at).min(WIDEST).max(name.chars().count())).collect();
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", one_line(cell)));
            writeln!(out, "{:indent$}{}", "", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }

    fn write_csv(&self, out: &mut impl Write) -> std::io::Result<()> {
        let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        std::iter::once(&self.columns)
            .chain(&self.rows)
            .try_for_each(|row| writeln!(out, "{}", row.iter().map(quoted).collect::<Vec<_>>().join(",")))
    }

    fn write_markdown(&self, out: &mut impl Write) -> std::io::Result<()> {
        let line = |row: &[String]| {
            let cells = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
            format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
        };
        writeln!(out, "{}", line(&self.columns))?;
        writeln!(out, "|{}", " --- |".repeat(self.columns.len()))?;
        self.rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))
    }
}

fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.chars().count() <= WIDEST {
        return plain;
    }
    let mut short: String = plain.chars().take(WIDEST - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hostile_cells_stay_in_their_place() {
        let mut table = Table::new(["a", "b"]);
        table.rows.push(vec!["x,\"y\"\nz".into(), "p|q".into()]);
        let text = |write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
            let mut out = Vec::new();
            write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&|out| table.write_csv(out)), "a,b\n\"x,\"\"y\"\"\nz\",p|q\n");
        assert_eq!(text(&|out| table.write_markdown(out)), "| a | b |\n| --- | --- |\n| x,\"y\" z | p\\|q |\n");
        assert_eq!(text(&|out| table.write_table(out, 0)), "a        b\nx,\"y\" z  p|q\n");
    }
}

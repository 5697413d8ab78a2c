//! CSV as rows: a header, then values; an empty value is none, a number is one.

use crate::rows::Record;
use domain::Refusal;
use serde_json::{Number, Value};

/// Reads a table.
pub(crate) fn parse(body: &[u8]) -> Result<Vec<Record>, Refusal> {
    let wrong = |error: csv::Error| {
        let at = error.position().map_or("the table".to_owned(), |position| format!("line {}", position.line()));
        Refusal::invalid("request/csv", format!("the body is not a table: {error}"))
            .at(at)
            .hint("send a header, then a line a row with as many values")
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(body);
    let header: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
    if let Some(twice) = header.iter().enumerate().find_map(|(at, name)| header[..at].contains(name).then_some(name)) {
        return Err(Refusal::invalid("request/columns", format!("column `{twice}` is there twice")).at("line 1"));
    }
    let mut records = Vec::new();
    for line in reader.records() {
        records.push(header.iter().cloned().zip(line.map_err(wrong)?.iter().map(value)).collect());
    }
    Ok(records)
}

fn value(text: &str) -> Value {
    match text {
        "" | "NaN" | "nan" | "NA" | "null" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    let starts_as_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match text.parse::<f64>().ok().filter(|_| starts_as_number).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.into()),
    }
}

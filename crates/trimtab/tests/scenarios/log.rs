//! The log as it is compared: what every telling of a story has in common.
//!
//! Left out: numbers of events and their causes, attempts of steps, and the boundaries of segments with what depends on
//! them (versions of tables, ids of training sets). Readers of the log are independent of each other, so only the order
//! within a thread counts.

use domain::{Event, Recorded};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Lines by thread, each with its event time.
pub fn lines(log: &[Recorded]) -> Vec<String> {
    let mut threads: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for recorded in log {
        if let Some(line) = line(recorded) {
            threads.entry(recorded.thread.as_deref().unwrap_or("no thread")).or_default().push(line);
        }
    }
    let mut all = Vec::new();
    for (thread, lines) in threads {
        all.push(format!("{}[{thread}]", if all.is_empty() { "" } else { "\n" }));
        all.extend(lines);
    }
    all
}

fn line(recorded: &Recorded) -> Option<String> {
    let masked: &[&str] = match &recorded.event {
        Event::SegmentSealed { .. } | Event::TableWritten { .. } | Event::StepStarted { .. } => return None,
        Event::StepFinished { .. } => &["attempts", "why"],
        Event::TrainingSetRecorded { .. } => &["training_set"],
        // What a process saw of both sides, and how fast they were, is its own.
        Event::CanaryServed { .. } => &["champion_answered", "latency_ratio", "score_psi"],
        _ => &[],
    };
    let Ok(Value::Object(fields)) = serde_json::to_value(&recorded.event) else { panic!("an event is an object") };
    let at = &recorded.at.to_string()[..16];
    Some(format!("{at} {}{}", recorded.event.name(), told(fields, masked)))
}

fn told(fields: Map<String, Value>, masked: &[&str]) -> String {
    let shown = fields.into_iter().filter(|(name, value)| name != "type" && !value.is_null() && !masked.contains(&name.as_str()));
    shown.map(|(name, value)| format!(" {name}={}", plain(value))).collect()
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => without_ids(&text),
        Value::Object(range) if range.contains_key("from") => {
            let end = |name: &str| range[name].as_str().map_or(String::new(), |time| time[..16].to_owned());
            format!("{}..{}", end("from"), end("to"))
        }
        Value::Number(number) if number.is_f64() => format!("{:.4}", number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

/// A training set's id holds the versions of its tables, which count segments.
fn without_ids(text: &str) -> String {
    let mut parts = text.split("ts-");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str("ts-*");
        kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    kept
}

/// As the file in the repository has it: digests change with a library that writes the bytes, so they are not kept.
pub fn page(lines: &[String]) -> String {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &str| match word.split_once('=') {
        Some((name, value)) if is_digest(value) => format!("{name}=#"),
        _ => word.to_owned(),
    };
    let line = |line: &String| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n";
    lines.iter().map(line).collect()
}

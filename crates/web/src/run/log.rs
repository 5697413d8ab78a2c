//! The end of the log of the step that a run belongs to.

use crate::WebState;
use crate::format::bytes;
use crate::link;
use crate::page::PageError;
use axum::extract::{Path, State};
use domain::entity::{PipelineStep, Run};
use domain::{Fault, PipelineRunId, RunId};
use ports::World;
use serde::Serialize;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

/// Bytes of a log's end that are shown.
const SHOWN: u64 = 24 << 10;
/// The tags by which a run says which step it belongs to.
pub(crate) const PIPELINE_RUN_TAG: &str = tracking::PIPELINE_RUN_TAG;
const STEP_TAG: &str = "trimtab.step";

/// A step's log.
#[derive(Debug, Serialize)]
pub(crate) struct Log {
    pub step: String,
    pub pipeline_run: String,
    pub href: String,
    pub text: String,
    /// What is left out.
    pub note: Option<String>,
    /// Prints the whole of it.
    pub command: String,
}

/// The step that a run belongs to.
pub(crate) fn step(world: &World, run: &Run) -> Result<Option<PipelineStep>, Fault> {
    let (Some(id), Some(step)) = (run.tag(PIPELINE_RUN_TAG), run.tag(STEP_TAG)) else { return Ok(None) };
    world.get::<PipelineStep>(&format!("{id}/{step}"))
}

/// The end of the newest attempt's log, if it keeps one.
pub(crate) fn log(step: &PipelineStep) -> Result<Option<Log>, Fault> {
    let Some(path) = step.attempts.last().map(|attempt| attempt.log.as_str()).filter(|log| !log.is_empty()) else { return Ok(None) };
    let Some((text, note)) = tail(path)? else { return Ok(None) };
    let id = PipelineRunId::new(step.pipeline_run.as_str());
    Ok(Some(Log {
        note,
        command: format!("trimtab pipeline logs {id} {}", step.name),
        step: step.name.clone(),
        href: link::pipeline_run(&id),
        pipeline_run: id.to_string(),
        text,
    }))
}

/// The end of a log and what is left out; `None` if it is not there.
pub(crate) fn tail(path: &str) -> Result<Option<(String, Option<String>)>, Fault> {
    let note = |size: u64| (size > SHOWN).then(|| format!("the last {} of {}", bytes(SHOWN), bytes(size)));
    Ok(end(path)?.map(|(text, size)| (text, note(size))))
}

/// The end of a file and its size; `None` if it is not there.
fn end(path: &str) -> Result<Option<(String, u64)>, Fault> {
    let what = |e: std::io::Error| Fault::because(format!("reading the log {path}"), e);
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(what(error)),
    };
    let size = file.metadata().map_err(what)?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(SHOWN))).map_err(what)?;
    let mut read = Vec::new();
    file.take(SHOWN).read_to_end(&mut read).map_err(what)?;
    Ok(Some((plain(&String::from_utf8_lossy(&read)), size)))
}

/// Without the colours of a terminal; of a line that was written over, its last state.
fn plain(text: &str) -> String {
    let mut clean = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // A sequence ends with a letter.
                for next in chars.by_ref() {
                    if next.is_ascii_alphabetic() {
                        break;
                    }
                }
            }
            '\r' | '\n' | '\t' => clean.push(c),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    let last = |line: &str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().to_owned();
    clean.split('\n').map(last).collect::<Vec<_>>().join("\n")
}

/// `GET /runs/ID/log`: the end of the log as text, for a page that follows a run.
pub(crate) async fn answer(State(state): State<WebState>, Path(id): Path<String>) -> Result<String, PageError> {
    state
        .read(move |state| {
            let run = state.runs.run(&RunId::new(id.as_str()))?.ok_or_else(|| PageError::missing("run", &id))?;
            let step = step(&state.world()?, &run)?;
            Ok(step.map(|step| log(&step)).transpose()?.flatten().map_or(String::new(), |log| log.text))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_terminal_log_reads_as_text() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\r\n10%\r50%\r100%\nend\u{7}"), "red\n100%\nend");
    }
}

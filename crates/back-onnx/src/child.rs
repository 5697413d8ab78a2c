//! An ONNX model in a process of its own: a crash of the runtime's library ends the child, not the server.
//!
//! The child speaks the frames of a model worker: 4 bytes of length, big-endian, then JSON, on its standard streams. It ends with its stdin.

use crate::model::{open_session, run_session};
use arrow::record_batch::RecordBatch;
use domain::{Refusal, Scalar};
use ports::{Params, PredictError, Said, scalars_to_array};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::Path;

/// The largest request that is read.
const FRAME_LIMIT: u32 = 256 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    /// The model is loaded already.
    Load(#[allow(dead_code)] String),
    Columns(indexmap::IndexMap<String, Vec<Scalar>>, #[allow(dead_code)] Params),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Said(Said),
    Error { error: String },
}

/// Answers frames until stdin ends. `Err`: why the model was not opened.
pub fn answer_frames(library: &Path, copy: &Path) -> Result<(), String> {
    let environment = crate::environment(library)?;
    let mut session = open_session(&environment, copy).map_err(|error| format!("the model does not load: {error}"))?;
    let mut frames = || -> io::Result<()> {
        let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
        write_frame(&mut to, &Answer::Said(Said::default()))?;
        while let Some(body) = read_frame(&mut from)? {
            let answer = match serde_json::from_slice(&body)? {
                Request::Load(_) => Answer::Said(Said::default()),
                Request::Columns(columns, _) => match table(&columns).and_then(|rows| run_session(&mut session, &rows)) {
                    Ok(said) => Answer::Said(said),
                    Err(error) => Answer::Error { error: error.to_string() },
                },
            };
            write_frame(&mut to, &answer)?;
        }
        Ok(())
    };
    frames().map_err(|error| error.to_string())
}

fn table(columns: &indexmap::IndexMap<String, Vec<Scalar>>) -> Result<RecordBatch, PredictError> {
    let arrays = columns.iter().map(|(name, values)| (name, scalars_to_array(&values.iter().collect::<Vec<_>>())));
    RecordBatch::try_from_iter(arrays).map_err(|error| Refusal::invalid("serve/input", error.to_string()).into())
}

fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length);
    if length > FRAME_LIMIT {
        return Err(io::Error::other("a frame is too long"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

fn write_frame(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let body = serde_json::to_vec(answer)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&body)?;
    to.flush()
}

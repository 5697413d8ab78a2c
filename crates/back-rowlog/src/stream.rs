//! One stream: its open file and its segments, behind one lock.

use crate::names::SegmentName;
use crate::segment;
use domain::entity::Segment;
use domain::{EntityKey, Fault, Range, Row, Span, Timestamp};
use parking_lot::Mutex;
use ports::OpenPart;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub(crate) struct Stream {
    name: String,
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    segments: Vec<Segment>,
    number: u64,
    file: File,
    bytes: u64,
    dirty: bool,
    lost: u64,
    /// Ids of the open rows, with what `find` answers.
    ids: HashMap<String, (EntityKey, Timestamp)>,
    time: Option<Range>,
    since: Option<Timestamp>,
}

fn open_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.open"))
}

impl State {
    fn take_in(&mut self, row: &Row) {
        let end = row.time + Span::from_ms(1);
        self.time = Some(self.time.map_or(Range::new(row.time, end), |range| Range::new(range.from.min(row.time), range.to.max(end))));
        self.since = Some(self.since.map_or(row.at, |since| since.min(row.at)));
        self.ids.insert(row.id.clone(), (row.key.clone(), row.time));
    }
}

impl Stream {
    pub(crate) fn open(name: &str, folder: PathBuf) -> Result<Stream, Fault> {
        let what = |e: std::io::Error| Fault::because(format!("opening the row stream {name}"), e);
        std::fs::create_dir_all(&folder).map_err(what)?;
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(what)? {
            let entry = entry.map_err(what)?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            if file_name.ends_with(".part") {
                std::fs::remove_file(entry.path()).map_err(what)?;
            }
            if let Some(parsed) = SegmentName::parse(&file_name) {
                let bytes = entry.metadata().map_err(what)?.len();
                segments.push(describe(name, &folder, &parsed, bytes));
            }
        }
        segments.sort_by_key(|segment| segment.number);
        let number = segments.last().map_or(0, |segment| segment.number + 1);
        if let Some(sealed) = number.checked_sub(1) {
            // Sealed just before a crash: its rows are in the segment.
            let _ = std::fs::remove_file(open_path(&folder, sealed));
        }
        let path = open_path(&folder, number);
        let file = File::options().create(true).read(true).append(true).open(&path).map_err(what)?;
        let mut state = State { segments, number, file, bytes: 0, dirty: false, lost: 0, ids: HashMap::new(), time: None, since: None };
        let (rows, good) = read_open(&path).map_err(what)?;
        let length = state.file.metadata().map_err(what)?.len();
        if good < length {
            tracing::warn!(stream = name, bytes = length - good, "the last write before the crash was cut short; it was not acknowledged");
            state.file.set_len(good).map_err(what)?;
        }
        state.bytes = good;
        rows.iter().for_each(|row| state.take_in(row));
        Ok(Stream { name: name.into(), folder, state: Mutex::new(state) })
    }

    /// One write for all rows; on an error the file is as it was.
    pub(crate) fn append(&self, rows: &[Row]) -> Result<(), Fault> {
        let mut state = self.state.lock();
        let mut lines = Vec::with_capacity(rows.len() * 256);
        for row in rows.iter().filter(|row| !state.ids.contains_key(&row.id)) {
            serde_json::to_writer(&mut lines, row).map_err(|e| Fault::because("writing a row as JSON", e))?;
            lines.push(b'\n');
        }
        if let Err(error) = state.file.write_all(&lines) {
            state.lost += rows.len() as u64;
            let end = state.bytes;
            // If the file cannot even be shortened, the next opening cuts the torn line off.
            let _ = state.file.set_len(end).and_then(|()| state.file.seek(SeekFrom::End(0)).map(|_| ()));
            let what = format!("appending to the row stream {}: {error}", self.name);
            return Err(if error.kind() == std::io::ErrorKind::StorageFull { Fault::Full(what) } else { Fault::because(what, error) });
        }
        state.bytes += lines.len() as u64;
        state.dirty = true;
        rows.iter().for_each(|row| state.take_in(row));
        Ok(())
    }

    pub(crate) fn sync(&self) {
        let file = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.dirty) {
                return;
            }
            state.file.try_clone()
        };
        if let Err(error) = file.and_then(|file| file.sync_data()) {
            tracing::error!(stream = %self.name, %error, "rows could not be synced to disk");
        }
    }

    /// Seals the open rows. Appends wait meanwhile, so that no row falls between two files.
    pub(crate) fn seal(&self) -> Result<Option<Segment>, Fault> {
        let mut state = self.state.lock();
        let Some(time) = state.time else { return Ok(None) };
        let what = |e: std::io::Error| Fault::because(format!("sealing the row stream {}", self.name), e);
        let path = open_path(&self.folder, state.number);
        let (rows, _) = read_open(&path).map_err(what)?;
        let name = SegmentName { number: state.number, rows: state.ids.len() as u64, time, lost: state.lost };
        // The next open file first: once the segment is there, nothing can fail.
        let next = state.number + 1;
        let file = File::options().create(true).read(true).append(true).open(open_path(&self.folder, next)).map_err(what)?;
        let bytes = segment::write(&self.folder.join(name.text()), &rows)?;
        let segment = describe(&self.name, &self.folder, &name, bytes);
        state.segments.push(segment.clone());
        *state = State {
            segments: std::mem::take(&mut state.segments),
            number: next,
            file,
            bytes: 0,
            dirty: false,
            lost: 0,
            ids: HashMap::new(),
            time: None,
            since: None,
        };
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a sealed file stays until the next start");
        }
        Ok(Some(segment))
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.state.lock().segments.clone()
    }

    pub(crate) fn open_part(&self) -> OpenPart {
        let state = self.state.lock();
        OpenPart { rows: state.ids.len() as u64, bytes: state.bytes, since: state.since, time: state.time }
    }

    pub(crate) fn find_open(&self, id: &str) -> Option<(EntityKey, Timestamp)> {
        self.state.lock().ids.get(id).cloned()
    }
}

fn describe(stream: &str, folder: &Path, name: &SegmentName, bytes: u64) -> Segment {
    let parents: Vec<_> = folder.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    Segment {
        stream: stream.into(),
        number: name.number,
        path: format!("{}/{}/{}", parents[1], parents[0], name.text()),
        rows: name.rows,
        bytes,
        time: name.time,
        lost: name.lost,
    }
}

/// The rows of an open file, up to the first line that is not whole, and where that is.
fn read_open(path: &Path) -> std::io::Result<(Vec<Row>, u64)> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut rows = Vec::new();
    let mut good = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line)?;
        if count == 0 || line.last() != Some(&b'\n') {
            return Ok((rows, good));
        }
        let Ok(row) = serde_json::from_slice(&line) else { return Ok((rows, good)) };
        rows.push(row);
        good += count as u64;
    }
}

//! Rows in memory.

use crate::rowlog::{AppendError, OpenPart, RowLog, rows_to_batch};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::Segment;
use domain::{EntityKey, Fault, Range, Row, Span, Timestamp};
use parking_lot::Mutex;
use std::collections::BTreeMap;

#[derive(Default)]
struct Stream {
    open: Vec<Row>,
    sealed: Vec<(Segment, Vec<Row>)>,
}

/// The twin of the row log on disk.
#[derive(Default)]
pub struct MemoryRowLog {
    streams: Mutex<BTreeMap<String, Stream>>,
}

/// The event times of some rows as a half-open range.
pub(crate) fn time_range<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<Range> {
    rows.map(|row| row.time).fold(None, |range: Option<Range>, time| {
        let end = time + Span::from_ms(1);
        Some(range.map_or(Range::new(time, end), |range| Range::new(range.from.min(time), range.to.max(end))))
    })
}

#[async_trait]
impl RowLog for MemoryRowLog {
    async fn append(&self, stream: &str, rows: Vec<Row>) -> Result<(), AppendError> {
        let mut streams = self.streams.lock();
        let stream = streams.entry(stream.into()).or_default();
        for row in rows {
            if !stream.open.iter().any(|open| open.id == row.id) {
                stream.open.push(row);
            }
        }
        Ok(())
    }

    async fn seal(&self, stream: &str) -> Result<Option<Segment>, Fault> {
        let mut streams = self.streams.lock();
        let Some(found) = streams.get_mut(stream).filter(|found| !found.open.is_empty()) else { return Ok(None) };
        let rows = std::mem::take(&mut found.open);
        let number = found.sealed.len() as u64;
        let segment = Segment {
            stream: stream.into(),
            number,
            path: format!("{stream}/{number}"),
            rows: rows.len() as u64,
            bytes: 0,
            time: time_range(rows.iter()).expect("the open part is not empty"),
            lost: 0,
        };
        found.sealed.push((segment.clone(), rows));
        Ok(Some(segment))
    }

    fn streams(&self) -> Vec<String> {
        self.streams.lock().keys().cloned().collect()
    }

    fn segments(&self, stream: &str) -> Result<Vec<Segment>, Fault> {
        let streams = self.streams.lock();
        Ok(streams.get(stream).map(|found| found.sealed.iter().map(|(segment, _)| segment.clone()).collect()).unwrap_or_default())
    }

    fn open_part(&self, stream: &str) -> OpenPart {
        let streams = self.streams.lock();
        let Some(found) = streams.get(stream) else { return OpenPart::default() };
        OpenPart {
            rows: found.open.len() as u64,
            bytes: 0,
            since: found.open.iter().map(|row| row.at).min(),
            time: time_range(found.open.iter()),
        }
    }

    async fn read(&self, segment: &Segment) -> Result<RecordBatch, Fault> {
        let streams = self.streams.lock();
        let rows = streams.get(&segment.stream).and_then(|found| found.sealed.get(segment.number as usize));
        let (_, rows) = rows.ok_or_else(|| Fault::broken(format!("segment {} of {} is gone", segment.number, segment.stream)))?;
        Ok(rows_to_batch(rows))
    }

    async fn find(&self, stream: &str, id: &str) -> Result<Option<(EntityKey, Timestamp)>, Fault> {
        let streams = self.streams.lock();
        let Some(found) = streams.get(stream) else { return Ok(None) };
        let all = found.open.iter().chain(found.sealed.iter().rev().flat_map(|(_, rows)| rows));
        Ok(all.into_iter().find(|row| row.id == id).map(|row| (row.key.clone(), row.time)))
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn runs_the_suite() {
        crate::conformance::rowlog::suite(&super::MemoryRowLog::default()).await;
    }
}

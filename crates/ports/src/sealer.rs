//! Sealing row streams: the segment on disk, its entity and its event.

use crate::{CommitError, MetadataStore, RowLog, World, decide};
use domain::entity::Segment;
use domain::{Actor, Batch, Event, Fault, Span, Timestamp};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Seals streams and tells the log. A segment that a crash left untold is told at the next call for its stream.
pub struct Sealer {
    store: Arc<dyn MetadataStore>,
    rows: Arc<dyn RowLog>,
    /// The greatest event time of each stream.
    watermarks: Mutex<HashMap<String, Timestamp>>,
    /// How many segments of each stream the log knows. One sealing at a time, so that they are told in order.
    told: tokio::sync::Mutex<HashMap<String, usize>>,
}

impl Sealer {
    /// A sealer; watermarks go on where the streams stand.
    pub fn new(store: Arc<dyn MetadataStore>, rows: Arc<dyn RowLog>) -> Result<Sealer, Fault> {
        let mut watermarks = HashMap::new();
        for stream in rows.streams() {
            let sealed = rows.segments(&stream)?.into_iter().map(|segment| segment.time);
            let times = sealed.chain(rows.open_part(&stream).time);
            if let Some(newest) = times.map(|range| range.to - Span::from_ms(1)).max() {
                watermarks.insert(stream, newest);
            }
        }
        Ok(Sealer { store, rows, watermarks: Mutex::new(watermarks), told: tokio::sync::Mutex::default() })
    }

    /// Takes note of a row's event time; gives the watermark before it.
    pub fn saw(&self, stream: &str, time: Timestamp) -> Option<Timestamp> {
        let mut watermarks = self.watermarks.lock();
        match watermarks.get_mut(stream) {
            None => {
                watermarks.insert(stream.into(), time);
                None
            }
            Some(watermark) => {
                let before = *watermark;
                *watermark = before.max(time);
                Some(before)
            }
        }
    }

    /// The greatest event time that the stream has had.
    pub fn watermark(&self, stream: &str) -> Option<Timestamp> {
        self.watermarks.lock().get(stream).copied()
    }

    /// Seals what is open and tells the log of every segment that it does not know; `now` on the event clock.
    pub async fn seal(&self, stream: &str, now: Timestamp) -> Result<Vec<Segment>, Fault> {
        let mut told = self.told.lock().await;
        self.rows.seal(stream).await?;
        let known = match told.get(stream) {
            Some(known) => *known,
            None => World::new(self.store.snapshot()?).scope::<Segment>(&stream.replace('/', ":"))?.len(),
        };
        let untold: Vec<Segment> = self.rows.segments(stream)?.into_iter().skip(known).collect();
        for segment in &untold {
            self.tell(segment, now).await?;
        }
        told.insert(stream.into(), known + untold.len());
        Ok(untold)
    }

    async fn tell(&self, segment: &Segment, now: Timestamp) -> Result<(), Fault> {
        let watermark = self.watermark(&segment.stream).unwrap_or(segment.time.to - Span::from_ms(1));
        let told = decide(&*self.store, |world| {
            let mut batch = Batch::new(Actor::System("rows.sealer".into()), now);
            let key = domain::Entity::key(segment);
            if world.get::<Segment>(&key)?.is_none() {
                batch.write(segment);
                batch.say(Event::SegmentSealed {
                    stream: segment.stream.clone(),
                    segment: segment.number,
                    rows: segment.rows,
                    time: segment.time,
                    watermark,
                });
            }
            Ok((batch, ()))
        });
        told.await.map_err(|error| match error {
            CommitError::Fault(fault) => fault,
            other => Fault::because("telling of a segment", other),
        })
    }
}

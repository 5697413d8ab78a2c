//! The tables of the sources: files and pushed segments go in, once each.

use crate::FeatureError;
use crate::catalog::{Catalog, table_of};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use domain::entity::{Segment, SourceTable};
use domain::spec::SourceSpec;
use domain::{Actor, Batch, Event, Fault, Recorded, Refusal};
use ports::{Clock, FeatureRows, MetadataStore, OfflineEngine, ROW_COLUMNS, RowLog, Sealer, TableData, TableInfo, World, decide};
use reactor::Worker;
use std::path::Path;
use std::sync::Arc;

/// Writes the tables of the sources.
pub struct Tables {
    pub store: Arc<dyn MetadataStore>,
    pub offline: Arc<dyn OfflineEngine>,
    pub rows: Arc<dyn RowLog>,
    pub sealer: Arc<Sealer>,
    pub clock: Arc<dyn Clock>,
    pub catalog: Arc<Catalog>,
}

/// The stream of a source's pushed rows.
pub(crate) fn push_stream(source: &str) -> String {
    format!("push/{source}")
}

/// Times as instants, other columns as the table has them.
fn conform(batch: &RecordBatch, source: &SourceSpec, table: Option<&SchemaRef>) -> Result<RecordBatch, Refusal> {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name();
        if ROW_COLUMNS.contains(&name.as_str()) {
            continue;
        }
        let is_time = *name == source.time || Some(name) == source.created.as_ref();
        let known = table.and_then(|table| table.column_with_name(name)).map(|(_, field)| field.data_type().clone());
        let wanted = if is_time { Some(instant.clone()) } else { known };
        let wanted = wanted.unwrap_or_else(|| field.data_type().clone());
        let fitted = if *field.data_type() == wanted { Ok(column.clone()) } else { cast(column, &wanted) };
        let fitted = fitted.map_err(|_| {
            let what = format!("column `{name}` is {}, its table has {wanted}", field.data_type());
            Refusal::invalid("source/type", what).hint("cast it in the file, or name the new column otherwise")
        })?;
        if is_time && fitted.null_count() > column.null_count() {
            let what = format!("column `{name}` holds something that is not a time");
            return Err(Refusal::invalid("source/time", what).hint("write times as 2011-03-01T00:00:00Z"));
        }
        fields.push(Field::new(name, wanted, true));
        columns.push(fitted);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| Refusal::invalid("source/data", e.to_string()))
}

impl Tables {
    /// Loads the files of a source that are not in its table yet. A file whose content changed is loaded again: of two rows
    /// about the same entity and time the one that was loaded later wins.
    pub async fn load_files(&self, root: &Path, name: &str, source: &SourceSpec) -> Result<(), FeatureError> {
        let Some(pattern) = &source.path else { return Ok(()) };
        let pattern = root.join(pattern);
        for file in files(&pattern)? {
            let key = digest_of(&file)?;
            let query = FeatureRows {
                sql: format!("select * from \"{name}\""),
                tables: vec![(name.into(), TableData::Files(file.to_string_lossy().into_owned()))],
            };
            let rows = self.offline.query(&query).await.map_err(FeatureError::from);
            let rows = rows.map_err(|error| place(error, &file))?;
            let has_time = rows.first().is_some_and(|batch| batch.schema().column_with_name(&source.time).is_some());
            if !has_time {
                let found: Vec<String> =
                    rows.iter().flat_map(|batch| batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>()).collect();
                return Err(Refusal::invalid("source/column", format!("{} has no column `{}`", file.display(), source.time))
                    .at(format!("source.{name}.time"))
                    .hint(format!("it has: {}", found.join(", ")))
                    .into());
            }
            self.append(name, source, rows, &format!("file:{key}"), None).await.map_err(|error| place(error, &file))?;
        }
        Ok(())
    }

    async fn append(
        &self,
        name: &str,
        source: &SourceSpec,
        rows: Vec<RecordBatch>,
        key: &str,
        segment: Option<&Segment>,
    ) -> Result<(), FeatureError> {
        let table = self.catalog.table_schema(name).await?;
        let rows = rows.iter().map(|batch| conform(batch, source, table.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let info = self.offline.append(name, rows, key).await?;
        self.tell(name, &info, segment).await
    }

    /// Tells the log of a version that it does not know: also of one that was written just before a crash.
    async fn tell(&self, name: &str, info: &TableInfo, segment: Option<&Segment>) -> Result<(), FeatureError> {
        let now = self.clock.event_now();
        decide(&*self.store, |world| {
            let mut batch = Batch::new(Actor::System("features.tables".into()), now);
            let known = world.get::<SourceTable>(name)?;
            if known.is_some_and(|known| known.table_version >= info.version) {
                return Ok((batch, ()));
            }
            batch.write(&SourceTable {
                source: name.into(),
                table_version: info.version,
                rows: info.rows,
                newest: segment.map(|s| s.time.to),
            });
            batch.say(Event::TableWritten {
                source: name.into(),
                table_version: info.version,
                rows: info.rows,
                segment: segment.map(|segment| segment.number),
            });
            Ok((batch, ()))
        })
        .await?;
        Ok(())
    }

    /// Appends a sealed segment of pushed rows to its table.
    pub async fn take_segment(&self, segment: &Segment) -> Result<(), FeatureError> {
        let Some(name) = segment.stream.strip_prefix("push/") else { return Ok(()) };
        let project = World::new(self.store.snapshot()?).project()?;
        let Some(source) = project.as_ref().and_then(|project| project.spec.source.get(name)) else { return Ok(()) };
        let rows = self.rows.read(segment).await?;
        self.append(name, source, vec![rows], &format!("segment:{}", segment.number), Some(segment)).await
    }

    /// Brings the table of a source up to what was pushed: what a training set does before it reads.
    pub async fn catch_up(&self, name: &str) -> Result<(), FeatureError> {
        let stream = push_stream(name);
        self.sealer.seal(&stream, self.clock.event_now()).await?;
        for segment in self.rows.segments(&stream)? {
            self.take_segment(&segment).await?;
        }
        Ok(())
    }

    /// The state of a source's table.
    pub async fn info(&self, name: &str) -> Result<Option<TableInfo>, FeatureError> {
        Ok(self.offline.table(name).await?)
    }

    /// Rows of a source's table by query.
    pub(crate) async fn query(&self, name: &str, sql: String) -> Result<Vec<RecordBatch>, FeatureError> {
        Ok(self.offline.query(&FeatureRows { sql, tables: vec![table_of(name)] }).await?)
    }
}

fn place(error: FeatureError, file: &Path) -> FeatureError {
    match error {
        FeatureError::Refused(refusal) if refusal.place.is_none() => FeatureError::Refused(refusal.at(file.to_string_lossy())),
        other => other,
    }
}

/// The files that a pattern names; `*` in its last part.
fn files(pattern: &Path) -> Result<Vec<std::path::PathBuf>, Refusal> {
    let nothing =
        || Refusal::not_found("source/no_files", format!("no file matches {}", pattern.display())).hint("check `path` of the source");
    let last = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((head, tail)) = last.split_once('*') else {
        return if pattern.is_file() { Ok(vec![pattern.into()]) } else { Err(nothing()) };
    };
    let entries = std::fs::read_dir(pattern.parent().unwrap_or(pattern)).map_err(|_| nothing())?;
    let fits = |name: &str| name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail);
    let mut found: Vec<_> =
        entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(fits)).map(|entry| entry.path()).collect();
    found.sort();
    if found.is_empty() { Err(nothing()) } else { Ok(found) }
}

fn digest_of(file: &Path) -> Result<domain::Digest, Fault> {
    let bytes = std::fs::read(file).map_err(|e| Fault::because(format!("reading {}", file.display()), e))?;
    Ok(domain::Digest::of(&bytes))
}

/// Sealed segments of pushed rows become table rows.
pub struct TableWorker(pub Arc<Tables>);

#[async_trait]
impl Worker for TableWorker {
    fn name(&self) -> &'static str {
        "features.tables"
    }

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::SegmentSealed { stream, .. } if stream.starts_with("push/"))
    }

    async fn work(&self, recorded: &Recorded) -> Result<(), Fault> {
        let Event::SegmentSealed { stream, segment, .. } = &recorded.event else { return Ok(()) };
        let found = self.0.rows.segments(stream)?.into_iter().find(|known| known.number == *segment);
        let Some(found) = found else { return Ok(()) };
        match self.0.take_segment(&found).await {
            Ok(()) => Ok(()),
            Err(FeatureError::Fault(fault)) => Err(fault),
            // The rows stay in their segment; they are taken once the source's file is mended.
            Err(FeatureError::Refused(refusal)) => {
                tracing::error!(stream, segment, %refusal, "pushed rows do not fit their table");
                Ok(())
            }
        }
    }
}

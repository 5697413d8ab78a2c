//! The engine: sessions, queries, point-in-time joins.

use crate::table::Tables;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};
use asof::{AsofError, AsofState, LabelIndex, ViewJoin};
use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{CsvReadOptions, ParquetReadOptions, SessionConfig, SessionContext};
use domain::{Fault, Refusal};
use futures::StreamExt;
use ports::{FeatureRows, OfflineEngine, PitRequest, PitView, QueryError, TableData, TableInfo};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

/// Rows of one batch: the as-of join does a third less work on large ones.
const BATCH: usize = 65_536;

/// DataFusion over Delta tables, files and rows in memory.
pub struct QueryEngine {
    pub(crate) runtime: Arc<RuntimeEnv>,
    tables: Tables,
}

pub(crate) fn fault(what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> QueryError {
    QueryError::Fault(Fault::because(what, error))
}

pub(crate) fn refuse(code: &str, what: impl ToString) -> QueryError {
    QueryError::Refused(Refusal::invalid(code, what.to_string()))
}

/// Errors of planning are the user's to mend; those of running are, where data do not fit; the rest are faults.
pub(crate) fn classify(error: DataFusionError) -> QueryError {
    let root = error.find_root();
    match root {
        DataFusionError::SQL(..) | DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::NotImplemented(_) => {
            refuse("query/invalid", root.strip_backtrace())
        }
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) | DataFusionError::ParquetError(_) => {
            refuse("query/data", root.strip_backtrace())
        }
        _ => fault("running a query", error),
    }
}

impl QueryEngine {
    /// An engine with its tables below `root`; operators share `memory_bytes`, then spill to disk.
    pub fn new(root: &Path, memory_bytes: usize) -> Result<QueryEngine, Fault> {
        let what = |e: std::io::Error| Fault::because(format!("making {}", root.display()), e);
        let spill = root.join(".spill");
        std::fs::create_dir_all(&spill).map_err(what)?;
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![spill]));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|e| Fault::because("starting the query engine", e))?;
        Ok(QueryEngine { runtime, tables: Tables::new(root.into()) })
    }

    pub(crate) fn session(&self) -> SessionContext {
        let mut config = SessionConfig::new().with_batch_size(BATCH).with_target_partitions(2);
        let options = config.options_mut();
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.schema_force_view_types = false;
        options.execution.time_zone = Some("UTC".into());
        SessionContext::new_with_config_rt(config, self.runtime.clone())
    }

    async fn register(&self, session: &SessionContext, name: &str, data: &TableData) -> Result<(), QueryError> {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        match data {
            TableData::Table { table, version } => {
                let provider = self.tables.provider(table, *version).await?;
                session.register_table(quoted, provider).map_err(classify)?;
            }
            TableData::Rows(rows) => {
                let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
                let table = MemTable::try_new(schema, vec![rows.clone()]).map_err(classify)?;
                session.register_table(quoted, Arc::new(table)).map_err(classify)?;
            }
            TableData::Files(pattern) => register_files(session, &quoted, pattern).await?,
        }
        Ok(())
    }

    async fn plan(&self, query: &FeatureRows) -> Result<DataFrame, QueryError> {
        let session = self.session();
        for (name, data) in &query.tables {
            self.register(&session, name, data).await?;
        }
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        session.sql_with_options(&query.sql, read_only).await.map_err(classify)
    }

    async fn stream_past(&self, view: &PitView, labels: &Labels) -> Result<Vec<(Field, ArrayRef)>, QueryError> {
        let rows = self.plan(&view.rows).await?;
        let schema = Arc::new(rows.schema().as_arrow().clone());
        let join = ViewJoin {
            keys: view.keys.clone(),
            time: view.time.clone(),
            created: view.created.clone(),
            features: view.features.clone(),
            ttl_ns: view.ttl.map(|ttl| ttl.ms().saturating_mul(1_000_000)),
            created_cutoff: view.created_cutoff,
        };
        let index = labels.indexes.get(&join.label_keys()).expect("an index is built for the keys of every view").clone();
        let state = AsofState::new(index, join, schema).map_err(of_join)?;
        let mut stream = rows.execute_stream().await.map_err(classify)?;
        while let Some(batch) = stream.next().await {
            state.push(&batch.map_err(classify)?).map_err(of_join)?;
        }
        let fields = state.fields().to_vec();
        Ok(fields.into_iter().zip(state.finish().map_err(of_join)?).collect())
    }
}

/// The labels as one batch, with an index for each set of keys.
struct Labels {
    batch: RecordBatch,
    indexes: HashMap<Vec<String>, Arc<LabelIndex>>,
}

impl Labels {
    fn build(request: &PitRequest) -> Result<Labels, QueryError> {
        let Some(first) = request.labels.first() else { return Err(refuse("training_set/no_labels", "there are no labels")) };
        let batch = concat_batches(&first.schema(), &request.labels).map_err(|e| refuse("training_set/labels", e))?;
        let mut indexes = HashMap::new();
        for view in &request.views {
            let keys: Vec<String> = view.keys.iter().map(|(_, label)| label.clone()).collect();
            if let Entry::Vacant(place) = indexes.entry(keys) {
                let index = LabelIndex::build(std::slice::from_ref(&batch), &request.time, place.key()).map_err(of_join)?;
                place.insert(Arc::new(index));
            }
        }
        Ok(Labels { batch, indexes })
    }
}

fn of_join(error: AsofError) -> QueryError {
    refuse("training_set/join", error)
}

/// Parquet or CSV by the ending; the pattern may hold `*` in its last part.
async fn register_files(session: &SessionContext, name: &str, pattern: &str) -> Result<(), QueryError> {
    let files = matching(pattern)?;
    if pattern.ends_with(".csv") {
        // All rows are looked at: a column that is whole numbers for a thousand rows may not be later.
        let options = CsvReadOptions::new().has_header(true).schema_infer_max_records(usize::MAX);
        let frame = session.read_csv(files, options).await.map_err(classify)?;
        session.register_table(name, frame.into_view()).map_err(classify)?;
    } else {
        let frame = session.read_parquet(files, ParquetReadOptions::default()).await.map_err(classify)?;
        session.register_table(name, frame.into_view()).map_err(classify)?;
    }
    Ok(())
}

fn matching(pattern: &str) -> Result<Vec<String>, QueryError> {
    let nothing = || Refusal::not_found("source/no_files", format!("no file matches {pattern}")).hint("check `path` of the source");
    let path = Path::new(pattern);
    let last = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((head, tail)) = last.split_once('*') else {
        return if path.is_file() { Ok(vec![pattern.into()]) } else { Err(nothing().into()) };
    };
    let entries = std::fs::read_dir(path.parent().unwrap_or(path)).map_err(|_| nothing())?;
    let fits = |name: &str| name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail);
    let mut files: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path().to_string_lossy().into_owned())
        .collect();
    files.sort();
    if files.is_empty() { Err(nothing().into()) } else { Ok(files) }
}

#[async_trait]
impl OfflineEngine for QueryEngine {
    async fn append(&self, table: &str, rows: Vec<RecordBatch>, key: &str) -> Result<TableInfo, QueryError> {
        self.tables.append(table, rows, key).await
    }

    async fn table(&self, table: &str) -> Result<Option<TableInfo>, QueryError> {
        self.tables.info(table).await
    }

    async fn query(&self, query: &FeatureRows) -> Result<Vec<RecordBatch>, QueryError> {
        let rows = self.plan(query).await?;
        let schema = Arc::new(rows.schema().as_arrow().clone());
        let batches = rows.collect().await.map_err(classify)?;
        // An empty answer still says its columns.
        Ok(if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches })
    }

    async fn point_in_time(&self, request: PitRequest) -> Result<RecordBatch, QueryError> {
        let labels = Labels::build(&request)?;
        let mut fields: Vec<Arc<Field>> = labels.batch.schema().fields().iter().cloned().collect();
        let mut columns = labels.batch.columns().to_vec();
        for view in &request.views {
            for (field, column) in self.stream_past(view, &labels).await? {
                if fields.iter().any(|known| known.name() == field.name()) {
                    let what = format!("two columns are named `{}`", field.name());
                    return Err(Refusal::invalid("training_set/name", what).hint("rename one of them with `as`").into());
                }
                fields.push(Arc::new(field.with_nullable(true)));
                columns.push(column);
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| fault("putting a training set together", e))
    }

    async fn drop_table(&self, table: &str) -> Result<(), QueryError> {
        self.tables.drop(table).await
    }
}

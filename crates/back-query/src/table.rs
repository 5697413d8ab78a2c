//! Delta tables below a folder.

use crate::engine::{fault, refuse};
use crate::shape::to_stored;
use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::operations::write::SchemaMode;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use domain::{Digest, Refusal};
use ports::{QueryError, TableInfo};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

pub(crate) struct Tables {
    root: PathBuf,
    /// Open tables; the lock also makes appends follow each other.
    open: Mutex<HashMap<String, Arc<Mutex<DeltaTable>>>>,
}

impl Tables {
    pub(crate) fn new(root: PathBuf) -> Self {
        Tables { root, open: Mutex::default() }
    }

    fn folder(&self, table: &str) -> Result<PathBuf, Refusal> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-@.".contains(c);
        if table.is_empty() || table.starts_with('.') || !table.chars().all(plain) {
            return Err(Refusal::invalid("table/name", format!("`{table}` cannot name a table")));
        }
        Ok(self.root.join(table))
    }

    async fn open(&self, table: &str) -> Result<Arc<Mutex<DeltaTable>>, QueryError> {
        let mut open = self.open.lock().await;
        if let Some(found) = open.get(table) {
            return Ok(found.clone());
        }
        let folder = self.folder(table)?;
        std::fs::create_dir_all(&folder).map_err(|e| fault("making a table's folder", e))?;
        let folder = std::fs::canonicalize(&folder).map_err(|e| fault("making a table's folder", e))?;
        let url = deltalake_core::ensure_table_uri(folder.to_string_lossy()).map_err(|e| fault("naming a table's folder", e))?;
        let is_new = !folder.join("_delta_log").is_dir();
        let opened =
            if is_new { DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build) } else { DeltaTable::try_from_url(url).await };
        let opened = opened.map_err(|e| fault(&format!("opening table {table}"), e))?;
        let opened = Arc::new(Mutex::new(opened));
        open.insert(table.into(), opened.clone());
        Ok(opened)
    }

    /// State of the table, unless nothing was ever written to it.
    pub(crate) async fn info(&self, table: &str) -> Result<Option<TableInfo>, QueryError> {
        if !self.folder(table)?.join("_delta_log").is_dir() {
            return Ok(None);
        }
        let opened = self.open(table).await?;
        let delta = opened.lock().await;
        info_of(&delta)
    }

    pub(crate) async fn append(&self, table: &str, rows: Vec<RecordBatch>, key: &str) -> Result<TableInfo, QueryError> {
        let opened = self.open(table).await?;
        let mut delta = opened.lock().await;
        // An application's transaction in the table's own log: a key that is there was committed with its rows.
        let mark = Digest::of(key.as_bytes()).as_str().to_owned();
        if delta.version().is_some() {
            let log = delta.log_store();
            let state = delta.snapshot().map_err(|e| fault("reading a table's state", e))?;
            let seen = state.transaction_version(log.as_ref(), &mark).await.map_err(|e| fault("reading a table's log", e))?;
            if seen.is_some() {
                return info_of(&delta)?.ok_or_else(|| fault("reading a table's state", "a table without a version"));
            }
        }
        let rows = rows.iter().map(to_stored).collect::<Result<Vec<_>, _>>().map_err(|e| refuse("table/type", e))?;
        let commit = CommitProperties::default().with_application_transaction(Transaction::new(mark, 1));
        let written = delta.clone().write(rows).with_schema_mode(SchemaMode::Merge).with_commit_properties(commit).await;
        *delta = written.map_err(|e| match e {
            deltalake_core::DeltaTableError::SchemaMismatch { .. } | deltalake_core::DeltaTableError::Arrow { .. } => {
                refuse("table/schema", format!("the rows do not fit table {table}: {e}"))
            }
            other => fault(&format!("appending to table {table}"), other),
        })?;
        info_of(&delta)?.ok_or_else(|| fault("reading a table's state", "a table without a version"))
    }

    /// The table at a version, to be queried.
    pub(crate) async fn provider(&self, table: &str, version: Option<i64>) -> Result<Arc<dyn TableProvider>, QueryError> {
        let missing = || Refusal::not_found("table/not_found", format!("there is no table {table}"));
        if self.info(table).await?.is_none() {
            return Err(missing().into());
        }
        let opened = self.open(table).await?;
        let mut delta = opened.lock().await.clone();
        if let Some(version) = version {
            let version = version.try_into().map_err(|_| missing())?;
            delta.load_version(version).await.map_err(|e| refuse("table/version", e))?;
        }
        delta.table_provider().await.map(|provider| provider as Arc<dyn TableProvider>).map_err(|e| fault("opening a table for a query", e))
    }

    pub(crate) async fn drop(&self, table: &str) -> Result<(), QueryError> {
        let folder = self.folder(table)?;
        self.open.lock().await.remove(table);
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(fault(&format!("dropping table {table}"), e)),
            _ => Ok(()),
        }
    }
}

fn info_of(delta: &DeltaTable) -> Result<Option<TableInfo>, QueryError> {
    let Some(version) = delta.version() else { return Ok(None) };
    let state = delta.snapshot().map_err(|e| fault("reading a table's state", e))?;
    let rows = state.log_data().iter().map(|file| file.num_records().unwrap_or(0) as u64).sum();
    Ok(Some(TableInfo { version: version as i64, rows }))
}

//! Rows of SQLite and PostgreSQL, told alike.

use crate::ImportError;
use futures::TryStreamExt;
use rusqlite::types::ValueRef;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_postgres::types::Type;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
}

/// A row whose columns are asked for by name: older servers have fewer.
pub(crate) struct Row {
    columns: Arc<HashMap<String, usize>>,
    cells: Vec<Cell>,
}

impl Row {
    fn cell(&self, column: &str) -> &Cell {
        self.columns.get(column).map_or(&Cell::Null, |at| &self.cells[*at])
    }

    /// Text; numbers as they are written.
    pub(crate) fn text(&self, column: &str) -> Option<String> {
        match self.cell(column) {
            Cell::Null => None,
            Cell::Int(value) => Some(value.to_string()),
            Cell::Real(value) => Some(value.to_string()),
            Cell::Text(text) => Some(text.clone()),
        }
    }

    /// Text that must be there; none is empty.
    pub(crate) fn word(&self, column: &str) -> String {
        self.text(column).unwrap_or_default()
    }

    pub(crate) fn int(&self, column: &str) -> Option<i64> {
        match self.cell(column) {
            Cell::Int(value) => Some(*value),
            Cell::Real(value) => Some(*value as i64),
            Cell::Text(text) => text.parse().ok(),
            Cell::Null => None,
        }
    }

    /// A number; text such as `Infinity` too.
    pub(crate) fn real(&self, column: &str) -> f64 {
        match self.cell(column) {
            Cell::Int(value) => *value as f64,
            Cell::Real(value) => *value,
            Cell::Text(text) => text.parse().unwrap_or(f64::NAN),
            Cell::Null => f64::NAN,
        }
    }

    pub(crate) fn flag(&self, column: &str) -> bool {
        self.int(column).unwrap_or(0) != 0
    }
}

/// A database of an MLflow server.
pub(crate) enum Db {
    Sqlite(PathBuf),
    Postgres(tokio_postgres::Client),
}

/// Rows that come in pieces.
pub(crate) type Rows = mpsc::Receiver<Result<Vec<Row>, ImportError>>;

const PIECE: usize = 1_000;

impl Db {
    /// A SQLite file that is there.
    pub(crate) async fn sqlite(path: PathBuf) -> Result<Db, ImportError> {
        if !path.is_file() {
            let refusal = domain::Refusal::not_found("import/no_file", format!("there is no file {}", path.display()));
            return Err(refusal.hint("sqlite:///mlflow.db is relative, sqlite:////srv/mlflow.db absolute").into());
        }
        Ok(Db::Sqlite(path))
    }

    /// A PostgreSQL that answers.
    pub(crate) async fn postgres(address: &str) -> Result<Db, ImportError> {
        let connecting = tokio_postgres::connect(address, tokio_postgres::NoTls).await;
        // The address may hold a password: it is not shown.
        let (client, connection) = connecting.map_err(|error| ImportError::reading("the PostgreSQL server", error))?;
        tokio::spawn(connection);
        Ok(Db::Postgres(client))
    }

    /// The names of the tables that are there.
    pub(crate) async fn tables(&self) -> Result<Vec<String>, ImportError> {
        let sql = match self {
            Db::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'table'",
            Db::Postgres(_) => "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema()",
        };
        Ok(self.all(sql, &[]).await?.iter().map(|row| row.word("name")).collect())
    }

    /// All rows of a short answer.
    pub(crate) async fn all(&self, sql: &str, args: &[String]) -> Result<Vec<Row>, ImportError> {
        let mut rows = self.rows(sql, args).await?;
        let mut all = Vec::new();
        while let Some(piece) = rows.recv().await {
            all.append(&mut piece?);
        }
        Ok(all)
    }

    /// The rows of an answer of any length, in pieces. It must be read to its end, or dropped, before the next is asked for.
    pub(crate) async fn rows(&self, sql: &str, args: &[String]) -> Result<Rows, ImportError> {
        let (out, rows) = mpsc::channel(2);
        match self {
            Db::Sqlite(path) => {
                let (path, sql, args) = (path.clone(), sql.to_owned(), args.to_vec());
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = read_sqlite(&path, &sql, &args, &out) {
                        let _ = out.blocking_send(Err(ImportError::reading(path.display(), error)));
                    }
                });
            }
            Db::Postgres(client) => {
                let failed = |error: tokio_postgres::Error| ImportError::reading("the PostgreSQL server", error);
                let statement = client.prepare(sql).await.map_err(failed)?;
                let stream = client.query_raw(&statement, args).await.map_err(failed)?;
                tokio::spawn(async move {
                    let mut pieces = std::pin::pin!(futures::TryStreamExt::try_chunks(stream.map_ok(postgres_cells), PIECE));
                    let mut columns = None;
                    loop {
                        let piece = match pieces.try_next().await {
                            Ok(Some(piece)) => piece,
                            Ok(None) => return,
                            Err(error) => {
                                let _ = out.send(Err(failed(error.1))).await;
                                return;
                            }
                        };
                        let rows = piece.into_iter().map(|(names, cells)| {
                            let columns = columns.get_or_insert_with(|| Arc::new(names)).clone();
                            Row { columns, cells }
                        });
                        if out.send(Ok(rows.collect())).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
        Ok(rows)
    }
}

fn read_sqlite(
    path: &std::path::Path,
    sql: &str,
    args: &[String],
    out: &mpsc::Sender<Result<Vec<Row>, ImportError>>,
) -> rusqlite::Result<()> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = rusqlite::Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_secs(30))?;
    let mut query = conn.prepare(sql)?;
    let columns: Arc<HashMap<String, usize>> = Arc::new(query.column_names().enumerate().map(|(at, name)| (name.to_owned(), at)).collect());
    let mut found = query.query(rusqlite::params_from_iter(args))?;
    let mut piece = Vec::new();
    while let Some(row) = found.next()? {
        let cells = (0..columns.len()).map(|at| row.get_ref(at).map(sqlite_cell)).collect::<rusqlite::Result<Vec<Cell>>>()?;
        piece.push(Row { columns: columns.clone(), cells });
        if piece.len() == PIECE && out.blocking_send(Ok(std::mem::take(&mut piece))).is_err() {
            return Ok(());
        }
    }
    let _ = out.blocking_send(Ok(piece));
    Ok(())
}

fn sqlite_cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn postgres_cells(row: tokio_postgres::Row) -> (HashMap<String, usize>, Vec<Cell>) {
    let names = row.columns().iter().enumerate().map(|(at, column)| (column.name().to_owned(), at)).collect();
    let cells = row.columns().iter().enumerate().map(|(at, column)| {
        let kind = column.type_();
        if *kind == Type::INT8 {
            row.get::<_, Option<i64>>(at).map_or(Cell::Null, Cell::Int)
        } else if *kind == Type::INT4 {
            row.get::<_, Option<i32>>(at).map_or(Cell::Null, |value| Cell::Int(value.into()))
        } else if *kind == Type::INT2 {
            row.get::<_, Option<i16>>(at).map_or(Cell::Null, |value| Cell::Int(value.into()))
        } else if *kind == Type::BOOL {
            row.get::<_, Option<bool>>(at).map_or(Cell::Null, |value| Cell::Int(value.into()))
        } else if *kind == Type::FLOAT8 {
            row.get::<_, Option<f64>>(at).map_or(Cell::Null, Cell::Real)
        } else if *kind == Type::FLOAT4 {
            row.get::<_, Option<f32>>(at).map_or(Cell::Null, |value| Cell::Real(value.into()))
        } else {
            row.try_get::<_, Option<String>>(at).ok().flatten().map_or(Cell::Null, Cell::Text)
        }
    });
    (names, cells.collect())
}

//! Brings a database to this program's version, and refuses one that is newer or not ours.

use crate::OpenError;
use crate::fault::Doing;
use domain::Refusal;
use rusqlite::Connection;

/// Append-only: number n turns version n into n + 1.
const MIGRATIONS: [&str; 4] =
    [include_str!("schema.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql"), include_str!("schema_4.sql")];

/// Marks the file as ours: `trim` in ASCII.
const APPLICATION_ID: i64 = 0x7472_696d;

/// Runs the migrations that are missing, each in a transaction of its own.
pub(crate) fn migrate(conn: &mut Connection) -> Result<(), OpenError> {
    let number =
        |conn: &Connection, pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).doing("reading the version");
    let (version, application) = (number(conn, "user_version")?, number(conn, "application_id")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).doing("looking at the tables")?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(Refusal::conflict("store/foreign", "the database belongs to another program").hint("choose another home").into());
    }
    let newest = MIGRATIONS.len() as i64;
    if version > newest {
        let what = format!("the database has version {version}, this program knows up to {newest}");
        return Err(Refusal::conflict("store/newer", what).hint("use the program that wrote it, or a newer one").into());
    }
    for (from, sql) in MIGRATIONS.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
        let transaction = conn.transaction().doing("beginning a migration")?;
        transaction.execute_batch(sql).doing("migrating")?;
        transaction.pragma_update(None, "user_version", from as i64 + 1).doing("writing the version")?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).doing("marking the database")?;
        transaction.commit().doing("committing a migration")?;
    }
    Ok(())
}

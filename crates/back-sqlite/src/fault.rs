//! SQLite's errors as faults.

use domain::Fault;
use rusqlite::ErrorCode;

/// Says what was being done when SQLite failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, Fault>;
}

impl<T> Doing<T> for rusqlite::Result<T> {
    fn doing(self, what: &str) -> Result<T, Fault> {
        self.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Fault::Full(format!("{what} in the metadata store")),
            _ => Fault::because(what, error),
        })
    }
}

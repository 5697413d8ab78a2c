//! Reads everything that an MLflow tracking server knows, in the words of this house.
//!
//! Why: a team's past must come along when it moves, with its ids and times, or links and notebooks break.
//!
//! [`open`] tells the kind of a source by its address; [`Source::read`] sends [`Item`]s down a bounded channel, an experiment
//! before its runs, a run before its points, a model before its versions, and in the end says what it had to leave behind.
//! Memory is bounded by a chunk of runs and a chunk of points. Nothing is written to the source.
//!
//! | address | what |
//! |---|---|
//! | `sqlite:///PATH` | a server's SQLite file, opened for reading |
//! | `postgresql://USER:PASSWORD@HOST/DB` | a server's PostgreSQL, without TLS |
//! | `PATH`, `file:///PATH` | a folder store (`mlruns`) |
//! | `http://HOST:PORT` | a running server; `MLFLOW_TRACKING_USERNAME`, `_PASSWORD` and `_TOKEN` are used as its client uses them |

mod db;
mod folder;
mod http;
mod sql;
mod words;

use async_trait::async_trait;
use domain::{Kind, Refusal};
use tokio::sync::mpsc;
pub use tracking::import::Item;

/// Where items go; bounded, so that a fast reader waits for a slow taker.
pub type Out = mpsc::Sender<Item>;

/// Something to import from.
#[async_trait]
pub trait Source: Send {
    /// Sends everything; what could not be taken comes back as sentences.
    async fn read(&mut self, out: &Out) -> Result<Vec<String>, ImportError>;
}

/// Why a reading stopped. What was sent before holds; the same import may be run again.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The address or what is there is not what it must be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The taker went away.
    #[error("nobody takes the items any more")]
    Closed,
}

impl ImportError {
    pub(crate) fn reading(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        let refusal = Refusal::new(Kind::Unavailable, "import/unreadable", format!("{what} cannot be read: {error}"));
        ImportError::Refused(refusal.hint("mend it and run the same import again: what is there already is left alone"))
    }
}

/// Opens a source by its address.
pub async fn open(address: &str) -> Result<Box<dyn Source>, ImportError> {
    if let Some(path) = address.strip_prefix("sqlite:///") {
        return Ok(Box::new(sql::Database::new(db::Db::sqlite(path.into()).await?)));
    }
    if address.starts_with("postgresql://") || address.starts_with("postgres://") {
        return Ok(Box::new(sql::Database::new(db::Db::postgres(address).await?)));
    }
    if address.starts_with("http://") || address.starts_with("https://") {
        return Ok(Box::new(http::Server::new(address)?));
    }
    let path = address.strip_prefix("file://").unwrap_or(address);
    if let Some((scheme, _)) = path.split_once("://") {
        let what = format!("`{scheme}` is no kind of tracking store that can be read");
        let hint = "give sqlite:///PATH, postgresql://..., http://..., or the path of an mlruns folder";
        return Err(Refusal::invalid("import/address", what).hint(hint).into());
    }
    Ok(Box::new(folder::Folder::new(path.into())?))
}

pub(crate) async fn send(out: &Out, item: Item) -> Result<(), ImportError> {
    out.send(item).await.map_err(|_| ImportError::Closed)
}

/// Points are sent in pieces of this many.
pub(crate) const POINTS: usize = 1_000;

#[cfg(test)]
mod tests;

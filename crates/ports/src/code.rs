//! Where the files of commits come from.

use async_trait::async_trait;
use domain::{Fault, Refusal};
use std::path::Path;

/// What is to be checked out. Both are checked by whoever heard of them: a commit is 40 or 64 hexadecimal digits, a name is one that
/// git allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Commit(String),
    /// The commit that a tag names now.
    Tag(String),
}

/// Makes clean folders of commits.
#[async_trait]
pub trait CodeSource: Send + Sync {
    /// The commit's files, in a folder that is theirs alone; gives the commit. A folder that is there already is made clean again.
    ///
    /// `remote` is an address or a folder, as the operator's file names it.
    async fn checkout(&self, remote: &str, wanted: &Wanted, folder: &Path) -> Result<String, CheckoutError>;
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// It is not there, or may not be fetched: trying again is of no use.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The remote does not answer now.
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Fault(#[from] Fault),
}

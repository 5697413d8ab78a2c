//! The online store on LMDB: one environment, one database, all views in it.
//!
//! Reads are synchronous: a read transaction takes no lock and copies only what is asked for. Writes go one after another,
//! each call in one transaction, off the async threads. A killed process loses nothing; a loss of power may take back the last
//! write, as it may with the row log that the same rows go to, and leaves the store whole.

#![deny(unsafe_code)]

mod row;

use async_trait::async_trait;
use domain::{EntityKey, Fault};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use ports::{OnlineRow, OnlineStore, PutReport};
use row::{Stored, encode, entity_bytes, store_key, view_prefix};
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::Path;

/// The size of the memory map in GiB: addresses, not memory, and the file is only as large as what is in it.
const MAP_GIB: usize = 64;
/// Reads that may be under way at once.
const READERS: u32 = 1024;

/// Newest values by view and entity in a folder. Cloning shares the environment.
#[derive(Clone)]
pub struct LmdbOnline {
    env: Env<WithoutTls>,
    rows: Database<'static, Bytes, Bytes>,
}

impl LmdbOnline {
    /// Opens the store in a folder of the local disk, made if it is not there. The home's lock keeps other processes away.
    pub fn open(folder: &Path) -> Result<LmdbOnline, Fault> {
        std::fs::create_dir_all(folder).map_err(|e| Fault::because(format!("making {}", folder.display()), e))?;
        let env = open_env(folder)?;
        let failed = |e| fault("opening the online store", e);
        let transaction = env.write_txn().map_err(failed)?;
        let created = env.create_databases_and_commit(transaction, |opener, transaction| {
            opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        });
        let rows = created.map_err(failed)?.unwrap_commit();
        Ok(LmdbOnline { env, rows })
    }

    fn put_now(&self, view: &str, rows: Vec<OnlineRow>) -> Result<PutReport, heed::Error> {
        let prefix = view_prefix(view);
        let mut keyed: Vec<(Vec<u8>, Vec<u8>, OnlineRow)> = rows
            .into_iter()
            .map(|row| {
                let entity = entity_bytes(&row.key);
                (store_key(&prefix, &entity), entity, row)
            })
            .collect();
        // In the order of the tree its pages are touched once; the sort is stable, so that the last of equals wins.
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let mut report = PutReport::default();
        let mut transaction = self.env.write_txn()?;
        for (key, entity, row) in keyed {
            let held = self.rows.get(&transaction, &key)?.map(Stored::parse).transpose();
            // A row that cannot be read is replaced.
            let held = held.ok().flatten().filter(|held| held.entity == entity);
            if held.is_some_and(|held| (row.time, row.created) < (held.time, held.created)) {
                report.late += 1;
                continue;
            }
            self.rows.put(&mut transaction, &key, &encode(&entity, &row))?;
            report.written += 1;
        }
        transaction.commit()?;
        Ok(report)
    }

    fn clear_now(&self, view: &str) -> Result<(), heed::Error> {
        let from = view_prefix(view);
        let mut to = view.as_bytes().to_vec();
        to.push(1);
        let mut transaction = self.env.write_txn()?;
        self.rows.delete_range(&mut transaction, &(Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice())))?;
        transaction.commit()
    }

    async fn apart<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&LmdbOnline) -> Result<T, heed::Error> + Send + 'static,
    ) -> Result<T, Fault> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|e| Fault::because(what, e))?.map_err(|e| fault(what, e))
    }
}

#[allow(unsafe_code)]
fn open_env(folder: &Path) -> Result<Env<WithoutTls>, Fault> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_readers(READERS);
    // SAFETY: of the flags only those that turn off locks are undefined behaviour in waiting. This one leaves the flush of
    // the newest root to the next write: half the time of a push, and the store stays whole.
    unsafe { options.flags(EnvFlags::NO_META_SYNC) };
    let mut gib = MAP_GIB;
    loop {
        options.map_size(gib << 30);
        // SAFETY: the map is undefined behaviour only if somebody else changes the file while it is open. It lies in the
        // home, which one process holds under a lock, on a local disk, and every access goes through LMDB with its locks on.
        match unsafe { options.open(folder) } {
            // The system limits addresses: a quarter may do.
            Err(heed::Error::Io(error)) if error.kind() == ErrorKind::OutOfMemory && gib > 1 => {
                tracing::warn!(gib, "no address space for the online store's map; trying a smaller one");
                gib /= 4;
            }
            opened => return opened.map_err(|e| fault("opening the online store", e)),
        }
    }
}

#[async_trait]
impl OnlineStore for LmdbOnline {
    async fn put(&self, view: &str, rows: Vec<OnlineRow>) -> Result<PutReport, Fault> {
        let view = view.to_owned();
        self.apart("writing the online store", move |store| store.put_now(&view, rows)).await
    }

    fn get(&self, view: &str, keys: &[EntityKey]) -> Result<Vec<Option<OnlineRow>>, Fault> {
        let failed = |e| fault("reading the online store", e);
        let prefix = view_prefix(view);
        let transaction = self.env.read_txn().map_err(failed)?;
        let one = |key: &EntityKey| {
            let entity = entity_bytes(key);
            let Some(bytes) = self.rows.get(&transaction, &store_key(&prefix, &entity)).map_err(failed)? else { return Ok(None) };
            let stored = Stored::parse(bytes)?;
            if stored.entity == entity { stored.row(key).map(Some) } else { Ok(None) }
        };
        keys.iter().map(one).collect()
    }

    async fn clear(&self, view: &str) -> Result<(), Fault> {
        let view = view.to_owned();
        self.apart("clearing a view of the online store", move |store| store.clear_now(&view)).await
    }
}

fn fault(what: &str, error: heed::Error) -> Fault {
    let is_full = match &error {
        heed::Error::Mdb(MdbError::MapFull) => true,
        heed::Error::Io(io) => matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded),
        _ => false,
    };
    if is_full { Fault::Full(format!("{what}: {error}")) } else { Fault::because(what, error) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use domain::{Scalar, Timestamp};
    use std::sync::Arc;

    #[tokio::test]
    async fn it_is_an_online_store() {
        let folder = tempfile::tempdir().unwrap();
        ports::conformance::online::suite(Arc::new(LmdbOnline::open(folder.path()).unwrap())).await;
    }

    #[tokio::test]
    async fn what_was_put_is_there_after_a_restart_and_the_file_is_small() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("not/there/yet");
        let row = OnlineRow { key: EntityKey::one("k", "v"), time: Timestamp::from_ms(1), created: None, values: vec![Scalar::Float(0.1)] };
        let store = LmdbOnline::open(&home).unwrap();
        store.put("v@1", vec![row.clone()]).await.unwrap();
        drop(store);
        let store = LmdbOnline::open(&home).unwrap();
        assert_eq!(store.get("v@1", std::slice::from_ref(&row.key)).unwrap(), [Some(row)]);
        assert!(std::fs::metadata(home.join("data.mdb")).unwrap().len() < 1 << 20, "the map is sparse");
    }

    #[test]
    fn a_folder_that_cannot_be_is_a_fault() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(LmdbOnline::open(&file.path().join("below a file")).is_err());
    }
}

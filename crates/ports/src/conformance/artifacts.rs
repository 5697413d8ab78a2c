//! What every artifact store must do.

#![allow(clippy::unwrap_used)]

use crate::{ArtifactExt, ArtifactInfo, ArtifactStore, ByteStream};
use bytes::Bytes;
use domain::Digest;
use futures::stream::StreamExt;

/// Runs the whole suite on a new, empty store.
pub async fn suite(store: &dyn ArtifactStore) {
    what_is_put_comes_back(store).await;
    a_put_replaces(store).await;
    a_part_is_read(store).await;
    folders_list_their_children(store).await;
    deleting_takes_an_artifact_or_a_folder(store).await;
    a_broken_stream_leaves_what_was_there(store).await;
    a_large_stream_comes_back_whole(store).await;
    a_folder_is_downloaded(store).await;
}

async fn what_is_put_comes_back(store: &dyn ArtifactStore) {
    assert!(store.get("put/none").await.unwrap().is_none());
    for (path, bytes) in
        [("put/a.txt", "text"), ("put/deep/er/b", "x"), ("put/empty", ""), ("put/größe 日本 100%+&=.bin", "ü"), ("put/.hidden", "h")]
    {
        let stored = store.put_bytes(path, bytes.into()).await.unwrap();
        assert_eq!((stored.bytes, stored.digest), (bytes.len() as u64, Digest::of(bytes.as_bytes())), "{path}");
        let (size, _) = store.get(path).await.unwrap().unwrap();
        assert_eq!(size, bytes.len() as u64);
        assert_eq!(store.get_bytes(path).await.unwrap().unwrap(), bytes, "{path}");
    }
    assert!(store.get("put/deep").await.unwrap().is_none(), "a folder is no artifact");
    assert!(store.get("put/a.txt/below").await.unwrap().is_none(), "below an artifact there is nothing");
    assert!(store.list("put/a.txt/below").await.unwrap().is_empty());
    store.delete("put/a.txt/below").await.unwrap();
}

async fn a_put_replaces(store: &dyn ArtifactStore) {
    for text in ["long text", "short"] {
        store.put_bytes("replace/a", text.into()).await.unwrap();
    }
    assert_eq!(store.get_bytes("replace/a").await.unwrap().unwrap(), "short");
    assert_eq!(store.list("replace").await.unwrap().len(), 1);
}

async fn a_part_is_read(store: &dyn ArtifactStore) {
    store.put_bytes("part/a", "0123456789".into()).await.unwrap();
    for (range, part) in [(0..10, "0123456789"), (3..5, "34"), (9..10, "9"), (8..99, "89"), (0..0, ""), (10..12, "")] {
        let mut stream = store.get_range("part/a", range.clone()).await.unwrap().unwrap();
        let mut read = Vec::new();
        while let Some(piece) = stream.next().await {
            read.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(read, part.as_bytes(), "{range:?}");
    }
    assert!(store.get_range("part/none", 0..1).await.unwrap().is_none());
}

async fn folders_list_their_children(store: &dyn ArtifactStore) {
    for path in ["list/b.txt", "list/a/1", "list/a/2/3", "list/ä", "listed/x"] {
        store.put_bytes(path, "12".into()).await.unwrap();
    }
    let file = |path: &str| ArtifactInfo { path: path.into(), is_dir: false, bytes: 2 };
    let folder = |path: &str| ArtifactInfo { path: path.into(), is_dir: true, bytes: 0 };
    assert_eq!(store.list("list").await.unwrap(), [folder("list/a"), file("list/b.txt"), file("list/ä")]);
    assert_eq!(store.list("list/a").await.unwrap(), [file("list/a/1"), folder("list/a/2")]);
    assert_eq!(store.list("list/none").await.unwrap(), []);
    assert_eq!(store.list("list/b.txt").await.unwrap(), [], "an artifact has no children");
    assert!(store.list("").await.unwrap().contains(&folder("listed")), "the root has children too");
}

async fn deleting_takes_an_artifact_or_a_folder(store: &dyn ArtifactStore) {
    for path in ["delete/a/1", "delete/a/b/2", "delete/ab", "delete/c"] {
        store.put_bytes(path, "x".into()).await.unwrap();
    }
    store.delete("delete/c").await.unwrap();
    store.delete("delete/a").await.unwrap();
    let left: Vec<_> = store.list("delete").await.unwrap().into_iter().map(|info| info.path).collect();
    assert_eq!(left, ["delete/ab"]);
    store.delete("delete/none").await.unwrap();
    store.delete("delete/ab").await.unwrap();
    assert_eq!(store.list("delete").await.unwrap(), []);
}

async fn a_broken_stream_leaves_what_was_there(store: &dyn ArtifactStore) {
    let broken = |pieces: usize| -> ByteStream {
        let good = (0..pieces).map(|_| Ok(Bytes::from(vec![1; 1 << 20])));
        futures::stream::iter(good.chain([Err(std::io::Error::other("the client went away"))])).boxed()
    };
    store.put_bytes("broken/old", "old".into()).await.unwrap();
    for pieces in [0, 1, 12] {
        assert!(store.put("broken/new", broken(pieces)).await.is_err());
        assert!(store.put("broken/old", broken(pieces)).await.is_err());
        assert!(store.get("broken/new").await.unwrap().is_none());
        assert_eq!(store.get_bytes("broken/old").await.unwrap().unwrap(), "old");
        assert_eq!(store.list("broken").await.unwrap().len(), 1);
    }
}

async fn a_large_stream_comes_back_whole(store: &dyn ArtifactStore) {
    // Pieces of odd sizes, 17 MiB and a bit in all.
    let sizes = [1, 65_537, 5 << 20, (5 << 20) + 1, 7_000_000, 0, 3];
    let pieces: Vec<Bytes> = sizes.iter().enumerate().map(|(n, size)| Bytes::from(vec![n as u8; *size])).collect();
    let whole: Vec<u8> = pieces.concat();
    let stored = store.put("large/big", futures::stream::iter(pieces.into_iter().map(Ok)).boxed()).await.unwrap();
    assert_eq!((stored.bytes, stored.digest), (whole.len() as u64, Digest::of(&whole)));
    assert!(store.get_bytes("large/big").await.unwrap().unwrap() == whole);
}

async fn a_folder_is_downloaded(store: &dyn ArtifactStore) {
    for path in ["down/MLmodel", "down/data/model.pkl"] {
        store.put_bytes(path, path.to_owned().into()).await.unwrap();
    }
    let target = std::env::temp_dir().join(format!("trimtab-artifacts-{}-{:p}", std::process::id(), store));
    assert_eq!(store.download("down", &target).await.unwrap(), 2);
    assert_eq!(std::fs::read_to_string(target.join("data/model.pkl")).unwrap(), "down/data/model.pkl");
    std::fs::remove_dir_all(&target).unwrap();
}
